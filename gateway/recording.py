"""What the record of an exchange says, once it has ended. Pure.

Most exchanges were answered, are of a kind that was seen before, and have little of their own to tell: `record_of`
puts that down in one step, and has one look for all that others have to tell besides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gateway import __version__
from gateway.endpoints import OTHER
from gateway.errors import REFUSALS, AnalyzerFailure, Reason
from gateway.exchange import NONE_OVER, Ending, Exchange
from gateway.limits.answer import raised_words
from gateway.limits.reservation import Basis, Reservation
from gateway.limits.scopes import Remaining
from gateway.limits.standing import odd
from gateway.record import Record, Standing, Told, ToldMore, sealed
from gateway.redaction.safe import SafeRequest
from gateway.routing.plan import ORDINARY

_ANSWERED, _NOTHING = Ending.ANSWERED, Basis.NOTHING
UNKNOWN = "(unknown)"  # for a client's word that means nothing here: it might be a secret in a wrong place
QUOTING = frozenset({Reason.UNKNOWN_MODEL, Reason.UNKNOWN_PATH})  # refusals whose messages quote such a word
KINDS = 200  # of records of one decision that are remembered


def record_of(exchange: Exchange) -> Record:
    """The record of an exchange that has ended."""
    received, called, answered = exchange.received, exchange.called, exchange.answered
    first_byte, ended, permit, attempt = exchange.first_byte, exchange.ended, exchange.permit, exchange.attempt
    ask, usage, charge, reservation = exchange.ask, exchange.usage, exchange.charge, exchange.reservation
    if (
        called is None or answered is None or first_byte is None or ended is None or permit is None or attempt is None
        or ask is None or usage is None or charge is None or reservation is None
        or (decided := permit.decided) is None or (body := ask.body) is None or (safe := exchange.safe) is None
        or (basis := usage.basis) is _NOTHING or exchange.ending != _ANSWERED
        or exchange.refusal is not None or exchange.failure is not None
    ):  # fmt: skip
        return _unusual(exchange)
    kind = (
        permit.principal.secret_id, exchange.credential, exchange.method, exchange.path, attempt.provider,
        attempt.version, attempt.model, exchange.status, exchange.provider_status, ask.stream, basis, exchange.tier,
    )  # fmt: skip
    standing: Standing | None = decided.records.get(kind)
    if standing is None:
        if len(decided.records) >= KINDS:
            decided.records.clear()
        standing = decided.records[kind] = _standing(exchange)
    nano_usd = charge.nano_usd
    usual = (
        exchange.started_at, exchange.request_id, exchange.peer, len(body),
        ask.max_output_tokens, ask.conversation, ask.client_request_id, ask.tags,
        exchange.provider_request_id, exchange.provider_error, exchange.told_code,
        exchange.response_id, exchange.response_model, exchange.finish_reasons, exchange.flags, exchange.dropped,
        usage.input_tokens, usage.output_tokens, usage.cached, usage.cache_write, usage.reasoning, exchange.counted_by,
        charge.tokens, nano_usd / 1e9, nano_usd,
        # Milliseconds in whole microseconds, as `_ms` says them (`round` takes three times as long).
        ((ended - received) * 1e6 + 0.5) // 1.0 / 1e3, ((called - received) * 1e6 + 0.5) // 1.0 / 1e3,
        ((answered - called) * 1e6 + 0.5) // 1.0 / 1e3, ((first_byte - received) * 1e6 + 0.5) // 1.0 / 1e3,
        standing.line,
    )  # fmt: skip
    if reservation.held is None and safe.coverage is None and exchange.reply is None:
        return Record(Told(*usual), standing)
    more = (*usual, *_held(reservation), *_covered(safe))
    told = ToldMore(*more)
    _say_more(told, exchange)
    return Record(told, standing)


def _ms(since: float | None, until: float | None) -> float | None:
    return ((until - since) * 1e6 + 0.5) // 1.0 / 1e3 if since is not None and until is not None else None


def _unusual(exchange: Exchange) -> Record:
    """The record of one that was refused or went astray, or of which something is not known: whatever there is."""
    standing = _standing(exchange)
    told = ToldMore(exchange.started_at, exchange.request_id, exchange.peer, event=standing.line)
    if (ask := exchange.ask) is not None:
        told.request_bytes = len(ask.body) if ask.body is not None else None
        told.max_tokens, told.conversation = ask.max_output_tokens, ask.conversation
        told.client_request_id, told.tags = ask.client_request_id, ask.tags
    told.provider_request_id, told.provider_error = exchange.provider_request_id, exchange.provider_error
    told.code, told.counted_by, told.dropped = exchange.told_code, exchange.counted_by, exchange.dropped
    told.response_id, told.response_model = exchange.response_id, exchange.response_model
    told.finish_reasons, told.flags = exchange.finish_reasons, exchange.flags
    if (usage := exchange.usage) is not None and usage.basis is not _NOTHING:
        told.input_tokens, told.output_tokens = usage.input_tokens, usage.output_tokens
        told.cached, told.cache_write, told.reasoning = usage.cached, usage.cache_write, usage.reasoning
    if (charge := exchange.charge) is not None:
        told.charged_tokens, told.charged_nano_usd = charge.tokens, charge.nano_usd
        told.charged_usd = charge.nano_usd / 1e9
    told.ms_total, told.ms_before_call = _ms(exchange.received, exchange.ended), _ms(exchange.received, exchange.called)
    told.ms_provider_head = _ms(exchange.called, exchange.answered)
    told.ms_first_byte = _ms(exchange.received, exchange.first_byte)
    if (refusal := exchange.refusal) is not None:
        told.code = REFUSALS[refusal.reason].code
        if refusal.reason not in QUOTING:
            told.message = refusal.message
    elif (failure := exchange.failure) is not None:
        told.code = failure.wire.code
        told.failure = f"{type(failure).__name__}: {failure.detail}"[:500]
    (
        told.estimate_input, told.estimate_output, told.estimate_usd, told.estimate_by, told.store, told.capped
    ) = _held(exchange.reservation)  # fmt: skip
    (
        told.redaction, told.recognizers, told.redaction_parts, told.redaction_bytes, told.spans, told.cache_hits,
        told.redaction_ms, told.unscanned, told.redaction_failed, told.recalled,
    ) = _covered(exchange.safe)  # fmt: skip
    _say_more(told, exchange)
    if isinstance(failure := exchange.failure, AnalyzerFailure):
        _say_uncovered(told, exchange, failure.detail[:200] or "failed")
    return Record(told, standing)


def _standing(exchange: Exchange) -> Standing:
    """What stands in the records of all exchanges of this kind."""
    refusal, failure, permit, endpoint = exchange.refusal, exchange.failure, exchange.permit, exchange.endpoint
    rule = refusal.rule if refusal is not None else permit.rule if permit is not None else None
    standing = Standing(
        method=exchange.method,
        path=exchange.path if endpoint is not None and endpoint.name != OTHER else UNKNOWN,
        policy=exchange.policy.hash,
        decision=exchange.decision,
        ending=exchange.ending or "",
        status=exchange.status,
        version=__version__,
        rule=str(rule) if rule is not None else None,
        credential=exchange.credential,
        provider_status=exchange.provider_status,
        service_tier=exchange.tier if exchange.tier not in ORDINARY else None,
        basis=exchange.usage.basis if exchange.usage is not None else None,
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
        standing.asked_model, standing.stream = ask.model if known else UNKNOWN, ask.stream
    if permit is not None and permit.models:
        standing.model = permit.models[0][0].name
    if (attempt := exchange.attempt) is not None:
        standing.provider, standing.upstream_model = attempt.provider, attempt.model
        standing.model_version = attempt.version
    if refusal is not None:
        standing.error = refusal.reason
    elif failure is not None:
        standing.error = failure.wire.code
    return sealed(standing)


def _held(
    reservation: Reservation | None,
) -> tuple[int | None, int | None, float | None, str | None, str | None, int | None]:
    """What was held of limits, in `ToldMore`'s order."""
    if reservation is None:
        return None, None, None, None, None, None
    held, lease, store = reservation.held, reservation.lease, None
    if lease is not None:
        store = "local" if lease.local else "store"
    if held is None:
        return None, None, None, None, store, reservation.cap
    return held.input_tokens, held.output_tokens, held.nano_usd / 1e9, held.by, store, reservation.cap


