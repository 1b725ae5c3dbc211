"""The Dockerfile, read as its builder reads it. No daemon is needed, so what it would build is not tried here."""

from __future__ import annotations

import fnmatch
import json
import re
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@dataclass
class Stage:
    """One FROM and what follows it."""

    base: str
    name: str
    steps: list[tuple[str, str]] = field(default_factory=list)

    def all(self, instruction: str) -> list[str]:
        return [rest for word, rest in self.steps if word == instruction]

    def one(self, instruction: str) -> str:
        (only,) = self.all(instruction)
        return only


def stages() -> list[Stage]:
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "Dockerfile").read_text("utf-8"), flags=re.MULTILINE)
    text = re.sub(r"\s*\\\n\s*", " ", text)
    found: list[Stage] = []
    for line in filter(None, map(str.strip, text.splitlines())):
        word, _, rest = line.partition(" ")
        if word == "FROM":
            base, _, name = rest.partition(" AS ")
            found.append(Stage(base, name))
        elif found:
            found[-1].steps.append((word, rest))
        else:
            assert word == "ARG", line
    return found


BUILD, FINAL = stages()


def test_every_instruction_is_one_that_exists() -> None:
    known = {"ARG", "ENV", "COPY", "RUN", "LABEL", "WORKDIR", "USER", "EXPOSE", "STOPSIGNAL", "ENTRYPOINT", "CMD"}
    assert {word for stage in (BUILD, FINAL) for word, _ in stage.steps} <= known


def test_both_stages_start_from_the_same_slim_python() -> None:
    assert BUILD.base == FINAL.base == "python:${PYTHON}"
    assert "ARG PYTHON=3.11-slim" in (ROOT / "Dockerfile").read_text("utf-8")


def test_the_process_is_nobody_by_number() -> None:
    user, _, group = FINAL.one("USER").partition(":")
    assert int(user) > 0
    assert int(group) > 0
    values = (ROOT / "helm" / "llm-gateway" / "templates" / "deployment.yaml").read_text("utf-8")
    assert f"runAsUser: {user}" in values
    assert f"runAsGroup: {group}" in values
    after = [word for word, _ in FINAL.steps][[word for word, _ in FINAL.steps].index("USER") :]
    assert not {"RUN", "COPY"} & set(after)


def test_signals_reach_the_gateway() -> None:
    assert json.loads(FINAL.one("ENTRYPOINT")) == ["gateway"]
    assert json.loads(FINAL.one("CMD")) == ["serve"]
    assert FINAL.one("STOPSIGNAL") == "SIGTERM"


def test_the_ports_are_those_of_the_defaults() -> None:
    from gateway.settings.model import Settings

    settings = Settings()
    assert FINAL.one("EXPOSE").split() == [str(settings.server.port), str(settings.health.port)]


def test_everything_installed_is_known_by_hash() -> None:
    installs = [one for run in BUILD.all("RUN") for one in run.split("&&") if " install " in one]
    assert len(installs) == 3
    for one in installs:
        from_lock = "--require-hashes --only-binary :all: -r /src/requirements/" in one
        ours = "--no-deps --no-index dist/" in one
        assert from_lock or ours, one
    assert not [run for run in FINAL.all("RUN") if " install " in run]


def test_the_final_image_holds_the_environment_and_nothing_else() -> None:
    assert FINAL.all("COPY") == ["--from=build /opt/gateway /opt/gateway"]
    build_tools = {line.partition("==")[0] for line in (ROOT / "requirements/build.txt").read_text().splitlines()}
    assert "hatchling" in build_tools
    (into_final,) = (one for run in BUILD.all("RUN") for one in run.split("&&") if "build.txt" in one)
    assert "/opt/build/" in into_final
    assert "/opt/gateway" not in into_final


@pytest.mark.parametrize(
    "path", [source for copy in BUILD.all("COPY") for source in copy.split()[:-1]], ids=lambda path: path
)
def test_what_is_copied_exists_and_is_sent_to_the_builder(path: str) -> None:
    assert (ROOT / path).exists()
    ignore = (ROOT / ".dockerignore").read_text("utf-8").split("\n")
    assert any(fnmatch.fnmatch(path, one.removeprefix("!")) for one in ignore if one.startswith("!"))


def test_nothing_else_is_sent_to_the_builder() -> None:
    lines = [one for one in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if one and one[0] != "#"]
    assert lines[0] == "*"
    copied = {source for copy in BUILD.all("COPY") for source in copy.split()[:-1]}
    assert {one.removeprefix("!") for one in lines if one.startswith("!")} == copied
