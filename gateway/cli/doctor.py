"""`gateway doctor`: reach the store and every provider from here, and say what is found."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import click

from gateway.cli.finding import SECONDS, Finding
from gateway.cli.opening import CONFIG, open_settings
from gateway.cli.store import reach
from gateway.limits.redis_url import parse
from gateway.providers.aiohttp_transport import AiohttpTransport
from gateway.providers.anthropic import VERSION
from gateway.providers.aws_signature import signed_headers
from gateway.providers.credentials import Application
from gateway.providers.entra_tokens import EntraOffice
from gateway.providers.google_tokens import HERE, fetched
from gateway.providers.service_tokens import TokenRefused, TokenUnreachable
from gateway.settings.model import Auth, Keyed, Kind, Provider, Settings, Store
from gateway.settings.secret import SecretUnavailable


@click.command()
@CONFIG
def doctor(config: Path | None) -> None:
    """Reach the store and every provider with the keys that are set, and say what is found.

    A provider is asked for its list of models, which costs nothing. Exit code 1 where something failed.
    """
    settings = open_settings(config)
    failed = asyncio.run(_say(settings))
    if failed:
        raise SystemExit(1)


async def _say(settings: Settings) -> bool:
    failed = False
    async for finding in findings(settings):
        click.echo(str(finding))
        failed |= finding.verdict == "FAILED"
    return failed


async def findings(settings: Settings) -> AsyncIterator[Finding]:
    """Each finding as soon as it is there."""
    async for finding in _store(settings.store):
        yield finding
    timeout = aiohttp.ClientTimeout(total=SECONDS)
    async with aiohttp.ClientSession(timeout=timeout, auto_decompress=False) as session:
        for name, provider in settings.providers.items():
            async for finding in _provider(session, name, provider):
                yield finding


async def _store(store: Store) -> AsyncIterator[Finding]:
    if store.embedded:
        yield Finding("ok", "store memory://", "inside the process; what was counted is forgotten at exit")
        return
    scheme = store.url.partition("://")[0]
    try:
        async for finding in reach(store, parse(store.url), f"store {scheme}"):
            yield finding
    except SecretUnavailable as error:
        yield Finding("FAILED", f"store {scheme}", str(error))


async def _provider(session: aiohttp.ClientSession, name: str, provider: Provider) -> AsyncIterator[Finding]:
    about = f"provider {name}"
    if provider.address is None:
        yield Finding("ok", about, "inside the process")
        return
    if (reason := provider.missing_key()) is not None:
        yield Finding("warning", about, f"left out, and so are its models: {reason}")
        return
    if not provider.credentials:
        yield await _models(session, provider, provider, about)
    for credential in provider.credentials:
        yield await _models(session, provider, credential, f"{about} ({credential.name})")


def _asked(provider: Provider, key: Keyed) -> tuple[str, dict[str, str]]:
    """Where a provider lists its models, and the headers that it wants; may block. Raises SecretUnavailable,
    TokenRefused, TokenUnreachable."""
    address, secret = str(provider.address), key.presented() if key.api_key is not None else None
    if provider.kind is Kind.BEDROCK:  # its runtime has no list of models; of its list of jobs anybody may ask
        address = f"{address}/async-invoke"
        return address, dict(signed_headers("GET", address, b"", secret, provider.region or "") if secret else ())
    if provider.kind is Kind.VERTEX:
        address = f"{address}/projects/{provider.project}/locations/{provider.region}"
        account = HERE if provider.auth is Auth.WORKLOAD else secret
        return address, {"authorization": f"Bearer {fetched(account).text}"} if account is not None else {}
    if provider.kind is Kind.AZURE:
        root = address.removesuffix("/openai/v1").removesuffix("/openai") + "/openai"
        version = provider.api_version
        address = f"{root}/v1/models" if version is None else f"{root}/models?api-version={version}"
    else:
        address = f"{address}/models"
    if secret is None:
        return address, {}
    if provider.kind is Kind.ANTHROPIC:
        return address, {"x-api-key": secret, "anthropic-version": VERSION}
    if provider.kind is Kind.GEMINI:
        return address, {"x-goog-api-key": secret}
    if provider.application is not None:  # `_models` got a token for it
        return address, {}
    if provider.kind is Kind.AZURE and provider.auth is Auth.KEY:
        return address, {"api-key": secret}
    return address, {"authorization": f"Bearer {secret}"}


async def _entra_token(application: Application, secret: str) -> str:
    """Raises TokenRefused, TokenUnreachable."""
    transport = AiohttpTransport()
    try:
        return (await EntraOffice(transport, application)(secret)).text
    finally:
        await transport.close()


async def _models(session: aiohttp.ClientSession, provider: Provider, key: Keyed, about: str) -> Finding:
    about = f"{about} {urlsplit(str(provider.address)).netloc}"
    started = time.perf_counter()
    try:
        address, headers = await asyncio.to_thread(_asked, provider, key)
        if provider.application is not None:
            headers = {"authorization": f"Bearer {await _entra_token(provider.application, key.presented())}"}
        async with session.get(address, headers=headers, allow_redirects=False) as answer:
            status, said = answer.status, answer.headers.get("x-amzn-errortype", "")
    except SecretUnavailable as error:
        return Finding("FAILED", about, str(error))
    except TokenRefused as error:
        return Finding("FAILED", about, f"no token for its key: {error}")
    except TokenUnreachable as error:
        return Finding("FAILED", about, f"no token: {error}")
    except TimeoutError:
        return Finding("FAILED", about, f"no answer in {SECONDS:g} s")
    except (aiohttp.ClientError, OSError, ValueError) as error:
        return Finding("FAILED", about, f"cannot be reached ({type(error).__name__})")
    took = (time.perf_counter() - started) * 1000
    if status == 403 and said.startswith("AccessDeniedException"):
        return Finding("warning", about, "reached, and it knows the key, which may not do what was asked for a try")
    if status in (401, 403):
        return Finding("FAILED", about, f"reached, and it refuses the key (status {status})")
    if status >= 500 or 300 <= status < 400:
        return Finding("FAILED", about, f"reached, and it answers with status {status}")
    if status != 200:
        return Finding("warning", about, f"reached, and its list of models answers with status {status}")
    return Finding("ok", about, f"answered in {took:.0f} ms")
