"""The structured record of an exchange: one line for each, refused and broken ones included. Pure.

An allow-list: no content, no secret, nothing that is not named here. What does not apply is absent. Names follow
OpenTelemetry's GenAI conventions where one exists (open-telemetry/semantic-conventions-genai); ours begin with
`gateway.`. Times are milliseconds, money is USD and, exactly, nano-USD.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from gateway import __version__
from gateway.endpoints import OTHER
from gateway.errors import REFUSALS, AnalyzerFailure, Reason
from gateway.exchange import NONE_OVER, Exchange
from gateway.limits.answer import raised_words
from gateway.limits.reservation import Basis
from gateway.limits.scopes import Remaining
from gateway.limits.standing import odd

_NOTHING = Basis.NOTHING
UNKNOWN = "(unknown)"  # for a client's word that means nothing here: it might be a secret in a wrong place
QUOTING = frozenset({Reason.UNKNOWN_MODEL, Reason.UNKNOWN_PATH})  # refusals whose messages quote such a word

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
    "response_model": "gen_ai.response.model", "finish_reasons": "gen_ai.response.finish_reasons",
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


class Record(msgspec.Struct, omit_defaults=True, rename=_NAMES):
    """One line. `None` and empty: it does not apply."""

    timestamp: float  # Unix seconds
    request_id: str
    method: str
    path: str
    client: str
    ending: str
    policy: str
    decision: str
    event: str = ""
    version: str = ""
    status: int | None = None
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
    max_tokens: int | None = None
    stream: bool = False
    conversation: str | None = None
    client_request_id: str | None = None
    tags: tuple[str, ...] = ()
    request_bytes: int | None = None
    model: str | None = None  # the policy's name: a wildcard has one for all that it stands for
    provider: str | None = None
    model_version: str | None = None
    upstream_model: str | None = None
    credential: str | None = None
    provider_status: int | None = None
    provider_request_id: str | None = None
    provider_error: str | None = None  # its code, never its message
    response_id: str | None = None
    response_model: str | None = None
    finish_reasons: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    error: str | None = None  # our own word for it (`errors.Reason`, or a failure's code)
    code: str | None = None  # what the client reads as `code`
    message: str | None = None
    failure: str | None = None
    estimate_input: int | None = None
    estimate_output: int | None = None
    estimate_usd: float | None = None
    estimate_by: str | None = None  # what the input was counted or bounded by
    store: str | None = None
    overshoot_tokens: int | None = None  # beyond what was held of budgets
    overshoot_nano_usd: int | None = None
    cut: str | None = None  # the budget that ended the answer before its time, and where it is written
    exceptions: tuple[str, ...] = ()  # limits that an exception had raised
    shadow: tuple[str, ...] = ()  # limits that are only watched, and would have refused
    capped: int | None = None  # output tokens of each choice that a budget let leave
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached: int | None = None
    cache_write: int | None = None
    reasoning: int | None = None
    basis: str | None = None
    counted_by: str | None = None  # the encoding, where basis is `counted` and it was counted in tokens
    charged_tokens: int | None = None
    charged_usd: float | None = None
    charged_nano_usd: int | None = None
    ms_total: float | None = None
    ms_before_call: float | None = None
    ms_provider_head: float | None = None
    ms_first_byte: float | None = None
    redaction: str | None = None
    recognizers: tuple[str, ...] = ()  # the entity types that were looked for
    redaction_parts: int | None = None
    redaction_bytes: int | None = None
    spans: Mapping[str, int] | None = None
    cache_hits: int | None = None
    redaction_ms: float | None = None
    unscanned: tuple[str, ...] = ()
    redaction_failed: str | None = None
    recalled: int | None = None  # placeholders of the stored conversation that this one continues
    reply_parts: int | None = None
    reply_bytes: int | None = None
    reply_spans: Mapping[str, int] | None = None
    reply_ms: float | None = None
    reply_unscanned: tuple[str, ...] = ()
    reply_failed: str | None = None


def record_of(exchange: Exchange) -> Record:
    """The record of an exchange that has ended."""
    record = _standing(exchange)
    record.timestamp, record.request_id, record.client = exchange.started_at, exchange.request_id, exchange.peer
    record.ending, record.status = exchange.ending or "", exchange.status
    if (ask := exchange.ask) is not None:
        record.max_tokens, record.stream = ask.max_output_tokens, ask.stream
        record.conversation, record.client_request_id = ask.conversation, ask.client_request_id
        record.tags = ask.tags
        record.request_bytes = len(ask.body) if ask.body is not None else None
    if exchange.called is not None:
        record.provider_status, record.provider_request_id = exchange.provider_status, exchange.provider_request_id
        record.provider_error, record.finish_reasons = exchange.provider_error, exchange.finish_reasons
        record.code = exchange.told_code
        record.response_id, record.response_model = exchange.response_id, exchange.response_model
    if exchange.flags:
        record.flags = tuple(exchange.flags)
    record.dropped = exchange.dropped
    _say_times(record, exchange)
    if (refusal := exchange.refusal) is not None:
        record.error, record.code = refusal.reason, REFUSALS[refusal.reason].code
        if refusal.reason not in QUOTING:
            record.message = refusal.message
    elif (failure := exchange.failure) is not None:
        record.error = record.code = failure.wire.code
        record.failure = f"{type(failure).__name__}: {failure.detail}"[:500]
    _say_use(record, exchange)
    return record


KINDS = 200  # of records of one decision that are remembered


def _standing(exchange: Exchange) -> Record:
    """What stands in the records of all exchanges of a kind: who asked, what for, by which rule, and who answered.
    It is kept with what was decided of them."""
    decided = exchange.permit.decided if exchange.permit is not None else None
    principal, attempt = exchange.principal, exchange.attempt
    if decided is None or principal is None or attempt is None or exchange.refusal is not None:
        return _named(exchange)
    kind = (
        principal.secret_id, exchange.credential, exchange.method, exchange.path, attempt.provider, attempt.version,
        attempt.model,
    )  # fmt: skip
    known = decided.records.get(kind)
    if known is None:
        if len(decided.records) >= KINDS:
            decided.records.clear()
        known = decided.records[kind] = _named(exchange)
    return msgspec.structs.replace(known)


def _named(exchange: Exchange) -> Record:
    refusal, permit, endpoint = exchange.refusal, exchange.permit, exchange.endpoint
    rule = refusal.rule if refusal is not None else permit.rule if permit is not None else None
    record = Record(
        timestamp=0.0,
        request_id="",
        method=exchange.method,
        path=exchange.path if endpoint is not None and endpoint.name != OTHER else UNKNOWN,
        client="",
        ending="",
        policy=exchange.policy.hash,
        decision=exchange.decision,
        event="exchange",
        version=__version__,
        rule=str(rule) if rule is not None else None,
        credential=exchange.credential,
    )
    if endpoint is not None:
        record.endpoint, record.operation = endpoint.name, endpoint.operation
    if (principal := exchange.principal) is not None:
        key = principal.key
        record.key_id, record.key_name, record.key_secret = key.id, key.name, principal.secret_id
        record.team, record.tenant = key.team, key.tenant
        record.labels = dict(key.labels) if key.labels else None
    if (ask := exchange.ask) is not None:
        known = permit is not None or ask.model is None or exchange.policy.model(ask.model) is not None
        record.asked_model = ask.model if known else UNKNOWN
    if permit is not None and permit.models:
        record.model = permit.models[0][0].name
    if (attempt := exchange.attempt) is not None:
        record.provider, record.model_version, record.upstream_model = attempt.provider, attempt.version, attempt.model
    return record


def _say_times(record: Record, exchange: Exchange) -> None:
    received, called, answered = exchange.received, exchange.called, exchange.answered
    if exchange.ended is not None:
        record.ms_total = _ms(exchange.ended - received)
    if called is not None:
        record.ms_before_call = _ms(called - received)
        if answered is not None:
            record.ms_provider_head = _ms(answered - called)
    if exchange.first_byte is not None:
        record.ms_first_byte = _ms(exchange.first_byte - received)


def _ms(seconds: float) -> float:
    """Milliseconds in whole microseconds (`round` takes three times as long)."""
    return int(seconds * 1e6 + 0.5) / 1e3


def _say_use(record: Record, exchange: Exchange) -> None:
    if (reservation := exchange.reservation) is not None:
        lease = reservation.lease
        if (estimate := reservation.held) is not None:
            record.estimate_input, record.estimate_output = estimate.input_tokens, estimate.output_tokens
            record.estimate_usd, record.estimate_by = estimate.nano_usd / 1e9, estimate.by
        record.capped = reservation.cap
        if lease is not None and reservation.counted:
            record.store = "local" if lease.local else "store"
            _say_limits(record, lease.remaining)
    elif exchange.refusal is not None:
        _say_limits(record, exchange.refusal.remaining)
    _say_charge(record, exchange)
    coverage = exchange.safe.coverage if exchange.safe is not None else None
    if coverage is not None:
        record.redaction, record.redaction_parts, record.redaction_bytes = (
            coverage.profile, coverage.parts, coverage.bytes,
        )  # fmt: skip
        record.recognizers = coverage.recognizers
        record.spans, record.cache_hits = coverage.spans, coverage.cache_hits
        record.redaction_ms = round(coverage.milliseconds, 3)
        record.unscanned, record.redaction_failed = coverage.unscanned, coverage.failed
        record.recalled = coverage.recalled or None
    if (reply := exchange.reply) is not None:
        record.redaction, record.recognizers = reply.profile, reply.recognizers
        record.reply_parts, record.reply_bytes, record.reply_spans = reply.parts, reply.bytes, reply.spans
        record.reply_ms = round(reply.milliseconds, 3)
        record.reply_unscanned, record.reply_failed = reply.unscanned, reply.failed
    if isinstance(failure := exchange.failure, AnalyzerFailure):
        _say_uncovered(record, exchange, failure.detail[:200] or "failed")


def _say_charge(record: Record, exchange: Exchange) -> None:
    if exchange.overshoot != NONE_OVER:
        tokens, nano_usd = exchange.overshoot
        record.overshoot_tokens, record.overshoot_nano_usd = tokens or None, nano_usd or None
    if (cut := exchange.cut) is not None:
        record.cut = f"{cut.limit.name} of {cut.scope.id} ({cut.limit.rule})"
    if (usage := exchange.usage) is not None:
        record.basis, record.counted_by = usage.basis, exchange.counted_by
        if usage.basis is not _NOTHING:
            record.input_tokens, record.output_tokens = usage.input_tokens, usage.output_tokens
            if usage.cached or usage.cache_write or usage.reasoning:
                record.cached, record.cache_write = usage.cached or None, usage.cache_write or None
                record.reasoning = usage.reasoning or None
    if (charge := exchange.charge) is not None:
        record.charged_tokens, record.charged_nano_usd = charge.tokens, charge.nano_usd
        record.charged_usd = charge.nano_usd / 1e9


def _say_uncovered(record: Record, exchange: Exchange, detail: str) -> None:
    """An analysis that failed where policy closes: what was not covered, and by which profile."""
    if exchange.safe is not None:
        record.reply_failed = record.reply_failed or detail
        return
    profile = exchange.permit.redaction if exchange.permit is not None else None
    record.redaction = profile.name if profile is not None else None
    record.redaction_failed = detail


def _say_limits(record: Record, standing: Iterable[Remaining]) -> None:
    standing = odd(standing)
    exceptions = [raised_words(one.limit, one.scope) for one in standing if one.limit.until]
    record.exceptions = tuple(exceptions)
    record.shadow = tuple(f"{one.limit.name} of {one.scope} ({one.limit.rule})" for one in standing if one.over)
