"""Broken policy files: each a message with file, line, what is wrong and what is allowed."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.policy.compile import compile_policies
from gateway.policy.compiled import ProviderFacts
from gateway.policy.files import PoliciesBroken, PolicyFiles, Unreadable, load

PROVIDERS = {
    "up": ProviderFacts("up", "openai", (("region", "eu"),)),
    "echo": ProviderFacts("echo", "echo"),
}
HASH = "sha256:" + "0" * 64
OTHER = "sha256:" + "1" * 64
KEY = f'[keys.bot]\nhash = "{HASH}"\nmodels = ["chat"]\n'
MODEL = '[models.chat]\nprovider = "up"\nmodel = "m"\n'


def mistakes(*texts: str) -> list[str]:
    names = ("a.toml", "b.toml", "c.toml")
    policy, found, _ = compile_policies(dict(zip(names, texts, strict=False)), PROVIDERS)
    assert (policy is None) == bool(found)
    return [str(one) for one in found]


# name → (text, its line, a part of what is wrong, a part of what is allowed); a model `chat` is in another file.
BROKEN = {
    "a misspelt key": (
        KEY + 'modles = ["x"]\n',
        4,
        "unknown key 'modles' in keys.bot, did you mean 'models'?",
        "budget",
    ),
    "a misspelt table": ("[keyz.bot]\n", 1, "unknown table 'keyz', did you mean 'keys'?", "defaults"),
    "a misspelt limit": (
        KEY + "limits = { request_per_minute = 1 }\n",
        4,
        "did you mean 'requests_per_minute'?",
        "tokens_per_minute",
    ),
    "a limit in the wrong table": (
        KEY + "limits = { usd_per_month = 1 }\n",
        4,
        "unknown key 'usd_per_month'",
        "requests_per",
    ),
    "a syntax error": ("[keys.bot\n", 1, "not valid TOML", "[table.name]"),
    "a value without quotes": ("[keys.bot]\nteam = x\n", 2, "not valid TOML", "quotes"),
    "a key twice": (KEY + f'hash = "{HASH}"\n', 4, "not valid TOML: cannot overwrite", "once in a file"),
    "a wrong type": (KEY.replace('["chat"]', '"chat"'), 3, "models is not an array", '["a", "b"]'),
    "a number as a name": (KEY.replace('["chat"]', "[1]"), 3, "models[0] is an integer", "a text"),
    "no hash": ('[keys.bot]\nmodels = ["chat"]\n', 1, "keys.bot has no hash", "secrets"),
    "a bad hash": ('[keys.bot]\nhash = "md5:x"\nmodels = []\n', 2, "keys.bot.hash is not a hash", "sha256:"),
    "a literal secret": ('[keys.bot]\nhash = "gw-secret-canary"\n', 2, "is not a hash", "gateway keys new"),
    "hash and secrets": (
        KEY + f'secrets = [{{ id = "a", hash = "{OTHER}" }}]\n',
        1,
        "has both hash and secrets",
        "to rotate",
    ),
    "three secrets": (
        "[keys.bot]\nmodels = []\nsecrets = ["
        + ", ".join(f'{{ id = "{n}", hash = "sha256:{str(n) * 64}" }}' for n in range(3))
        + "]\n",
        3,
        "has 3 secrets",
        "at most two",
    ),
    "two secrets of one id": (
        f'[keys.bot]\nmodels = []\nsecrets = [{{ id = "a", hash = "{HASH}" }}, {{ id = "a", hash = "{OTHER}" }}]\n',
        3,
        "two secrets of one id",
        "an id for each",
    ),
    "one secret for two keys": (
        KEY + f'[keys.two]\nhash = "{HASH}"\nmodels = []\n',
        5,
        "has the secret of bot",
        "of its own",
    ),
    "one id for two keys": (
        KEY + f'id = "k"\n[keys.two]\nid = "k"\nhash = "{OTHER}"\nmodels = []\n',
        6,
        "has the id of bot",
        "counters follow",
    ),
    "an unknown team": (KEY + 'team = "suport"\n[teams.support]\n', 4, "names the team 'suport'", "support"),
    "an unknown tenant": (KEY + 'tenant = "acme"\n', 4, "names the tenant 'acme'", "no tenant yet"),
    "another tenant than the team's": (
        KEY + 'team = "t"\ntenant = "b"\n[teams.t]\ntenant = "a"\n[tenants.a]\n[tenants.b]\n',
        5,
        "is not the tenant of its team",
        "the team's is 'a'",
    ),
    "an unknown profile": (KEY + 'redaction = "strickt"\n', 4, "names the redaction profile 'strickt'", "none"),
    "an unknown model": (
        KEY.replace('"chat"', '"chta"'),
        3,
        "names the model 'chta', which there is not, did you mean 'chat'?",
        "chat",
    ),
    "an unknown group": (KEY.replace('"chat"', '"@cheap"'), 3, "names the group 'cheap'", "no group yet"),
    "a star inside": (KEY.replace('"chat"', '"c*t"'), 3, "has a * inside", "only at the end"),
    "an unknown endpoint": (KEY + 'endpoints = ["flies"]\n', 4, "endpoints[0] is no endpoint", "files"),
    "an unknown provider": (
        '[models.x]\nprovider = "upp"\n',
        2,
        "names the provider 'upp', which there is not, did you mean 'up'?",
        "echo",
    ),
    "no provider": ("[models.x]\n", 1, "has no provider", "[[models.NAME.versions]]"),
    "a label that nobody bears": (
        KEY + 'require = { region = "mars" }\n',
        4,
        "a label that no provider bears",
        'region = "eu"',
    ),
    "a negative limit": (
        KEY + "limits = { requests_per_minute = -1 }\n",
        4,
        "requests_per_minute.limit is -1",
        "from 1 to",
    ),
    "a limit of zero": (KEY + "limits = { requests_per_minute = 0 }\n", 4, "limit is 0", "from 1 to"),
    "a fractional limit": (
        KEY + "limits = { requests_per_minute = 1.5 }\n",
        4,
        "is a number with a fraction",
        "an integer",
    ),
    "a huge limit": (KEY + "budget = { tokens_total = 10_000_000_000_000_000_000 }\n", 4, "limit is 1000", "from 1 to"),
    "a limit as a text": (KEY + 'limits = { requests_per_minute = "60" }\n', 4, "is a text", "an integer"),
    "true as a limit": (KEY + "limits = { requests_per_minute = true }\n", 4, "is true or false", "an integer"),
    "a limit that is not given": (
        KEY + "limits = { requests_per_minute = { burst = 1 } }\n",
        4,
        "limit is missing",
        "limit = ",
    ),
    "a negative budget": (KEY + "budget = { usd_per_month = -0.5 }\n", 4, "limit is -0.5", "above 0"),
    "infinitely much": (KEY + "budget = { usd_per_month = inf }\n", 4, "limit is inf", "above 0"),
    "not a number": (KEY + "budget = { usd_per_month = nan }\n", 4, "limit is nan", "above 0"),
    "a burst of a month": (
        KEY + "budget = { usd_per_month = { limit = 1, burst = 2 } }\n",
        4,
        "unknown key 'burst'",
        "warn_at",
    ),
    "a share of two": (
        KEY + "budget = { usd_per_month = { limit = 1, warn_at = [2] } }\n",
        4,
        "warn_at[0] is 2",
        "between 0 and 1",
    ),
    "an unknown choice": (
        KEY + 'budget = { usd_per_month = { limit = 1, at_limit = "stop" } }\n',
        4,
        "at_limit is none of",
        "'finish', 'cut'",
    ),
    "an unknown time zone": (
        '[tenants.t]\ntime_zone = "Europe/Berln"\n',
        2,
        "time_zone is no time zone",
        "Europe/Berlin",
    ),
    "a time without a zone": (KEY + "expires = 2027-01-01T00:00:00\n", 4, "expires has no time zone", "00:00:00Z"),
    "disabled without a reason": (
        KEY + "disabled = { until = 2027-01-01 }\n",
        4,
        "disabled.reason is missing",
        "callers read it",
    ),
    "weight 0": (
        '[[models.x.versions]]\nname = "a"\nprovider = "up"\nmodel = "m"\nweight = 0\n',
        1,
        "has no version with a weight above 0",
        "at least 1",
    ),
    "a negative weight": (
        '[[models.x.versions]]\nname = "a"\nprovider = "up"\nmodel = "m"\nweight = -1\n',
        5,
        "weight is out of range",
        "0 to",
    ),
    "two versions of one name": (
        '[[models.x.versions]]\nname = "a"\nprovider = "up"\nmodel = "m"\n' * 2,
        6,
        "is the name of two versions",
        "for each",
    ),
    "versions and a provider": (
        '[models.x]\nprovider = "up"\n[[models.x.versions]]\nname = "a"\nprovider = "up"\nmodel = "m"\n',
        1,
        "has versions and a provider of its own",
        "one of both",
    ),
    "a chain of fallbacks that bites its tail": (
        '[models.x]\nprovider = "up"\nfallback = ["y"]\n[models.y]\nprovider = "up"\nfallback = ["x"]\n',
        3,
        "falls back to itself in the end",
        "a chain that ends",
    ),
    "an unknown fallback": ('[models.x]\nprovider = "up"\nfallback = ["z"]\n', 3, "names the model 'z'", "chat"),
    "an unknown entity": ('[redaction.p]\nentities = ["EMAIL"]\n', 2, "names the entity 'EMAIL'", "EMAIL_ADDRESS"),
    "a profile that looks for nothing": ("[redaction.p]\nentities = []\n", 2, "looks for nothing", "at least one"),
    "an unknown action": ('[redaction.p]\nentities = ["URL"]\naction = "drop"\n', 3, "action is none of", "'replace'"),
    "a regex that is none": (
        '[redaction.p]\nentities = ["X"]\npatterns = [{ entity = "X", regex = "(" }]\n',
        3,
        "is no regular expression",
        "up to 1000",
    ),
    "a regex that takes for ever": (
        '[redaction.p]\nentities = ["X"]\npatterns = [{ entity = "X", regex = "(a+)+b" }]\n',
        3,
        "could take for ever",
        "repeated",
    ),
    "a regex that matches nothing": (
        '[redaction.p]\nentities = ["X"]\npatterns = [{ entity = "X", regex = "a*" }]\n',
        3,
        "matches the empty text",
        "up to",
    ),
    "a price that is negative": (
        '[[prices]]\nprovider = "up"\nmodel = "m"\ninput = -1\noutput = 1\n',
        4,
        "prices[0].input is -1",
        "per million",
    ),
    "a price without output": (
        '[[prices]]\nprovider = "up"\nmodel = "m"\ninput = 1\n',
        1,
        "prices[0].output is missing",
        "",
    ),
    "prices as a table": ("[prices]\n", 1, "prices is not an array of tables", "[[prices]]"),
    "another shape": ("schema = 2\n", 1, "schema is not 1", "1"),
    "a value for a table": ("keys = 1\n", 1, "keys is not a table", "[keys.NAME]"),
    "a name with a bar": (
        f'[keys."a|b"]\nhash = "{HASH}"\nmodels = []\n',
        1,
        "a name that it may not have",
        "none of |",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_each_way_to_be_wrong(name: str) -> None:
    text, line, what, allowed = BROKEN[name]
    found = mistakes(text, MODEL)
    first = next((one for one in found if what in one), None)
    assert first is not None, found
    assert first.startswith(f"a.toml:{line}: "), first
    assert allowed in first.partition("; ")[2], first
    assert len(found) == 1 + (name == "a chain of fallbacks that bites its tail"), found
    assert not any("canary" in one for one in found)


def test_what_two_files_both_say_names_both() -> None:
    found = mistakes(KEY, f'\n[keys.bot]\nhash = "{OTHER}"\nmodels = []\n', MODEL)
    assert found == ["b.toml:2: keys.bot stands also in a.toml:1; each name in one file"]
    found = mistakes("[defaults]\n", "[defaults]\n")
    assert found == ["b.toml:1: defaults stands also in a.toml:1; one such table"]


def test_all_mistakes_of_a_folder_come_in_one_run() -> None:
    found = mistakes(
        '[keys.a]\nhash = "x"\nmodles = 1\n[keys.b]\nteam = "none"\nmodels = ["nothing"]\n',
        '[models.m]\nprovider = "nobody"\n[[prices]]\nprovider = "nobody"\nmodel = "m"\ninput = -1\noutput = 1\n',
        "[redaction.p]\nentities = []\naction = 1\n",
    )
    assert [one.partition(": ")[0] for one in found] == [
        "a.toml:2", "a.toml:3", "a.toml:4", "a.toml:5", "a.toml:6", "b.toml:2", "b.toml:6", "c.toml:3",
    ]  # fmt: skip


def test_a_file_that_is_no_toml_does_not_make_its_names_unknown() -> None:
    assert [one.partition(": ")[0] for one in mistakes(KEY + 'team = "t"\n', "[teams.t\n[models.chat]\n")] == [
        "b.toml:1"
    ]


def test_folders_and_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match=r"cannot be read: no such file or directory; a folder with \*\.toml files"):
        load(tmp_path / "none")
    (tmp_path / "a.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(Unreadable, match="is not UTF-8 text"):
        load(tmp_path)
    with pytest.raises(PoliciesBroken):
        PolicyFiles(tmp_path, lambda: PROVIDERS, state=tmp_path / "state")
