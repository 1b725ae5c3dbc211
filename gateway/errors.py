"""What can go wrong, and whose word it is.

    Refusal                     a value: the gateway decided not to serve this request
    Failure                     an exception: something broke
    ├── LateRefusal             a refusal after all: what streams broke a rule on its way (the refusal's status)
    ├── ClientGone              the client left; nobody is there to be told (recorded as 499)
    ├── ClientTooSlow           the client's body did not come in time (408)
    ├── ProviderFailure         the provider's fault
    │   ├── ConnectFailed       no connection: refused, unresolvable, TLS, timed out (502)
    │   ├── ProviderTimeout     connected, but silent for too long (504)
    │   └── ProviderBroken      bytes came that are not an answer, or stopped in the middle (502)
    ├── StoreFailure            the limit store could not be asked (503)
    ├── AnalyzerFailure         the analysis of personal data failed or was late (503)
    ├── BlockedReply            the model wrote what the profile does not let through (400)
    │   └── UnscannableReply    it answered with a picture or with sound, which nobody can search (400)
    └── Stopping                this process ends, and the exchange outlasted its grace (503)

A client reads only what stands in `REFUSALS` and `FAILURES` and the message that we wrote; never `str(exception)`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from gateway.limits.scopes import Remaining

# A retry cannot cure these: the SDKs would otherwise retry every 429 and 5xx (openai-python `_base_client.py`).


class Reason(StrEnum):
    """Why a request was refused. The value goes into records and metrics."""

    INVALID_KEY = "invalid_key"
    BAD_REQUEST = "bad_request"
    BODY_TOO_LARGE = "body_too_large"
    UNSUPPORTED_ENCODING = "unsupported_encoding"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    UNKNOWN_PATH = "unknown_path"
    UNKNOWN_MODEL = "unknown_model"
    UNKNOWN_OBJECT = "unknown_object"
    MODEL_NOT_ALLOWED = "model_not_allowed"
    ENDPOINT_NOT_ALLOWED = "endpoint_not_allowed"
    PARAMETER_NOT_ALLOWED = "parameter_not_allowed"
    DISABLED = "disabled"
    NO_PROVIDER = "no_provider"
    UNPRICED_MODEL = "unpriced_model"
    RATE_LIMITED = "rate_limited"
    OVER_BUDGET = "over_budget"
    NEVER_FITS = "never_fits"
    BLOCKED_CONTENT = "blocked_content"
    UNTRANSLATABLE = "untranslatable"
    UNSCANNABLE = "unscannable"
    NO_UPGRADE = "no_upgrade"


@dataclass(frozen=True, slots=True)
class Wire:
    """How a refusal or a failure looks to a client: OpenAI's status, `type` and `code`."""

    status: int
    type: str
    code: str | None
    retryable: bool


# Source: openai-openapi `ErrorResponse`, and the codes that clients match (help.openai.com 5955604, 6614457).
REFUSALS: dict[Reason, Wire] = {
    Reason.INVALID_KEY: Wire(401, "invalid_request_error", "invalid_api_key", False),
    Reason.BAD_REQUEST: Wire(400, "invalid_request_error", None, False),
    Reason.BODY_TOO_LARGE: Wire(413, "invalid_request_error", "request_too_large", False),
    Reason.UNSUPPORTED_ENCODING: Wire(415, "invalid_request_error", "unsupported_content_encoding", False),
    Reason.METHOD_NOT_ALLOWED: Wire(405, "invalid_request_error", "method_not_allowed", False),
    Reason.UNKNOWN_PATH: Wire(404, "invalid_request_error", "unknown_url", False),
    Reason.UNKNOWN_MODEL: Wire(404, "invalid_request_error", "model_not_found", False),
    Reason.UNKNOWN_OBJECT: Wire(404, "invalid_request_error", "object_not_found", False),
    Reason.MODEL_NOT_ALLOWED: Wire(403, "invalid_request_error", "model_not_allowed", False),
    Reason.ENDPOINT_NOT_ALLOWED: Wire(403, "invalid_request_error", "endpoint_not_allowed", False),
    Reason.PARAMETER_NOT_ALLOWED: Wire(400, "invalid_request_error", "parameter_not_allowed", False),
    Reason.DISABLED: Wire(403, "invalid_request_error", "disabled", False),
    Reason.NO_PROVIDER: Wire(403, "invalid_request_error", "no_provider", False),
    Reason.UNPRICED_MODEL: Wire(403, "invalid_request_error", "unpriced_model", False),
    Reason.RATE_LIMITED: Wire(429, "rate_limit_error", "rate_limit_exceeded", True),
    Reason.OVER_BUDGET: Wire(429, "insufficient_quota", "insufficient_quota", False),
    Reason.NEVER_FITS: Wire(400, "invalid_request_error", "request_exceeds_limit", False),
    Reason.UNTRANSLATABLE: Wire(400, "invalid_request_error", "unsupported_parameter", False),
    Reason.BLOCKED_CONTENT: Wire(400, "invalid_request_error", "content_policy_violation", False),
    Reason.UNSCANNABLE: Wire(403, "invalid_request_error", "unscannable_content", False),
    Reason.NO_UPGRADE: Wire(501, "invalid_request_error", "upgrade_not_supported", False),
}


