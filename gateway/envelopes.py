"""How a refusal or a failure is written for a client: status, headers and body, in its dialect. Pure."""

from __future__ import annotations

import math

from gateway.dialects import OPENAI, Dialect, Headers
from gateway.errors import REFUSALS, Failure, Reason, Refusal, Wire


def refused(refusal: Refusal, request_id: str, dialect: Dialect = OPENAI) -> tuple[Wire, Headers, bytes]:
    """Status line, headers and body of a refusal."""
    wire = REFUSALS[refusal.reason]
    if refusal.reason is Reason.RATE_LIMITED and refusal.param in ("requests", "tokens"):
        # OpenAI's own 429s say in `type` which bucket was empty; `param` is our way to know, and stays null there.
        wire = Wire(wire.status, refusal.param, wire.code, wire.retryable)
        param = None
    else:
        param = refusal.param
    body = dialect.envelope(wire, refusal.message, param, request_id)
    allow = (("allow", ", ".join(refusal.allow)),) if refusal.allow else ()
    return wire, (*allow, *retry_headers(wire, refusal.retry_after)), body


def failed(failure: Failure, request_id: str, dialect: Dialect = OPENAI) -> tuple[Wire, Headers, bytes]:
    """Status line, headers and body of a failure: our own words and an id that the record knows."""
    wire = failure.wire
    retry_after = 1.0 if wire.status == 503 else None
    message = f"{failure.client_message} (request {request_id})"
    return wire, retry_headers(wire, retry_after), dialect.envelope(wire, message, None, request_id)


def retry_headers(wire: Wire, retry_after: float | None) -> Headers:
    """`retry-after` in whole seconds and `retry-after-ms`, rounded up so that a client that waits gets in; and
    `x-should-retry: false` where no retry helps."""
    if not wire.retryable:
        return (("x-should-retry", "false"),)
    if retry_after is None:
        return ()
    milliseconds = max(1, math.ceil(retry_after * 1000))
    return (("retry-after", str(math.ceil(milliseconds / 1000))), ("retry-after-ms", str(milliseconds)))
