"""What a whole chat says of itself: the short way says what the long way says."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from gateway.providers.errors import is_error_body
from gateway.shapes.chat import _said, said

NUMBER = st.one_of(st.integers(-2, 5), st.sampled_from([None, True, 5.0, "5", 10**12]))
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
        "id": st.sampled_from(["chatcmpl-1", None, 5, ""]),
        "model": st.sampled_from(["m", None, ["m"]]),
        "choices": st.lists(st.fixed_dictionaries({"finish_reason": st.sampled_from(["stop", None, 3, "length"])})),
        "usage": st.one_of(st.none(), st.just("much"), USAGE),
        "error": ERROR,
    },
)


@given(BODY)
def test_the_short_way_says_what_the_long_way_says(body: dict[str, Any]) -> None:
    data = msgspec.json.encode(body)
    short, long = said(data), _said(data)
    assert msgspec.structs.replace(short, is_sound=False) == long


@given(BODY)
def test_what_is_seen_to_be_no_error_is_none(body: dict[str, Any]) -> None:
    data = msgspec.json.encode(body)
    assert not (said(data).is_sound and is_error_body(data))
