"""Translating there and back is the identity on what both can express; a stream says what the whole answer says."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.limits.reservation import Usage
from gateway.stream.sse import Decoder
from gateway.translation.losses import Losses
from gateway.translation.neutral import (
    Answer,
    Call,
    Choice,
    Conversation,
    Document,
    Format,
    Image,
    Reasoning,
    Result,
    Stop,
    Text,
    Thought,
    Tool,
    Turn,
    fold,
    unfold,
)
from gateway.translation.pairs import CLIENTS, PROVIDERS, Translation

words = st.text(min_size=1, max_size=12)
names = st.from_regex(r"[a-z_]{1,8}", fullmatch=True)
data = st.binary(min_size=1, max_size=6).map(lambda raw: __import__("base64").b64encode(raw).decode())
schemas = st.just({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]})
arguments = st.dictionaries(names, st.one_of(words, st.integers(-5, 5), st.booleans(), st.none()), max_size=3).map(
    lambda value: msgspec.json.encode(value).decode()
)
efforts = st.sampled_from(["none", "low", "medium", "high", "xhigh"])
texts = st.builds(Text, words)
images = st.one_of(
    st.builds(Image, st.sampled_from(["image/png", "image/jpeg"]), data),
    st.builds(Image, url=st.just("https://example.com/a.png")),
)
documents = st.builds(Document, st.just("application/pdf"), data, name=st.one_of(st.none(), names))
tools = st.builds(Tool, names, st.one_of(st.none(), words), schemas, st.one_of(st.none(), st.booleans()))


@st.composite
def conversations(draw: Any) -> Conversation:
    turns = []
    for number in range(draw(st.integers(1, 3))):
        turns.append(Turn("user", tuple(draw(st.lists(st.one_of(texts, images, documents), min_size=1, max_size=3)))))
        calls = tuple(
            Call(f"call_{number}_{at}", draw(names), draw(arguments)) for at in range(draw(st.integers(0, 2)))
        )
        said = tuple(draw(st.lists(texts, min_size=0 if calls else 1, max_size=2)))
        turns.append(Turn("assistant", (*said, *calls)))
        if calls:
            turns.append(Turn("tool", tuple(Result(call.id, (draw(texts),)) for call in calls)))
    has_tools = tuple(draw(st.lists(tools, max_size=2)))
    modes = st.builds(Choice, st.sampled_from(["auto", "any"]))
    of_one = st.builds(Choice, st.just("tool"), st.sampled_from([tool.name for tool in has_tools] or [None]))
    choice = draw(st.one_of(st.none(), modes, of_one)) if has_tools else None
    return Conversation(
        model=draw(names), turns=tuple(turns), system=tuple(draw(st.lists(words, max_size=2))), tools=has_tools,
        tool_choice=choice,
        parallel=draw(st.one_of(st.none(), st.booleans())) if choice is not None else None,
        max_tokens=draw(st.integers(1, 9999)),
        temperature=draw(st.one_of(st.none(), st.sampled_from([0.0, 0.5, 1.0]))),
        top_p=draw(st.one_of(st.none(), st.just(0.9))), stop=tuple(draw(st.lists(words, max_size=2))),
        format=draw(st.one_of(st.none(), schemas.map(Format))),
        reasoning=draw(st.one_of(st.none(), efforts.map(Reasoning))),
        user=draw(st.one_of(st.none(), names)), stream=draw(st.booleans()),
    )  # fmt: skip


@st.composite
def usages(draw: Any) -> Usage:
    cached, written, plain = (draw(st.integers(0, 99)) for _ in range(3))
    thought = draw(st.integers(0, 50))
    longer = draw(st.integers(0, written))
    return Usage(
        cached + written + plain, thought + draw(st.integers(0, 50)), cached, written, thought, cache_write_1h=longer
    )  # fmt: skip


@st.composite
def answers(draw: Any) -> Answer:
    calls = tuple(Call(f"call_{at}", draw(names), draw(arguments)) for at in range(draw(st.integers(0, 2))))
    text = tuple(draw(st.lists(texts, min_size=0 if calls else 1, max_size=1)))
    stop: Stop = "tools" if calls else draw(st.sampled_from(["end", "length", "filter"]))
    return Answer(draw(names), draw(names), (*text, *calls), stop, usage=draw(usages()))


def wire(value: object) -> Any:
    """As it is on the wire: JSON, and nothing else."""
    return json.loads(msgspec.json.encode(value))


@pytest.mark.parametrize("dialect", sorted(CLIENTS.keys() & PROVIDERS.keys()))
@settings(max_examples=60)
@given(conversation=conversations())
def test_a_request_there_and_back(dialect: str, conversation: Conversation) -> None:
    losses = Losses("other")
    if dialect == "responses":  # which has no stop sequences, and says of each tool whether it is strict
        strict = tuple(msgspec.structs.replace(tool, strict=bool(tool.strict)) for tool in conversation.tools)
        conversation = msgspec.structs.replace(conversation, stop=(), tools=strict)
    body = wire(PROVIDERS[dialect].write(conversation, losses))
    back = CLIENTS[dialect].read(body, losses)
    kept = conversation
    if dialect in ("chat", "responses") and kept.format is not None:
        kept = msgspec.structs.replace(kept, format=Format(kept.format.schema, "answer"))
    assert back == kept
    assert losses.dropped == []


@pytest.mark.parametrize("dialect", sorted(CLIENTS.keys() & PROVIDERS.keys()))
@settings(max_examples=60)
@given(answer=answers())
def test_an_answer_there_and_back_whole_and_streamed(dialect: str, answer: Answer) -> None:
    client, provider = CLIENTS[dialect], PROVIDERS[dialect]
    assert provider.read(msgspec.json.encode(client.write(answer, 0, {}))) == answer
    writer, reader, decoder = client.writer(0, {}), provider.reader(), Decoder()
    raw = b"".join(event.raw for delta in unfold(answer) for event in writer.feed(delta))
    deltas = [delta for event in decoder.feed(raw) for delta in reader.feed(event)]
    assert fold([*deltas, *reader.end()]) == answer


@settings(max_examples=60)
@given(answer=answers())
def test_fold_is_the_way_back_of_unfold(answer: Answer) -> None:
    thoughtful = msgspec.structs.replace(answer, parts=(Thought("hm", "sig"), Thought(sealed="x"), *answer.parts))
    assert fold(unfold(thoughtful)) == thoughtful


@pytest.mark.parametrize(("client", "provider"), [("chat", "messages"), ("messages", "chat")])
@settings(max_examples=60)
@given(answer=answers(), conversation=conversations())
def test_every_pair_says_the_same(client: str, provider: str, answer: Answer, conversation: Conversation) -> None:
    translation = Translation(client, provider, 0)
    body = msgspec.json.encode(PROVIDERS[client].write(conversation, Losses(client)))
    sent = CLIENTS[provider].read(wire(msgspec.Raw(translation.request(body, drop=False))), Losses(provider))
    expected = CLIENTS[client].read(json.loads(body), Losses(client))
    if provider == "messages" and expected.format is not None:  # a schema has no name there
        expected = msgspec.structs.replace(expected, format=Format(expected.format.schema))
    if provider == "chat" and expected.format is not None:  # and needs one here
        expected = msgspec.structs.replace(expected, format=Format(expected.format.schema, "answer"))
    assert sent == expected
    whole = PROVIDERS[client].read(translation.whole(msgspec.json.encode(CLIENTS[provider].write(answer, 0, {}))))
    assert whole == answer
    writer, stream, reader = CLIENTS[provider].writer(0, {}), translation.stream(), PROVIDERS[client].reader()
    events = [event for delta in unfold(answer) for event in writer.feed(delta)]
    out = [one for event in events for one in stream.feed(event)] + list(stream.end())
    assert fold([*(delta for event in out for delta in reader.feed(event)), *reader.end()]) == answer
