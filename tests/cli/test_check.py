"""`gateway check`: settings and policies in one run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from gateway.cli import main
from gateway.cli.check import summary
from gateway.policy.compiled import PolicySet

POLICIES = """\
[keys.bot]
id = "k_1"
hash = "sha256:{hash}"
models = ["chat"]

[models.chat]
provider = "echo"
model = "echo"
"""


def check(folder: Path, settings: str, policies: str = POLICIES, **environ: str) -> tuple[int, list[str]]:
    """Exit code and lines, the folder's name taken out."""
    (folder / "policies").mkdir(exist_ok=True)
    (folder / "policies" / "keys.toml").write_text(policies.replace("{hash}", "0" * 64))
    (folder / "config.toml").write_text(settings)
    result = CliRunner().invoke(main, ["check", "--config", str(folder / "config.toml")], env=environ)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output.replace(f"{folder}/", "").splitlines()


def test_all_is_well_and_what_there_is(tmp_path: Path) -> None:
    code, lines = check(tmp_path, '[secrets]\nmaster = "env:MASTER"\n', MASTER="canary")
    assert code == 0
    assert re.fullmatch(r"All is well: 1 key, 1 model, 1 provider, \d+ rules?; policy set [0-9a-f]{12}\.", lines[-1])
    assert not any("canary" in line for line in lines)


def test_mistakes_of_settings_and_of_policies_come_in_one_run(tmp_path: Path) -> None:
    policies = POLICIES.replace('models = ["chat"]', 'modles = ["chat"]')
    code, lines = check(tmp_path, "[server]\nprot = 1\n", policies)
    assert code == 1
    assert lines[0].startswith("config.toml:2: unknown key 'prot' in [server], did you mean 'port'?; host, port, ")
    assert any(re.search(r"keys\.toml:4: .*modles.*models", line) for line in lines)
    assert lines[-1] == "2 mistakes."


def test_a_provider_that_is_wrong_is_not_unknown_too(tmp_path: Path) -> None:
    """A policy that names it is right: one mistake, not two."""
    settings = '[providers.up]\nkind = "openai"\napi_key = "canary"\n'
    code, lines = check(tmp_path, settings, POLICIES.replace('"echo"', '"up"'))
    assert code == 1
    assert lines[0].startswith("config.toml:3: providers.up.api_key is a literal; ")
    assert lines[-1] == "1 mistake."


def test_what_a_later_version_enforces_is_said(tmp_path: Path) -> None:
    code, lines = check(
        tmp_path, "", POLICIES + 'fallback = ["other"]\n[models.other]\nprovider = "echo"\nmodel = "e"\n'
    )
    assert code == 0
    assert any(re.search(r"keys\.toml:\d+: models\.chat\.fallback.* is not enforced yet", line) for line in lines)


def test_warnings_are_no_mistakes(tmp_path: Path) -> None:
    settings = (
        '[providers.echo]\nkind = "echo"\n[providers.a]\nkind = "openai"\napi_key = "env:NOT_SET"\noptional = true\n'
    )
    code, lines = check(tmp_path, settings)
    assert code == 0
    assert (
        "warning: providers.a is optional and left out, and so are its models: the environment variable NOT_SET is not "
        "set or empty"
    ) in lines


def test_an_expired_key_and_a_pattern_that_nothing_fits_are_warned_of(tmp_path: Path) -> None:
    policies = POLICIES.replace('models = ["chat"]', 'models = ["chat", "gtp-*"]\nexpires = 2020-01-01')
    code, lines = check(tmp_path, "", policies + '[models."gpt-*"]\nprovider = "echo"\n')
    assert code == 0
    assert (
        "warning: policies/keys.toml:1: keys.bot has expired, at 2020-01-01T00:00:00+00:00: it is refused with 401"
        in lines
    )
    assert "warning: policies/keys.toml:4: keys.bot.models: no model fits the pattern 'gtp-*'" in lines
    assert ", 2 models, " in lines[-1], "wildcards count, as they do in the line of a reload"
    code, lines = check(tmp_path, "", policies.replace("gtp-*", "gpt-5*") + '[models."gpt-*"]\nprovider = "echo"\n')
    assert not any("fits the pattern" in line for line in lines)


@pytest.mark.parametrize("level", ["keys.bot", "teams.t", "tenants.n"])
def test_a_rule_on_a_misspelt_parameter_is_warned_of(tmp_path: Path, level: str) -> None:
    policies = (
        POLICIES.replace('models = ["chat"]', 'models = ["chat"]\nteam = "t"')
        + "[teams.t]\ntenant = 'n'\n[tenants.n]\n"
    )
    table = f"[{level}.request]\n"
    line = len((policies.replace("{hash}", "") + table).splitlines())
    rules = "max = { output_token = 5, n = 1, top_a = 1 }\n"
    rules += 'deny = ["servise_tier", "service_tier", "tools.web_serch", "tools.web_search_2025", "tools.x", "own"]\n'
    code, lines = check(tmp_path, "", policies + table + rules)
    assert code == 0, lines
    told = [one.removeprefix("warning: policies/keys.toml:") for one in lines if "did you mean" in one]
    assert [(int(one.split(":")[0]), one.rpartition("did you mean ")[2]) for one in told] == [
        (line + 1, "'output_tokens'?"), (line + 2, "'service_tier'?"), (line + 2, "'tools.web_search'?"),
    ]  # fmt: skip
    assert f"{level}.request.deny" in told[1]
    assert "'servise_tier'" in told[1]


def test_an_expression_that_a_stream_cannot_wait_for_is_warned_of(tmp_path: Path) -> None:
    table = '[redaction.own]\nentities = []\npatterns = [{ entity = "CASE", regex = "case [a-z ]+!", score = 0.9 }]\n'
    _, lines = check(tmp_path, "", POLICIES + table + "output = true\n")
    (warning,) = [line for line in lines if "redaction.own.patterns[0]" in line]
    assert re.match(r"warning: policies/keys.toml:\d+: .* may match more than 1024 characters", warning)
    bounded = table.replace("+!", "{1,200}!") + "output = true\n"
    for good in (table, bounded):
        code, lines = check(tmp_path, "", POLICIES + good)
        assert code == 0
        assert not any("redaction.own.patterns" in line for line in lines)


def test_settings_that_cannot_be_read_say_why_the_policies_were_not(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["check", "--config", str(tmp_path / "none.toml")])
    assert result.exit_code == 1
    assert result.output.splitlines()[0].startswith(
        f"{tmp_path}/none.toml:1: cannot be read: no such file or directory; "
    )
    assert "The policies were not checked" in result.output


def test_the_shipped_policies_are_right() -> None:
    result = CliRunner().invoke(main, ["check"])
    assert result.exit_code == 0, result.output
    assert "All is well" in result.output


@pytest.mark.parametrize(("number", "words"), [(0, "0 keys"), (1, "1 key,"), (2, "2 keys")])
def test_the_summary_counts_in_words(number: int, words: str) -> None:
    keys = {str(n): None for n in range(number)}
    policy = PolicySet("a" * 64, keys, {}, {}, (), (), {}, ())  # type: ignore[arg-type]  # only counted
    assert words in summary(policy)
    assert summary(policy).endswith("policy set aaaaaaaaaaaa.")
