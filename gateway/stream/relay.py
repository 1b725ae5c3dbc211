"""relay: a provider's answer on its way to the client. One loop owns both ends.

Whatever ends it, the caller finds in the exchange what was used: by the provider's word, else by our own count of what
passed. Nothing is awaited here but the two ports, so the loop is the same for every technology.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import msgspec

from gateway.errors import ClientGone, Failure, ProviderBroken, ProviderFailure, Wire
from gateway.exchange import Ending, Exchange, Phase
from gateway.limits.answer import cut_words
from gateway.limits.reservation import Basis, Usage
from gateway.limits.scopes import Denial, Lease
from gateway.policy.permit import decision_id
from gateway.ports import Clock, Head, Provider, Reply, Upstream
from gateway.providers.errors import OVERLOADED, client_error
from gateway.reading import Ask, writes_json
from gateway.redaction.restore import restore_body
from gateway.redaction.safe import SafeRequest
from gateway.shapes.shape import Said, Shape
from gateway.shapes.table import SHAPES
from gateway.stream.cutter import Cutter
from gateway.stream.filters import BYTES_PER_TOKEN, Meter
from gateway.stream.incoming import Incoming, decoded
from gateway.stream.opaque import LARGEST_ANSWER, is_stream, passed_lines, read_whole, relay_opaque
from gateway.stream.recount import recount
from gateway.stream.sse import Decoder, Event
from gateway.stream.stages import Stages, passage
from gateway.stream.terminators import TERMINATORS, comment
from gateway.tokens.counting import Counting
from gateway.tokens.passed import said_in
from gateway.translation.neutral import Unreadable
from gateway.translation.pairs import Translation

LARGEST_ERROR = 256 << 10  # bytes of a provider's error that are read


class _Object(msgspec.Struct):
    """Any JSON object: what is not named is skipped, not built."""


_object = msgspec.json.Decoder(_Object)


GrowLease = Callable[[Lease, int, int], Awaitable[Denial | None]]  # the store's `grow`


class Answer(msgspec.Struct, frozen=True):
    """Evidence that a provider was called with a body that may leave, and has begun to answer."""

    provider: Provider
    upstream: Upstream
    safe: SafeRequest
    lines: str  # ours of its head: limits, decision, version
    see: Callable[[bytes], Awaitable[bytes]] | None = None  # a JSON answer that we do not meter, as the client sees it
    translation: Translation | None = None  # where the provider speaks another dialect than the client


def relay(
    exchange: Exchange, answer: Answer, reply: Reply, clock: Clock, counting: Counting, grow: GrowLease
) -> Awaitable[None]:  # fmt: skip
    """What brings the answer to the client; then it is the caller's to close. `grow` holds more of a lease, as a stream
    passes. Raises Failure only while nothing has been sent to the client, ClientGone at any time."""
    upstream, endpoint = answer.upstream, _ask(exchange).endpoint
    if upstream.status >= 400:
        return _relay_error(exchange, answer, reply)
    if not endpoint.visible:
        return relay_opaque(exchange, answer, reply, clock)
    if is_stream(upstream.headers):
        return _relay_stream(exchange, answer, reply, clock, counting, grow)
    shape = SHAPES[endpoint.shape]
    if (body := upstream.rest_now()) is None:
        return _relay_rest(exchange, answer, shape, reply, clock, counting)
    return _relay_now(exchange, answer, shape, reply, clock, counting, body)


async def _relay_error(exchange: Exchange, answer: Answer, reply: Reply) -> None:
    body = await read_whole(answer.upstream, LARGEST_ERROR)
    await _send_error(exchange, answer, reply, answer.upstream.status, body)


async def _send_error(exchange: Exchange, answer: Answer, reply: Reply, status: int, body: bytes) -> None:
    error = client_error(status, answer.upstream.headers, restore_text(answer, body))
    exchange.provider_error, exchange.told_code = error.provider_code, error.code
    exchange.usage = Usage(basis=Basis.NOTHING)
    exchange.enter(Phase.RELAYING)
    told = exchange.dialect.overloaded if error.code == OVERLOADED else error.status
    exchange.ending, exchange.status = Ending.PROVIDER_ERROR, told
    wire = Wire(told, error.type, error.code, error.retryable)
    own: tuple[tuple[str, str], ...] = (("content-type", "application/json"),)
    if not error.retryable:
        own += (("x-should-retry", "false"),)
    elif error.retry_after is not None:
        own += (("retry-after", f"{error.retry_after:g}"),)
    body = exchange.dialect.envelope(wire, error.message, error.param, exchange.request_id)
    await reply.send(Head(wire.status, own, answer.lines), body)


def restore_text(answer: Answer, body: bytes) -> bytes:
    """An error may quote the request; the client reads its own words there too."""
    return restore_body(body, answer.safe.restore) if answer.safe.restore else body


async def _relay_rest(
    exchange: Exchange, answer: Answer, shape: Shape, reply: Reply, clock: Clock, counting: Counting
) -> None:  # fmt: skip
    """A whole answer is read before the client hears of it, so whatever breaks it is still an error with a status."""
    try:
        body = await read_whole(answer.upstream, LARGEST_ANSWER)
    except BaseException:
        exchange.usage = abandoned(exchange)
        raise
    await _relay_now(exchange, answer, shape, reply, clock, counting, body)


def _relay_now(
    exchange: Exchange, answer: Answer, shape: Shape, reply: Reply, clock: Clock, counting: Counting, body: bytes
) -> Awaitable[None]:  # fmt: skip
    """A whole answer that is here. One that is sound, says its usage and passes as it is goes straight on."""
    if answer.translation is not None:
        return _relay_whole(exchange, answer, shape, reply, clock, counting, body)
    said, safe = shape.whole(body), answer.safe
    usage = said.usage if said.is_sound else None
    if usage is None or safe.restore or safe.reply is not None or safe.keep is not None:
        return _relay_whole(exchange, answer, shape, reply, clock, counting, body, said)
    exchange.usage = usage
    exchange.response_id, exchange.response_model = said.response_id, said.model
    exchange.finish_reasons, exchange.tier = said.finish_reasons, said.tier
    return _send_whole(exchange, answer, reply, clock, body)


async def _relay_whole(
    exchange: Exchange, answer: Answer, shape: Shape, reply: Reply, clock: Clock, counting: Counting, body: bytes,
    said: Said | None = None,
) -> None:  # fmt: skip
    """A whole answer that may be an error, or be no object, or must be translated, counted, searched or restored.
    `said` by it, where it is not to be translated."""
    if (said is None or not said.is_sound) and _spoken_shape(answer, shape).is_error(body):
        await _send_error(exchange, answer, reply, answer.upstream.status, body)
        return
    if said is None or not said.is_object:
        try:
            body = _own_words(answer, body)
        except ProviderBroken:
            exchange.usage = abandoned(exchange)
            raise
        said = shape.whole(body)
    exchange.usage = _used_by_whole(exchange, shape, said, body)
    if exchange.usage.basis is Basis.COUNTED:
        await recount(exchange, counting)
    exchange.response_id, exchange.response_model = said.response_id, said.model
    exchange.finish_reasons, exchange.tier = said.finish_reasons, said.tier
    if (keep := answer.safe.keep) is not None and said.response_id is not None:
        await keep.under(said.response_id)
    if (guard := answer.safe.reply) is not None:
        try:
            body = await guard.whole(body, shape.texts)
        finally:
            exchange.reply = guard.coverage
    if answer.safe.restore:
        body = restore_body(body, answer.safe.restore, json_text=writes_json(_ask(exchange)))
    await _send_whole(exchange, answer, reply, clock, body)


def _send_whole(exchange: Exchange, answer: Answer, reply: Reply, clock: Clock, body: bytes) -> Awaitable[None]:
    """What a whole answer came to is known, and its body is as the client sees it."""
    status = answer.upstream.status
    head = Head(status, (), passed_lines(answer.upstream) + answer.lines + exchange.cost_line())
    exchange.enter(Phase.RELAYING)
    exchange.first_byte = clock.monotonic()
    exchange.ending, exchange.status = Ending.ANSWERED, status
    return reply.send(head, body)


async def _relay_stream(
    exchange: Exchange, answer: Answer, reply: Reply, clock: Clock, counting: Counting, grow: GrowLease
) -> None:  # fmt: skip
    ask, shape, upstream = _ask(exchange), _shape(exchange), answer.upstream
    meter = shape.meter(not ask.include_usage)
    cutter = _cutter(exchange, meter, counting, grow)
    metered = cutter.tail if cutter is not None else None
    stages = Stages(meter, answer.safe, shape, json_text=writes_json(ask), metered=metered)
    incoming = Incoming(Decoder(), answer.translation)
    try:
        first = await _first_events(upstream, incoming.decoder)
        data = next(event.data for event in first if event.data is not None)
        if _spoken_shape(answer, shape).is_error(data):
            await _send_error(exchange, answer, reply, upstream.status, data)
            return
        events, last = incoming.translated(first), False
        early = stages.plain(events) if cutter is None and not stages.wait else None
        await _begin(exchange, answer, reply, clock, early or b"")
        flow = _Flow(upstream, reply, incoming, meter, stages)
        try:
            events = events if early is None else ()
            while True:
                if cutter is not None:
                    events = await cutter.feed(events)
                    if cutter.denial is not None:
                        events, last = [*events, *_at_the_line(exchange, cutter, meter.input_tokens)], True
                if out := await stages.passed(events, last=last) if stages.wait else stages.plain(events, last=last):
                    await reply.write(out)
                if last:
                    break
                if cutter is None and not stages.wait:
                    await flow.over()
                data = await upstream.chunk()
                last = not data
                events = incoming.finish() if last else incoming.feed(data)
            if exchange.cut is None:
                exchange.ending = Ending.PROVIDER_ERROR if meter.error else Ending.ANSWERED
        except Failure as failure:
            if isinstance(failure, ClientGone):
                raise
            # Too late for a status; and the client must not take what it has for the whole.
            exchange.ending, exchange.failure = Ending.TRUNCATED, failure
            text = f"{failure.client_message} (request {exchange.request_id})"
            error = shape.stream_error(failure.wire, text, exchange.request_id, meter)
            await reply.write(await stages.farewell(error))
        if exchange.usage is None:
            exchange.usage = _used_by_stream(exchange, meter)
            await recount(exchange, counting)  # before the end: afterwards nobody waits for us
        await reply.end()
    finally:
        _note(exchange, meter, answer.safe)


async def _begin(exchange: Exchange, answer: Answer, reply: Reply, clock: Clock, first: bytes) -> None:
    """The head of a stream, and in the same write what there is of it."""
    exchange.enter(Phase.RELAYING)
    exchange.first_byte = clock.monotonic()
    exchange.status = status = answer.upstream.status
    await reply.begin(Head(status, (), passed_lines(answer.upstream) + answer.lines), first)


class _Flow:
    """The pieces of a stream that pass without a wait; the loop waits for the end of them."""

    def __init__(self, upstream: Upstream, reply: Reply, incoming: Incoming, meter: Meter, stages: Stages) -> None:
        self._upstream, self._reply = upstream, reply
        put = reply.put()
        self._take = passage(incoming, meter, stages, put) if put is not None else None

    async def over(self) -> None:
        """Returns when what is left, if only the end, is to be waited for. Raises ProviderBroken, ClientGone."""
        if self._take is not None:
            while await self._upstream.flow(self._take):
                await self._reply.room()


def _note(exchange: Exchange, meter: Meter, safe: SafeRequest) -> None:
    """What a stream said of itself, however it ended."""
    if exchange.usage is None:
        exchange.usage = _used_by_stream(exchange, meter)
    exchange.response_id, exchange.response_model = meter.response_id, meter.model
    exchange.finish_reasons, exchange.tier = tuple(meter.finish_reasons), meter.tier
    exchange.flags += tuple(meter.flags)
    exchange.reply = safe.reply.coverage if safe.reply is not None else None


def _cutter(exchange: Exchange, meter: Meter, counting: Counting, grow: GrowLease) -> Cutter | None:
    """Where a budget cuts: what stands in the meter's place. None: nothing does."""
    reservation, ask = exchange.reservation, exchange.ask
    if reservation is None or reservation.line is None or reservation.lease is None or ask is None:
        return None
    terminator = TERMINATORS.get(ask.endpoint.shape)
    if terminator is None:
        return None
    count = partial(counting.text, model=exchange.attempt.model if exchange.attempt is not None else ask.model)
    most = exchange.estimate.output_tokens if _bounded(exchange, ask) else None
    return Cutter(reservation.line, partial(grow, reservation.lease), count, meter, terminator(), most)


