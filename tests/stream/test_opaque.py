"""What passes of a provider's head."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.fields import lines_of
from gateway.stream.opaque import PASSED, passed, passed_lines

KINDS = [
    "application/json",
    "application/json; charset=utf-8",
    "Application/JSON",
    "text/event-stream",
    "text/html",
    "",
]


@given(
    st.sampled_from([None, *KINDS]),
    st.dictionaries(
        st.sampled_from([*PASSED[1:], "x-request-id", "set-cookie", "server"]), st.sampled_from(["1", "b"])
    ),
)
def test_the_usual_line_is_what_passes(kind: str | None, more: dict[str, str]) -> None:
    upstream: Any = SimpleNamespace(headers=more if kind is None else {"content-type": kind, **more})
    assert passed_lines(upstream) == lines_of(passed(upstream, PASSED))


@pytest.mark.parametrize("name", PASSED)
def test_a_line_break_of_a_provider_passes_nowhere(name: str) -> None:
    upstream: Any = SimpleNamespace(headers={"content-type": "application/json", name: "a\r\nx-evil: 1"})
    with pytest.raises(ValueError, match="line break"):
        passed_lines(upstream)
