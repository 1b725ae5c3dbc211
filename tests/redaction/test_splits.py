"""What a client reads does not depend on how a provider cut its bytes, nor its text: every place, in every shape."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.redaction.placeholders import Placeholders, tenant_key
from gateway.redaction.restore import RestoreFilter
from gateway.shapes.table import SHAPES
from gateway.stream.filters import StreamFilter
from tests.redaction.streams import KINDS, read, stream, through

MADE = Placeholders(tenant_key(b"m" * 32, "acme"))
ADA = MADE.of("EMAIL_ADDRESS", "ada@example.com")
OBRIEN = MADE.of("EMAIL_ADDRESS", 'o"brien\\@example.com')
LINES = MADE.of("STREET", "1 High Street\nLondon é𝄞")
FOREIGN = "<EMAIL_ADDRESS_00000000>"
SENT = f"Dear {ADA}, not {FOREIGN} <b & {OBRIEN}"
WANTED = f'Dear ada@example.com, not {FOREIGN} <b & o"brien\\@example.com'


def written(kind: str, text: str) -> str:
    """What the model writes: the text, or a tool call's arguments that hold it."""
    return text if kind == "text" else json.dumps({"to": text}, ensure_ascii=False)


def got(kind: str, text: str) -> str:
    return text if kind == "text" else str(json.loads(text)["to"])


def restored(shape: str, kind: str, data: bytes, cuts: Sequence[int] = (), *, json_text: bool = False) -> list[str]:
    """Every text that a client reads: the deltas as one, and each repetition."""
    stages: list[StreamFilter] = [
        SHAPES[shape].meter(True),
        RestoreFilter(SHAPES[shape].runs(), MADE.restore, json_text=json_text),
    ]
    found = read(shape, through(data, cuts, stages))
    return [got(kind, text) for text in (*found["deltas"], *found["whole"])]


REPEATED = {("responses", "text"): 4, ("responses", "tool"): 3}  # .done, the part's, the item's, the response's


@pytest.mark.parametrize(("shape", "kind"), KINDS)
def test_every_place_to_cut_the_text_in_two(shape: str, kind: str) -> None:
    text = written(kind, SENT)
    for at in range(len(text) + 1):
        pieces = [piece for piece in (text[:at], text[at:]) if piece]
        texts = restored(shape, kind, stream(shape, kind, pieces))
        assert texts == [WANTED] * (1 + REPEATED.get((shape, kind), 0)), at


@pytest.mark.parametrize(("shape", "kind"), KINDS)
@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 13])
def test_text_in_small_pieces(shape: str, kind: str, size: int) -> None:
    text = written(kind, f"{SENT} {LINES}")
    data = stream(shape, kind, [text[at : at + size] for at in range(0, len(text), size)])
    assert set(restored(shape, kind, data)) == {f"{WANTED} 1 High Street\nLondon é𝄞"}


@pytest.mark.parametrize(("shape", "kind"), KINDS)
def test_every_place_to_cut_the_bytes(shape: str, kind: str) -> None:
    text = written(kind, f"to {ADA}.")
    data = stream(shape, kind, [text[:9], text[9:20], text[20:]])
    for at in range(1, len(data)):
        assert set(restored(shape, kind, data, [at])) == {"to ada@example.com."}, at
    assert set(restored(shape, kind, data, range(len(data)))) == {"to ada@example.com."}


@pytest.mark.parametrize(("shape", "kind"), KINDS)
@given(seed=st.integers(0, 2**32))
def test_any_cut_of_text_and_bytes(shape: str, kind: str, seed: int) -> None:
    chance = random.Random(seed)
    words = [ADA, OBRIEN, LINES, FOREIGN, ADA[:-2], "<", "&lt;", "\\", "words ", "é𝄞", "\n", '"']
    plain = "".join(chance.choices(words, k=12))
    text = written(kind, plain)
    wanted = plain
    for placeholder, value in MADE.restore.items():
        wanted = wanted.replace(placeholder, value)
    marks = sorted(chance.sample(range(1, len(text)), k=min(6, len(text) - 1)))
    pieces = [text[a:b] for a, b in zip([0, *marks], [*marks, len(text)], strict=True)]
    data = stream(shape, kind, pieces)
    assert set(restored(shape, kind, data, chance.sample(range(len(data)), k=9))) == {wanted}


@pytest.mark.parametrize(("shape", "kind"), KINDS)
def test_what_is_held_back_is_given_out_where_a_stream_just_stops(shape: str, kind: str) -> None:
    text = written(kind, f"a {ADA} {ADA[:-3]}")
    pieces = [text[at : at + 4] for at in range(0, len(text), 4)]
    for ends in (True, False):
        found = restored(shape, kind, stream(shape, kind, pieces, ends=ends))
        assert found[0] == f"a ada@example.com {ADA[:-3]}"


@pytest.mark.parametrize("shape", ["chat", "responses", "messages"])
def test_a_model_that_writes_json_gets_values_as_json_strings(shape: str) -> None:
    text = json.dumps({"to": f"{OBRIEN} {LINES}"}, ensure_ascii=False)
    for size in (1, 6, len(text)):
        data = stream(shape, "text", [text[at : at + size] for at in range(0, len(text), size)])
        for found in restored(shape, "text", data, json_text=True):
            assert json.loads(found) == {"to": 'o"brien\\@example.com 1 High Street\nLondon é𝄞'}


@pytest.mark.parametrize(("shape", "kind"), KINDS)
def test_the_first_piece_is_not_waited_for(shape: str, kind: str) -> None:
    """Text in which nothing can begin goes on in the very event in which it came."""
    text = written(kind, "Hello there, how are you?")
    data = stream(shape, kind, [text[at : at + 5] for at in range(0, len(text), 5)])
    stages: list[StreamFilter] = [SHAPES[shape].meter(False), RestoreFilter(SHAPES[shape].runs(), MADE.restore)]
    assert through(data, range(0, len(data), 7), stages) == data