def _bounded(exchange: Exchange, ask: Ask) -> bool:
    """Whether a maximum of output left with the request."""
    edits = exchange.permit.edits if exchange.permit is not None else ()
    return ask.max_output_tokens is not None or any(name in _shape(exchange).output_names for name, _ in edits)


def _at_the_line(exchange: Exchange, cutter: Cutter, input_tokens: int | None) -> list[Event]:
    """End the answer as if the model had reached its maximum: the events that do, and a comment that says why."""
    assert cutter.denial is not None and exchange.ask is not None  # noqa: S101, PT018  # INVARIANT: it has been cut
    exchange.ending, exchange.cut = Ending.CUT, cutter.denial
    exchange.usage = counted(exchange, cutter.passed, input_tokens)
    exchange.counted_by = cutter.text.by
    decision = decision_id(exchange.policy, cutter.denial.limit.rule)
    end = cutter.terminator.end(exchange.usage, include_usage=exchange.ask.include_usage)
    return [comment(f"{cut_words(cutter.denial)} (decision {decision})"), *end]


def _spoken_shape(answer: Answer, shape: Shape) -> Shape:
    """The shape that tells an error of the provider's: its own dialect's. Gemini's errors look like OpenAI's."""
    return shape if answer.translation is None else SHAPES.get(answer.translation.provider, SHAPES["chat"])


