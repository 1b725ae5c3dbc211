"""How a refusal or a failure is written for a client: OpenAI's error envelope. Pure.

Source: openai-openapi `ErrorResponse`: all four keys are required; the SDKs read `error.message`, `.type`, `.param`,
`.code`, and raise on any stream chunk whose JSON has a truthy `error`.
"""

from __future__ import annotations

import math

import msgspec

from gateway.errors import REFUSALS, Failure, Reason, Refusal, Wire

Headers = tuple[tuple[str, str], ...]
LONGEST_MESSAGE = 2000  # characters of a message that reach a client


def envelope(wire: Wire, message: str, param: str | None = None) -> bytes:
    """The JSON body of an error."""
    error = {"message": message[:LONGEST_MESSAGE], "type": wire.type, "param": param, "code": wire.code}
    return msgspec.json.encode({"error": error})


def stream_error(wire: Wire, message: str) -> bytes:
    """The error as an SSE event, for a stream whose status can no longer change."""
    return b"data: " + envelope(wire, message) + b"\n\n"


def refused(refusal: Refusal) -> tuple[Wire, Headers, bytes]:
    """Status line, headers and body of a refusal."""
    wire = REFUSALS[refusal.reason]
    if refusal.reason is Reason.RATE_LIMITED and refusal.param in ("requests", "tokens"):
        # OpenAI's own 429s say in `type` which bucket was empty; `param` is our way to know, and stays null there.
        wire = Wire(wire.status, refusal.param, wire.code, wire.retryable)
        return wire, retry_headers(wire, refusal.retry_after), envelope(wire, refusal.message)
    return wire, retry_headers(wire, refusal.retry_after), envelope(wire, refusal.message, refusal.param)


def failed(failure: Failure, request_id: str) -> tuple[Wire, Headers, bytes]:
    """Status line, headers and body of a failure: our own words and an id that the record knows."""
    wire = failure.wire
    retry_after = 1.0 if wire.status == 503 else None
    return wire, retry_headers(wire, retry_after), envelope(wire, f"{failure.client_message} (request {request_id})")


def retry_headers(wire: Wire, retry_after: float | None) -> Headers:
    """`retry-after` in whole seconds and `retry-after-ms`, rounded up so that a client that waits gets in; and
    `x-should-retry: false` where no retry helps."""
    if not wire.retryable:
        return (("x-should-retry", "false"),)
    if retry_after is None:
        return ()
    milliseconds = max(1, math.ceil(retry_after * 1000))
    return (("retry-after", str(math.ceil(milliseconds / 1000))), ("retry-after-ms", str(milliseconds)))
