"""Gemini and Bedrock, there and back: what the gateway writes says, read by the official packages, what was meant, from
every client; and what they answer means the same to every client, whole and streamed, however it is cut."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.limits.reservation import Usage
from gateway.stream.sse import Decoder, Event
from gateway.translation.carried import apart
from gateway.translation.losses import Losses
from gateway.translation.neutral import (
    Answer,
    Audio,
    Call,
    Conversation,
    Delta,
    Document,
    Format,
    Image,
    Reasoning,
    Result,
    Text,
    Thought,
    Turn,
    fold,
    unfold,
)
from gateway.translation.pairs import CLIENTS, PROVIDERS, Translation
from tests.providers.frames import through_frames
from tests.providers.upstream import frame
from tests.translation.clouds import (
    bedrock_answer,
    bedrock_stream,
    fits,
    gemini_answer,
    gemini_stream,
    read_bedrock,
    read_gemini,
)
from tests.translation.test_identity import answers, conversations, data, names, wire, words
from tests.translation.test_responses import asked, sayable

CLAUDE = "eu.anthropic.claude-sonnet-5-v1:0"
CLOUDS = ["bedrock", "gemini"]


def read(provider: str, body: dict[str, Any]) -> Conversation:
    return read_gemini(body) if provider == "gemini" else read_bedrock(body, CLAUDE)


def fitting(one: Conversation, provider: str) -> Conversation:
    """Without what that provider has no words for; of what it has in another form, that form."""

    def parts(turn: Turn) -> tuple[Any, ...]:
        return tuple(fit for part in turn.parts if (fit := _fitting_part(part, provider)) is not None)

    kept = [Turn(turn.role, parts(turn)) for turn in one.turns]
    effort = one.reasoning.effort if one.reasoning is not None else None
    common = {
        "turns": tuple(turn for turn in kept if turn.parts), "user": None, "stream": False,
        "parallel": None, "model": "" if provider == "gemini" else CLAUDE,
    }  # fmt: skip
    if provider == "gemini":
        level = {"xhigh": "high"}.get(effort or "", effort)
        return msgspec.structs.replace(
            one, **common, tools=tuple(msgspec.structs.replace(tool, strict=None) for tool in one.tools),
            reasoning=None if one.reasoning is None else Reasoning(level),
            format=None if one.format is None else Format(one.format.schema),
        )  # fmt: skip
    wanted = one.format
    named = None if wanted is None else Format(wanted.schema, wanted.name, wanted.description)
    return msgspec.structs.replace(one, **common, format=named)


def _fitting_part(part: Any, provider: str) -> Any:
    match part:
        case Document():
            return msgspec.structs.replace(part, name=None)
        case Image(url=str()) if provider == "bedrock":  # which fetches none
            return Text("a picture")
        case Thought() if provider == "gemini":
            return None
        case Result():
            return msgspec.structs.replace(part, parts=tuple(_fitting_part(one, provider) for one in part.parts))
    return part


@st.composite
def rich(draw: Any) -> Conversation:
    """What the two have words for beyond what every dialect has."""
    plain = draw(conversations())
    sounds = st.lists(st.builds(Audio, st.just("wav"), data), max_size=1)
    thoughts = st.lists(st.one_of(st.builds(Thought, words, data), st.builds(Thought, sealed=data)), max_size=2)
    files = st.lists(
        st.one_of(
            st.builds(Image, st.just("image/png"), data), st.builds(Document, st.just("application/pdf"), data)
        ),
        max_size=1,
    )  # fmt: skip
    turns = []
    for turn in plain.turns:
        match turn.role:
            case "user":
                turns.append(Turn("user", (*turn.parts, *draw(sounds))))
            case "assistant":
                turns.append(Turn("assistant", (*draw(thoughts), *turn.parts)))
            case _:
                results = [part for part in turn.parts if isinstance(part, Result)]
                more_of = [Result(one.call_id, (*one.parts, *draw(files)), draw(st.booleans())) for one in results]
                turns.append(Turn("tool", tuple(more_of)))
    top_k = draw(st.one_of(st.none(), st.just(5)))
    made: Conversation = msgspec.structs.replace(plain, turns=tuple(turns), top_k=top_k)
    return made


@pytest.mark.parametrize("provider", CLOUDS)
@settings(max_examples=80)
@given(conversation=rich())
def test_a_request_there_and_back(provider: str, conversation: Conversation) -> None:
    expected = fitting(conversation, provider)
    body = wire(PROVIDERS[provider].write(expected, Losses(provider)))
    assert read(provider, body) == expected


@settings(max_examples=40)
@given(
    call=st.builds(Call, names, names, st.just("{}"), st.one_of(st.none(), data)), seed=st.integers(0, 9),
    penalty=st.sampled_from([None, 0.5]), budget=st.integers(1, 9999),
)  # fmt: skip
def test_what_gemini_alone_takes(call: Call, seed: int, penalty: float | None, budget: int) -> None:
    said = Conversation(
        "", (Turn("user", (Text("x"),)), Turn("assistant", (call,)), Turn("tool", (Result(call.id, (Text("y"),)),))),
        seed=seed, frequency_penalty=penalty, presence_penalty=penalty, reasoning=Reasoning(budget=budget),
    )  # fmt: skip
    losses = Losses("gemini")
    assert read_gemini(wire(PROVIDERS["gemini"].write(said, losses))) == said
    assert losses.dropped == []


@settings(max_examples=60)
@given(
    documents=st.lists(st.builds(Document, st.just("application/pdf"), data, name=st.one_of(st.none(), words, names)))
)
def test_documents_have_names_that_bedrock_takes_each_its_own(documents: list[Document]) -> None:
    said = Conversation(CLAUDE, (Turn("user", (Text("x"), *documents)),))
    body = wire(PROVIDERS["bedrock"].write(said, Losses("bedrock")))
    fits("ConverseRequest", {"modelId": CLAUDE, **body})
    found = [block["document"]["name"] for block in body["messages"][0]["content"] if "document" in block]
    assert len(set(found)) == len(documents)
    assert all(name and all(one.isascii() and (one.isalnum() or one in " -()[]") for one in name) for name in found)


def client_body(client: str, conversation: Conversation) -> dict[str, Any]:
    if client == "responses":
        return asked(conversation)
    return wire(PROVIDERS[client].write(conversation, Losses(client)))  # type: ignore[no-any-return]  # JSON


@pytest.mark.parametrize("provider", CLOUDS)
@pytest.mark.parametrize("client", sorted(CLIENTS))
@settings(max_examples=50)
@given(conversation=conversations())
def test_every_client_says_to_them_what_it_means(client: str, provider: str, conversation: Conversation) -> None:
    said = sayable(conversation) if client == "responses" else conversation
    said = msgspec.structs.replace(said, model=CLAUDE, parallel=None, turns=fitting(said, provider).turns)
    body = client_body(client, said)
    translation = Translation(client, provider, 0)
    sent = wire(msgspec.Raw(translation.request(msgspec.json.encode(body), drop=False)))
    assert read(provider, sent) == fitting(CLIENTS[client].read(wire(body), Losses(provider)), provider)


@st.composite
def cloud_answers(draw: Any, provider: str) -> Answer:
    """What that provider can answer."""
    plain = draw(answers())
    usage = plain.usage or Usage()
    thoughts: list[Any] = []
    if provider == "gemini":
        usage = Usage(usage.input_tokens, usage.output_tokens, usage.cached, reasoning=usage.reasoning)
        thoughts = draw(st.lists(st.builds(Thought, words), max_size=1))
    else:
        usage = Usage(usage.input_tokens, usage.output_tokens, usage.cached, usage.cache_write)
        signed = st.builds(Thought, words, st.one_of(st.none(), data))
        thoughts = draw(st.lists(st.one_of(signed, st.builds(Thought, sealed=data)), max_size=2))
    parts = [
        msgspec.structs.replace(part, signature=draw(st.one_of(st.none(), data)))
        if isinstance(part, Call) and provider == "gemini" else part for part in plain.parts
    ]  # fmt: skip
    named = {} if provider == "gemini" else {"id": "", "model": ""}
    made: Answer = msgspec.structs.replace(plain, parts=(*thoughts, *parts), usage=usage, **named)
    return made


def streamed(provider: str, answer: Answer, size: int) -> list[Event]:
    """The provider's stream, as the gateway reads it."""
    if provider == "gemini":
        return [event for raw in gemini_stream(answer, size) for event in Decoder().feed(raw)]
    told = list(bedrock_stream(unfold(answer)))
    for name, body in told:
        fits("ConverseStreamOutput", {name: body})
    raw = b"".join(frame(name, body) for name, body in told)
    return list(Decoder().feed(asyncio.run(through_frames(raw, size))))