def _own_words(answer: Answer, body: bytes) -> bytes:
    """A whole answer in the client's dialect. Raises ProviderBroken where it is none."""
    if not _is_object(body):
        raise ProviderBroken("no JSON object")
    if answer.translation is None:
        return body
    try:
        return answer.translation.whole(body)
    except Unreadable as error:
        raise ProviderBroken(str(error)) from None


async def _first_events(upstream: Upstream, decoder: Decoder) -> Sequence[Event]:
    """The first events with data, which decide about our own status. Raises ProviderBroken where there are none."""
    events: list[Event] = []
    while (first := next((event.data for event in events if event.data is not None), None)) is None:
        data = await upstream.chunk()
        if data:
            events.extend(decoded(decoder, data))
        elif rest := decoder.finish():
            events.extend(rest)
        else:
            raise ProviderBroken("a stream without a single event")
    if not first.startswith(b"[DONE]") and not _is_object(first):
        raise ProviderBroken("a stream that begins with no JSON object")
    return events


def _is_object(data: bytes) -> bool:
    try:
        _object.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False
    return True


def counted(exchange: Exchange, output_tokens: int, input_tokens: int | None = None) -> Usage:
    """Our own count of an answer whose provider did not say: the input that it told, else the reserved one, and what
    passed of the output."""
    assert exchange.reservation is not None  # noqa: S101  # INVARIANT: see relay
    if input_tokens is None:
        input_tokens = exchange.estimate.input_tokens
    return Usage(input_tokens, output_tokens, basis=Basis.COUNTED)


