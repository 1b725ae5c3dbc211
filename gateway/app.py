"""The composition root: the only module that knows every class. Settings go in, one running gateway comes out."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog
from aiohttp import web

from gateway import __version__
from gateway.identity.secrets import SECRET_BYTES, digest_of, new_secret
from gateway.journey import Rooms
from gateway.limits.answer import quantity
from gateway.limits.failure import Guarded
from gateway.limits.memory import MemoryStore
from gateway.limits.scopes import Claim, Crossed
from gateway.limits.settler import Settler
from gateway.limits.worst_case import encodings_counted
from gateway.objects.memory import MemoryObjects
from gateway.objects.redis import RedisObjects
from gateway.opening import bind_all, master_secret, profiles_used, say_listening
from gateway.patience import Patience
from gateway.policy.apart import Apart
from gateway.policy.compiled import PolicySet
from gateway.policy.in_force import PolicyFiles, with_demo_key
from gateway.policy.orders import Reading
from gateway.ports import Keeper, ObjectDirectory, Provider, Transport
from gateway.providers.aiohttp_sockets import AiohttpSockets
from gateway.providers.aiohttp_transport import AiohttpTransport
from gateway.providers.credentials import Credential, Credentials
from gateway.providers.echo import Echo
from gateway.providers.kinds import provider
from gateway.providers.lean_transport import LeanTransport, tls_context
from gateway.providers.openai import Within
from gateway.readiness import checks, tell
from gateway.redaction.conversations import Conversations
from gateway.redaction.presidio import PresidioAnalyzer
from gateway.redaction.redact import Redaction
from gateway.redaction.sealed import Seal
from gateway.server.edge import Edge, Manners
from gateway.server.health import Check, health_app
from gateway.server.link import Report, Seat, Why
from gateway.server.listeners import Bound, serve
from gateway.settings.model import Kind, Settings
from gateway.settings.model import Provider as ProviderSettings
from gateway.settings.orders import order_of
from gateway.stream.tunnel import Tunnels
from gateway.telemetry.metrics import Metrics
from gateway.telemetry.records import RecordLines, SharedOutput, console_lines, json_lines
from gateway.telemetry.tasks import Background
from gateway.tokens.counting import Counting
from gateway.tokens.ranks import present

if TYPE_CHECKING:
    from gateway.limits.redis import RedisStore
    from gateway.tokens.tiktoken import TiktokenCounter

log = structlog.get_logger(__name__)
COLLECT = (20_000, 20, 50)  # gc's thresholds: Python's 700 costs a tenth of a request, which makes next to no cycles


class SystemClock:
    """The port `Clock`, of this machine."""

    now = staticmethod(time.time)  # seconds since 1970
    monotonic = staticmethod(time.monotonic)  # seconds since some moment; never goes back


class Gateway:
    """One process. `open_gateway` makes it, `start` serves, `stop` ends what runs and loses nothing."""

    def __init__(
        self,
        settings: Settings,
        policies: PolicyFiles,
        bound: Mapping[str, Bound],
        demo_key: str | None,
        *,
        console: bool,
        seat: Seat | None = None,
    ) -> None:
        self.demo_key = demo_key
        self.url = bound["server"].url
        self.health_url = bound["health"].url if seat is None else ""
        self._seat = seat
        self.policies = policies
        self._settings = settings
        self._bound = bound
        self._clock = SystemClock()
        out = sys.stdout.buffer if seat is None else SharedOutput(sys.stdout.fileno(), seat.lock)
        self._metrics = Metrics(self._gauges())
        self._records = RecordLines(out, console_lines if console else json_lines, self._metrics.count)
        self._runners: list[web.BaseRunner] = []
        self._started = False
        self._stopping = False

    async def start(self, orphaned: Callable[[], None] = lambda: None) -> None:
        """Serve. Must run in the event loop that it will stay in. `orphaned`: our supervisor is no more."""
        settings, clock = self._settings, self._clock
        master = self._seat.master if self._seat is not None else master_secret(settings)
        self._background = Background()
        self._patience = Patience(clock)
        self._store, self._guarded = self._open_store()
        self._keeper: Keeper = self._store
        self._settler = Settler(self._guarded, self._background, clock, crossed=self._crossed)
        self._analyzer = PresidioAnalyzer()
        self._transport, self._sockets = self._open_transport(), AiohttpSockets()
        self._counter = self._open_counter()
        rooms = Rooms(
            clock=clock,
            policies=self.policies,
            store=self._guarded,
            settler=self._settler,
            redactor=Redaction(self._analyzer, master, clock, Conversations(self._keeper, Seal(master, os.urandom))),
            counting=Counting(self._counter, master),
            providers={name: self._provider(name, one) for name, one in settings.providers.items()},
            records=self._records,
            draw=random.random,
            objects=self._open_objects(),
            tunnels=Tunnels(self._sockets, clock, settings.server.tunnel_seconds),
            sticky_key=digest_of("sticky " + master.hex()),
            max_body=settings.server.max_body_bytes,
        )
        server = settings.server
        manners = Manners(
            server.header_seconds,
            server.body_seconds,
            server.write_seconds,
            server.keepalive_seconds,
            server.fast_paths,
        )
        self._edge = Edge(rooms, manners, self._patience, random.Random(os.urandom(16)))  # noqa: S311  # ids, no secrets
        self._records.start()
        self._settler.start()
        self._running = [
            self._background.spawn("patience", self._patience.run()),
            self._background.spawn("policy files", self.policies.watch()),
            self._background.spawn("policies", self.policies.follow()),
        ]
        if self._seat is not None:
            link = self._seat.link
            await link.open()
            orders = link.follow(partial(self._report, "asked"), self._serve_admin, orphaned)
            self._running.append(self._background.spawn("orders", orders))
            self._running.append(self._background.spawn("report", link.beat(partial(self._report, "beat"))))
        if self._seat is None:
            health = health_app(self._checks(), lambda: self._started, self._metrics_text)
            await self._serve("health", web.AppRunner(health))
            await self._serve_admin()
        await self._serve("server", web.ServerRunner(self._edge))
        if self._counter is not None:
            for encoding in encodings_counted(self.policies.current):
                self._running.append(self._counter.warm_up(encoding))
        if self._seat is None:  # else the supervisor says it, once
            say_listening(settings, self._bound, self.policies.current.hash)
        if profiles := profiles_used(self.policies.current):
            await self._analyzer.start(profiles)
        gc.collect()
        gc.freeze()  # what is there now stays; collecting it again and again costs time
        gc.set_threshold(*COLLECT)
        self._started = True
        log.info("ready" if self._seat is None else "worker ready", policy=self.policies.current.hash[:12])

    def reload(self) -> None:
        """Read the policies again (SIGHUP)."""
        self.policies.ask()

    async def stop(self) -> None:
        """Readiness first, so that no new traffic is sent; then what runs may end; then settle, record, close."""
        self._stopping = True
        log.info("stopping", running=len(self._edge.running))
        if self._seat is not None:  # others accept what comes from now on
            for site in [site for runner in self._runners for site in runner.sites]:
                await site.stop()
        late = await self._edge.drain(self._settings.server.drain_seconds)
        for runner in self._runners:
            await runner.cleanup()
        await self._settler.close(5.0)
        await self._transport.close()
        await self._sockets.close()
        await self._analyzer.close()
        if self._counter is not None:
            await self._counter.close()
        await self._guarded.close()
        await self._background.close()
        await asyncio.to_thread(self._records.close)
        if self._seat is not None:
            await self._seat.link.say(await self._report("last"))
            await self._seat.link.close()
        log.info("stopped", ended=late, settlements_left=self._settler.depth, records_dropped=self._records.dropped)

    # the parts

    def _open_store(self) -> tuple[MemoryStore | RedisStore, Guarded]:
        settings, clock, failure = self._settings.store, self._clock, self._settings.store.on_failure
        guard = partial(
            Guarded, mode=failure.mode.value, fraction=failure.fraction, seconds=failure.seconds, clock=clock, tell=tell
        )
        if settings.embedded:
            memory = MemoryStore(clock)
            return memory, guard(memory)
        from gateway.limits.redis import RedisStore  # noqa: PLC0415  # redis-py takes 0.2 s and 6 MB: only where used

        secrets = (settings.password, settings.sentinel_password)
        password, sentinel_password = (one.read if one is not None else None for one in secrets)
        store = RedisStore(
            settings.url, clock=clock, background=self._background, password=password,
            sentinel_password=sentinel_password, tls=settings.tls.files(), call_seconds=settings.call_seconds,
        )  # fmt: skip
        return store, guard(store, processes=lambda: store.processes, part=store.part if store.divided else None)

    def _open_counter(self) -> TiktokenCounter | None:
        ranks = self._settings.tokens.ranks
        if ranks is None:
            return None
        from gateway.tokens.tiktoken import TiktokenCounter  # noqa: PLC0415  # pools of processes: only where used

        return TiktokenCounter(ranks, present(ranks), self._background)

    def _open_objects(self) -> ObjectDirectory:
        store = self._store
        if isinstance(store, MemoryStore):
            return MemoryObjects(self._clock)
        return RedisObjects(store.command, self._background, self._clock)

    def _open_transport(self) -> Transport:
        plain = AiohttpTransport()
        if not self._settings.server.fast_paths:
            return plain
        addresses = [one.address or "" for one in self._settings.providers.values()]
        tls = tls_context() if any(one.startswith("https:") for one in addresses) else None
        return LeanTransport(self._clock, self._patience, plain, tls)

    def _provider(self, name: str, one: ProviderSettings) -> Provider:
        if one.kind is Kind.ECHO:
            return Echo(name)
        address = one.address
        assert address is not None  # noqa: S101  # INVARIANT: the settings give one to every kind but echo
        within = Within(**asdict(one.timeouts))
        return provider(
            one.kind, name, address, _credentials(one), self._transport, within,
            speaks=one.spoken, api_version=one.api_version, auth=one.auth, region=one.region, project=one.project,
            application=one.application,
        )  # fmt: skip

    async def _serve_admin(self) -> None:
        if self._settings.admin.enabled:
            from gateway.administering import Administering  # noqa: PLC0415  # 2 MB: only where it is switched on
            from gateway.server.admin import admin_app  # noqa: PLC0415  # as above
            from gateway.server.routes import all_routes  # noqa: PLC0415  # as above

            limits = Administering(self._guarded, lambda: self.policies.current, self._clock)
            routes = all_routes(self._status, self._in_force, self._read_again, limits, self._clock)
            await self._serve("admin", web.AppRunner(admin_app(routes, self._settings.admin.credentials())))

    async def _metrics_text(self) -> bytes:
        return self._metrics.text()

    async def _report(self, why: Why) -> Report:
        found = {check.name: await check.look() for check in self._checks()}
        return Report(why, self._started, found, self._metrics.snapshot())

    async def _serve(self, name: str, runner: web.BaseRunner) -> None:
        shared = self._seat is not None
        self._runners.append(await serve(runner, self._bound[name], self._settings.server.backlog, shared=shared))

    def _checks(self) -> list[Check]:
        def analysis() -> bool:
            strict = (one for one in profiles_used(self.policies.current) if one.on_error == "deny")
            return self._analyzer.warm or not any(strict)

        return checks(self.policies, self._guarded, analysis, lambda: self._stopping)

    async def _status(self) -> Mapping[str, Any]:
        return {
            "version": __version__,
            "policy": self.policies.current.hash,
            "policies_loaded_at": self.policies.loaded_at,
            "degraded": [str(mistake) for mistake in self.policies.degraded],
            "running": len(self._edge.running),
            "settlements_waiting": self._settler.depth,
            "store_away": self._guarded.away,
        }

    async def _in_force(self) -> Mapping[str, Any]:
        current = self.policies.current
        return {
            "policy": current.hash,
            "keys": [
                {"name": key.name, "id": key.id, "team": key.team, "tenant": key.tenant, "rule": str(key.rule)}
                for key in current.keys.values()
            ],
            "models": sorted([*current.models, *(model.name for model in current.wildcards)]),
            "not_enforced": [str(rule) for rule in current.not_enforced],
            "warnings": list(self.policies.warnings),
        }

    async def _read_again(self) -> Mapping[str, Any]:
        from gateway.server.admin import Unwell  # noqa: PLC0415  # which has called this

        mistakes = await self.policies.reload()
        if mistakes:
            raise Unwell({"error": {"code": "not_reloaded", "message": "The files have mistakes; the last good set "
                          "stays in force.", "mistakes": [str(mistake) for mistake in mistakes]}})  # fmt: skip
        if self._seat is not None:
            await self._seat.link.say(await self._report("reloaded"))
        return {"policy": self.policies.current.hash}

    def _crossed(self, one: Crossed, claim: Claim) -> None:
        """A share of a limit (`warn_at`) was passed: one line in the log, one in the metrics."""
        self._metrics.warn(one.scope.rpartition("|")[2].partition(":")[0], one.limit.name, one.share)
        log.warning(
            "limit warning", scope=one.scope, limit=one.limit.name, share=one.share, tenant=claim.tenant,
            used=quantity(one.used, one.limit.unit), amount=quantity(one.limit.amount, one.limit.unit),
            rule=str(one.limit.rule), request_id=claim.request_id,
        )  # fmt: skip

    def _gauges(self) -> Mapping[str, tuple[str, Callable[[], float]]]:
        def of(read: Callable[[], float]) -> Callable[[], float]:
            return lambda: float(read()) if self._started else 0.0

        return {
            "gateway_requests_running": ("Exchanges that run now.", of(lambda: len(self._edge.running))),
            "gateway_records_waiting": ("Records that are not written yet.", lambda: float(self._records.waiting)),
            "gateway_records_dropped": ("Records that could not be written.", lambda: float(self._records.dropped)),
            "gateway_settlements_waiting": (
                "Settlements that the store does not have.",
                of(lambda: self._settler.depth),
            ),
            "gateway_settlements_lost": ("Settlements that were given up.", of(lambda: self._settler.counts.lost)),
            "gateway_leases_swept": (
                "Expired leases that this process settled.",
                of(lambda: self._settler.counts.swept),
            ),
            "gateway_store_processes": ("Gateways that share the store.", of(lambda: self._guarded.processes)),
            "gateway_store_away": ("1 while the limit store does not answer.", of(lambda: self._guarded.away)),
            "gateway_admitted_without_store": (
                "Admitted while it was away.",
                of(lambda: self._guarded.admitted_locally),
            ),
            "gateway_analysis_failures": ("Analyses that failed.", of(lambda: self._analyzer.failures)),
            "gateway_policies_degraded": (
                "1 while a file with mistakes waits.",
                lambda: float(bool(self.policies.degraded)),
            ),
            "gateway_policies_loaded_seconds": ("Unix time of the set in force.", lambda: self.policies.loaded_at),
            "gateway_policies_reloads": ("Reloads that succeeded.", lambda: float(self.policies.reloads_ok)),
            "gateway_policies_reloads_failed": ("Reloads that failed.", lambda: float(self.policies.reloads_failed)),
            "gateway_draining": ("1 while the process ends.", lambda: float(self._stopping)),
        }


def open_gateway(
    settings: Settings,
    bound: Mapping[str, Bound] | None = None,
    *,
    console: bool = False,
    seat: Seat | None = None,
    begun: Apart | None = None,
) -> Gateway:
    """Bind the ports, unless they are (`bound`), and read the policies, unless that has `begun`. Raises PortTaken, and
    PoliciesBroken where there is no set to start on."""
    demo_key = new_secret(os.urandom(SECRET_BYTES)) if settings.demo else None

    def amend(policy: PolicySet) -> PolicySet:
        return policy if demo_key is None or policy.keys else with_demo_key(policy, digest_of(demo_key))

    async def again(known: bytes) -> Reading:
        return await Apart(order_of(settings, os.environ, known)).finished()

    order = order_of(settings, os.environ)
    policies = PolicyFiles(order.directory, (begun or Apart(order)).finish(), again, amend=amend)
    if demo_key is not None and digest_of(demo_key) not in policies.current.by_digest:
        demo_key = None  # nor will there be one when the last key is removed: nobody was told it
    return Gateway(settings, policies, bound or bind_all(settings), demo_key, console=console, seat=seat)


def _credentials(one: ProviderSettings) -> Credentials:
    """What a provider's settings hold: one key, or several."""
    if one.api_key is not None:
        return Credentials((Credential("default", one.presented),))
    return Credentials([Credential(c.name, c.presented, frozenset(c.tenants), c.weight) for c in one.credentials])
