"""Counts over the real rank files, beside tiktoken as its authors mean it to be used."""

from __future__ import annotations

import json
import random
import string
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiktoken
from hypothesis import given, settings
from hypothesis import strategies as st
from tiktoken_ext import openai_public  # type: ignore[import-untyped]  # has no types

from gateway.tokens.chat import LOW_PICTURE, PER_MESSAGE, PER_NAME, PER_TOOL, PICTURE
from gateway.tokens.encodings import ENCODINGS
from gateway.tokens.ranks import RanksBroken
from gateway.tokens.worker import CHUNK, TEXT, count, encoder

ENDLESS = 1 << 40
HELPFUL = "You are a helpful, pattern-following assistant that translates"
CIRCLE = "Let's circle back when we have more bandwidth to touch base on"


@pytest.fixture(scope="module")
def o200k(ranks: Path) -> Callable[[str], int]:
    """tiktoken's own count, of the text as a whole."""
    lines = (ranks / "o200k_base.tiktoken").read_bytes().splitlines()
    table = {b64decode(token): int(rank) for token, rank in map(bytes.split, lines)}
    made: dict[str, Any] = {}
    kept = openai_public.load_tiktoken_bpe
    openai_public.load_tiktoken_bpe = lambda *_, **__: table
    try:
        made = openai_public.o200k_base()
    finally:
        openai_public.load_tiktoken_bpe = kept
    encoding = tiktoken.Encoding(**made)
    return lambda text: len(encoding.encode_ordinary(text))


def one(ranks: Path, text: str, stop: int = ENDLESS, encoding: str = "o200k_base") -> int:
    return count(ranks, encoding, [(TEXT, text.encode("utf-8", "surrogatepass"))], stop)[0]


@pytest.mark.parametrize(
    ("encoding", "text", "tokens"),
    [  # OpenAI's cookbook gives these three
        ("o200k_base", "antidisestablishmentarianism", 6),
        ("cl100k_base", "2 + 2 = 4", 7),
        ("o200k_base", "お誕生日おめでとう", 8),
        ("o200k_base", "", 0),
    ],
)
def test_known_counts(ranks: Path, encoding: str, text: str, tokens: int) -> None:
    assert one(ranks, text, encoding=encoding) == tokens


@settings(max_examples=60)
@given(text=st.text(max_size=2000))
def test_a_short_text_is_counted_as_tiktoken_counts_it(ranks: Path, o200k: Callable[[str], int], text: str) -> None:
    text = text.encode("utf-8", "replace").decode()
    assert one(ranks, text) == o200k(text) <= len(text.encode())


