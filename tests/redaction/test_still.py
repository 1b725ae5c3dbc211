"""A first look at the bytes of a request never says "nothing" where something is: of what it passes, the recognizers
find nothing in any text, and nothing is there that cannot be read or that looks like a placeholder."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.privacy.texts import labelled
from gateway.errors import Refusal
from gateway.json_object import parse_object
from gateway.policy.compiled import RedactionProfile
from gateway.redaction.conversations import STORED
from gateway.redaction.detection.profile import ProfileAnalyzer
from gateway.redaction.gate import KNOWN, LONGEST, Gate
from gateway.redaction.normal import normal
from gateway.redaction.placeholders import LOOKS_LIKE
from gateway.redaction.redact import _ENDS_HERE
from gateway.redaction.reply import ReplyGuard
from gateway.redaction.walk import _UNSCANNABLE, walk
from gateway.shapes.table import SHAPES
from tests.redaction.redacting import EMAILS, permit_of, redact, redaction
from tests.redaction.test_gate import HOLDING, STRICT
from tests.redaction.test_gate import PIECES as PARTS

LETTERS = {"SECRET", "MAC_ADDRESS", "UUID", "CRYPTO"}
PROFILES = {
    "strict": RedactionProfile("strict", STRICT, digest="strict"),
    "all that a first look knows": RedactionProfile("all", tuple(sorted(set(KNOWN) - LETTERS)), score=0.0, digest="k"),
}
PAIRS = {name: (Gate(profile), ProfileAnalyzer(profile)) for name, profile in PROFILES.items()}
STRICTLY = Gate(PROFILES["strict"])
PROSE = (
    "Tell me about bridges.", "Well, well; \"who\" isn't? - Yes!", "an anecdote",
    "Schöne Grüße aus Übersee, déjà vu", "ñ × ÷ ÿ ß", "two\nlines\n\n",
    "a/b = c+d*e | ~f^2",
    "It costs #a $b; `c` > d_e", "", "{", "}", "[", "at]", "( at", "{at", " at ", "(", ":", "::", "dot", "DOT", " Dot ",
    "\t", "\\", '"', "null", "ada", "com", "example", "e:f:a:b:c:d:e:f", "<NAME_abcdefab>", "<", "é", "７", "&commat;",
)  # fmt: skip
KEYS = ("role", "content", "type", "text", "name", "a:b", "[at", "tool_calls", "arguments", "input", *_UNSCANNABLE)
KEYS += ("source", "audio", "data", "result")
VALUES = ("text", "user", "image", "base64", "image_generation_call", "redacted_thinking", "tool_use", "mcp")

words = st.lists(st.sampled_from(PROSE + tuple(PARTS)), max_size=4).map("".join)
calm = st.lists(st.sampled_from(PROSE[:6]), max_size=4).map(" ".join)
scalars = st.sampled_from(VALUES) | st.none() | st.booleans() | st.integers(-9, 10**16) | st.floats(0, 2)
leaves = calm | calm | words | scalars
trees = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=3)
)
bodies = st.dictionaries(st.sampled_from(("messages", "input", "system", "tools", "temperature", "tomorrow")), trees)


def look(gate: Gate, body: bytes) -> tuple[int, int] | None:
    return gate.still(body, parse_object(body, frozenset()))


def chat(text: str) -> bytes:
    return msgspec.json.encode({"model": "gpt-4o", "messages": [{"role": "user", "content": text}], "max_tokens": 5})


def holds(body: bytes, analyzer: ProfileAnalyzer) -> list[Any]:
    """All that a profile must not miss."""
    found = walk(body, parse_object(body, frozenset()))
    texts = [leaf.text for leaf in found.leaves]
    return [*found.unscannable, *filter(LOOKS_LIKE.search, texts), *filter(None, map(analyzer.analyze, texts))]


def written(tree: Any, *, wide: bool, spaced: bool) -> bytes:
    separators = (", ", ": ") if spaced else (",", ":")
    return json.dumps(tree, ensure_ascii=not wide, separators=separators).encode()


@settings(max_examples=400, deadline=None)
@given(bodies, st.booleans(), st.booleans())
def test_nothing_is_in_what_a_first_look_passes(tree: Any, wide: bool, spaced: bool) -> None:
    body = written(tree, wide=wide, spaced=spaced)
    for gate, analyzer in PAIRS.values():
        if look(gate, body) is not None:
            assert holds(body, analyzer) == []


@pytest.mark.long
@settings(max_examples=2_500, deadline=None)
@given(bodies, st.booleans(), st.booleans())
def test_nothing_is_at_length(tree: Any, wide: bool, spaced: bool) -> None:
    body = written(tree, wide=wide, spaced=spaced)
    for gate, analyzer in PAIRS.values():
        if look(gate, body) is not None:
            assert holds(body, analyzer) == []


@settings(deadline=None)
@given(st.lists(calm, min_size=1, max_size=5), st.booleans())
def test_it_passes_prose_in_messages_and_in_parts(texts: list[str], spaced: bool) -> None:
    texts = [text.replace('"', "'").replace("2", "b") for text in texts]
    turns = [{"role": "user", "content": text} for text in texts]
    parts = [{"role": "user", "content": [{"type": "text", "text": text} for text in texts]}]
    for messages in (turns, parts):
        body = written({"model": "gpt-4o", "messages": messages, "temperature": 0.7}, wide=True, spaced=spaced)
        seen = look(STRICTLY, body)
        anecdote = any("dot" in text for text in texts)
        assert (seen is None) == anecdote
        if seen is not None:
            assert seen[0] == 1
            assert holds(body, PAIRS["strict"][1]) == []


@pytest.mark.parametrize("text", [*HOLDING, "ada at example d\ufeffot com", "ada\ufeff at example\n dot com"])
def test_what_holds_something_is_not_passed(text: str) -> None:
    for wide in (True, False):
        tree = {"model": "m", "messages": [{"role": "user", "content": [{"type": "text", "text": text}]}]}
        assert look(STRICTLY, written(tree, wide=wide, spaced=False)) is None
        assert look(STRICTLY, written({"model": "m", "metadata": {text: "x"}}, wide=wide, spaced=False)) is None


@pytest.mark.parametrize(
    "text",
    [
        "Note: see (below), [there] or {here}", 'He said "no": twice', "It costs 12 euros in 2024, not 1,250.00.",
        "<b>bold</b> < 3", "from 10:30 to 11:45", "see section 3.2 of 14[1]", "one\ntwo 7 8 9\n", "a = b[0] + c(1)",
        "Größe: 12 Äpfel (für 3 Öfen)", "À Genève, le café coûte 4.50",
    ],
)  # fmt: skip
def test_marks_and_a_few_digits_are_looked_at_more_closely(text: str) -> None:
    for tree in (text, [text, "ada"], [{"type": "text", "text": text}]):
        body = written({"model": "m", "messages": [{"role": "user", "content": tree}]}, wide=True, spaced=False)
        assert look(STRICTLY, body) is not None
        assert holds(body, PAIRS["strict"][1]) == []


@pytest.mark.parametrize(
    "tree",
    [[1, 2], [[3, 4], [5]], {"deep": [-1, 2]}, {"to": 4930123456}, "1 2 3 4 5 6 7 8 9", "(\nat", "<NAME_abcdefab>"],
)
def test_what_digits_and_marks_may_be_is_not_passed(tree: Any) -> None:
    for spaced in (True, False):
        assert look(STRICTLY, written({"model": "m", "input": [tree, "ada"]}, wide=True, spaced=spaced)) is None


def test_letters_of_western_europe_are_prose_and_no_others_are() -> None:
    for code in range(0x80, 0x800):
        char = chr(code)
        passed = look(STRICTLY, chat(f"na{char}ve")) is not None
        assert passed == (0xC0 <= code <= 0xFF)
        if passed:
            assert normal(char).text == char
            assert re.search(r"[\dA-Za-z\s]", char, re.IGNORECASE) is None
    for char in "\u2010\u2019\u2026\uff21\U0001f600":
        assert look(STRICTLY, chat(f"na{char}ve")) is None


def test_each_entity_has_its_own_number_of_digits() -> None:
    spelt = "D E 8 9 3 7 0 4 0 0 4 4 0 5 3 2 0 1 3 0 0 0"
    for entity, text in (("UK_NINO", "AB 12 34 56 C"), ("PHONE_NUMBER", "call 555 0142"), ("IBAN_CODE", spelt)):
        gate = Gate(RedactionProfile("p", (entity,)))
        assert gate.may_hold(text)
        assert look(gate, chat(text)) is None
    for entity, text in (("UK_NINO", "12 34 5"), ("PHONE_NUMBER", "call 555 014"), ("CREDIT_CARD", "4111 1111 111")):
        assert look(Gate(RedactionProfile("p", (entity,))), chat(text)) is not None


def test_no_labelled_text_is_passed_that_holds_something() -> None:
    passed = 0
    for one in labelled("tuning", 5):
        for gate, analyzer in PAIRS.values():
            if look(gate, chat(one.text)) is not None:
                passed += 1
                assert analyzer.analyze(one.text) == [], one.text
    assert passed > 0


@pytest.mark.parametrize("key", [*_UNSCANNABLE, "source", "audio"])
def test_what_cannot_be_read_is_not_passed(key: str) -> None:
    body = written(
        {"model": "m", "messages": [{"role": "user", "content": [{key: {"data": "x"}}]}]}, wide=True, spaced=False
    )
    assert look(STRICTLY, body) is None


@pytest.mark.parametrize(
    "profile",
    [
        RedactionProfile("p", ("URL",)), RedactionProfile("p", ("EMAIL_ADDRESS",), patterns=(("X", "bridge", 0.5),)),
        RedactionProfile("p", ("PERSON",), presidio=("/ner.yaml",)), RedactionProfile("p", STRICT, input=False),
        RedactionProfile("p", ("EMAIL_ADDRESS",), deny=(("NAME", "bridges"),)),
        *(RedactionProfile("p", (*STRICT, one)) for one in sorted(LETTERS)),
    ],
)  # fmt: skip
def test_it_tells_nothing_where_letters_may_be_looked_for(profile: RedactionProfile) -> None:
    assert look(Gate(profile), chat("Tell me about bridges.")) is None


def test_the_event_loop_is_not_held_for_a_long_body() -> None:
    room = LONGEST - len(chat(""))
    assert look(STRICTLY, chat("a" * room)) is not None
    assert look(STRICTLY, chat("a" * (room + 1))) is None


CLEAN: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"model": "gpt-4o", "n": 2, "messages": [{"role": "user", "content": "Tell me\nmore."}]},
    "/v1/completions": {"model": "m-1", "prompt": ["Tell me more."], "max_tokens": 16},
    "/v1/embeddings": {"model": "m-1", "input": "Tell me more."},
    "/v1/messages": {"model": "m-1", "max_tokens": 9, "system": "Be kind.", "messages": []},
}  # fmt: skip


@pytest.mark.parametrize("path", CLEAN)
async def test_a_first_look_says_what_redact_says(path: str) -> None:
    redactor, permit = redaction(), permit_of(path, CLEAN[path])
    assert redactor.at_once(permit) is None, "its gate is not known yet"
    safe = await redactor.redact(permit)
    assert redactor.at_once(permit) == safe
    assert await redact(path, CLEAN[path]) == safe


async def test_a_profile_that_changed_is_another() -> None:
    redactor = redaction()
    await redactor.redact(permit_of("/v1/embeddings", CLEAN["/v1/embeddings"]))
    other = msgspec.structs.replace(permit_of("/v1/embeddings", CLEAN["/v1/embeddings"]))
    words = RedactionProfile("emails", ("EMAIL_ADDRESS",), deny=(("NAME", "more"),), digest="other")
    assert redactor.at_once(other) is not None
    await redactor.redact(permit_of("/v1/embeddings", CLEAN["/v1/embeddings"], words))
    assert redactor.at_once(permit_of("/v1/embeddings", CLEAN["/v1/embeddings"], words)) is None


@pytest.mark.parametrize(
    "twice",
    [
        b'{"model":"m","suffix":"ada@example.com","suffix":"clean"}',
        b'{"model": "m", "suffix": "clean", "suffix": "clean"}',
        b'{"suffix":"ada@example.com","model":"m","s\\u0075ffix":""}',
    ],
)
async def test_a_key_that_nobody_reads_is_not_passed_by_its_last_value(twice: bytes) -> None:
    redactor = redaction()
    await redactor.redact(permit_of("/v1/completions", {"model": "m", "prompt": ""}))
    permit = permit_of("/v1/completions", twice)
    assert redactor.at_once(permit) is None
    refused = await redactor.redact(permit)
    assert isinstance(refused, Refusal)
    assert "same key twice" in refused.message


async def test_a_reply_is_searched_where_the_profile_says_so() -> None:
    redactor = redaction()
    both = RedactionProfile("both", EMAILS.entities, output=True, digest="both")
    permit = permit_of("/v1/chat/completions", CLEAN["/v1/chat/completions"], both)
    await redactor.redact(permit)
    first, second = (redactor.at_once(permit) for _ in range(2))
    assert first is not None
    assert second is not None
    assert isinstance(first.reply, ReplyGuard)
    assert first.reply is not second.reply


async def test_a_conversation_that_a_provider_keeps_is_asked_for() -> None:
    redactor = redaction()
    permit = permit_of("/v1/responses", {"model": "m", "input": "Tell me more."})
    await redactor.redact(permit)
    assert redactor.at_once(permit) is None
    assert STORED.keys().isdisjoint(_ENDS_HERE)
    assert "responses" not in _ENDS_HERE < SHAPES.keys()
