"""Broken policy files: a line for each mistake with what is wrong and what is allowed, all of a folder's in one run."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.policy.apart import Apart
from gateway.policy.compile import compile_policies
from gateway.policy.compiled import ProviderFacts
from gateway.policy.files import Unreadable, load
from gateway.policy.in_force import PoliciesBroken, PolicyFiles
from gateway.policy.orders import Order, Reading
from gateway.toml import Mistake

PROVIDERS = {"up": ProviderFacts("up", "openai", (("region", "eu"),))}
H = f'hash = "sha256:{"0" * 64}"'
RIGHT = '[models.chat]\nprovider = "up"\n'


def mistakes(files: dict[str, str]) -> list[Mistake]:
    policy, found, _ = compile_policies(files, PROVIDERS)
    assert (policy is None) == bool(found)
    return found


# (what it is about, the file, line, words of what is wrong, words of what is allowed)
BROKEN: list[tuple[str, str, int, str, str]] = [
    ("no TOML", "[keys.bot\nid = 1\n", 1, "not valid TOML", "[table.name]"),
    ("no value", "schema = 1\n[keys.bot]\nid =\n", 3, "not valid TOML", "strings in quotes"),
    ("a key twice", f'[keys.bot]\n{H}\nid = "a"\nid = "b"\n', 4, "id is defined twice, first at line 3", "once"),
    (
        "a table after a line of it", f"[keys.bot]\n{H}\nlimits = {{ requests_per_minute = 5 }}\n[keys.bot.limits]\n",
        4, "keys.bot.limits is defined twice, first at line 3", "once",
    ),
    (
        "a line of what is whole", f"[keys.bot]\n{H}\nlimits = {{ }}\nlimits.requests_per_minute = 5\n",
        4, "limits is defined twice, first at line 3", "once",
    ),
    (
        "a budget among the limits", f"[keys.bot]\n{H}\nlimits = {{ usd_per_month = 4 }}\n",
        3, "'usd_per_month' in keys.bot.limits: it stands in `budget`", "requests_per_minute",
    ),
    (
        "a limit among the budgets", f"[keys.bot]\n{H}\nbudget.tokens_per_minute = 4\n",
        3, "'tokens_per_minute' in keys.bot.budget: it stands in `limits`", "usd_total",
    ),
    ("another schema", "schema = 2\n", 1, "schema", "1"),
    ("a misspelt table", "[kyes.bot]\n", 1, "unknown table 'kyes', did you mean 'keys'?", "keys"),
    ("a misspelt key", f"[keys.bot]\n{H}\nmodles = []\n", 3, "'modles' in keys.bot, did you mean 'models'?", "models"),
    (
        "a misspelt limit", f"[keys.bot]\n{H}\n[keys.bot.limits]\nrequest_per_minute = 1\n",
        4, "did you mean 'requests_per_minute'?", "tokens_per_minute",
    ),
    (
        "a budget among limits", f"[keys.bot]\n{H}\n[keys.bot.limits]\nusd_per_month = 1\n",
        4, "unknown key 'usd_per_month' in keys.bot.limits", "concurrent_requests",
    ),
    ("a wrong type", f'[keys.bot]\n{H}\nmodels = "chat"\n', 3, "keys.bot.models is not an array", "["),
    ("a number as a name", f"[keys.bot]\n{H}\nmodels = [1]\n", 3, "keys.bot.models[0] is an integer", "a text"),
    ("a section that is none", "keys = 1\n", 1, "keys is not a table", "[keys.NAME]"),
    (
        "a burst of a month", f"[keys.bot]\n{H}\nbudget.usd_per_month = {{ limit = 1, burst = 2 }}\n",
        3, "unknown key 'burst'", "warn_at",
    ),
    (
        "more digits than a number has", f"[keys.bot]\n{H}\nbudget.tokens_total = 10_000_000_000_000_000_000\n",
        3, "limit is 1000", "from 1 to",
    ),
    ("a value without quotes", "[keys.bot]\nteam = x\n", 2, "not valid TOML", "quotes"),
    ("a table that is none", "[keys]\nbot = 1\n", 2, "keys.bot is not a table", "key = value"),
    ("prices that are a table", "[prices]\n", 1, "prices is not an array of tables", "[[prices]]"),
    ("no hash", "[keys.bot]\n", 1, "keys.bot has no hash", "sha256:"),
    ("a bad hash", '[keys.bot]\nhash = "sha256:zz"\n', 2, "keys.bot.hash is not a hash", "64 hex digits"),
    ("a secret in the hash's place", '[keys.bot]\nhash = "gw_canary"\n', 2, "is not a hash", "gateway keys new"),
    (
        "hash and secrets", f'[keys.bot]\n{H}\nsecrets = [{{ id = "a", hash = "sha256:{"1" * 64}" }}]\n',
        1, "both hash and secrets", "to rotate",
    ),
    (
        "three secrets",
        "[keys.bot]\nsecrets = [\n"
        + "".join(f' {{ id = "{n}", hash = "sha256:{str(n) * 64}" }},\n' for n in (1, 2, 3)) + "]\n",
        2, "3 secrets", "at most two",
    ),
    ("a hash twice", f"[keys.a]\n{H}\n[keys.b]\n{H}\n", 4, "keys.b.hash has the secret of a (p.toml:1)", "of its own"),
    (
        "an id twice", f'[keys.a]\n{H}\nid = "x"\n[keys.b]\nhash = "sha256:{"1" * 64}"\nid = "x"\n',
        6, "keys.b.id has the id of a (p.toml:1)", "counters follow it",
    ),
    (
        "a secret's id twice",
        f'[keys.a]\nsecrets = [{{ id = "1", {H} }}, {{ id = "1", hash = "sha256:{"1" * 64}" }}]\n',
        2, "two secrets of one id", "an id for each",
    ),
    (
        "an unknown team", f'[teams.support]\n[keys.bot]\n{H}\nteam = "suport"\n',
        4, "did you mean 'support'?", "support",
    ),
    ("an unknown tenant", '[tenants.acme]\n[teams.t]\ntenant = "acne"\n', 3, "did you mean 'acme'?", "acme"),
    (
        "a tenant that is not the team's",
        f'[tenants.a]\n[tenants.b]\n[teams.t]\ntenant = "a"\n[keys.bot]\n{H}\nteam = "t"\ntenant = "b"\n',
        8, "is not the tenant of its team", "leave it out",
    ),
    ("an unknown profile", f'[keys.bot]\n{H}\nredaction = "strct"\n', 3, "names the redaction profile 'strct'", "none"),
    ("a profile of the defaults", '[defaults]\nredaction = "x"\n', 2, "redaction profile 'x'", "none"),
    ("an unknown provider", '[models.m]\nprovider = "upp"\n', 2, "did you mean 'up'?", "up"),
    ("a key's unknown provider", f'[keys.bot]\n{H}\nprovider = "x"\n', 3, "provider 'x'", "up"),
    ("a price's unknown provider", '[[prices]]\nprovider="x"\nmodel="m"\ninput=1\noutput=1\n', 2, "provider 'x'", "up"),
    ("an unknown model", f'[keys.bot]\n{H}\nmodels = ["chat", "chta"]\n{RIGHT}', 3, "did you mean 'chat'?", "chat"),
    (
        "an unknown model, by its own line", f'[keys.bot]\n{H}\nmodels = [\n"chat",\n"chta",\n]\n{RIGHT}',
        5, "keys.bot.models[1]", "chat",
    ),
    ("an unknown group", f'[keys.bot]\n{H}\nmodels = ["@cheap"]\n{RIGHT}', 3, "group 'cheap'", "no group yet"),
    ("a * inside", f'[keys.bot]\n{H}\nmodels = ["a*b"]\n', 3, "has a * inside", "only at the end"),
    ("per_model of no model", f"[keys.bot]\n{H}\n[keys.bot.per_model.nope.limits]\n{RIGHT}", 3, "model 'nope'", "chat"),
    ("an unknown endpoint", f'[keys.bot]\n{H}\nendpoints = ["chats"]\n', 3, "did you mean 'chat'?", "inference"),
    ("a label of no provider", f'[keys.bot]\n{H}\nrequire = {{ region = "us" }}\n', 3, "no provider bears", "region"),
    ("no provider", "[models.m]\n", 1, "models.m has no provider", "versions"),
    (
        "versions and a provider",
        '[models.m]\nprovider = "up"\n[[models.m.versions]]\nname = "a"\nprovider = "up"\nmodel = "x"\n',
        1, "versions and a provider", "one of both",
    ),
    (
        "weight 0 for all",
        '[[models.m.versions]]\nname = "a"\nprovider = "up"\nmodel = "x"\nweight = 0\n', 1, "weight above 0", "1",
    ),
    (
        "a negative weight",
        '[[models.m.versions]]\nname = "a"\nprovider = "up"\nmodel = "x"\nweight = -1\n',
        5, "models.m.versions[0].weight", "0 to 1000000",
    ),
    (
        "a version's name twice",
        '[[models.m.versions]]\nname = "a"\nprovider = "up"\nmodel = "x"\n' * 2,
        6, "two versions", "a name for each",
    ),
    (
        "a version without a model", '[[models.m.versions]]\nname = "a"\nprovider = "up"\n', 1, "model is missing", "",
    ),
    (
        "an unknown fallback", f'[models.m]\nprovider = "up"\nfallback = ["cat"]\n{RIGHT}',
        3, "did you mean 'chat'?", "chat",
    ),
    (
        "a circle of fallbacks",
        '[models.a]\nprovider = "up"\nfallback = ["b"]\n[models.b]\nprovider = "up"\nfallback = ["a"]\n',
        3, "models.a.fallback falls back to itself: a → b → a", "ends",
    ),
    (
        "a sticky that is none", '[models.m]\nprovider = "up"\nsticky = "usr"\n',
        3, "did you mean 'user'?", "conversation",
    ),
    ("a limit of 0", f"[keys.bot]\n{H}\nlimits.requests_per_minute = 0\n", 3, "is 0", "from 1"),
    ("a negative limit", f"[keys.bot]\n{H}\nlimits.requests_per_minute = -5\n", 3, "is -5", "from 1"),
    ("half a request", f"[keys.bot]\n{H}\nlimits.requests_per_minute = 0.5\n", 3, "fraction", "an integer"),
    ("a text as a limit", f'[keys.bot]\n{H}\nlimits.requests_per_minute = "60"\n', 3, "is a text", "an integer"),
    ("true as a limit", f"[keys.bot]\n{H}\nlimits.requests_per_minute = true\n", 3, "true or false", "an integer"),
    ("a huge limit", f"[keys.bot]\n{H}\nbudget.tokens_total = 10000000000000000\n", 3, "tokens_total", "from 1 to"),
    ("endless money", f"[keys.bot]\n{H}\nbudget.usd_total = inf\n", 3, "usd_total.limit is inf", "USD"),
    ("no number", f"[keys.bot]\n{H}\nbudget.usd_total = nan\n", 3, "usd_total.limit is nan", "USD"),
    ("negative money", f"[keys.bot]\n{H}\nbudget.usd_per_day = -0.5\n", 3, "is -0.5", "above 0"),
    (
        "a burst of 0", f"[keys.bot]\n{H}\nlimits.tokens_per_minute = {{ limit = 5, burst = 0 }}\n",
        3, "burst is 0", "from 1",
    ),
    (
        "a limit without one", f"[keys.bot]\n{H}\n[keys.bot.limits.tokens_per_minute]\nburst = 5\n",
        3, "tokens_per_minute.limit is missing", "limit = NUMBER",
    ),
    (
        "a burst of connections", f"[keys.bot]\n{H}\nlimits.concurrent_requests = {{ limit = 5, burst = 5 }}\n",
        3, "unknown key 'burst'", "shadow",
    ),
    (
        "a warning at all of it", f"[keys.bot]\n{H}\nbudget.usd_total = {{ limit = 5, warn_at = [0.5, 1.0] }}\n",
        3, "warn_at[1] is 1.0", "between 0 and 1",
    ),
    (
        "an unknown ending", f'[keys.bot]\n{H}\nbudget.usd_total = {{ limit = 5, at_limit = "stop" }}\n',
        3, "at_limit", "'finish', 'cut' or 'strict'",
    ),
    ("an unknown zone", '[tenants.a]\ntime_zone = "Europe/Berln"\n', 2, "did you mean 'Europe/Berlin'?", "UTC"),
    ("a zone above all", '[tenants.a]\ntime_zone = "../etc/passwd"\n', 2, "is no time zone", "UTC"),
    ("disabled without why", f"[keys.bot]\n{H}\ndisabled = {{ }}\n", 3, "disabled.reason is missing", "reason ="),
    (
        "disabled as a flag", f"[keys.bot]\n{H}\ndisabled = true\n",
        3, "disabled is not a table", 'disabled = { reason = "…" }',
    ),
    (
        "disabled until a text", f'[keys.bot]\n{H}\ndisabled = {{ reason = "x", until = "soon" }}\n',
        3, "until is a text", "2027-01-01T00:00:00Z",
    ),
    ("a time of no zone", f"[keys.bot]\n{H}\nexpires = 2027-01-01T00:00:00\n", 3, "no time zone", "Z"),
    ("a name with a separator", f'[keys."a|b"]\n{H}\n', 1, "may not have", "none of |"),
    ("forcing the model", f'[keys.bot]\n{H}\nrequest.force = {{ model = "x" }}\n', 3, "stands in `models`", "another"),
    ("forcing a time", f"[keys.bot]\n{H}\nrequest.force = {{ a = 2027-01-01 }}\n", 3, "a date", "JSON"),
    ("an unknown entity", '[redaction.r]\nentities = ["EMAIL"]\n', 2, "did you mean 'EMAIL_ADDRESS'?", "IBAN_CODE"),
    ("a name without a model", '[redaction.r]\nentities = ["PERSON"]\n', 2, "only a language model", "`presidio`"),
    ("a model by name", '[redaction.r]\nentities = ["PERSON"]\npresidio = "en"\n', 3, "no path of a YAML", "absolute"),
    ("no entities", "[redaction.r]\nentities = []\n", 2, "looks for nothing", "at least one"),
    ("an unknown action", '[redaction.r]\nentities = ["URL"]\naction = "hide"\n', 3, "action", "'mask'"),
    (
        "an action for what is not looked for", '[redaction.r]\nentities = ["URL"]\nactions = { US_SSN = "block" }\n',
        3, "entity 'US_SSN'", "URL",
    ),
    ("a score above 1", '[redaction.r]\nentities = ["URL"]\nscore = 1.5\n', 3, "score is 1.5", "from 0 to 1"),
    ("no country", '[redaction.r]\nentities = ["URL"]\ncountries = ["Germany"]\n', 3, "countries[0]", "two letters"),
    ("a deadline of 0", '[redaction.r]\nentities = ["URL"]\ndeadline = 0\n', 3, "deadline is 0", "above 0"),
    ("a bad regex", '[redaction.r]\nentities = []\npatterns = [{ entity = "A", regex = "(" }]\n', 3, "regular", "1000"),
    (
        "a regex that finds nothing everywhere",
        '[redaction.r]\nentities = []\npatterns = [{ entity="A", regex="x*" }]\n',
        3, "empty text", "1000",
    ),
    (
        "a regex for ever", '[redaction.r]\nentities = []\npatterns = [{ entity = "A", regex = "(a+)+b" }]\n',
        3, "for ever", "without",
    ),
    ("a negative price", '[[prices]]\nprovider="up"\nmodel="m"\ninput=-1\noutput=1\n', 4, "input is -1", "from 0"),
    ("a price twice", '[[prices]]\nprovider="up"\nmodel="m"\ninput=1\noutput=1\n' * 2, 6, "p.toml:1", "one row"),
    ("a price without output", '[[prices]]\nprovider="up"\nmodel="m"\ninput=1\n', 1, "output is missing", ""),
]  # fmt: skip


@pytest.mark.parametrize(("about", "text", "line", "what", "allowed"), BROKEN, ids=[one[0] for one in BROKEN])
def test_one_mistake_is_one_line(about: str, text: str, line: int, what: str, allowed: str) -> None:
    found = mistakes({"p.toml": text})
    assert len(found) == 1, "\n".join(map(str, found))
    (mistake,) = found
    assert (mistake.file, mistake.line) == ("p.toml", line), mistake
    assert what in mistake.what, mistake
    assert allowed in mistake.allowed, mistake
    assert mistake.allowed, "what is allowed is said too"
    assert str(mistake).startswith(f"p.toml:{line}: ")
    assert "canary" not in str(mistake), "a text in the wrong place may be a secret"


@pytest.mark.parametrize(
    "regex",
    [
        "(a+)+b",
        "(a*)*b",
        "(a|aa)*c",
        "(x|y+)*z",
        "(?:a[^a]*|b)+c",
        r"(?:\w\s?\w?)+!",
        "((a+)b?)+c",
        r"(\d+\s?)+x",
        "(.*)*x",
        "(?:a{1,9}){5,}b",
        r"\w+\w+\w+\w+@",
    ],
)
def test_a_regex_that_can_take_for_ever_is_refused(regex: str) -> None:
    text = f"[redaction.r]\nentities = []\npatterns = [{{ entity = 'A', regex = '{regex}' }}]\n"
    (mistake,) = mistakes({"p.toml": text})
    assert "for ever" in mistake.what


@pytest.mark.parametrize(
    "regex",
    [
        r"EMP-\d{6}",
        r"\b[A-Z]{2}\d{6,9}\b",
        r"(?:foo|bar)+x",
        r"[a-z]+@[a-z]+\.com",
        r"(?i)project[ -]\w+",
        r"(?:\d{4}[ -]){3}\d{4}",
        r"\d+(?:,\d{3})*",
        r"(?:[a-z]+\.)+com",
        "(?:foo|ba)+x",
        r"\b\w+\s+\w+\s+\w+\b",
        r"(?<=x)\d+",
    ],
)
def test_an_ordinary_regex_is_taken(regex: str) -> None:
    text = f"[redaction.r]\nentities = []\npatterns = [{{ entity = 'A', regex = '{regex}' }}]\n"
    assert mistakes({"p.toml": text}) == []


@pytest.mark.parametrize(
    ("first", "second", "name"),
    [
        (f"[keys.bot]\n{H}\n", f'[keys.bot]\nhash = "sha256:{"1" * 64}"\n', "keys.bot"),
        (RIGHT, f"\n{RIGHT}", "models.chat"),
        ("[teams.t]\n", "[teams.t]\n", "teams.t"),
        ("[defaults]\n", "[defaults]\n", "defaults"),
        ('[redaction.r]\nentities = ["URL"]\n', '[redaction.r]\nentities = ["URL"]\n', "redaction.r"),
    ],
)
def test_the_same_table_in_two_files_names_both(first: str, second: str, name: str) -> None:
    (mistake,) = mistakes({"b.toml": second, "a.toml": first})
    assert mistake.file == "b.toml"
    assert mistake.line == 1 + second.startswith("\n")
    assert f"{name} stands also in a.toml:1" in mistake.what


def test_all_mistakes_of_a_folder_come_in_one_run() -> None:
    files = {
        "keys.toml": f'[keys.bot]\n{H}\nmodles = []\nlimits.requests_per_minute = -1\nendpoints = ["x"]\nteam = "y"\n',
        "models.toml": '[models.m]\nprovider = "nope"\n[models.n]\nweight = 3\n',
        "redaction.toml": '[redaction.r]\nentities = ["EMIAL_ADDRESS"]\naction = "hide"\n',
        "broken.toml": '[teams.a\nb = 1\n[teams.c]\nd = "x\n',
    }
    found = mistakes(files)
    places = [(mistake.file, mistake.line) for mistake in found]
    assert places == sorted(places)
    for place in [
        ("keys.toml", 3), ("keys.toml", 4), ("keys.toml", 5), ("models.toml", 2), ("models.toml", 4),
        ("redaction.toml", 3), ("broken.toml", 1), ("broken.toml", 4),
    ]:  # fmt: skip
        assert place in places, "\n".join(map(str, found))


def test_a_mistake_of_shape_hides_no_reference() -> None:
    """What is left of a table is held against the others, and lines are those of the file."""
    text = f"""\
