"""What an edit means, in words: a table."""

from __future__ import annotations

import pytest

from gateway.policy.compile import compile_policies
from gateway.policy.compiled import PolicySet, ProviderFacts
from gateway.policy.difference import difference

HASH = "sha256:" + "0" * 64
OTHER = "sha256:" + "1" * 64
BASE = (
    '[models.gpt]\nprovider = "up"\n[models.echo]\nprovider = "up"\n[redaction.strict]\nentities = ["EMAIL_ADDRESS"]\n'
)


def compiled(text: str) -> PolicySet:
    policy, mistakes, _ = compile_policies({"all.toml": BASE + text}, {"up": ProviderFacts("up", "openai")})
    assert policy is not None, mistakes
    return policy


def bot(more: str = "", name: str = "bot", secret: str = HASH) -> str:
    return f'[keys.{name}]\nid = "k_1"\nhash = "{secret}"\nmodels = ["gpt"]\n{more}\n'


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("budget.usd_per_month = 50", "budget.usd_per_month = 30", ["bot: usd_per_month 50.00 → 30.00 USD"]),
        ("budget.usd_per_month = 50", "budget.usd_per_month = 50", []),
        ("", "budget.tokens_total = 9", ["bot: tokens_total limited to 9 tokens, counted from now on"]),
        ("", "limits.requests_per_minute = 9", ["bot: requests_per_minute limited to 9 requests"]),
        ("budget.tokens_total = 9", "", ["bot: no longer limited in tokens_total, which was 9 tokens"]),
        ("limits.requests_per_minute = 9", "limits.requests_per_minute = { limit = 9, burst = 3 }",
         ["bot: requests_per_minute burst 9 → 3"]),
        ("limits.requests_per_minute = 9", "limits.requests_per_minute = { limit = 4, shadow = true }",
         ["bot: requests_per_minute 9 → 4 requests; only watched from now on"]),
        ("budget.tokens_total = 9", 'budget.tokens_total = { limit = 9, at_limit = "cut", warn_at = [0.5] }',
         ["bot: tokens_total at the line: finish → cut; warns at 50%"]),
        ('per_model."g*".limits.tokens_per_minute = 5', 'per_model."g*".limits.tokens_per_minute = 6',
         ["bot, for model g*: tokens_per_minute 5 → 6 tokens"]),
        ("each.user.limits.requests_per_minute = 5", "each.user.limits.requests_per_minute = 6",
         ["bot, for each user: requests_per_minute 5 → 6 requests"]),
        ("", 'endpoints = ["chat"]', ["bot: endpoints inference → chat"]),
        ("", 'redaction = "strict"', ["bot: redaction none → strict"]),
        ("", "expires = 2027-01-01", ["bot: expires never → 2027-01-01 00:00:00+00:00"]),
        ("", 'disabled.reason = "leaked"', ["bot: disabled: leaked"]),
        ("request.max.n = 1", "request.deny = ['tools']",
         ["bot: what it may ask of a model: at most 1 n → no tools"]),
        ("", 'labels.cost = "1"', ["bot: labels in records and usage {} → {'cost': '1'}"]),
    ],
)  # fmt: skip
def test_a_changed_key(old: str, new: str, words: list[str]) -> None:
    assert [change.words for change in difference(compiled(bot(old)), compiled(bot(new)))] == words


def test_keys_come_go_move_and_are_renamed() -> None:
    teams = "[tenants.a]\n[tenants.b]\n[teams.t]\ntenant = 'a'\n[teams.u]\ntenant = 'a'\n[teams.v]\ntenant = 'b'\n"

    def said(old: str, new: str) -> list[str]:
        return [change.words for change in difference(compiled(teams + old), compiled(teams + new))]

    assert said("", bot()) == ["bot: a new key, with id k_1"]
    assert said(bot(), "") == ["bot: removed, refused with 401 at once"]
    assert said(bot(), bot(name="robot")) == [
        "robot: renamed from bot; what was spent stays with it, since its id is the same"
    ]
    assert said(bot(), bot(secret=OTHER)) == ["bot: secrets change: 1 more, 1 refused at once"]
    (moved,) = said(bot("team = 't'"), bot("team = 'u'"))
    assert moved.startswith("bot: moves from team t of tenant a to team u of tenant a; its own counters stay")
    (moved,) = said(bot("team = 't'"), bot("team = 'v'"))
    assert "its own counters begin anew, since they lie with the tenant" in moved


def test_what_is_shared_is_told_once_and_models_and_prices_too() -> None:
    def text(limit: int, zone: str, weight: int, price: int) -> str:
        return (
            f"[tenants.a]\ntime_zone = '{zone}'\nbudget.tokens_per_day = {limit}\n"
            + bot("tenant = 'a'")
            + f'[keys.two]\nhash = "{OTHER}"\ntenant = "a"\n'
            + f'[[models.chat.versions]]\nname = "x"\nprovider = "up"\nmodel = "gpt"\nweight = {weight}\n'
            + f'[[prices]]\nprovider = "up"\nmodel = "gpt"\ninput = {price}\noutput = 2\n'
        )

    old, new = compiled(text(9, "UTC", 1, 1)), compiled(text(5, "Europe/Berlin", 3, 4))
    found = difference(old, new)
    assert [change.words for change in found] == [
        "tenant a: days and months in Europe/Berlin in place of UTC; what was spent in the running ones stays spent",
        "tenant a: tokens_per_day 9 → 5 tokens",
        "model chat: x (gpt at up, weight 1) → x (gpt at up, weight 3)",
        "price of gpt at up: 1 in, 2 out → 4 in, 2 out, for requests from now on",
    ]
    assert found[1].key in ("bot", "two")
    assert found[1].scope == "tenant:a"
    gone = [change.words for change in difference(old, compiled(""))]
    assert "model chat: removed, 404 at once" in gone
    assert "price of gpt at up: removed; keys with a USD limit are refused what has no price" in gone
