"""`gateway explain`: which line says so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from gateway.cli import main

POLICIES = """\
[keys.bot]
id = "k_1"
hash = "sha256:{hash}"
models = ["chat"]
limits = { requests_per_minute = 60 }

[keys.old]
id = "k_2"
hash = "sha256:{other}"
models = ["chat"]
expires = 2001-01-01T00:00:00Z

[models.chat]
provider = "echo"
model = "echo-model"

[models.closed]
provider = "echo"
model = "echo-model"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "policies").mkdir()
    text = POLICIES.replace("{hash}", "0" * 64).replace("{other}", "1" * 64)
    (tmp_path / "policies" / "keys.toml").write_text(text)
    (tmp_path / "config.toml").write_text("")
    return tmp_path


def explain(folder: Path, *arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["explain", "--config", str(folder / "config.toml"), *arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def test_what_is_allowed_and_by_which_line(folder: Path) -> None:
    code, output = explain(folder, "--key", "bot", "--model", "chat")
    assert code == 0
    assert output.startswith("Allowed by ")
    assert re.search(r"keys\.toml:5: limits = \{ requests_per_minute = 60 \}", output)
    assert "requests_per_minute = 60" in output
    assert ": echo-model at echo, 100 % of calls" in output
    assert "No redaction" in output


def test_a_model_that_is_known_and_not_allowed(folder: Path) -> None:
    code, output = explain(folder, "--key", "bot", "--model", "closed")
    assert code == 0, "the question was answered"
    assert output.startswith("Refused, 403 model_not_allowed: ")
    assert "keys.toml:" in output


def test_a_model_that_nobody_knows(folder: Path) -> None:
    code, output = explain(folder, "--key", "bot", "--model", "nothing")
    assert code == 0
    assert output.startswith("Refused, 404 model_not_found: ")


def test_a_decision_leads_back_to_its_line(folder: Path) -> None:
    _, foreseen = explain(folder, "--key", "bot", "--model", "closed")
    decision = re.search(r"^Decision (\S+)$", foreseen, re.MULTILINE)
    assert decision is not None
    code, output = explain(folder, decision[1])
    assert code == 0
    place = re.search(r"^    (\S*keys\.toml:\d+: .*)$", foreseen, re.MULTILINE)
    assert place is not None
    assert output.startswith(f"Decision {decision[1]}: ")
    assert place[1] in output


def test_a_decision_of_other_policies_is_said(folder: Path) -> None:
    code, output = explain(folder, "ffffffffffff.1")
    assert code == 1
    assert "Decision ffffffffffff.1 was made by other policies: those that are here now are " in output


def test_a_number_that_no_rule_has(folder: Path) -> None:
    _, other = explain(folder, "ffffffffffff.1")
    present = re.search(r"here now are ([0-9a-f]{12})", other)
    assert present is not None
    assert explain(folder, f"{present[1]}.99999") == (1, "These policies have no rule number 99999.\n")


@pytest.mark.parametrize("decision", ["x", "ffffffffffff", "ffffffffffff.", "FFFFFFFFFFFF.1", "ffffffffffff.-1"])
def test_what_is_no_decision(folder: Path, decision: str) -> None:
    code, output = explain(folder, decision)
    assert code == 2
    assert "twelve hex digits, a dot and a number" in output


def test_a_key_that_is_not_there(folder: Path) -> None:
    code, output = explain(folder, "--key", "bto", "--model", "chat")
    assert (code, output) == (1, "No key is called 'bto'. There are: bot, old.\n")


def test_an_expired_key(folder: Path) -> None:
    code, output = explain(folder, "--key", "old", "--model", "chat")
    assert code == 0
    assert output.startswith("Refused, 401: the key expired at 2001-01-01T00:00:00+00:00.")


def test_the_demo_key_is_known_where_there_is_no_other(folder: Path) -> None:
    (folder / "policies" / "keys.toml").write_text(POLICIES[POLICIES.index("[models.chat]") :])
    code, output = explain(folder, "--key", "demo", "--model", "chat")
    assert code == 0
    assert output.startswith("Allowed by keys.demo\n    the built-in demo key: there while the policies have no key")
    assert "Limit of key:k_demo: requests_per_minute = 60\n    the built-in demo key" in output
    decision = re.search(r"^Decision (\S+)$", output, re.MULTILINE)
    assert decision is not None
    code, resolved = explain(folder, decision[1])
    assert code == 0
    assert resolved.startswith(f"Decision {decision[1]}: keys.demo\n    the built-in demo key: ")
    (folder / "config.toml").write_text('[server]\nhost = "0.0.0.0"\n')
    assert explain(folder, "--key", "demo", "--model", "chat") == (1, "No key is called 'demo'. There are: none.\n")


def test_a_call_that_nobody_may_serve_is_refused_and_why_is_said(folder: Path) -> None:
    with (folder / "config.toml").open("a") as file:
        file.write('[providers.echo]\nkind = "echo"\nlabels = { region = "us" }\n')
        file.write('[providers.away]\nkind = "openai"\napi_key = "env:GATEWAY_TEST_ABSENT"\n')
        file.write('optional = true\nlabels = { region = "eu" }\n')
    more = """\
[models.away]
provider = "away"
model = "m"
[models.both]
versions = [
  { provider = "away", model = "m", name = "one" },
  { provider = "echo", model = "m", name = "two", disabled = { reason = "broken" } },
]
[keys.all]
id = "k_3"
hash = "sha256:{hash}"
models = ["*"]
[keys.eu]
id = "k_4"
hash = "sha256:{other}"
models = ["*"]
require = { region = "eu" }
"""
    (folder / "policies" / "more.toml").write_text(more.replace("{hash}", "2" * 64).replace("{other}", "3" * 64))
    code, output = explain(folder, "--key", "all", "--model", "away")
    assert code == 0, output
    refused = "Refused, 403 no_provider: No permitted provider offers the model 'away'"
    assert output.startswith(f"{refused}: its provider is not configured on this gateway.\n")
    assert re.search(r"provider away is left out: .*GATEWAY_TEST_ABSENT is not set", output)
    assert "Allowed by" not in output
    _, output = explain(folder, "--key", "eu", "--model", "chat")
    assert output.startswith("Refused, 403 no_provider: No permitted provider offers the model 'chat'.\n")
    assert "provider echo lacks the required label region = eu" in output
    _, output = explain(folder, "--key", "all", "--model", "both")
    assert "  version two: is disabled" in output


def test_policies_with_a_mistake_end_it(folder: Path) -> None:
    (folder / "policies" / "more.toml").write_text("[models.x]\nprovider = 1\n")
    code, output = explain(folder, "--key", "bot", "--model", "chat")
    assert code == 1
    assert "more.toml:2: " in output
