"""What one call asks of the echo model is not asked by another."""

from __future__ import annotations

from gateway.endpoints import find
from gateway.providers.echo import Echo
from gateway.reading import Ask


def test_how_a_call_wants_to_be_answered_is_asked_of_that_call_alone() -> None:
    echo, endpoint = Echo("echo"), find("POST", "/v1/chat/completions")
    assert endpoint is not None
    ask = Ask(endpoint, b"{}", model="echo")
    for wants in ({"x-echo-status": "500"}, {}, {"x-echo-status": "429"}, {}):
        headers = {"content-type": "application/json", **wants}
        left = dict(echo.request(ask, "echo", b"{}", headers, None, None).headers)
        assert {name: value for name, value in left.items() if name.startswith("x-")} == wants
