"""Whose words a client expects: how errors, limits and the request's id are written for it. Pure.

Sources: openai-openapi `ErrorResponse` (all four keys are required); Anthropic's pages "Errors" and "Rate limits"
(types by status, the header `request-id`, reset times as RFC 3339).
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Protocol

import msgspec

from gateway.errors import Wire
from gateway.fields import lines_of
from gateway.limits.answer import limit_lines, tightest
from gateway.limits.scopes import Unit
from gateway.limits.standing import Standing

if TYPE_CHECKING:
    from gateway.endpoints import Endpoint
    from gateway.limits.scopes import Remaining

Headers = tuple[tuple[str, str], ...]
LONGEST_MESSAGE = 2000  # characters of a message that reach a client


class Dialect(Protocol):
    """`asked` are headers of the client's that its provider must see; `overloaded` is the status of a provider that is
    overloaded."""

    asked: tuple[str, ...]
    overloaded: int

    def envelope(self, wire: Wire, message: str, param: str | None, request_id: str) -> bytes:
        """The JSON body of an error."""

    def id_lines(self, request_id: str) -> str:
        """The lines of a head that carry the request's id."""

    def limit_lines(self, remaining: Iterable[Remaining], now: float) -> str:
        """How the tightest limits stand; `now` in Unix seconds."""


class OpenAIDialect:
    """OpenAI's, which every path speaks that is not another's."""

    asked: tuple[str, ...] = ("openai-beta",)
    overloaded = 503

    def envelope(self, wire: Wire, message: str, param: str | None, request_id: str) -> bytes:
        """`{"error": {"message", "type", "param", "code"}}`."""
        error = {"message": message[:LONGEST_MESSAGE], "type": wire.type, "param": param, "code": wire.code}
        return msgspec.json.encode({"error": error})

    def id_lines(self, request_id: str) -> str:
        """`x-request-id`."""
        return f"x-request-id: {request_id}\r\n"

    def limit_lines(self, remaining: Iterable[Remaining], now: float) -> str:
        """`x-ratelimit-…`."""
        return limit_lines(remaining)


# Anthropic's types of errors by status; any other client error is an invalid request, any other failure is the API's.
_TYPES = {
    401: "authentication_error", 402: "billing_error", 403: "permission_error", 404: "not_found_error",
    413: "request_too_large", 429: "rate_limit_error", 504: "timeout_error", 529: "overloaded_error",
}  # fmt: skip


class AnthropicDialect:
    """Anthropic's: below /v1/messages, and wherever a client says which version of its API it speaks."""

    asked: tuple[str, ...] = (
        "anthropic-version", "anthropic-beta", "anthropic-user-profile-id", "anthropic-worker-id",
    )  # fmt: skip
    overloaded = 529

    def envelope(self, wire: Wire, message: str, param: str | None, request_id: str) -> bytes:
        """`{"type": "error", "error": {"type", "message"}, "request_id"}`."""
        kind = _TYPES.get(wire.status, "invalid_request_error" if wire.status < 500 else "api_error")
        error = {"type": kind, "message": message[:LONGEST_MESSAGE]}
        return msgspec.json.encode({"type": "error", "error": error, "request_id": request_id})

    def id_lines(self, request_id: str) -> str:
        """`request-id`, and ours."""
        return f"x-request-id: {request_id}\r\nrequest-id: {request_id}\r\n"

    def limit_lines(self, remaining: Iterable[Remaining], now: float) -> str:
        """`anthropic-ratelimit-{requests,tokens}-{limit,remaining,reset}`."""
        headers, standing = [], remaining if isinstance(remaining, Standing) else tuple(remaining)
        for unit in (Unit.REQUESTS, Unit.TOKENS):
            if (one := tightest(standing, unit)) is None:
                continue
            headers.append((f"anthropic-ratelimit-{unit}-limit", str(one.limit.amount)))
            headers.append((f"anthropic-ratelimit-{unit}-remaining", str(max(0, one.remaining))))
            if one.reset is not None:
                headers.append((f"anthropic-ratelimit-{unit}-reset", _moment(now + one.reset)))
        return lines_of(headers)


OPENAI: Dialect = OpenAIDialect()
ANTHROPIC: Dialect = AnthropicDialect()


def dialect_of(endpoint: Endpoint | None, *, anthropic: bool = False) -> Dialect:
    """The dialect that a client speaks. `anthropic`: it says so itself, which is all there is where nothing is
    served."""
    if endpoint is not None:
        anthropic = endpoint.in_anthropics_words
    return ANTHROPIC if anthropic else OPENAI


def _moment(seconds: float) -> str:
    """Unix seconds as RFC 3339, rounded up to a whole second."""
    whole = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=-(-seconds // 1))
    return whole.strftime("%Y-%m-%dT%H:%M:%SZ")