def noise(kind: str, size: int) -> str:
    draw = random.Random(7)
    alphabets = {"words": "", "digits": string.digits, "letters": string.ascii_letters, "chinese": "天地玄黄宇宙洪荒"}
    if kind == "words":
        return " ".join(
            draw.choice(["bridge", "river", "the", "of", "1898", "Über", "don't"]) for _ in range(size // 5)
        )
    return "".join(draw.choice(alphabets[kind]) for _ in range(size))


@pytest.mark.parametrize("kind", ["words", "digits", "letters", "chinese"])
def test_a_long_text_is_never_under_counted_and_little_over(
    ranks: Path, o200k: Callable[[str], int], kind: str
) -> None:
    text = noise(kind, 10 * CHUNK)
    whole, ours = o200k(text), one(ranks, text)
    assert whole <= ours <= whole * 1.001
    assert ours <= len(text.encode())


@pytest.mark.parametrize("char", [" ", "\t", "\u3000", "\n", "a", "^"])
def test_a_million_of_one_character_is_counted(ranks: Path, char: str) -> None:
    assert 0 < one(ranks, char * 1_200_000) <= 1_200_000 * len(char.encode())


def test_half_a_surrogate_pair_and_nul_are_counted(ranks: Path) -> None:
    assert one(ranks, "a\ud800b\0") > 0
    assert (
        count(ranks, "o200k_base", [("messages", b'{"role":"user","content":"a\\ud800b"}')], ENDLESS)[0] > PER_MESSAGE
    )


def test_a_special_token_in_a_text_is_text(ranks: Path) -> None:
    assert one(ranks, "<|endoftext|>") > 1


def test_counting_stops_where_no_more_need_be_known(ranks: Path) -> None:
    text = "bridge " * 300_000
    assert 1000 < one(ranks, text, stop=1000) <= 1000 + CHUNK
    pieces = [(TEXT, b"bridge " * 100)] * 50
    found = count(ranks, "o200k_base", pieces, 250)
    assert len(found) == 3
    assert sum(found) > 250


def messages(ranks: Path, *body: Any, field: str = "messages") -> list[int]:
    return count(ranks, "o200k_base", [(field, json.dumps(one).encode()) for one in body], ENDLESS)


def test_the_rule_for_messages_is_the_cookbooks(ranks: Path, o200k: Callable[[str], int]) -> None:
    # The example of "How to count tokens with tiktoken"; the provider counted 124 for gpt-4o, priming included.
    example = [
        ("system", None, f"{HELPFUL} corporate jargon into plain English."),
        ("system", "example_user", "New synergies will help drive top-line growth."),
        ("system", "example_assistant", "Things working well together will increase revenue."),
        ("system", "example_user", f"{CIRCLE} opportunities for increased leverage."),
        ("system", "example_assistant", "Let's talk later when we're less busy about how to do better."),
        ("user", None, "This late pivot means we don't have time to boil the ocean for the client deliverable."),
    ]  # fmt: skip
    body = [{"role": role, "content": text, **({"name": name} if name else {})} for role, name, text in example]
    assert sum(messages(ranks, *body)) + 3 == 124


def test_parts_names_and_pictures(ranks: Path, o200k: Callable[[str], int]) -> None:
    text = "What is on this picture?"
    plain = PER_MESSAGE + o200k("user")
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 50_000}}
    low = {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "low"}}
    found = messages(
        ranks,
        {"role": "user", "content": text},
        {"role": "user", "content": [{"type": "text", "text": text}, picture, low]},
        {"role": "user", "content": text, "name": "ada"},
        {"role": "assistant", "content": None},
    )
    assert found[0] == plain + o200k(text)
    assert found[1] == found[0] + PICTURE + LOW_PICTURE
    assert found[2] == found[0] + PER_NAME + o200k("ada")
    assert 0 < found[3] <= 5


def test_other_shapes(ranks: Path, o200k: Callable[[str], int]) -> None:
    tool = {"type": "function", "function": {"name": "find", "parameters": {"type": "object", "properties": {}}}}
    assert messages(ranks, tool, field="tools") == [PER_TOOL + o200k(json.dumps(tool))]
    assert messages(ranks, ["one bridge", "two"], field="input") == [o200k("one bridge") + o200k("two")]
    assert messages(ranks, [1, 2, 3], field="prompt") == [3]
    assert messages(ranks, [[1, 2], [3]], field="prompt") == [3]
    assert messages(ranks, "a text", field="instructions") == [o200k("a text")]
    call = {"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": '{"a": 1}'}}]}
    assert messages(ranks, call)[0] > PER_MESSAGE + o200k('{"a": 1}')


def test_deep_json_is_counted_all_the_same(ranks: Path) -> None:
    deep = b'{"role":"user","content":' + b"[" * 900 + b'"x"' + b"]" * 900 + b"}"
    assert count(ranks, "o200k_base", [("messages", deep)], ENDLESS)[0] > PER_MESSAGE


@pytest.mark.parametrize("name", sorted(ENCODINGS))
def test_every_encoding_can_be_made(ranks: Path, name: str) -> None:
    assert len(encoder(ranks, name)("one bridge")) == 2


def test_another_file_under_the_name_is_refused(ranks: Path, tmp_path: Path) -> None:
    (tmp_path / "r50k_base.tiktoken").write_bytes((ranks / "p50k_base.tiktoken").read_bytes())
    with pytest.raises(RanksBroken, match=r"r50k_base\.tiktoken: its SHA-256 is not"):
        count(tmp_path, "r50k_base", [(TEXT, b"x")], 1)
    with pytest.raises(RanksBroken, match="No such file"):
        count(tmp_path, "o200k_base", [(TEXT, b"x")], 1)
