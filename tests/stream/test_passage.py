"""The way of a piece in one step gives what its stages give one after the other, however the bytes are cut."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import ClientGone, ProviderBroken
from gateway.redaction.safe import SafeRequest
from gateway.shapes.chat import CHAT
from gateway.shapes.messages import MESSAGES
from gateway.shapes.shape import Shape
from gateway.stream.filters import Meter
from gateway.stream.incoming import Incoming
from gateway.stream.sse import Decoder
from gateway.stream.stages import Stages, passage

FIRST = b'data: {"id":"c1","model":"m","choices":[]}\n\n'
NAME = "<EMAIL_ADDRESS_7f3a9c01>"


class Way:
    """A stream behind its first event, on one of both ways."""

    def __init__(self, shape: Shape, *, strip: bool, restore: bool) -> None:
        self.meter = shape.meter(strip)
        safe = SafeRequest(b"", restore={NAME: "ada@example.com"} if restore else {})
        self.stages = Stages(self.meter, safe, shape, json_text=False)
        self.incoming = Incoming(Decoder(), None)
        self.out = self.stages.plain(self.incoming.feed(FIRST))

    def put(self, data: bytes) -> bool:
        assert data, "nothing is written where there is nothing"
        self.out += data
        return True

    def end(self) -> None:
        self.out += self.stages.plain(self.incoming.finish(), last=True)


def seen(meter: Meter) -> tuple[object, ...]:
    return (
        meter.usage, meter.input_tokens, meter.error, meter.ended, meter.response_id, meter.model, meter.finish_reasons,
        meter.flags, meter.passed.size, bytes(meter.passed.text),
    )  # fmt: skip


def same(shape: Shape, pieces: list[bytes], *, strip: bool, restore: bool) -> bytes:
    one, other = (Way(shape, strip=strip, restore=restore) for _ in range(2))
    take = passage(one.incoming, one.meter, one.stages, one.put)
    for piece in pieces:
        assert take(piece)
        other.out += other.stages.plain(other.incoming.feed(piece))
        assert one.out == other.out, "nothing is held back longer"
    one.end()
    other.end()
    assert one.out == other.out
    assert seen(one.meter) == seen(other.meter)
    return one.out


def delta(text: str) -> bytes:
    return json.dumps({"id": "c1", "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}],
                       "usage": None}).encode()  # fmt: skip


USAGE = b'{"id":"c1","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4}}'
texts = st.one_of(st.text(max_size=12), st.sampled_from([NAME, NAME[:9], NAME[9:], "<", "\\", "&lt;", "a\r\nb"]))
datas = st.one_of(
    texts.map(delta),
    st.sampled_from([
        USAGE, b"[DONE]", b"[DONE] ", b"", b"nonsense", b'{"error":{"message":"no"}}', b"null", b"[]", b'{"usage":',
        b'{"choices":[{"finish_reason":"stop","delta":{}}]}', b'{"choices":[{"text":"older","delta":null}],"usage":{}}',
        b'{"usage":null,"usage":{"prompt_tokens":1,"completion_tokens":1}}', b'{"usage" :false, "choices":null}',
        b'{"choices":[{"delta":{"tool_calls":[{"function":{"name":"f","arguments":"{}"}}]}}]}', b"\xff\xfe",
    ]),
)  # fmt: skip
events = st.one_of(
    datas.map(lambda data: b"data: " + data + b"\n\n"),
    st.builds(
        lambda data, form: form % data,
        datas,
        st.sampled_from([
            b"event: x\ndata: %b\n\n", b"event: x\r\ndata: %b\r\n\r\n", b"data:%b\n\n", b"id: 1\ndata: %b\n\n",
            b"data: %b\ndata: more\n\n", b": a comment\n\ndata: %b\n\n", b"data: %b\n\n\n", b"\ndata: %b\n\n",
            b"data: %b\r\r", b"event: x\n\ndata: %b\n\n", b"event: data: \ndata: %b\n\n",
        ]),
    ),
)  # fmt: skip


@pytest.mark.parametrize("shape", [CHAT, MESSAGES], ids=lambda shape: str(shape.name))
@given(stream=st.lists(events, max_size=6), cuts=st.lists(st.integers(1, 150), max_size=8), strip=st.booleans(),
       restore=st.booleans(), whole=st.booleans())  # fmt: skip
def test_in_one_step_as_one_after_the_other(
    shape: Shape, stream: list[bytes], cuts: list[int], strip: bool, restore: bool, whole: bool
) -> None:
    left, pieces = b"".join(stream), list(stream) if whole else []
    if not whole:
        for cut in cuts:
            pieces.append(left[:cut])
            left = left[cut:]
        pieces.append(left)
    same(shape, [piece for piece in pieces if piece], strip=strip, restore=restore)


@pytest.mark.parametrize("restore", [False, True])
@pytest.mark.parametrize("strip", [False, True])
def test_cut_at_every_place(strip: bool, restore: bool) -> None:
    stream = b"".join(b"data: %b\n\n" % one for one in (delta("a"), delta(NAME), delta("b"), USAGE, b"[DONE]"))
    outs = {
        same(CHAT, [piece for piece in (stream[:at], stream[at:]) if piece], strip=strip, restore=restore)
        for at in range(len(stream))
    }
    assert len(outs) == 1
    (out,) = outs
    assert (b"prompt_tokens" in out) is not strip
    assert (b"ada@example.com" in out) is restore


NAMED = (
    b'event: message_start\ndata: {"type":"message_start","message":{"id":"m1","usage":{"input_tokens":3}}}\n\n'
    b'event: content_block_delta\ndata: {"type":"content_block_delta","delta":{"text":"hello"}}\n\n'
    b': a comment\n\nevent: message_stop\ndata: {"type":"message_stop"}\n\n'
)


@pytest.mark.parametrize("ends", [b"\n", b"\r\n", b"\r"])
def test_named_events_cut_at_every_place(ends: bytes) -> None:
    stream = NAMED.replace(b"\n", ends)
    for at in range(len(stream)):
        same(MESSAGES, [piece for piece in (stream[:at], stream[at:]) if piece], strip=True, restore=False)


@pytest.mark.parametrize("piece", [
    b'data: {"choices":[],\r"usage":{"prompt_tokens":3,"completion_tokens":4}}\n\n',  # a CR ends a line of an event
    b'data: {"choices":[]}\n\ndata: {"choices":[]}\r\rdata: {"choices":[]}\n\n',
    b"event: x\nevent: y\n\n", b"event: x\n\ndata: {}\n\n", b"data: {}\n\nid: 1\n\n", b"data: {}\nid: 1\ndata: {}\n\n",
    b"\n\n", b"data: \n\n", b"data: {}\n",
])  # fmt: skip
def test_what_looks_like_a_plain_event_and_is_none(piece: bytes) -> None:
    same(CHAT, [piece, b"data: [DONE]\n\n"], strip=True, restore=False)


@pytest.mark.parametrize("together", [False, True])
def test_of_what_passes_all_bytes_are_the_providers(together: bool) -> None:
    pieces = [b"data: %b\n\n" % delta(text) for text in ("one", "two")]
    pieces.insert(1, b"data: %b\n\n" % USAGE)
    way = Way(CHAT, strip=True, restore=False)
    take = passage(way.incoming, way.meter, way.stages, way.put)
    for piece in [b"".join(pieces)] if together else pieces:
        assert take(piece)
    assert way.out == FIRST + pieces[0] + pieces[2]
    assert way.meter.usage is not None


def test_who_is_full_says_so() -> None:
    way = Way(CHAT, strip=True, restore=False)
    full: list[bytes] = []

    def put(data: bytes) -> bool:
        full.append(data)
        return False

    take = passage(way.incoming, way.meter, way.stages, put)
    piece = b"data: %b\n\n" % delta("a")
    assert not take(piece)
    assert take(b"data: %b\n\n" % USAGE), "nothing was written"
    assert take(piece[:9])
    assert not take(piece[9:])
    assert not take(piece + b"data: %b\n\n" % USAGE)
    assert full == [piece] * 3


def test_an_event_that_does_not_end_breaks_it() -> None:
    way = Way(CHAT, strip=True, restore=False)
    way.incoming = Incoming(Decoder(largest=1000), None)
    take = passage(way.incoming, way.meter, way.stages, way.put)
    with pytest.raises(ProviderBroken):
        take(b"data: " + b"x" * 2000)


def test_a_client_that_is_gone() -> None:
    way = Way(CHAT, strip=True, restore=False)

    def put(_: bytes) -> bool:
        raise ClientGone("the connection is closed")

    take = passage(way.incoming, way.meter, way.stages, put)
    with pytest.raises(ClientGone):
        take(b"data: %b\n\n" % delta("a"))
    assert way.meter.passed.size == 1, "the provider has said it"