@pytest.mark.parametrize("provider", CLOUDS)
@settings(max_examples=60)
@given(more=st.data(), size=st.integers(1, 40))
def test_an_answer_is_read_whole_and_streamed(provider: str, more: st.DataObject, size: int) -> None:
    answer = more.draw(cloud_answers(provider))
    whole = gemini_answer(answer) if provider == "gemini" else bedrock_answer(answer)
    assert PROVIDERS[provider].read(json.dumps(whole).encode()) == answer
    reader = PROVIDERS[provider].reader()
    deltas: list[Delta] = [delta for event in streamed(provider, answer, size) for delta in reader.feed(event)]
    assert fold([*deltas, *reader.end()]) == answer


def heard(client: str, body: bytes) -> Answer:
    """What a client of chat or Messages hears; ids as they are without what they carry."""
    return bare(PROVIDERS[client].read(body))


def bare(answer: Answer) -> Answer:
    parts = tuple(
        msgspec.structs.replace(part, id=apart(part.id)[0]) if isinstance(part, Call) else part for part in answer.parts
    )
    made: Answer = msgspec.structs.replace(answer, parts=parts)
    return made


@pytest.mark.parametrize("provider", CLOUDS)
@pytest.mark.parametrize("client", ["chat", "messages"])
@settings(max_examples=50)
@given(more=st.data())
def test_their_answers_mean_the_same_to_every_client(client: str, provider: str, more: st.DataObject) -> None:
    answer = more.draw(cloud_answers(provider))
    translation = Translation(client, provider, 0, "made")
    translation.request(json.dumps(client_body(client, HELLO)).encode(), drop=False)
    whole = gemini_answer(answer) if provider == "gemini" else bedrock_answer(answer)
    told = heard(client, translation.whole(json.dumps(whole).encode()))
    stream, reader = translation.stream(), PROVIDERS[client].reader()
    out = [one for event in streamed(provider, answer, 7) for one in stream.feed(event)] + list(stream.end())
    live = bare(fold([*(delta for event in out for delta in reader.feed(event)), *reader.end()]))
    meant = [part for part in answer.parts if not isinstance(part, Thought)]
    meant = [msgspec.structs.replace(part, signature=None) if isinstance(part, Call) else part for part in meant]
    for got in (told, live):
        assert [part for part in got.parts if not isinstance(part, Thought)] == meant
        assert (got.stop, got.usage) == (answer.stop, answer.usage)
        assert (got.id, got.model) == (answer.id or "made", answer.model or CLAUDE)


HELLO = Conversation(CLAUDE, (Turn("user", (Text("hi"),)),), max_tokens=9)
