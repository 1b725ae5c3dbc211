"""Google's tokens: of a service account's key, of a workload's identity at another provider, of where we run.

google-auth gets them, in a thread: its calls block.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import msgspec

from gateway.providers.service_tokens import Token, TokenRefused, TokenUnreachable

SCOPE = "https://www.googleapis.com/auth/cloud-platform"
ONE_TRY = 8.0  # seconds
HERE = ""  # in place of a key: who Google's metadata server says that we are (GKE, Cloud Run, a virtual machine)


def prepare() -> None:
    """Import what gets tokens: 0.1 s and 8 MB, so only where it is needed, and before a request waits for it."""
    import google.auth.transport.requests  # noqa: PLC0415  # see above
    import google.oauth2.service_account  # noqa: F401, PLC0415  # see above


async def google_token(account: str) -> Token:
    """An `Office`: `account` is the JSON that Google gives out, or HERE. Raises TokenRefused, TokenUnreachable."""
    return await asyncio.to_thread(fetched, account)


def fetched(account: str) -> Token:
    """As `google_token`; blocks."""
    import requests  # noqa: PLC0415  # see `prepare`
    from google.auth.exceptions import GoogleAuthError, OAuthError, RefreshError  # noqa: PLC0415  # see `prepare`
    from google.auth.transport.requests import Request  # noqa: PLC0415  # see `prepare`

    with requests.Session() as session:
        session.trust_env = False
        transport = Request(session)

        def call(*args: Any, **kwargs: Any) -> Any:
            return transport(*args, **{**kwargs, "timeout": ONE_TRY})

        try:
            one = _credentials(account)
        except (ValueError, TypeError, AttributeError, GoogleAuthError):
            raise TokenRefused("it is no account that Google gives out") from None
        try:
            one.refresh(call)
        except (RefreshError, OAuthError) as error:
            if error.retryable:
                raise TokenUnreachable("the token endpoint failed") from None
            raise TokenRefused("the token endpoint refused it") from None
        except (GoogleAuthError, OSError, ValueError) as error:
            raise TokenUnreachable(type(error).__name__) from None
    ends: datetime = one.expiry.replace(tzinfo=UTC)
    now = datetime.now(UTC)  # noqa: TID251  # by the clock that google-auth says it with
    return Token(str(one.token), (ends - now).total_seconds())


def _credentials(account: str) -> Any:
    """google-auth's credentials, none of which has types. Raises ValueError and others."""
    from google.auth import aws, compute_engine, identity_pool  # noqa: PLC0415  # see `prepare`
    from google.oauth2.service_account import Credentials  # noqa: PLC0415  # see `prepare`

    if account == HERE:
        of_here: Any = compute_engine.Credentials
        return of_here(scopes=[SCOPE])
    found = msgspec.json.decode(account)
    makers: dict[object, Any] = {
        "service_account": Credentials.from_service_account_info,
        "external_account": aws.Credentials.from_info if "environment_id" in found.get("credential_source", {})
        else identity_pool.Credentials.from_info,
    }  # fmt: skip
    if found.get("type") not in makers:
        raise ValueError("of no kind that is known")
    return makers[found["type"]](found, scopes=[SCOPE])
