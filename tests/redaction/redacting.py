"""Redaction in this process: a finder of e-mail addresses in place of the analysis workers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import structs

from gateway.endpoints import find
from gateway.errors import AnalyzerFailure, Refusal
from gateway.identity.principal import Principal
from gateway.policy.compiled import Key, PolicySet, RedactionProfile
from gateway.policy.permit import Permit
from gateway.reading import Ask, _read_object
from gateway.redaction.redact import Redaction
from gateway.redaction.safe import SafeRequest
from gateway.redaction.spans import Span
from tests.limit_trial import RULE

POLICY = PolicySet("0" * 64, {}, {}, {}, (), (), {}, ())
EMAILS = RedactionProfile("emails", ("EMAIL_ADDRESS", "PHONE_NUMBER"), unscannable="allow", digest="emails")
FOUND = re.compile(r"[\w.\"\\]+@[\w.]+\w|\d{9,}")
NO_HEADING = dict.fromkeys(("user", "session", "conversation", "version", "timeout", "client_request_id"))


class Emails:
    """The port Analyzer: addresses, and numbers of nine digits, by a regular expression."""

    def __init__(self, *, fails: bool = False) -> None:
        self.fails = fails
        self.seen: list[str] = []

    async def analyze(self, texts: Sequence[str], profile: RedactionProfile) -> list[list[Span]]:
        if self.fails:
            raise AnalyzerFailure("it was asked to")
        self.seen += texts
        return [[Span(*one.span(), "EMAIL_ADDRESS" if "@" in one[0] else "PHONE_NUMBER", 1.0)
                 for one in FOUND.finditer(text)] for text in texts]  # fmt: skip

    async def close(self) -> None:
        pass


class Now:
    def now(self) -> float:
        return 1_800_000_000.0

    def monotonic(self) -> float:
        return 1.0


def permit_of(path: str, body: Any, profile: RedactionProfile = EMAILS, tenant: str = "acme") -> Permit:
    """What deciding would give."""
    endpoint = find("POST", path)
    assert endpoint is not None
    data = body if isinstance(body, bytes) else msgspec.json.encode(body)
    ask = _read_object(endpoint, data, dict(NO_HEADING, tags=()))
    assert isinstance(ask, Ask), ask
    caller = Principal(Key("a", "k_a", (), RULE, tenant=tenant), "s")
    return Permit(POLICY, caller, ask, RULE, redaction=profile)


def redaction(analyzer: Emails | None = None, **more: Any) -> Redaction:
    return Redaction(analyzer or Emails(), b"m" * 32, Now(), **more)


async def redact(path: str, body: Any, profile: RedactionProfile = EMAILS, **more: Any) -> SafeRequest:
    redactor, permit = redaction(**more), permit_of(path, body, profile)
    verdict = await redactor.redact(permit)
    assert not isinstance(verdict, Refusal), verdict
    if (still := redactor.at_once(permit)) is not None:
        assert (still.body, still.restore) == (verdict.body, verdict.restore), "two looks, one answer"
        assert verdict.coverage is not None
        assert still.coverage is not None
        seen = structs.replace(verdict.coverage, parts=0, bytes=0, cache_hits=0)
        assert structs.replace(still.coverage, parts=0, bytes=0) == seen
    return verdict
