"""What the policy set allows of a request: one table per rule of the contract."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from gateway.endpoints import find
from gateway.errors import REFUSALS, Reason, Refusal
from gateway.identity.principal import Principal
from gateway.json_object import parse_object
from gateway.policy.compile import compile_policies
from gateway.policy.compiled import PolicySet, ProviderFacts
from gateway.policy.decide import decide, visible_models
from gateway.policy.permit import Permit
from gateway.reading import READ_KEYS, Ask

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC).timestamp()
PROVIDERS = {
    "up": ProviderFacts("up", "openai", (("region", "eu"),)),
    "other": ProviderFacts("other", "openai", (("region", "us"),)),
    "away": ProviderFacts("away", "openai", (("region", "eu"),), available=False),
}
MODELS = """
[models.chat]
provider = "up"
model = "gpt"
groups = ["cheap"]
[models.dear]
provider = "other"
model = "gpt-dear"
[models.gone]
provider = "away"
model = "gpt"
[models.paused]
provider = "up"
model = "gpt"
disabled = { reason = "retired", until = 2026-12-01T00:00:00Z }
[models."any/*"]
provider = "up"
[[prices]]
provider = "up"
model = "gpt"
input = 1
output = 2
"""
HASH = "sha256:" + "0" * 64


def policies(text: str, models: str = MODELS, providers: dict[str, ProviderFacts] | None = None) -> PolicySet:
    """The set of one text, whose key `bot` may leave its hash out."""
    text = text.replace("[keys.bot]", f'[keys.bot]\nid = "k_1"\nhash = "{HASH}"')
    policy, mistakes, _ = compile_policies({"p.toml": text + models}, PROVIDERS if providers is None else providers)
    assert policy is not None, "\n".join(map(str, mistakes))
    return policy


def ask(path: str = "/chat/completions", body: dict[str, Any] | None = None, method: str = "POST", **more: Any) -> Ask:
    """A request as `reading` makes it of a path and a JSON body."""
    endpoint = find(method, f"/v1{path}")
    assert endpoint is not None
    raw = json.dumps(body).encode() if body is not None else None
    fields = parse_object(raw, READ_KEYS) if raw is not None else {}
    body = body or {}
    return Ask(
        endpoint, raw, fields, model=body.get("model"),
        max_output_tokens=body.get("max_completion_tokens", body.get("max_tokens")), choices=body.get("n", 1), **more,
    )  # fmt: skip


def decided(text: str, asked: Ask, now: float = NOW, **more: Any) -> Permit | Refusal:
    policy = policies(text, **more)
    return decide(policy, Principal(policy.keys["bot"], "default"), asked, now)


def permitted(text: str, asked: Ask, now: float = NOW, **more: Any) -> Permit:
    verdict = decided(text, asked, now, **more)
    assert isinstance(verdict, Permit), verdict
    return verdict


def refused(text: str, asked: Ask, reason: Reason, now: float = NOW, **more: Any) -> Refusal:
    verdict = decided(text, asked, now, **more)
    assert isinstance(verdict, Refusal), verdict
    assert verdict.reason is reason, verdict
    assert verdict.rule is not None, "a refusal names the line behind it"
    return verdict


CHAT = {"model": "chat"}


# Models: what key, team and tenant allow is intersected.
@pytest.mark.parametrize(
    ("own", "team", "tenant", "model", "status"),
    [
        ('models = ["chat"]', "", "", "chat", None),
        ('models = ["chat"]', "", "", "nobody", 404),
        ('models = ["chat"]', "", "", "dear", 403),
        ("", "", "", "chat", 403),  # a key without `models` may use none
        ("models = []", "", "", "chat", 403),
        ("", 'models = ["*"]', 'models = ["*"]', "chat", 403),
        ('models = ["*"]', "", "", "dear", None),
        ('models = ["ch*"]', "", "", "chat", None),
        ('models = ["ch*"]', "", "", "dear", 403),
        ('models = ["@cheap"]', "", "", "chat", None),
        ('models = ["@cheap"]', "", "", "dear", 403),
        ('models = ["*"]', 'models = ["chat"]', "", "chat", None),
        ('models = ["*"]', 'models = ["chat"]', "", "dear", 403),
        ('models = ["*"]', "", 'models = ["@cheap"]', "dear", 403),
        ('models = ["chat"]', "models = []", "", "chat", 403),
        ('models = ["any/x"]', "", "", "any/x", None),
        ('models = ["any/x"]', "", "", "any/y", 403),
        ('models = ["any/*"]', "", "", "any/y", None),
        ('models = ["*"]', "", "", "any/", 404),  # a wildcard stands for something
        ('models = ["*"]', "", "", "paused", 403),
    ],
)
def test_models_of_all_levels_are_intersected(own: str, team: str, tenant: str, model: str, status: int | None) -> None:
    text = f'[tenants.acme]\n{tenant}\n[teams.t]\ntenant = "acme"\n{team}\n[keys.bot]\nteam = "t"\n{own}\n'
    verdict = decided(text, ask(body={"model": model}))
    assert (REFUSALS[verdict.reason].status if isinstance(verdict, Refusal) else None) == status, verdict


def test_what_a_wildcard_stands_for_is_passed_on() -> None:
    (model, rest), *_ = permitted('[keys.bot]\nmodels = ["*"]\n', ask(body={"model": "any/a/b"})).models
    assert (model.name, rest) == ("any/*", "a/b")


def test_a_refused_model_names_the_level_that_does_not_allow_it() -> None:
    text = '[teams.t]\nmodels = ["dear"]\n[keys.bot]\nteam = "t"\nmodels = ["*"]\n'
    refusal = refused(text, ask(body=CHAT), Reason.MODEL_NOT_ALLOWED)
    assert refusal.rule is not None
    assert (refusal.rule.path, refusal.rule.file, refusal.rule.line) == ("teams.t.models", "p.toml", 2)
    assert refusal.param == "model"
    assert "'chat'" in refusal.message
    assert "/v1/models" in refusal.message  # where the caller finds what it may use


# Endpoints: every level that says any must allow it; a governed key's opaque ones must be named.
GOVERNED = "limits = { tokens_per_minute = 100 }"


@pytest.mark.parametrize(
    ("own", "team", "path", "allowed"),
    [
        ("", "", "/chat/completions", True),
        ("", "", "/embeddings", True),
        ("", "", "/files", False),
        ("", "", "/responses", True),
        ('endpoints = ["files"]', "", "/files", True),
        ('endpoints = ["files"]', "", "/chat/completions", False),
        ('endpoints = ["chat"]', "", "/chat/completions", True),
        ('endpoints = ["chat"]', "", "/embeddings", False),
        ('endpoints = ["*"]', "", "/batches", True),
        ('endpoints = ["*"]', "", "/a-path-of-tomorrow", True),
        ('endpoints = ["*"]', 'endpoints = ["inference"]', "/batches", False),
        ('endpoints = ["*"]', 'endpoints = ["batches"]', "/batches", True),
        ("endpoints = []", "", "/chat/completions", False),
        # No side door (docs/decisions/0001-side-door.md).
        (GOVERNED, "", "/chat/completions", True),
        (GOVERNED, "", "/responses", True),
        (GOVERNED, "", "/messages", True),
        (GOVERNED, "", "/responses/resp_1", False),
        (GOVERNED, "", "/messages/batches", False),
        (GOVERNED, "", "/images/generations", False),
        (f'{GOVERNED}\nendpoints = ["*"]', "", "/files", False),
        (f'{GOVERNED}\nendpoints = ["inference"]', "", "/images/generations", False),
        (f'{GOVERNED}\nendpoints = ["inference", "images"]', "", "/images/generations", True),
        ('endpoints = ["responses"]', "", "/responses/resp_1", False),
        (f'{GOVERNED}\nendpoints = ["files"]', "", "/files", True),
        (f'{GOVERNED}\nendpoints = ["files"]', 'endpoints = ["*"]', "/files", False),
        (f'{GOVERNED}\nendpoints = ["files"]', 'endpoints = ["files", "batches"]', "/files", True),
        ('endpoints = ["*"]', GOVERNED, "/files", False),  # a team's limit governs its keys
        ('endpoints = ["*"]\nbudget = { usd_total = 1 }', "", "/files", False),
        ('endpoints = ["*"]\nbudget = { requests_per_day = 1 }', "", "/files", True),  # requests are seen everywhere
        ('endpoints = ["*"]\nredaction = "strict"', "", "/files", False),
        ('endpoints = ["*"]\nlimits = { tokens_per_minute = { limit = 9, shadow = true } }', "", "/files", True),
        ('endpoints = ["chat"]', "", "/chat/completions/chatcmpl-1", False),  # stored ones are no chatting
    ],
)
def test_endpoints_and_no_side_door(own: str, team: str, path: str, allowed: bool) -> None:
    text = (
        '[redaction.strict]\nentities = ["EMAIL_ADDRESS"]\n'
        f'[teams.t]\n{team}\n[keys.bot]\nteam = "t"\nprovider = "up"\nmodels = ["*"]\n{own}\n'
    )
    body = CHAT if path in ("/chat/completions", "/embeddings") else None
    asked = ask(path, body)
    if allowed:
        permitted(text, asked)
    else:
        refusal = refused(text, asked, Reason.ENDPOINT_NOT_ALLOWED)
        assert asked.endpoint.name in refusal.message


def test_a_model_in_any_body_is_checked() -> None:
    text = '[keys.bot]\nendpoints = ["*"]\nmodels = ["chat"]\nprovider = "up"\n'
    for path in ("/responses", "/files", "/images/generations", "/batches"):
        refused(text, ask(path, {"model": "dear"}), Reason.MODEL_NOT_ALLOWED)
        refused(text, ask(path, {"model": "nobody"}), Reason.UNKNOWN_MODEL)
        assert permitted(text, ask(path, CHAT)).models[0][0].name == "chat"


# Who serves a call that names no model.
ONLY = {"up": PROVIDERS["up"], "away": PROVIDERS["away"]}


@pytest.mark.parametrize(
    ("own", "team", "providers", "served"),
    [
        ('provider = "up"', "", PROVIDERS, "up"),
        ("", 'provider = "other"', PROVIDERS, "other"),
        ('provider = "up"', 'provider = "other"', PROVIDERS, "up"),
        ("", "", PROVIDERS, None),  # two could
        ("", "", ONLY, "up"),  # the other one is not there
        ('require = { region = "us" }', "", PROVIDERS, "other"),
        ('provider = "up"\nrequire = { region = "us" }', "", PROVIDERS, None),
        ('provider = "up"', 'require = { region = "us" }', PROVIDERS, None),
        ('provider = "away"', "", PROVIDERS, None),
        ('require = { region = "us" }', 'require = { region = "eu" }', PROVIDERS, None),
    ],
)
def test_a_call_without_a_model_has_one_provider(
    own: str, team: str, providers: dict[str, ProviderFacts], served: str | None
) -> None:
    text = f'[teams.t]\n{team}\n[keys.bot]\nteam = "t"\nendpoints = ["files"]\n{own}\n'
    models = '[models.m]\nprovider = "up"\n'
    if served is None:
        refused(text, ask("/files"), Reason.NO_PROVIDER, models=models, providers=providers)
    else:
        assert permitted(text, ask("/files"), models=models, providers=providers).provider == served


# Disabled, on any table, for ever or until a time.
@pytest.mark.parametrize("table", ["tenants.acme", "teams.t", "keys.bot", "models.chat"])
def test_disabled_on_any_level(table: str) -> None:
    tables = {
        "tenants.acme": "", "teams.t": 'tenant = "acme"', "keys.bot": 'team = "t"\nmodels = ["chat"]',
        "models.chat": 'provider = "up"',
    }  # fmt: skip
    for until, now, is_disabled in (
        ("", NOW, True),
        (", until = 2026-11-24T12:00:01Z", NOW, True),
        (", until = 2026-11-24T12:00:00Z", NOW, False),  # at that very moment it is over
        (", until = 2026-11-24T12:00:01Z", NOW + 1, False),
    ):
        text = "".join(
            f"[{name}]\n{lines}\n" + (f'disabled = {{ reason = "key leaked"{until} }}\n' if name == table else "")
            for name, lines in tables.items()
        )
        if is_disabled:
            refusal = refused(text, ask(body=CHAT), Reason.DISABLED, now, models="")
            assert refusal.rule is not None
            assert refusal.rule.path == f"{table}.disabled"
            assert "key leaked" in refusal.message
        else:
            permitted(text, ask(body=CHAT), now, models="")


def test_a_version_that_is_disabled_for_a_time_comes_back() -> None:
    models = """