[keys.bot]
{H}
expires = "soon"
endpoints = ["chta"]
team = "nope"
redaction = "none-such"
models = [
  7,
  "gone",
]
[teams.t]
tenant = "nobody"
limits.requests_per_minute = 0
[[models.m.versions]]
name = "a"
provider = "up"
[[models.m.versions]]
name = "b"
provider = "down"
model = "x"
[redaction.r]
entities = [1, "EMIAL"]
action = "hide"
[[prices]]
provider = "nope"
model = "x"
input = 1
[defaults]
redaction = "none-such"
limits.requests_per_minute = 0
"""
    found = mistakes({"p.toml": text})
    assert [one.line for one in found] == [3, 4, 5, 6, 8, 9, 12, 13, 14, 19, 22, 22, 23, 24, 25, 29, 30], "\n".join(
        map(str, found)
    )
    said = "\n".join(map(str, found))
    for words in (
        "keys.bot.team names the team 'nope'", "keys.bot.models[1] names the model 'gone'",
        "models.m.versions[1].provider names the provider 'down'", "redaction.r.entities[1] names the entity 'EMIAL'",
        "teams.t.tenant names the tenant 'nobody'", "prices[0].provider names the provider 'nope'",
    ):  # fmt: skip
        assert words in said


@pytest.mark.parametrize(
    "text",
    [
        '[keys.bot]\nhash = "canary"\n',
        f"[keys.bot]\nhsah = 1\nlabels = {{}}\n[keys.other]\n{H}\n",
        '[models.m]\nprovider = 1\n[keys.k]\nhash = "sha256:' + "2" * 64 + '"\nmodels = ["m"]\n',
        '[redaction.r]\nentities = "URL"\nactions = { URL = "mask" }\n',
        f'[tenants.a]\n[teams.t]\ntenant = 1\n[keys.bot]\n{H}\nteam = "t"\ntenant = "a"\n',
    ],
)
def test_what_could_not_be_read_is_not_called_missing_too(text: str) -> None:
    assert len(found := mistakes({"p.toml": text})) == 1, found


def test_what_a_broken_file_would_have_defined_is_not_unknown() -> None:
    """One mistake, not one for each table that names what stands in it."""
    files = {
        "keys.toml": f'[keys.bot]\n{H}\nteam = "t"\nmodels = ["chat", "@cheap"]\nredaction = "r"\n',
        "rest.toml": '[teams.t]\n[models.chat]\nprovider = "up"\ngroups = ["cheap"\n',
    }
    assert {mistake.file for mistake in mistakes(files)} == {"rest.toml"}


def test_a_table_that_is_wrong_by_itself_is_known_all_the_same() -> None:
    files = {"p.toml": f'[keys.bot]\n{H}\nteam = "t"\nmodels = ["@cheap", "m"]\n[teams.t]\nx = 1\n'
             '[models.m]\nprovider = "up"\ngroups = ["cheap"]\ny = 1\n'}  # fmt: skip
    assert [mistake.line for mistake in mistakes(files)] == [6, 10]


def test_folders_and_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match=r"cannot be read: no such file or directory; a folder with \*\.toml files"):
        load(tmp_path / "none")
    (tmp_path / "a.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(Unreadable, match="is not UTF-8 text"):
        load(tmp_path)
    first = Apart(Order(tmp_path, PROVIDERS, tmp_path / "state", starts=True)).finish()
    assert [str(mistake) for mistake in first.mistakes] == [
        f"{tmp_path / 'a.toml'}:1: is not UTF-8 text (byte 0); TOML, which is UTF-8"
    ]

    async def never(known: bytes) -> Reading:
        raise AssertionError(known)

    with pytest.raises(PoliciesBroken):
        PolicyFiles(tmp_path, first, never)
