"""Counted once, remembered as a number; and a text that grows."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.tokens.chat import PRIMING
from gateway.tokens.counting import Counting
from gateway.tokens.passed import KEPT, Passed, said_in
from gateway.tokens.request import pieces
from gateway.tokens.running import KEPT as KEPT_TEXT
from gateway.tokens.running import RunningText

KEY = b"k" * 32


class Bytes:
    """Counts a token for each byte, and says what it was asked."""

    def __init__(self, answers: bool = True) -> None:
        self.asked: list[tuple[str, Sequence[tuple[str, bytes]], int]] = []
        self.answers = answers

    async def count(self, encoding: str, pieces: Sequence[tuple[str, bytes]], stop: int) -> list[int] | None:
        self.asked.append((encoding, pieces, stop))
        found: list[int] = []
        for _, piece in pieces:
            found.append(len(piece))
            if sum(found) > stop:
                break
        return found if self.answers else None

    async def close(self) -> None: ...


def fields(**values: object) -> dict[str, msgspec.Raw]:
    return {name: msgspec.Raw(msgspec.json.encode(value)) for name, value in values.items()}


def turns(*texts: str) -> dict[str, msgspec.Raw]:
    return fields(model="m", messages=[{"role": "user", "content": text} for text in texts])


def test_a_request_is_cut_where_a_chat_repeats_itself() -> None:
    found = pieces(fields(
        model="m", messages=[{"role": "user", "content": "a"}, {"role": "user", "content": "b"}], stream=True,
        tools=[{"type": "function"}], input=["a", "b"], instructions="c", user="u", unheard_of={"text": "d"},
    ))  # fmt: skip
    assert [name for name, _ in found] == ["messages", "messages", "tools", "input", "instructions", "unheard_of"]
    assert found[0][1] == b'{"role":"user","content":"a"}'


async def test_of_a_chat_that_is_sent_again_only_the_new_message_is_counted() -> None:
    counter = Bytes()
    counting = Counting(counter, KEY)
    first = await counting.request(turns("one", "two"), "gpt-4o")
    again = await counting.request(turns("one", "two"), "gpt-4o")
    third = await counting.request(turns("one", "two", "three"), "gpt-4o")
    assert first == again
    assert third is not None
    assert [[piece for _, piece in asked[1]] for asked in counter.asked] == [
        [b'{"role":"user","content":"one"}', b'{"role":"user","content":"two"}'],
        [b'{"role":"user","content":"three"}'],
    ]
    assert third.tokens == 31 + 31 + 33 + PRIMING
    assert (counting.hits, counting.misses) == (4, 3)


async def test_what_is_remembered_is_of_one_encoding_and_one_key() -> None:
    counter = Bytes()
    counting = Counting(counter, KEY)
    await counting.request(turns("one"), "gpt-4o")
    await counting.request(turns("one"), "gpt-4")
    assert [asked[0] for asked in counter.asked] == ["o200k_base", "cl100k_base"]
    assert b"one" not in repr(vars(counting)["_known"]).encode()
    assert set(vars(counting)["_known"]) & set(vars(Counting(counter, b"other"))["_known"]) == set()


async def test_the_memory_has_a_size() -> None:
    counting = Counting(Bytes(), KEY, size=3)
    await counting.request(turns(*"abcdef"), "gpt-4o")
    assert len(vars(counting)["_known"]) == 3


async def test_a_count_that_stops_is_no_whole_one_and_is_not_remembered() -> None:
    counter = Bytes()
    counting = Counting(counter, KEY)
    found = await counting.request(turns("a" * 100, "b" * 100, "c"), "gpt-4o", stop=150)
    assert found is not None
    assert not found.whole
    assert found.tokens > 150
    assert (await counting.request(turns("a" * 100, "b" * 100, "c"), "gpt-4o")).whole  # type: ignore[union-attr]  # it can
    assert len(counter.asked[1][1]) == 2, "the first was whole, the second was not"


async def test_an_unknown_model_says_what_it_was_counted_in() -> None:
    counting = Counting(Bytes(), KEY)
    known, unknown = await counting.request(turns("a"), "gpt-5"), await counting.request(turns("a"), "claude-5")
    assert known is not None
    assert unknown is not None
    assert (known.by, unknown.by) == ("o200k_base", "o200k_base (unknown model)")


@pytest.mark.parametrize("counter", [None, Bytes(answers=False)])
async def test_where_nobody_counts_nothing_is_said(counter: Bytes | None) -> None:
    counting = Counting(counter, KEY)
    assert await counting.request(turns("a"), "gpt-4o") is None
    assert await counting.text(b"a", "gpt-4o") is None
    assert not vars(counting)["_known"]


async def test_a_reply_is_counted_and_not_remembered() -> None:
    counting = Counting(Bytes(), KEY)
    found = await counting.text(b"a reply", "gpt-4o")
    assert found is not None
    assert found.tokens == 7
    assert not vars(counting)["_known"]


@given(st.lists(st.tuples(st.text(max_size=40), st.booleans(), st.floats(0, 1)), max_size=20))
def test_a_text_that_grows_is_never_under_counted(steps: list[tuple[str, bool, float]]) -> None:
    running, size, tokens = RunningText(), 0, 0
    for text, counts, share in steps:
        running.feed(text.encode("utf-8", "surrogatepass"))
        size += len(text.encode("utf-8", "surrogatepass"))
        if counts:
            taken = running.take()
            running.feed(b"!")  # while the count is under way
            size += 1
            tokens += int(len(taken) * share)
            running.counted(int(len(taken) * share))
        assert running.at_most >= tokens
        assert running.at_most <= size
        assert running.bytes == size
    running.counted(None)


def test_a_part_that_nobody_can_count_stands_for_its_bytes() -> None:
    running = RunningText()
    running.feed(b"bridges")
    assert running.take() == b"bridges"
    assert running.at_most == 7
    running.counted(None)
    running.feed(b"!")
    assert running.at_most == 8
    assert running.take() == b"bridges!", "it is tried again"
    running.counted(2)
    assert running.at_most == 2
    running.feed(b"x" * KEPT_TEXT)
    running.take()
    running.counted(None)
    assert (running.at_most, running.pending) == (KEPT_TEXT + 2, 0), "too much to keep"


def test_of_a_long_reply_the_beginning_is_kept() -> None:
    passed = Passed()
    for _ in range(100):
        passed.add(b"x" * 1000)
    assert (passed.size, len(passed.text)) == (100_000, KEPT)


@given(st.lists(st.one_of(st.text(alphabet="aé€😀", max_size=5), st.binary(max_size=5)), max_size=200), st.booleans())
def test_pieces_are_what_they_would_be_one_by_one(said: list[str | bytes], followed: bool) -> None:
    passed, running = Passed(), RunningText()
    if followed:
        passed.follow(running)
    whole = b""
    for one in said:
        if isinstance(one, bytes):
            passed.add(one)
            whole += one
            continue
        passed.pieces.append(one)
        whole += one.encode()
        if len(passed.pieces) > passed.waiting:
            passed.gather()
        assert len(passed.pieces) <= passed.waiting
        assert not followed or running.bytes == len(whole)
    assert (passed.size, bytes(passed.text)) == (len(whole), whole)
    assert not followed or running.take() == whole


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ({"id": "c", "choices": [{"message": {"role": "assistant", "content": "hi"}}]}, b"hi"),
        ({"choices": [{"text": "hi"}, {"text": " you"}]}, b"hi you"),
        (
            {"choices": [{"message": {"content": None, "tool_calls": [{"function": {"arguments": '{"a":1}'}}]}}]},
            b'{"a":1}',
        ),
        ({"output": [{"type": "message", "content": [{"type": "output_text", "text": "hi"}]}]}, b"hi"),
        ({"content": [{"type": "text", "text": "hi"}, {"type": "tool_use", "input": {"a": 1}}]}, b'hi{"a":1}'),
    ],
)
def test_the_text_of_a_whole_answer(answer: dict[str, object], text: bytes) -> None:
    assert said_in(msgspec.json.encode(answer)).text == text


def test_an_answer_that_is_no_json_said_nothing() -> None:
    assert said_in(b"<html>").size == 0
