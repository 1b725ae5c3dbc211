"""What a whole chat says of itself: the short way says what the long way says."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import assume, example, given
from hypothesis import strategies as st

from gateway.providers.errors import is_error_body
from gateway.shapes.chat import CHAT, COMPLETIONS, EMBEDDINGS, _said, said
from gateway.shapes.messages import COUNT_TOKENS, MESSAGES
from gateway.shapes.responses import INPUT_TOKENS, RESPONSES
from gateway.shapes.shape import Shape
from gateway.stream.filters import ABSURD

NUMBER = st.one_of(
    st.integers(-2, 5), st.sampled_from([None, True, False, 5.0, 0.0, "5", ABSURD, ABSURD + 1, 10**12, 10**30])
)
PARTS = st.one_of(
    st.none(),
    st.dictionaries(
        st.sampled_from(["cached_tokens", "audio_tokens", "reasoning_tokens", "cache_write_tokens"]), NUMBER
    ),
    st.just({"cache_creation_token_details": {"ephemeral_1h_input_tokens": 3}, "cache_write_tokens": 4}),
)
NAMES = ("prompt_tokens", "completion_tokens", "input_tokens", "output_tokens")
DETAILS = ("prompt_tokens_details", "completion_tokens_details", "input_tokens_details", "output_tokens_details")
USAGE = st.builds(
    lambda numbers, parts: {**numbers, **parts},
    st.dictionaries(st.sampled_from(NAMES), NUMBER),
    st.dictionaries(st.sampled_from(DETAILS), PARTS, max_size=2),
)
ERROR: st.SearchStrategy[Any] = st.sampled_from([None, False, {}, "", 0, [], "broken", {"message": "x"}, 5])
BODY = st.fixed_dictionaries(
    {},
    optional={
        "id": st.sampled_from(["chatcmpl-1", None, 5, "", "long" * 100]),
        "model": st.sampled_from(["m", None, ["m"], "é" * 201]),
        "service_tier": st.sampled_from(["default", "priority", None, "", 5, "long" * 100]),
        "choices": st.one_of(
            st.none(),
            st.lists(
                st.fixed_dictionaries(
                    {"finish_reason": st.sampled_from(["stop", None, 3, "", "length", "long" * 100])},
                    optional={"text": st.sampled_from(["a", 5]), "message": st.just({"content": "a"})},
                )
            ),
        ),
        "usage": st.one_of(st.none(), st.just("much"), USAGE),
        "error": ERROR,
    },
)


@given(BODY)
@example({"usage": {"prompt_tokens": 0, "output_tokens": 1}})  # the words of two dialects in one usage
@example({"usage": {"prompt_tokens": 0, "input_tokens": 5}})
def test_the_short_way_says_what_the_long_way_says(body: dict[str, Any]) -> None:
    data = msgspec.json.encode(body)
    short, long = said(data), _said(data)
    assert msgspec.structs.replace(short, is_sound=False) == long


@given(BODY)
def test_what_is_seen_to_be_no_error_is_none(body: dict[str, Any]) -> None:
    data = msgspec.json.encode(body)
    assert not (said(data).is_sound and is_error_body(data))


WHOLE = st.fixed_dictionaries(
    {},
    optional={
        "id": st.sampled_from(["r", None, 5]),
        "type": st.sampled_from(["message", "error", None]),
        "object": st.sampled_from(["response", "error", None]),
        "status": st.sampled_from(["completed", "queued"]),
        "usage": st.sampled_from([None, {"input_tokens": 5, "output_tokens": 5}]),
        "error": ERROR,
    },
)


@given(WHOLE, st.sampled_from([CHAT, COMPLETIONS, EMBEDDINGS, MESSAGES, RESPONSES, COUNT_TOKENS, INPUT_TOKENS]))
def test_what_any_shape_sees_to_be_sound_is_no_error(body: dict[str, Any], shape: Shape) -> None:
    data = msgspec.json.encode(body)
    told = shape.whole(data)
    assert not (told.is_sound and shape.is_error(data))
    assert told.is_object or not told.is_sound


@given(
    st.sampled_from([CHAT, MESSAGES, RESPONSES]), st.binary(max_size=9) | st.sampled_from([b"[]", b"{", b"5", b"{}x"])
)
def test_what_is_no_object_is_not_seen_to_be_one(shape: Shape, data: bytes) -> None:
    assume(not data.strip().endswith(b"}") or data.endswith(b"x"))
    told = shape.whole(data)
    assert not told.is_object
    assert not told.is_sound
