"""The health listener: /livez, /readyz, /startupz, /metrics. No credential, nothing secret."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import msgspec
from aiohttp import web

TEXT = "text/plain; version=0.0.4; charset=utf-8"


class Finding(msgspec.Struct, frozen=True):
    """Whether traffic may come, as far as one thing goes, and words for an operator. What is not as it should be and
    yet keeps nobody away is `ready` with other words than "ok"."""

    ready: bool
    words: str = "ok"


WELL = Finding(ready=True)


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that is looked at before traffic comes."""

    name: str
    look: Callable[[], Awaitable[Finding]]


def health_app(
    checks: Sequence[Check], started: Callable[[], bool], metrics: Callable[[], Awaitable[bytes]]
) -> web.Application:
    """Liveness says that the event loop turns, and nothing else: restarting this process heals neither Redis nor a
    provider. Readiness says whether traffic should come; startup, whether the first of it may."""

    async def livez(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def startupz(_: web.Request) -> web.Response:
        return web.Response(text="ok\n") if started() else web.Response(status=503, text="starting\n")

    async def readyz(_: web.Request) -> web.Response:
        lines, ready = [], True
        for check in checks:
            finding = await check.look()
            ready &= finding.ready
            lines.append(f"{check.name}: {finding.words}")
        return web.Response(status=200 if ready else 503, text="\n".join(lines) + "\n")

    async def scrape(_: web.Request) -> web.Response:
        return web.Response(body=await metrics(), headers={"content-type": TEXT})

    app = web.Application()
    app.router.add_get("/livez", livez)
    app.router.add_get("/startupz", startupz)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", scrape)
    return app
