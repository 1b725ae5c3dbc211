"""The worst case of a request."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.endpoints import Endpoint, find
from gateway.identity.principal import Principal
from gateway.limits.estimate import PLACEHOLDER, bound, counted_input, estimate
from gateway.policy.compiled import Key, PolicySet, Price, RedactionProfile
from gateway.policy.permit import Permit
from gateway.reading import Ask
from gateway.shapes.chat import CHAT_OUTPUT, COMPLETION_OUTPUT
from gateway.tokens.chat import PICTURE
from tests.limit_trial import RULE

POLICY = PolicySet("0" * 64, {}, {}, {}, (), (), {}, ())
CHEAP, DEAR = Price("a", "m", 100, 400), Price("b", "m", 150, 300, cache_write=200)


def permit(path: str, body: dict[str, Any], **options: Any) -> Permit:
    endpoint = find("POST", path)
    assert endpoint is not None
    ask = options.pop("ask", {})
    encoded = msgspec.json.encode(body)
    fields = {name: msgspec.Raw(msgspec.json.encode(value)) for name, value in body.items()}
    caller = Principal(Key("a", "k_a", (), RULE), "s")
    return Permit(POLICY, caller, Ask(endpoint, encoded, fields, model="m", **ask), RULE, **options)


def chat(text: str, **options: Any) -> Permit:
    return permit("/v1/chat/completions", {"model": "m", "messages": [{"role": "user", "content": text}]}, **options)


@pytest.mark.parametrize(
    ("ask", "edits", "output"),
    [
        ({}, (), CHAT_OUTPUT),
        ({"max_output_tokens": 10}, (), 10),
        ({"max_output_tokens": 0}, (), 0),
        ({"max_output_tokens": 10**9}, (), 10**9),
        ({"max_output_tokens": 10, "choices": 3}, (), 30),
        ({"max_output_tokens": 900}, (("max_tokens", 100),), 100),
        ({}, (("max_completion_tokens", 50),), 50),
        ({"max_output_tokens": 10, "choices": 3}, (("n", 1),), 10),
    ],
)
def test_the_output_that_may_come(ask: dict[str, Any], edits: tuple[tuple[str, object], ...], output: int) -> None:
    assert estimate(chat("hi", ask=ask, edits=edits), [None]).output_tokens == output


@pytest.mark.parametrize(
    ("prompt", "extra", "output"),
    [
        ("one", {}, COMPLETION_OUTPUT),
        (["one", "two", "three"], {}, 3 * COMPLETION_OUTPUT),
        ([1, 2, 3], {}, COMPLETION_OUTPUT),
        ([[1], [2]], {}, 2 * COMPLETION_OUTPUT),
        ("one", {"best_of": 4}, 4 * COMPLETION_OUTPUT),
        ([], {}, COMPLETION_OUTPUT),
    ],
)
def test_every_prompt_and_choice_of_a_completion_counts(prompt: object, extra: dict[str, Any], output: int) -> None:
    found = estimate(permit("/v1/completions", {"model": "m", "prompt": prompt, **extra}), [None])
    assert found.output_tokens == output


def test_embeddings_have_no_output() -> None:
    found = estimate(permit("/v1/embeddings", {"model": "m", "input": "some text"}), [CHEAP])
    assert found.output_tokens == 0
    assert found.nano_usd == found.input_tokens * 100


def test_the_dearest_attempt_is_reserved_at_its_dearest_input() -> None:
    found = estimate(chat("hello there", ask={"max_output_tokens": 10}), [CHEAP, DEAR, None])
    assert found.nano_usd == max(found.input_tokens * 100 + 4000, found.input_tokens * 200 + 3000)
    assert estimate(chat("hello"), [None]).nano_usd == 0
    assert estimate(chat("hello"), []).nano_usd == 0


def test_a_picture_counts_as_a_picture() -> None:
    text = estimate(chat("look: "), [None]).input_tokens
    with_picture = estimate(chat("look: data:image/png;base64," + "iVBORw0K" * 50_000), [None]).input_tokens
    assert with_picture == text + PICTURE


@given(st.integers(0, 200), st.sampled_from(("6", "b6", "64 ", "base6")))
def test_a_picture_is_found_behind_any_number_of_sixes(many: int, sixes: str) -> None:
    text = estimate(chat(sixes * many + " "), [None]).input_tokens
    picture = "data:image/png;base64," + "iVBORw0K" * 200
    assert estimate(chat(sixes * many + " " + picture), [None]).input_tokens == text + PICTURE


@given(st.text(max_size=300))
def test_text_is_bounded_by_its_bytes(text: str) -> None:
    found = estimate(chat(text), [None]).input_tokens
    assert len(text) // 2 <= found <= len(chat(text).ask.body or b"")


@pytest.mark.parametrize(
    ("entities", "text", "spans"),
    [
        (("EMAIL_ADDRESS",), "a@b.co and c@d.eu", 2),
        (("PHONE_NUMBER", "CREDIT_CARD"), "4111 1111 1111 1111 and 030 1234567", 3),
        (("EMAIL_ADDRESS",), "nothing at all", 0),
    ],
)
def test_a_reservation_bounds_what_placeholders_add(entities: tuple[str, ...], text: str, spans: int) -> None:
    plain = estimate(chat(text), [None]).input_tokens
    redacted = estimate(chat(text, redaction=RedactionProfile("p", entities)), [None]).input_tokens
    assert redacted == plain + spans * PLACEHOLDER
    assert estimate(chat(text, redaction=RedactionProfile("p", entities, shadow=True)), [None]).input_tokens == plain
    assert estimate(chat(text, redaction=RedactionProfile("p", entities, "detect")), [None]).input_tokens == plain


def test_what_is_known_to_hold_nothing_has_no_placeholders() -> None:
    asked = chat("at 10:30, 11:30 and 12:30", redaction=RedactionProfile("p", ("IP_ADDRESS",)))
    body, most = asked.ask.body, bound(asked, [CHEAP])
    assert body is not None
    assert most.input_tokens > len(body) == bound(asked, [CHEAP], clean=True).input_tokens
    counted = counted_input(asked, [CHEAP], 507, "o200k_base", clean=True)
    assert counted.input_tokens == 507 < counted_input(asked, [CHEAP], 507, "o200k_base").input_tokens


def test_an_entity_that_may_be_any_word_bounds_by_words() -> None:
    plain = estimate(chat("Ada met Bob"), [None]).input_tokens
    redacted = estimate(chat("Ada met Bob", redaction=RedactionProfile("p", ("PERSON",))), [None]).input_tokens
    assert redacted >= plain + 3 * PLACEHOLDER


def test_a_call_that_is_not_read_is_estimated_at_nothing() -> None:
    ask = Ask(Endpoint("files", "opaque", "POST", "/files"), b"x" * 1000)
    found = estimate(Permit(POLICY, Principal(Key("a", "k_a", (), RULE), "s"), ask, RULE), [CHEAP])
    assert (found.tokens, found.nano_usd) == (0, 0)


@given(st.text(max_size=300))
def test_the_bound_is_never_below_the_estimate_nor_below_the_bytes(text: str) -> None:
    asked = chat(text)
    assert asked.ask.body is not None
    assert bound(asked, [CHEAP]).input_tokens == len(asked.ask.body) >= estimate(asked, [CHEAP]).input_tokens
    assert bound(asked, [CHEAP]).by == "bytes"


def test_a_count_takes_the_place_of_the_bound() -> None:
    found = counted_input(chat("x" * 4000, ask={"max_output_tokens": 10}), [CHEAP], 507, "o200k_base")
    assert (found.tokens, found.nano_usd, found.by) == (517, 507 * 100 + 10 * 400, "o200k_base")