[[models.chat.versions]]
name = "a"
provider = "up"
model = "a"
disabled = { reason = "slow", until = 2026-12-01T00:00:00Z }
[[models.chat.versions]]
name = "b"
provider = "up"
model = "b"
[[models.chat.versions]]
name = "c"
provider = "up"
model = "c"
disabled = { reason = "wrong" }
"""
    text = '[keys.bot]\nmodels = ["chat"]\n'
    later = datetime(2026, 12, 1, tzinfo=UTC).timestamp()
    for now, names in ((NOW, ["b"]), (later, ["a", "b"])):
        permit = permitted(text, ask(body=CHAT), now, models=models)
        assert [version.name for version in permit.models[0][0].versions] == names


# Prices: what has none cannot be held to a money limit.
@pytest.mark.parametrize(
    ("limits", "model", "refusal"),
    [
        ("budget = { usd_total = 1 }", "chat", None),
        ("budget = { usd_total = 1 }", "dear", "gpt-dear"),
        ("budget = { usd_total = 1 }", "any/x", "'x'"),
        ("budget = { usd_total = { limit = 1, shadow = true } }", "dear", None),
        ("budget = { tokens_total = 1 }", "dear", None),
        ('per_model."chat".budget = { usd_total = 1 }', "dear", None),
        ('per_model."d*".budget = { usd_total = 1 }', "dear", "gpt-dear"),
    ],
)
def test_a_money_limit_refuses_what_has_no_price(limits: str, model: str, refusal: str | None) -> None:
    text = f'[keys.bot]\nmodels = ["*"]\n{limits}\n'
    asked = ask(body={"model": model})
    if refusal is None:
        permitted(text, asked)
        return
    found = refused(text, asked, Reason.UNPRICED_MODEL)
    assert refusal in found.message
    assert found.rule is not None
    assert found.rule.path.endswith("usd_total")


# What a caller may ask of a model.
@pytest.mark.parametrize(
    ("request_rules", "path", "body", "edits"),
    [
        ("max = { output_tokens = 100 }", "/chat/completions", {}, {"max_completion_tokens": 100}),
        ("max = { output_tokens = 100 }", "/completions", {}, {"max_tokens": 100}),
        ("max = { output_tokens = 100 }", "/embeddings", {}, {}),
        ("max = { output_tokens = 100 }", "/chat/completions", {"max_tokens": 100}, {}),
        ("max = { output_tokens = 100 }", "/chat/completions", {"max_completion_tokens": 7}, {}),
        ("max = { output_tokens = 100 }", "/chat/completions", {"max_tokens": None}, {"max_completion_tokens": 100}),
        ("max = { output_tokens = 100 }", "/chat/completions", {"max_tokens": 101}, "max_tokens"),
        ("max = { output_tokens = 100 }", "/chat/completions", {"max_completion_tokens": 101}, "max_completion_tokens"),
        (
            "max = { output_tokens = 100 }",
            "/chat/completions",
            {"max_tokens": 101, "max_completion_tokens": 1},
            "max_tokens",
        ),
        ("max = { output_tokens = 100 }", "/responses", {"max_output_tokens": 101}, "max_output_tokens"),
        ("max = { output_tokens = 100 }", "/responses", {}, {"max_output_tokens": 100}),
        ("max = { n = 1 }", "/chat/completions", {"n": 1}, {}),
        ("max = { n = 1 }", "/chat/completions", {"n": 2}, "n"),
        ("max = { n = 1 }", "/chat/completions", {"n": 2.0}, "n"),
        ("max = { top_logprobs = 5 }", "/chat/completions", {"top_logprobs": 5.5}, "top_logprobs"),
        ("max = { top_logprobs = 5 }", "/chat/completions", {"top_logprobs": "20"}, "top_logprobs"),
        ("max = { top_logprobs = 5 }", "/chat/completions", {"top_logprobs": None}, {}),
        ("force = { store = false }", "/chat/completions", {"store": True}, {"store": False}),
        ("force = { store = false }", "/responses", {}, {"store": False}),
        ("force = { store = false }", "/embeddings", {}, {}),  # it knows no such parameter and would refuse
        ("force = { user = 'x' }", "/embeddings", {}, {"user": "x"}),
        ("force = { output_tokens = 50 }", "/chat/completions", {}, {"max_completion_tokens": 50}),
        ("force = { output_tokens = 50 }", "/chat/completions", {"max_tokens": 9}, {"max_tokens": 50}),
        ("deny = ['service_tier']", "/chat/completions", {"service_tier": "flex"}, "service_tier"),
        ("deny = ['service_tier']", "/chat/completions", {"service_tier": None}, {}),
        ("deny = ['service_tier']", "/responses", {"service_tier": "flex"}, "service_tier"),
        ("deny = ['output_tokens']", "/chat/completions", {"max_tokens": 1}, "max_tokens"),
        ("deny = ['tools.web_search']", "/chat/completions", {"tools": [{"type": "web_search"}]}, "tools"),
        ("deny = ['tools.web_search']", "/responses", {"tools": [{"type": "web_search_preview"}]}, "tools"),
        ("deny = ['tools.web_search']", "/chat/completions", {"tools": [{"type": "function"}]}, {}),
        ("deny = ['tools.web_search']", "/chat/completions", {"web_search_options": {}}, "web_search_options"),
        ("deny = ['tools.function']", "/chat/completions", {"functions": [{"name": "f"}]}, "functions"),
    ],
)
def test_request_rules(request_rules: str, path: str, body: dict[str, Any], edits: dict[str, object] | str) -> None:
    text = f'[keys.bot]\nmodels = ["chat"]\n[keys.bot.request]\n{request_rules}\n'
    asked = ask(path, {"model": "chat", **body})
    if isinstance(edits, dict):
        assert dict(permitted(text, asked).edits) == edits
        return
    refusal = refused(text, asked, Reason.PARAMETER_NOT_ALLOWED)
    assert refusal.param == edits
    assert refusal.rule is not None
    assert refusal.rule.path.startswith("keys.bot.request.")


def test_a_tool_of_two_types_is_of_the_denied_one() -> None:
    """Parsers differ in which of two equal keys they take."""
    raw = b'{"model":"chat","tools":[{"type":"web_search","type":"function"}]}'
    asked = ask(body=CHAT)
    asked = Ask(asked.endpoint, raw, parse_object(raw, READ_KEYS), model="chat")
    text = "[keys.bot]\nmodels = ['chat']\nrequest.deny = ['tools.web_search']\n"
    refused(text, asked, Reason.PARAMETER_NOT_ALLOWED)


def test_a_lower_level_does_not_weaken_a_higher_ones_request_rules() -> None:
    text = (
        "[teams.t.request]\nmax = { n = 2, output_tokens = 10 }\nforce = { store = false }\ndeny = ['service_tier']\n"
        "[keys.bot]\nteam = 't'\nmodels = ['chat']\n"
        "[keys.bot.request]\nmax = { n = 9, output_tokens = 5 }\n"
        "force = { store = true, n = 4, service_tier = 'priority', max_tokens = 99 }\n"
    )
    refusal = refused(text, ask(body={"model": "chat", "n": 3}), Reason.PARAMETER_NOT_ALLOWED)
    assert refusal.rule is not None
    assert refusal.rule.path == "teams.t.request.max.n"
    assert dict(permitted(text, ask(body=CHAT)).edits) == {"store": False, "n": 2, "max_tokens": 5}


# Scopes: every level's, filled in.
def test_all_limits_of_all_levels_apply_and_each_user_has_a_counter() -> None:
    text = """
