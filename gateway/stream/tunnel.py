"""tunnel: a WebSocket between a client and a provider (OpenAI's Realtime API). Messages pass as they are, each end no
faster than the other takes them.

What is read of them: usage, which the provider tells with each `response.done`; and what a client asks for in
`session.update` and `response.create`, which is held to the key's rules like a body.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote

import msgspec
from msgspec import structs

from gateway.dialects import OPENAI
from gateway.errors import REFUSALS, Reason, Refusal, Wire
from gateway.exchange import Ending, Exchange, Phase
from gateway.fields import fields_of
from gateway.identity.secrets import PROTOCOL
from gateway.limits.reservation import Basis, Usage
from gateway.policy.decide import event_check
from gateway.policy.permit import Permit
from gateway.ports import (
    Arrival,
    Clock,
    Granting,
    Head,
    Message,
    Opening,
    Provider,
    Reply,
    Socket,
    Sockets,
    UpstreamRequest,
)
from gateway.providers.errors import client_error
from gateway.stream.filters import credible_usage
from gateway.telemetry.tasks import start

GOING_AWAY, POLICY = 1001, 1008  # RFC 6455 section 7.4.1
Check = Callable[[bytes], Refusal | None]


class _Response(msgspec.Struct):
    usage: msgspec.Raw = msgspec.Raw(b"")


class _Done(msgspec.Struct):
    type: str = ""
    response: _Response | None = None


_done = msgspec.json.Decoder(_Done)


def renamed(raw_query: str, model: str) -> str:
    """The query with another model; the rest as it came."""
    return re.sub(r"(?<![^&])model=[^&]*", lambda _: "model=" + quote(model, safe=""), raw_query)


def protocols_of(text: str) -> tuple[str, ...]:
    """The subprotocols that a client offers and a provider may see: all but those that carry a key."""
    offered = (one.strip() for one in text.split(","))
    return tuple(one for one in offered if one and not one.startswith(PROTOCOL))


@dataclass(frozen=True, slots=True)
class Tunnels:
    """Opens them; each is closed after `seconds`."""

    sockets: Sockets
    clock: Clock
    seconds: float

    async def open(
        self, exchange: Exchange, arrival: Arrival, permit: Permit, reply: Reply, providers: Mapping[str, Provider],
        lines: str,
    ) -> Refusal | None:  # fmt: skip
        """A tunnel from its beginning to its end. `lines` are ours of its head. Raises ConnectFailed, ProviderTimeout,
        ProviderBroken, ClientGone."""
        if not isinstance(reply, Opening) or exchange.plan is None:
            return Refusal(Reason.NO_UPGRADE, "This connection cannot become a WebSocket.")
        ask, attempt = permit.ask, exchange.plan.attempts[0]
        provider, tenant = providers[attempt.provider], permit.principal.key.tenant
        if "realtime" not in provider.speaks:
            words = f"The provider of this model ({provider.kind}) offers no realtime sessions."
            return Refusal(Reason.UNTRANSLATABLE, words, "model", permit.rule)
        if attempt.model is not None and attempt.model != ask.model:
            query = renamed(ask.endpoint.raw_query, attempt.model)
            ask = structs.replace(ask, endpoint=structs.replace(ask.endpoint, raw_query=query))
        credential = provider.credentials.pick(tenant, self.clock.now(), 0.0)
        if credential is None and provider.credentials:
            return Refusal(Reason.NO_PROVIDER, "No credential of the provider serves this key's tenant.", "model")
        secret = credential.read() if credential is not None else None
        request = provider.request(ask, attempt.model, None, arrival.headers, None, secret)
        exchange.attempt, exchange.called = attempt, self.clock.monotonic()
        exchange.enter(Phase.CALLING)
        offered = protocols_of(arrival.headers.get("sec-websocket-protocol", ""))
        upstream = await self._connected(provider, request, offered)
        exchange.answered = self.clock.monotonic()
        exchange.enter(Phase.ANSWERING)
        if isinstance(upstream, Head):
            await _refused(exchange, upstream, reply, lines)
            return None
        seconds = min(self.seconds, ask.timeout or self.seconds)
        check = event_check(permit, self.clock.now())
        await tunnel(exchange, upstream, reply, self.clock, seconds, check, lines)
        return None

    async def _connected(self, provider: Provider, request: UpstreamRequest, offered: Sequence[str]) -> Socket | Head:
        """Raises ConnectFailed, ProviderTimeout, ProviderBroken."""
        transport = provider.transport
        granted = await transport.granted(request) if isinstance(transport, Granting) else request
        return Head(401) if granted is None else await self.sockets.connect(granted, offered)


async def tunnel(
    exchange: Exchange, upstream: Socket, reply: Opening, clock: Clock, seconds: float, check: Check, lines: str
) -> None:
    """Accept the client, and let pass what comes until one end is closed, for `seconds` at most. Raises ClientGone."""
    exchange.provider_status = 101
    pumps: list[asyncio.Task[Message]] = []
    totals = _Totals()
    try:
        exchange.enter(Phase.RELAYING)
        client = await reply.accept(upstream.protocol, fields_of(lines))
        exchange.first_byte, exchange.status = clock.monotonic(), 101
        pumps = [start(_pump(client, upstream, check)), start(_pump(upstream, client, totals.read))]
        done, _ = await asyncio.wait(pumps, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        exchange.ending = Ending.ANSWERED
        if not done:
            exchange.flags += ("duration_cap",)
            await client.send(Message(_event("session_expired", f"The session ran for {seconds:g} seconds.")))
        end = next(iter(done)).result() if done else Message(b"session expired", code=GOING_AWAY)
        # The client last: it hangs up when it has our word, and whoever hangs up cancels us.
        await upstream.close(end.code or GOING_AWAY, end.data)
        await client.close(end.code or GOING_AWAY, end.data)
    except asyncio.CancelledError:
        if exchange.ending is None:
            raise
    finally:
        for pump in pumps:
            pump.cancel()
        exchange.usage = totals.usage
        await upstream.close(GOING_AWAY, b"")


async def _pump(source: Socket, target: Socket, read: Check) -> Message:
    """Until the source is closed; how it was."""
    while (message := await source.receive()).code is None:
        refusal = read(message.data) if message.is_text else None
        if refusal is None:
            await target.send(message)
        else:
            wire = REFUSALS[refusal.reason]
            await source.send(Message(_event(wire.code, refusal.message, refusal.param)))
    return message


def _event(code: str | None, message: str, param: str | None = None) -> bytes:
    error = {"type": "invalid_request_error", "code": code, "message": message, "param": param, "event_id": None}
    return msgspec.json.encode({"type": "error", "event_id": "event_gateway", "error": error})


class _Totals:
    """The usage of every answer in a session."""

    def __init__(self) -> None:
        self.usage = Usage(basis=Basis.NOTHING)

    def read(self, data: bytes) -> None:
        """A message of the provider's."""
        if b"response.done" not in data:
            return
        try:
            event = _done.decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return
        if event.type != "response.done" or event.response is None:
            return
        more, so_far = credible_usage(bytes(event.response.usage) or b"null"), self.usage
        if more is not None:
            self.usage = Usage(
                so_far.input_tokens + more.input_tokens, so_far.output_tokens + more.output_tokens,
                cached=so_far.cached + more.cached, cache_write=so_far.cache_write + more.cache_write,
                reasoning=so_far.reasoning + more.reasoning, basis=Basis.PROVIDER,
            )  # fmt: skip


async def _refused(exchange: Exchange, head: Head, reply: Reply, lines: str) -> None:
    """The provider answered, but opened nothing."""
    error = client_error(head.status, dict(head.headers), b"")
    exchange.provider_status, exchange.provider_error = head.status, error.provider_code
    exchange.told_code = error.code
    exchange.usage = Usage(basis=Basis.NOTHING)
    exchange.enter(Phase.RELAYING)
    exchange.ending, exchange.status = Ending.PROVIDER_ERROR, error.status
    wire = Wire(error.status, error.type, error.code, error.retryable)
    body = OPENAI.envelope(wire, error.message, error.param, exchange.request_id)
    await reply.send(Head(error.status, (("content-type", "application/json"),), lines), body)
