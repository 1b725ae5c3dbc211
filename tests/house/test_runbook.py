"""What an operator is told exists: metrics, settings, commands, probes and values of the chart."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from gateway.cli import COMMANDS
from gateway.settings.faults import every_setting

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "operations.md").read_text("utf-8")
CODE = "\n".join(path.read_text("utf-8") for path in sorted((ROOT / "gateway").rglob("*.py")))
SPOKEN = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", TEXT, flags=re.MULTILINE | re.DOTALL))


def test_every_metric_is_one_that_is_counted() -> None:
    named = set(re.findall(r"\bgateway_[a-z_]+", TEXT))
    assert len(named) > 5
    assert {one for one in named if f'"{one.removesuffix("_total")}"' not in CODE} == set()


def test_every_command_is_one_that_there_is() -> None:
    named = {match[1] for match in re.finditer(r"^gateway ([a-z]+)", "\n".join(SPOKEN), re.MULTILINE)}
    assert {"check", "doctor", "explain", "serve"} <= named <= set(COMMANDS)


def test_every_setting_is_one_that_there_is() -> None:
    tables = {one.partition(".")[0] for one in every_setting()}
    named = {one for one in SPOKEN if re.fullmatch(rf"(?:{'|'.join(tables)})\.[a-z_.]+", one)}
    known = {*every_setting(), *(one.rpartition(".")[0] for one in every_setting())}
    assert len(named) > 4
    assert {one for one in named if one not in known} == set()


def test_every_probe_answers() -> None:
    named = {one for one in SPOKEN if re.fullmatch(r"/[a-z]+z|/metrics", one)}
    assert named == {"/startupz", "/livez", "/readyz", "/metrics"}
    assert {one for one in named if f'"{one}"' not in CODE} == set()


def test_every_field_of_a_record_is_one_that_is_written() -> None:
    named = {one for one in SPOKEN if re.fullmatch(r"(?:gateway|error|gen_ai)\.[a-z_.]+", one)}
    assert len(named) > 1
    assert {one for one in named if f'"{one}"' not in CODE} == set()


@pytest.mark.parametrize("block", re.findall(r"^```yaml\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL))
def test_the_example_values_render(block: str) -> None:
    helm = pytest.importorskip("helm_python")
    chart = helm.Chart.load(str(ROOT / "helm" / "llm-gateway"))
    assert "replicas: 3" in chart.render(yaml.safe_load(block))["llm-gateway/templates/deployment.yaml"]
