"""A provider's error → what the client may read of it. Pure.

What the client did wrong it is told in the provider's own words (400, 404, 409, 413, 422: message, param, code; of
JSON only, shortened). What is between us and the provider (its 401, 403, billing) it is not: that is a 502 of ours, and
the record has the rest.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec

LONGEST = 1000  # characters of a provider's message
LONGEST_WAIT = 3600.0  # seconds of a provider's retry-after that are believed
PASSED = frozenset((400, 404, 409, 413, 422))
OVERLOADED = "provider_overloaded"
# What an error that came with a success would have had for a status (OpenAI's and Anthropic's types and codes, AWS's
# exceptions).
_STATUS_OF = {
    "overloaded_error": 529, "rate_limit_error": 429, "rate_limit_exceeded": 429, "timeout_error": 504,
    "server_is_overloaded": 503, "insufficient_quota": 402, "billing_error": 402, "throttlingException": 429,
    "serviceUnavailableException": 503, "validationException": 400,
}  # fmt: skip
# How Anthropic, Google and AWS say what OpenAI has a code for.
_TOO_LONG = re.compile(
    r"prompt is too long|exceeds the maximum number of tokens|exceed context limit|[Ii]nput is too long"
)
OWN_QUOTA = frozenset(
    (
        "insufficient_quota", "credit_balance_exhausted", "organization_spend_limit_exceeded",
        "project_spend_limit_exceeded", "organization_usage_limit_exceeded", "billing_hard_limit_reached",
    )
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ClientError:
    """What the client gets; `provider_code` is for the record alone. `retry_after` in seconds."""

    status: int
    type: str
    code: str | None
    message: str
    param: str | None = None
    retryable: bool = False
    retry_after: float | None = None
    provider_code: str | None = None


def client_error(status: int, headers: Mapping[str, str], body: bytes, now: float | None = None) -> ClientError:
    """The client's error for a provider's status, headers (lower-case names) and body. A status below 400 stands for an
    error that came with a success. `now`: Unix seconds, for a retry-after that is a date."""
    error = _error(body)
    if status < 400:
        said = (error.get("code"), error.get("type"), error.get("status"))
        status = next((_STATUS_OF[one] for one in said if isinstance(one, str) and one in _STATUS_OF), 502)
    aws = headers.get("x-amzn-errortype", "").partition(":")[0] or None  # the exception; an address may follow
    if aws == "ServiceQuotaExceededException":
        status = 402  # it says 400
    named = error.get("status") or aws  # Google's name of it, beside a number
    code = named if isinstance(named, str) else error.get("code")
    provider_code = _words(code or error.get("type"), 100)
    message = _words(error.get("message"), LONGEST)
    param = _words(error.get("param"), 200)
    if status in PASSED and message is not None:
        kind = _words(error.get("type"), 100) or "invalid_request_error"
        shown = _words(error.get("code"), 100) if isinstance(error.get("code"), str) else None
        if status == 400 and shown is None and _TOO_LONG.search(message):
            shown = "context_length_exceeded"  # what clients and their frameworks look for
        return ClientError(status, kind, shown, message, param, provider_code=provider_code)
    if status in PASSED:
        return ClientError(
            status,
            "invalid_request_error",
            None,
            "The model provider refused the request.",
            provider_code=provider_code,
        )
    if provider_code in OWN_QUOTA or status == 402:
        return ClientError(
            503, "server_error", "provider_quota", "The model provider's quota of this service is used up.",
            provider_code=provider_code,
        )  # fmt: skip
    if status == 429:
        return ClientError(
            429, "rate_limit_error", "provider_rate_limited", "The model provider is limiting this service's requests.",
            retryable=True, retry_after=retry_after(headers, now), provider_code=provider_code,
        )  # fmt: skip
    if status in (503, 529):
        return ClientError(
            503, "server_error", OVERLOADED, "The model provider is overloaded.",
            retryable=True, retry_after=retry_after(headers, now), provider_code=provider_code,
        )  # fmt: skip
    if status in (408, 504):
        return ClientError(
            504, "server_error", "provider_timeout", "The model provider did not answer in time.",
            retryable=True, provider_code=provider_code,
        )  # fmt: skip
    return ClientError(
        502, "server_error", "provider_error", "The model provider failed.",
        retryable=status not in (401, 403), provider_code=provider_code,
    )  # fmt: skip


def provider_request_id(headers: Mapping[str, str]) -> str | None:
    """The id under which the provider knows the request: OpenAI's, Anthropic's, Azure's, AWS's."""
    said = headers.get
    return said("x-request-id") or said("request-id") or said("apim-request-id") or said("x-amzn-requestid") or None


def is_error_body(body: bytes) -> bool:
    """Whether a body that came with a success is an error all the same. Cheap for those that are not."""
    head = body[:4096]
    if b'"error"' not in head:
        return False
    try:
        fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return False
    error = fields.get("error")
    return error is not None and bytes(error) not in (b"null", b"false", b"{}", b'""', b"0", b"[]")


def retry_after(headers: Mapping[str, str], now: float | None = None) -> float | None:
    """Seconds that a provider asks to wait: `retry-after-ms`, or `retry-after` as seconds or a date; None where it does
    not say, or nothing that can be believed."""
    for name, scale in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        text = headers.get(name, "").strip()
        if not text:
            continue
        try:
            seconds = float(text) * scale
        except ValueError:
            if now is None or name != "retry-after":
                continue
            try:
                seconds = parsedate_to_datetime(text).timestamp() - now
            except (ValueError, TypeError):
                continue
        if 0 <= seconds < float("inf"):
            return min(seconds, LONGEST_WAIT)
    return None


def _error(body: bytes) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return {}
    error = found.get("error", found) if isinstance(found, dict) else {}
    if isinstance(error, str):
        return {"message": error}
    return error if isinstance(error, dict) else {}


def _words(value: object, longest: int) -> str | None:
    """A short text of printable characters, None of anything else."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not value.strip():
        return None
    return "".join(char if char.isprintable() or char == "\n" else " " for char in value[:longest])
