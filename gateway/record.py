"""The structured record of an exchange: one line for each, refused and broken ones included. Pure.

An allow-list: no content, no secret, nothing that is not named here. What does not apply is absent. Names follow
OpenTelemetry's GenAI conventions where one exists (open-telemetry/semantic-conventions-genai); ours begin with
`gateway.`. Times are milliseconds, money is USD and, exactly, nano-USD.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec

from gateway import __version__
from gateway.endpoints import OTHER
from gateway.errors import REFUSALS, AnalyzerFailure, Reason
from gateway.exchange import NONE_OVER, Exchange
from gateway.limits.answer import raised_words
from gateway.limits.reservation import Basis
from gateway.limits.scopes import Remaining
from gateway.limits.standing import odd
from gateway.reading import Ask
from gateway.routing.plan import ORDINARY

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


class Standing(msgspec.Struct, omit_defaults=True, rename=_NAMES):
    """What stands in the records of all exchanges of a kind: who asked, what for, by which rule, and who answered.
    `None` and empty: it does not apply."""

    method: str
    path: str
    policy: str
    decision: str
    event: str = ""
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
    model: str | None = None  # the policy's name: a wildcard has one for all that it stands for
    provider: str | None = None
    model_version: str | None = None
    upstream_model: str | None = None
    credential: str | None = None
    line: bytes | msgspec.UnsetType = msgspec.UNSET  # no field: all of it as JSON, kept by whoever writes it down


class Told(msgspec.Struct, omit_defaults=True, rename=_NAMES):
    """What one exchange has of its own in its record. First what is told of each, in the order in which `record_of`
    says it: by name it would take a dictionary, and set one by one three times as long."""

    timestamp: float  # Unix seconds
    request_id: str
    client: str
    ending: str
    status: int | None = None
    stream: bool = False
    request_bytes: int | None = None
    provider_status: int | None = None
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
    basis: str | None = None
    charged_tokens: int | None = None
    charged_usd: float | None = None
    charged_nano_usd: int | None = None
    ms_total: float | None = None
    ms_before_call: float | None = None
    ms_provider_head: float | None = None
    ms_first_byte: float | None = None

    max_tokens: int | None = None
    conversation: str | None = None
    client_request_id: str | None = None
    tags: tuple[str, ...] = ()
    error: str | None = None  # our own word for it (`errors.Reason`, or a failure's code)
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
    cached: int | None = None
    cache_write: int | None = None
    reasoning: int | None = None
    service_tier: str | None = None  # that was served, unless it is the ordinary one
    counted_by: str | None = None  # the encoding, where basis is `counted` and it was counted in tokens
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


class Record(NamedTuple):
    """One line, in two parts: the second is the same for many."""

    told: Told
    standing: Standing


def record_of(exchange: Exchange) -> Record:
    """The record of an exchange that has ended."""
    received, called, answered = exchange.received, exchange.called, exchange.answered
    ended, first_byte = exchange.ended, exchange.first_byte
    usage, charge, ask = exchange.usage, exchange.charge, exchange.ask
    used = usage if usage is not None and usage.basis is not _NOTHING else None
    told = Told(
        exchange.started_at,
        exchange.request_id,
        exchange.peer,
        exchange.ending or "",
        exchange.status,
        ask is not None and ask.stream,
        len(ask.body) if ask is not None and ask.body is not None else None,
        exchange.provider_status,
        exchange.provider_request_id,
        exchange.provider_error,
        exchange.told_code,
        exchange.response_id,
        exchange.response_model,
        exchange.finish_reasons,
        exchange.flags,
        exchange.dropped,
        used.input_tokens if used is not None else None,
        used.output_tokens if used is not None else None,
        usage.basis if usage is not None else None,
        charge.tokens if charge is not None else None,
        charge.nano_usd / 1e9 if charge is not None else None,
        charge.nano_usd if charge is not None else None,
        # Milliseconds in whole microseconds (`round` takes three times as long).
        int((ended - received) * 1e6 + 0.5) / 1e3 if ended is not None else None,
        int((called - received) * 1e6 + 0.5) / 1e3 if called is not None else None,
        int((answered - called) * 1e6 + 0.5) / 1e3 if called is not None and answered is not None else None,
        int((first_byte - received) * 1e6 + 0.5) / 1e3 if first_byte is not None else None,
    )
    if ask is not None:
        _say_asked(told, ask)
    if exchange.tier is not None and exchange.tier not in ORDINARY:
        told.service_tier = exchange.tier
    if (refusal := exchange.refusal) is not None:
        told.error, told.code = refusal.reason, REFUSALS[refusal.reason].code
        if refusal.reason not in QUOTING:
            told.message = refusal.message
    elif (failure := exchange.failure) is not None:
        told.error = told.code = failure.wire.code
        told.failure = f"{type(failure).__name__}: {failure.detail}"[:500]
    if used is not None and (used.cached or used.cache_write or used.reasoning):
        told.cached, told.cache_write = used.cached or None, used.cache_write or None
        told.reasoning = used.reasoning or None
    _say_limits(told, exchange)
    _say_redaction(told, exchange)
    return Record(told, _standing(exchange))


def _say_asked(told: Told, ask: Ask) -> None:
    """What few ask for: to set a field takes longer than to look."""
    if ask.max_output_tokens is not None:
        told.max_tokens = ask.max_output_tokens
    if ask.conversation is not None:
        told.conversation = ask.conversation
    if ask.client_request_id is not None:
        told.client_request_id = ask.client_request_id
    if ask.tags:
        told.tags = ask.tags


KINDS = 200  # of records of one decision that are remembered


def _standing(exchange: Exchange) -> Standing:
    """What stands in the records of all exchanges of this kind. It is kept with what was decided of them."""
    decided = exchange.permit.decided if exchange.permit is not None else None
    principal, attempt = exchange.principal, exchange.attempt
    if decided is None or principal is None or attempt is None or exchange.refusal is not None:
        return _named(exchange)
    kind = (
        principal.secret_id, exchange.credential, exchange.method, exchange.path, attempt.provider, attempt.version,
        attempt.model,
    )  # fmt: skip
    known: Standing | None = decided.records.get(kind)
    if known is None:
        if len(decided.records) >= KINDS:
            decided.records.clear()
        known = decided.records[kind] = _named(exchange)
    return known


def _named(exchange: Exchange) -> Standing:
    refusal, permit, endpoint = exchange.refusal, exchange.permit, exchange.endpoint
    rule = refusal.rule if refusal is not None else permit.rule if permit is not None else None
    standing = Standing(
        method=exchange.method,
        path=exchange.path if endpoint is not None and endpoint.name != OTHER else UNKNOWN,
        policy=exchange.policy.hash,
        decision=exchange.decision,
        event="exchange",
        version=__version__,
        rule=str(rule) if rule is not None else None,
        credential=exchange.credential,
    )
    if endpoint is not None:
        standing.endpoint, standing.operation = endpoint.name, endpoint.operation
    if (principal := exchange.principal) is not None:
        key = principal.key
        standing.key_id, standing.key_name, standing.key_secret = key.id, key.name, principal.secret_id
        standing.team, standing.tenant = key.team, key.tenant
        standing.labels = dict(key.labels) if key.labels else None
    if (ask := exchange.ask) is not None:
        known = permit is not None or ask.model is None or exchange.policy.model(ask.model) is not None
        standing.asked_model = ask.model if known else UNKNOWN
    if permit is not None and permit.models:
        standing.model = permit.models[0][0].name
    if (attempt := exchange.attempt) is not None:
        standing.provider, standing.upstream_model = attempt.provider, attempt.model
        standing.model_version = attempt.version
    return standing


def _say_limits(told: Told, exchange: Exchange) -> None:
    """What was held of limits, how they stood, and what went beyond them."""
    if (reservation := exchange.reservation) is not None:
        lease = reservation.lease
        if (estimate := reservation.held) is not None:
            told.estimate_input, told.estimate_output = estimate.input_tokens, estimate.output_tokens
            told.estimate_usd, told.estimate_by = estimate.nano_usd / 1e9, estimate.by
        if reservation.cap is not None:
            told.capped = reservation.cap
        if lease is not None and reservation.counted:
            told.store = "local" if lease.local else "store"
            _say_standing(told, lease.remaining)
    elif exchange.refusal is not None:
        _say_standing(told, exchange.refusal.remaining)
    if exchange.counted_by is not None:
        told.counted_by = exchange.counted_by
    if exchange.overshoot != NONE_OVER:
        tokens, nano_usd = exchange.overshoot
        told.overshoot_tokens, told.overshoot_nano_usd = tokens or None, nano_usd or None
    if (cut := exchange.cut) is not None:
        told.cut = f"{cut.limit.name} of {cut.scope.id} ({cut.limit.rule})"


def _say_standing(told: Told, standing: Iterable[Remaining]) -> None:
    standing = odd(standing)
    if exceptions := [raised_words(one.limit, one.scope) for one in standing if one.limit.until]:
        told.exceptions = tuple(exceptions)
    if shadow := [f"{one.limit.name} of {one.scope} ({one.limit.rule})" for one in standing if one.over]:
        told.shadow = tuple(shadow)


def _say_redaction(told: Told, exchange: Exchange) -> None:
    coverage = exchange.safe.coverage if exchange.safe is not None else None
    if coverage is not None:
        told.redaction, told.redaction_parts, told.redaction_bytes = coverage.profile, coverage.parts, coverage.bytes
        told.recognizers = coverage.recognizers
        told.spans, told.cache_hits = coverage.spans, coverage.cache_hits
        told.redaction_ms = round(coverage.milliseconds, 3)
        told.unscanned, told.redaction_failed = coverage.unscanned, coverage.failed
        told.recalled = coverage.recalled or None
    if (reply := exchange.reply) is not None:
        told.redaction, told.recognizers = reply.profile, reply.recognizers
        told.reply_parts, told.reply_bytes, told.reply_spans = reply.parts, reply.bytes, reply.spans
        told.reply_ms = round(reply.milliseconds, 3)
        told.reply_unscanned, told.reply_failed = reply.unscanned, reply.failed
    if isinstance(failure := exchange.failure, AnalyzerFailure):
        _say_uncovered(told, exchange, failure.detail[:200] or "failed")


def _say_uncovered(told: Told, exchange: Exchange, detail: str) -> None:
    """An analysis that failed where policy closes: what was not covered, and by which profile."""
    if exchange.safe is not None:
        told.reply_failed = told.reply_failed or detail
        return
    profile = exchange.permit.redaction if exchange.permit is not None else None
    told.redaction = profile.name if profile is not None else None
    told.redaction_failed = detail
