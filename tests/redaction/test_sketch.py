"""The outline of a text: quick ways say what the plain ones say."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as some

from gateway.policy.compiled import RedactionProfile
from gateway.redaction.sketch import spoken
from gateway.redaction.walk import _UNSCANNABLE, UNSCANNABLE_BYTES

PIECES = some.sampled_from(("a", "at", " at", "AT", "(", "[", "{", "( ", "d", "o", "t", "DOT", " ", "{}[]()" * 8))

KEYS = some.sampled_from((*_UNSCANNABLE, "source", "audio", "image_generation_call", "text", '"', ":", " "))


@given(some.lists(PIECES, max_size=60).map("".join))
def test_an_at_in_brackets_is_found_behind_any_number_of_brackets(text: str) -> None:
    data, lower = text.encode(), text.lower()
    assert spoken(data) == ("dot" in lower or any(f"{one}{at}" in lower for one in "([{" for at in ("at", " at")))


@given(some.lists(KEYS, max_size=12).map("".join))
def test_what_cannot_be_scanned_is_found_by_its_key(text: str) -> None:
    keys = (*_UNSCANNABLE, "source", "image_generation_call", "audio")
    found = UNSCANNABLE_BYTES.search(text.encode()) is not None
    assert found == any(f'"{key}"' in text for key in keys)


def test_a_profile_knows_what_something_else_stands_for() -> None:
    profile = RedactionProfile(
        "p", ("EMAIL_ADDRESS", "US_SSN", "IP_ADDRESS"), actions=(("US_SSN", "mask"), ("IP_ADDRESS", "detect"))
    )
    assert profile.replaced == {"EMAIL_ADDRESS", "US_SSN"}