_Covered = tuple[
    str | None, tuple[str, ...], int | None, int | None, Mapping[str, int] | None, int | None, float | None,
    tuple[str, ...], str | None, int,
]  # fmt: skip


def _covered(safe: SafeRequest | None) -> _Covered:
    """What was looked through, in `ToldMore`'s order."""
    if safe is None or (seen := safe.coverage) is None:
        return None, (), None, None, None, None, None, (), None, 0
    return (
        seen.profile, seen.recognizers, seen.parts, seen.bytes, seen.spans, seen.cache_hits,
        int(seen.milliseconds * 1e3 + 0.5) / 1e3, seen.unscanned, seen.failed, seen.recalled,
    )  # fmt: skip


def _say_more(told: ToldMore, exchange: Exchange) -> None:
    """How limits stood, what went beyond them, what the reply held."""
    if (reservation := exchange.reservation) is not None:
        if (lease := reservation.lease) is not None and (standing := odd(lease.remaining)):
            _say_limits(told, standing)
    elif exchange.refusal is not None:
        _say_limits(told, exchange.refusal.remaining)
    if exchange.overshoot != NONE_OVER:
        tokens, nano_usd = exchange.overshoot
        told.overshoot_tokens, told.overshoot_nano_usd = tokens or None, nano_usd or None
    if (cut := exchange.cut) is not None:
        told.cut = f"{cut.limit.name} of {cut.scope.id} ({cut.limit.rule})"
    if (reply := exchange.reply) is not None:
        told.redaction, told.recognizers = reply.profile, reply.recognizers
        told.reply_parts, told.reply_bytes, told.reply_spans = reply.parts, reply.bytes, reply.spans
        told.reply_ms = round(reply.milliseconds, 3)
        told.reply_unscanned, told.reply_failed = reply.unscanned, reply.failed


def _say_limits(told: ToldMore, standing: Sequence[Remaining]) -> None:
    if exceptions := [raised_words(one.limit, one.scope) for one in standing if one.limit.until]:
        told.exceptions = tuple(exceptions)
    if shadow := [f"{one.limit.name} of {one.scope} ({one.limit.rule})" for one in standing if one.over]:
        told.shadow = tuple(shadow)


def _say_uncovered(told: ToldMore, exchange: Exchange, detail: str) -> None:
    """An analysis that failed where policy closes: what was not covered, and by which profile."""
    if exchange.safe is not None:
        told.reply_failed = told.reply_failed or detail
        return
    profile = exchange.permit.redaction if exchange.permit is not None else None
    told.redaction = profile.name if profile is not None else None
    told.redaction_failed = detail