[tenants.acme]
time_zone = "Europe/Berlin"
budget = { usd_per_month = 9 }
[teams.t]
tenant = "acme"
limits = { requests_per_minute = 600 }
[keys.bot]
team = "t"
models = ["*"]
limits = { requests_per_minute = 60 }
per_model."cha*".limits = { tokens_per_minute = 10 }
per_model."@cheap".limits = { tokens_per_minute = 10 }
per_model."dear".limits = { tokens_per_minute = 10 }
each.user.limits = { requests_per_minute = 5 }
each.session.budget = { tokens_total = 5 }
"""
    scopes = permitted(text, ask(body=CHAT, user="ann@example.com")).scopes
    digest = hashlib.sha256(b"ann@example.com").hexdigest()
    names = [scope.id for scope in scopes]
    users = [name for name in names if "|user:" in name]
    assert set(names) == {
        "key:k_1", "key:k_1|model:cha*", "key:k_1|model:@cheap", *users, "team:t", "tenant:acme",
    }  # fmt: skip
    assert len(set(names)) == len(names)
    assert len(users) == 1
    assert len(users[0].removeprefix("key:k_1|user:")) >= 16
    assert digest.startswith(users[0].removeprefix("key:k_1|user:"))
    assert {scope.time_zone for scope in scopes} == {"Europe/Berlin"}
    sessions = [scope.id for scope in permitted(text, ask(body=CHAT, session="s")).scopes]
    assert any(name.startswith("key:k_1|session:") for name in sessions)
    assert not any("|user" in name for name in sessions)


def test_among_many_limits_of_other_models_the_same_ones_apply() -> None:
    """However many there are: those that do not fit a model are left out once, and remembered."""
    own = """
