"""The structured record of an exchange: one line for each, refused and broken ones included. Pure.

An allow-list: no content, no secret, nothing that is not named here. What does not apply is absent. Names follow
OpenTelemetry's GenAI conventions where one exists (open-telemetry/semantic-conventions-genai); ours begin with
`gateway.`. Times are milliseconds, money is USD and, exactly, nano-USD. `recording.py` fills it in.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

# attribute → name in the line
_NAMES = {
    "version": "gateway.version", "request_id": "gateway.request_id", "method": "http.request.method",
    "path": "url.path", "client": "client.address", "status": "http.response.status_code", "ending": "gateway.ending",
    "policy": "gateway.policy", "decision": "gateway.decision", "rule": "gateway.rule",
    "key_id": "gateway.key.id", "key_name": "gateway.key.name", "key_secret": "gateway.key.secret",
    "team": "gateway.team", "tenant": "gateway.tenant", "labels": "gateway.labels",
    "endpoint": "gateway.endpoint", "operation": "gen_ai.operation.name", "asked_model": "gen_ai.request.model",
    "max_tokens": "gen_ai.request.max_tokens", "stream": "gen_ai.request.stream",
    "conversation": "gen_ai.conversation.id", "client_request_id": "gateway.client_request_id", "tags": "gateway.tags",
    "request_bytes": "gateway.request_bytes", "model": "gateway.model", "provider": "gen_ai.provider.name",
    "model_version": "gateway.model.version", "upstream_model": "gateway.model.upstream",
    "credential": "gateway.provider.credential",
    "provider_status": "gateway.provider.status", "provider_request_id": "gateway.provider.request_id",
    "provider_error": "gateway.provider.error", "response_id": "gen_ai.response.id",
    "response_model": "gen_ai.response.model", "service_tier": "gateway.service_tier",
    "finish_reasons": "gen_ai.response.finish_reasons",
    "flags": "gateway.flags",
    "dropped": "gateway.dropped", "error": "error.type", "code": "gateway.error.code",
    "message": "gateway.message", "failure": "gateway.failure",
    "estimate_input": "gateway.estimate.input_tokens", "estimate_output": "gateway.estimate.output_tokens",
    "estimate_usd": "gateway.estimate.cost_usd", "estimate_by": "gateway.estimate.by", "store": "gateway.store",
    "overshoot_tokens": "gateway.overshoot.tokens", "overshoot_nano_usd": "gateway.overshoot.nano_usd",
    "cut": "gateway.cut", "exceptions": "gateway.exceptions", "shadow": "gateway.shadow", "capped": "gateway.capped",
    "input_tokens": "gen_ai.usage.input_tokens", "output_tokens": "gen_ai.usage.output_tokens",
    "cached": "gen_ai.usage.cache_read.input_tokens", "cache_write": "gen_ai.usage.cache_creation.input_tokens",
    "reasoning": "gen_ai.usage.reasoning.output_tokens", "basis": "gateway.usage.basis",
    "counted_by": "gateway.usage.by",
    "charged_tokens": "gateway.charged.tokens", "charged_usd": "gateway.charged.cost_usd",
    "charged_nano_usd": "gateway.charged.nano_usd",
    "ms_total": "gateway.ms.total", "ms_before_call": "gateway.ms.before_call",
    "ms_provider_head": "gateway.ms.provider_head", "ms_first_byte": "gateway.ms.first_byte",
    "redaction": "gateway.redaction.profile", "redaction_parts": "gateway.redaction.parts",
    "redaction_bytes": "gateway.redaction.bytes", "spans": "gateway.redaction.spans",
    "cache_hits": "gateway.redaction.cache_hits", "redaction_ms": "gateway.redaction.ms",
    "unscanned": "gateway.redaction.unscanned", "redaction_failed": "gateway.redaction.failed",
    "recalled": "gateway.redaction.recalled", "recognizers": "gateway.redaction.recognizers",
    "reply_parts": "gateway.redaction.reply.parts", "reply_bytes": "gateway.redaction.reply.bytes",
    "reply_spans": "gateway.redaction.reply.spans", "reply_ms": "gateway.redaction.reply.ms",
    "reply_unscanned": "gateway.redaction.reply.unscanned", "reply_failed": "gateway.redaction.reply.failed",
}  # fmt: skip


Sort = tuple[str, str, int | None, str, str | None, str | None]  # endpoint, model, status, ending, error, basis
_NO_LINE, _NO_SORT = msgspec.Raw(), ("", "", None, "", None, None)


class Standing(msgspec.Struct, omit_defaults=True, rename=_NAMES):
    """What stands in the records of all exchanges of a kind: who asked, what for, by which rule, who answered, and what
    came of it. `None` and empty: it does not apply."""

    method: str
    path: str
    policy: str
    decision: str
    ending: str
    status: int | None = None
    version: str = ""
    rule: str | None = None
    key_id: str | None = None
    key_name: str | None = None
    key_secret: str | None = None
    team: str | None = None
    tenant: str | None = None
    labels: Mapping[str, str] | None = None
    endpoint: str | None = None
    operation: str | None = None
    asked_model: str | None = None
    stream: bool = False
    model: str | None = None  # the policy's name: a wildcard has one for all that it stands for
    provider: str | None = None
    model_version: str | None = None
    upstream_model: str | None = None
    credential: str | None = None
    provider_status: int | None = None
    service_tier: str | None = None  # that was served, unless it is the ordinary one
    basis: str | None = None
    error: str | None = None  # our own word for it (`errors.Reason`, or a failure's code)
    line: msgspec.Raw = _NO_LINE  # no field: all of it, as `Told.event` takes it
    sort: Sort = _NO_SORT  # no field: what metrics add up by


class Told(msgspec.Struct, omit_defaults=True, rename=_NAMES, gc=False):
    """What an exchange has of its own in its record, in the order in which `recording.py` says it: by name it would
    take a dictionary, and set one by one three times as long."""

    timestamp: float  # Unix seconds
    request_id: str
    client: str
    request_bytes: int | None = None
    max_tokens: int | None = None
    conversation: str | None = None
    client_request_id: str | None = None
    tags: tuple[str, ...] = ()
    provider_request_id: str | None = None
    provider_error: str | None = None  # its code, never its message
    code: str | None = None  # what the client reads as `code`
    response_id: str | None = None
    response_model: str | None = None
    finish_reasons: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached: int = 0
    cache_write: int = 0
    reasoning: int = 0
    counted_by: str | None = None  # the encoding, where basis is `counted` and it was counted in tokens
    charged_tokens: int | None = None
    charged_usd: float | None = None
    charged_nano_usd: int | None = None
    ms_total: float | None = None
    ms_before_call: float | None = None
    ms_provider_head: float | None = None
    ms_first_byte: float | None = None
    event: msgspec.Raw = msgspec.Raw(b'"exchange"')  # and behind it, as it stands in a line, what `Standing` says


class ToldMore(Told, omit_defaults=True, rename=_NAMES, gc=False):
    """The same, and what is told of those that a limit holds, whose text is looked through, or that went astray."""

    estimate_input: int | None = None
    estimate_output: int | None = None
    estimate_usd: float | None = None
    estimate_by: str | None = None  # what the input was counted or bounded by
    store: str | None = None
    capped: int | None = None  # output tokens of each choice that a budget let leave

    redaction: str | None = None
    recognizers: tuple[str, ...] = ()  # the entity types that were looked for
    redaction_parts: int | None = None
    redaction_bytes: int | None = None
    spans: Mapping[str, int] | None = None
    cache_hits: int | None = None
    redaction_ms: float | None = None
    unscanned: tuple[str, ...] = ()
    redaction_failed: str | None = None
    recalled: int = 0  # placeholders of the stored conversation that this one continues

    message: str | None = None
    failure: str | None = None
    overshoot_tokens: int | None = None  # beyond what was held of budgets
    overshoot_nano_usd: int | None = None
    cut: str | None = None  # the budget that ended the answer before its time, and where it is written
    exceptions: tuple[str, ...] = ()  # limits that an exception had raised
    shadow: tuple[str, ...] = ()  # limits that are only watched, and would have refused
    reply_parts: int | None = None
    reply_bytes: int | None = None
    reply_spans: Mapping[str, int] | None = None
    reply_ms: float | None = None
    reply_unscanned: tuple[str, ...] = ()
    reply_failed: str | None = None


class Record(msgspec.Struct, gc=False):
    """One line, in two parts: the second is the same for many."""

    told: Told
    standing: Standing


_encoder = msgspec.json.Encoder()


def sealed(standing: Standing) -> Standing:
    """The same, of which every field is said: with what it comes to in a line, encoded once, so that a line is then
    made in one step; and with what it adds up to in metrics."""
    standing.line = msgspec.Raw(b'"exchange",' + as_json(standing)[1:-1])
    standing.sort = (
        standing.endpoint or "none", standing.model or "none", standing.status, standing.ending, standing.error,
        standing.basis,
    )  # fmt: skip
    return standing


def as_json(part: Told | Standing) -> bytes:
    """As JSON. msgspec escapes the control characters of ASCII; U+0085, U+2028 and U+2029, which some readers take for
    line ends, are escaped too."""
    try:
        line = _encoder.encode(part)
    except UnicodeEncodeError:  # what a client sent in a header is not always UTF-8
        line = _encoder.encode(_escaped(_named(part)))
    return one_line(line)


def one_line(line: bytes) -> bytes:
    """The same without what some readers take for the end of a line."""
    if not line.isascii():
        line = line.replace(b"\xe2\x80\xa8", rb"\u2028").replace(b"\xe2\x80\xa9", rb"\u2029")
        line = line.replace(b"\xc2\x85", rb"\u0085")
    return line


def _named(part: Told | Standing) -> dict[str, Any]:
    """What is told in a part, by the names in the line."""
    fields = msgspec.structs.fields(part)
    return {field.encode_name: one for field in fields if (one := getattr(part, field.name)) != field.default}


def _escaped(value: Any) -> Any:
    r"""The same with `\udcff` for each byte that was no UTF-8 (PEP 383)."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_escaped(name): _escaped(one) for name, one in value.items()}
    return [_escaped(one) for one in value] if isinstance(value, (list, tuple)) else value