def _used_by_whole(exchange: Exchange, shape: Shape, said: Said, body: bytes) -> Usage:
    if shape.free:
        return Usage()
    if said.usage is not None:
        return said.usage
    if said.pending:  # it works on in the background, and nobody tells us what it comes to
        return abandoned(exchange)
    if not shape.default_output:
        return counted(exchange, 0)
    exchange.passed = said_in(body)
    return counted(exchange, -(-exchange.passed.size // BYTES_PER_TOKEN))


def _used_by_stream(exchange: Exchange, meter: Meter) -> Usage:
    if meter.usage is not None:
        return meter.usage
    exchange.passed = meter.passed
    return counted(exchange, meter.output_tokens(), meter.input_tokens)


def _ask(exchange: Exchange) -> Ask:
    assert exchange.ask is not None  # noqa: S101  # INVARIANT: see relay
    return exchange.ask


def _shape(exchange: Exchange) -> Shape:
    assert exchange.ask is not None  # noqa: S101  # INVARIANT: see relay
    return SHAPES[exchange.ask.endpoint.shape]


def abandoned(exchange: Exchange) -> Usage:
    """The stated estimate of an answer that a provider worked on and nobody received: what was reserved."""
    assert exchange.reservation is not None  # noqa: S101  # INVARIANT: see relay
    estimate = exchange.estimate
    return Usage(estimate.input_tokens, estimate.output_tokens, basis=Basis.ABANDONED)


def final_usage(exchange: Exchange) -> Usage:
    """What was used where the relay did not say: nothing before a body left; once it left, a client that goes away
    does not make the provider's work free (docs/decisions/0004)."""
    if exchange.usage is not None:
        return exchange.usage
    left = exchange.called is not None and not isinstance(exchange.failure, ProviderFailure)
    if not left or exchange.ending is not Ending.CLIENT_GONE:
        return Usage(basis=Basis.NOTHING)
    used = counted(exchange, 0)
    if exchange.ask is not None and not exchange.ask.stream and exchange.reservation is not None:
        output = exchange.estimate.output_tokens
        return msgspec.structs.replace(used, output_tokens=output, basis=Basis.ABANDONED)
    return used