[keys.bot]
models = ["*"]
limits = { requests_per_minute = 60 }
per_model."cha*".limits = { tokens_per_minute = 10 }
per_model."@cheap".limits = { tokens_per_minute = 10 }
each.user.limits = { requests_per_minute = 5 }
[keys.bot.request]
deny = ["service_tier"]
"""
    limits = "".join(f'[keys.bot.per_model."any/{n}".limits]\nrequests_per_minute = 1\n' for n in range(40))
    policy = policies(own + limits)
    (key,) = policy.keys.values()
    for _ in range(2):
        for model, more in (
            ("chat", ["key:k_1|model:@cheap", "key:k_1|model:cha*"]),
            ("any/7", ["key:k_1|model:any/7"]),
        ):
            for user in ("ann", "bob"):
                permit = decide(policy, Principal(key, "default"), ask(body={**CHAT, "model": model}, user=user), NOW)
                assert isinstance(permit, Permit), permit
                found = sorted(scope.id for scope in permit.scopes if "|user:" not in scope.id)
                assert found == sorted(["key:k_1", *more])
                assert len(permit.scopes) == len(found) + 1


def test_of_many_denied_parameters_the_first_that_is_written_is_told() -> None:
    denied = ", ".join(f"'p{number}'" for number in range(50))
    text = f"[keys.bot]\nmodels = ['chat']\nrequest = {{ deny = ['tools.x', {denied}, 'output_tokens', 'last'] }}\n"
    for body, told in (
        ({"p7": 1, "p3": 1}, "p3"),
        ({"last": 1, "max_tokens": 1}, "max_tokens"),
        ({"last": 1}, "last"),
        ({"p7": 1, "tools": [{"type": "x"}]}, "tools"),
    ):
        refusal = refused(text, ask(body={**CHAT, **body}), Reason.PARAMETER_NOT_ALLOWED)
        assert (refusal.param, refusal.rule and refusal.rule.path.startswith("keys.bot.request.deny")) == (told, True)
    assert permitted(text, ask(body={**CHAT, "p3": None, "other": 1})).edits == ()


# GET /v1/models shows what the key may use now.
@pytest.mark.parametrize(
    ("models", "shown"),
    [('["*"]', ["chat", "dear"]), ('["@cheap"]', ["chat"]), ('["gone", "paused", "dear"]', ["dear"]), ("[]", [])],
)
def test_the_list_of_models_is_the_keys_own(models: str, shown: list[str]) -> None:
    listing = visible_models(permitted(f"[keys.bot]\nmodels = {models}\n", ask("/models", method="GET")))
    assert isinstance(listing, dict)
    assert listing["object"] == "list"
    assert sorted(one["id"] for one in listing["data"]) == sorted(shown)
    for one in listing["data"]:
        assert set(one) == {"id", "object", "created", "owned_by"}
        assert (one["object"], type(one["created"])) == ("model", int)


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/models/chat", "chat"),
        ("/models/chat/", "chat"),
        ("/models/any/x", "any/x"),
        ("/models/any%2Fx", "any/x"),
        ("/%6dodels/chat", "chat"),
        ("/models/nobody", 404),
        ("/models/dear", 403),
        ("/models/any/", 404),
        ("/models/gone", 403),
        ("/models/paused", 403),
    ],
)
def test_one_model(path: str, found: str | int) -> None:
    text = '[keys.bot]\nmodels = ["chat", "any/*", "gone", "paused"]\n'
    verdict = decided(text, ask(path, method="GET"))
    shown = visible_models(verdict) if isinstance(verdict, Permit) else verdict
    if isinstance(found, str):
        assert isinstance(shown, dict)
        assert (shown["id"], shown["object"]) == (found, "model")
    else:
        assert isinstance(shown, Refusal)
        assert REFUSALS[shown.reason].status == found


def test_a_message_never_repeats_more_than_a_bit_of_a_name() -> None:
    text = '[keys.bot]\nmodels = ["chat"]\n'
    assert len(refused(text, ask(body={"model": "x" * 9000}), Reason.UNKNOWN_MODEL).message) < 400