@dataclass(frozen=True, slots=True)
class Rule:
    """Where a rule is written. `path` names it as an admin would: `keys.support-bot.limits.requests_per_minute`."""

    number: int  # its place in the policy set; what `x-gateway-decision` carries
    path: str
    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line} ({self.path})"


@final
@dataclass(frozen=True, slots=True)
class Refusal:
    """The gateway's no. `message` is read by the client; `rule` is the line of policy behind it, if one is."""

    reason: Reason
    message: str
    param: str | None = None
    rule: Rule | None = None
    retry_after: float | None = None  # seconds until the same request could pass; None: waiting does not help
    remaining: tuple[Remaining, ...] = ()  # how limits stand, for the headers
    allow: tuple[str, ...] = ()  # the methods that would do, where the method is what is wrong


class Failure(Exception):
    """Something broke. `detail` is for the record, never for the client."""

    wire = Wire(500, "server_error", "internal_error", True)
    client_message = "The gateway met an internal error."

    def __init__(self, detail: str = "") -> None:
        super().__init__(detail)
        self.detail = detail


class LateRefusal(Failure):
    """A refusal that came after the permit: a body that streams broke a rule on its way."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal
        self.wire = REFUSALS[refusal.reason]
        self.client_message = refusal.message


class ClientGone(Failure):
    wire = Wire(499, "client_error", "client_gone", False)
    client_message = "The client left."


class ClientTooSlow(Failure):
    wire = Wire(408, "invalid_request_error", "request_timeout", True)
    client_message = "The request's body did not arrive in time."


class ProviderFailure(Failure):
    wire = Wire(502, "server_error", "provider_error", True)
    client_message = "The model provider failed."


class ConnectFailed(ProviderFailure):
    wire = Wire(502, "server_error", "provider_unreachable", True)
    client_message = "The model provider could not be reached."


class ProviderTimeout(ProviderFailure):
    wire = Wire(504, "server_error", "provider_timeout", True)
    client_message = "The model provider did not answer in time."


class ProviderBroken(ProviderFailure):
    wire = Wire(502, "server_error", "provider_broken", True)
    client_message = "The model provider's answer broke off or could not be read."


class StoreFailure(Failure):
    wire = Wire(503, "server_error", "limits_unavailable", True)
    client_message = "Limits cannot be checked at the moment."
    of_the_call = False  # whether the store is there, and cannot do this one thing


class AnalyzerFailure(Failure):
    wire = Wire(503, "server_error", "redaction_unavailable", True)
    client_message = "The request could not be checked for personal data, and was not sent."


class BlockedReply(Failure):
    """`detail` is the entity type."""

    wire = Wire(400, "invalid_request_error", "content_policy_violation", False)
    client_message = "The model's reply holds personal data of a kind that may not be passed on."


class UnscannableReply(BlockedReply):
    """`detail` is the kind of content."""

    client_message = "The model's reply holds content that cannot be checked for personal data, and is not passed on."


class Stopping(Failure):
    wire = Wire(503, "server_error", "server_is_overloaded", True)
    client_message = "The gateway was stopped before the answer was complete."
