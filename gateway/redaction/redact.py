"""redact: the body that may leave, and the way back.

Text that was not seen before and may hold something goes to an analysis worker; what was found is kept by a keyed hash
of the text, as places and types, never as text. So of a chat that is sent again with every turn only the new message
is analysed.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping, Sequence

from msgspec import structs

from gateway.endpoints import Endpoint
from gateway.errors import AnalyzerFailure, Reason, Refusal
from gateway.forms import Form
from gateway.json_object import BadJson
from gateway.policy.compiled import RedactionProfile
from gateway.policy.permit import Permit
from gateway.ports import Analyzer, Clock
from gateway.redaction.conversations import STORED, Conversations
from gateway.redaction.gate import LONGEST, Gate
from gateway.redaction.placeholders import LITERAL, LOOKS_LIKE, Placeholders, tenant_key
from gateway.redaction.reply import Found, ReplyGuard
from gateway.redaction.safe import Coverage, SafeRequest
from gateway.redaction.spans import Span
from gateway.redaction.uploads import UploadSearch
from gateway.redaction.walk import Walk, clean_fields, walk
from gateway.shapes.table import SHAPES

REMEMBERED = 50_000  # texts whose spans are kept
MASK = "*"
_ENDS_HERE = frozenset(SHAPES) - {"responses"}  # of which no provider keeps a conversation that goes on


class Redaction:
    """The journey's Redactor. `master` is the secret of which placeholders and the cache derive their keys;
    `conversations` are those that providers keep (None: they are forgotten)."""

    def __init__(
        self, analyzer: Analyzer, master: bytes, clock: Clock, conversations: Conversations | None = None
    ) -> None:  # fmt: skip
        self._analyzer = analyzer
        self._conversations = conversations
        self._master = master
        self._clock = clock
        self._memory = SpanMemory(hashlib.blake2b(master, person=b"gateway spans").digest()[:32])
        self._gates: dict[str, Gate] = {}
        self._tenant_keys: dict[str, bytes] = {}

    def at_once(self, permit: Permit) -> SafeRequest | None:
        """What `redact` would say, where a first look shows that a request holds nothing. None proves nothing."""
        profile, ask = permit.redaction, permit.ask
        if profile is None or ask.endpoint.shape not in _ENDS_HERE or (gate := self._gates.get(profile.digest)) is None:
            return None
        monotonic = self._clock.monotonic
        began = monotonic()
        body = ask.body
        if (still := gate.still(body, ask.fields)) is None:
            return None
        values, size = still
        searched = Coverage(profile.name, gate.looked_for, values, size, {}, 0, (monotonic() - began) * 1000)
        return SafeRequest(body, {}, searched, self._guard(permit, profile) if profile.output else None)

    async def redact(self, permit: Permit) -> SafeRequest | Refusal:
        """Raises AnalyzerFailure where the profile says `on_error = "deny"`."""
        profile, ask = permit.redaction, permit.ask
        if profile is None:
            return SafeRequest(ask.body)
        safe = await self._continued(permit, profile) if profile.input else SafeRequest(ask.body)
        if profile.output and ask.endpoint.shape in SHAPES and not isinstance(safe, Refusal):
            return structs.replace(safe, reply=self._guard(permit, profile))
        return safe

    async def _continued(self, permit: Permit, profile: RedactionProfile) -> SafeRequest | Refusal:
        """With the placeholders of the stored conversation that a request continues."""
        endpoint = permit.ask.endpoint
        stored = endpoint.shape == "responses" or endpoint.name in STORED
        if self._conversations is None or not stored or profile.shadow:
            return await self._redact(permit, profile, {})
        recalled, there = await self._conversations.recalled(permit)
        safe = await self._redact(permit, profile, recalled)
        if isinstance(safe, Refusal):
            return safe
        restore = safe.restore or recalled
        coverage = structs.replace(
            safe.coverage or Coverage(profile.name), recalled=len(recalled), forgotten=not there
        )  # fmt: skip
        keep = self._conversations.keep(permit, profile, restore)
        return structs.replace(safe, restore=restore, coverage=coverage, keep=keep)

    def _guard(self, permit: Permit, profile: RedactionProfile) -> ReplyGuard:
        gate = self._gate(profile)

        async def search(texts: Sequence[str]) -> list[Found]:
            return (await self._spans(texts, profile, gate))[0]

        placeholders = Placeholders(self._tenant_key(permit.principal.key.tenant))
        return ReplyGuard(profile, search, placeholders, self._clock.monotonic, gate.unfinished)

    def _upload(self, endpoint: Endpoint, profile: RedactionProfile) -> UploadSearch:
        """The search of a form's fields and files."""
        gate = self._gate(profile)

        async def search(texts: Sequence[str]) -> list[Found]:
            return (await self._spans(texts, profile, gate))[0]

        kind = {"images": "image", "audio": "audio"}.get(endpoint.name, "file")
        return UploadSearch(profile, search, gate.looked_for, kind, self._clock.monotonic)

    async def _redact(
        self, permit: Permit, profile: RedactionProfile, known: Mapping[str, str]
    ) -> SafeRequest | Refusal:  # fmt: skip
        ask = permit.ask
        if isinstance(ask.rest, Form):
            late = self._upload(ask.endpoint, profile)
            ask.rest.search = late
            return SafeRequest(None, coverage=late.coverage, late=late)
        if not ask.endpoint.visible and not ask.fields:
            # Named by the policy as a path that nobody looks into ("no side door").
            unscanned = ("body",) if ask.body is not None or ask.rest is not None or ask.upgrade else ()
            return SafeRequest(ask.body, coverage=Coverage(profile.name, unscanned=unscanned))
        if ask.body is None:
            return SafeRequest(None, coverage=Coverage(profile.name))
        began = self._clock.monotonic()
        gate = self._gate(profile)
        if (clean := clean_fields(ask.fields, gate.may_hold)) is not None:
            searched = Coverage(profile.name, gate.looked_for, clean[0], clean[1], milliseconds=self._since(began))
            return SafeRequest(ask.body, coverage=searched)
        try:
            found = walk(ask.body, ask.fields)
        except BadJson as error:
            return Refusal(Reason.BAD_REQUEST, f"We could not read the JSON body of your request: {error}")
        if found.unscannable and profile.unscannable == "deny" and ask.endpoint.visible:
            kinds = ", ".join(sorted(found.unscannable))
            return Refusal(
                Reason.UNSCANNABLE,
                f"The request holds content that cannot be checked for personal data ({kinds}); "
                f"the redaction profile '{profile.name}' does not let it through.",
                rule=profile.rule,
            )
        texts = [leaf.text for leaf in found.leaves]
        coverage = Coverage(
            profile.name,
            gate.looked_for,
            parts=len(texts),
            bytes=sum(map(len, texts)),
            unscanned=tuple(sorted(found.unscannable)),
        )
        try:
            spans, hits = await self._spans(texts, profile, gate)
        except AnalyzerFailure as failure:
            if profile.on_error == "deny":
                raise
            coverage = structs.replace(
                coverage, failed=failure.detail[:200] or "failed", milliseconds=self._since(began)
            )
            return SafeRequest(ask.body, coverage=coverage)
        counts = Counter(span.entity for one in spans for span in one)
        coverage = structs.replace(coverage, spans=dict(counts), cache_hits=hits, milliseconds=self._since(began))
        return self._apply(permit, profile, found, spans, coverage, known)

    def _since(self, began: float) -> float:
        return (self._clock.monotonic() - began) * 1000

    async def _spans(self, texts: Sequence[str], profile: RedactionProfile, gate: Gate) -> tuple[list[Found], int]:
        """What each text holds, and how many were known. Raises AnalyzerFailure."""
        found: list[Found] = [()] * len(texts)
        new: dict[int, bytes] = {}
        hits = 0
        # Of much text a worker sees what is not known; the event loop is not held to search it.
        much = sum(map(len, texts)) > LONGEST
        for index, text in enumerate(texts):
            if not much and not gate.may_hold(text):
                continue
            mark = self._memory.mark(profile, text)
            known = self._memory.get(mark)
            if known is None:
                new[index] = mark
            else:
                found[index] = known
                hits += 1
        if new:
            answers = await self._analyzer.analyze([texts[index] for index in new], profile)
            if len(answers) != len(new):
                raise AnalyzerFailure("the analyzer answered for other texts")
            for (index, mark), spans in zip(new.items(), answers, strict=True):
                found[index] = checked(spans, texts[index])
                self._memory.put(mark, found[index])
        return found, hits

    def _apply(
        self, permit: Permit, profile: RedactionProfile, found: Walk, spans: Sequence[Found], coverage: Coverage,
        known: Mapping[str, str],
    ) -> SafeRequest | Refusal:  # fmt: skip
        body = permit.ask.body
        if profile.shadow:
            return SafeRequest(body, coverage=coverage)
        blocked = sorted({span.entity for one in spans for span in one if profile.action_for(span.entity) == "block"})
        if blocked:
            return Refusal(
                Reason.BLOCKED_CONTENT,
                f"The request holds personal data of a kind that may not be sent: {', '.join(blocked)}.",
                rule=profile.rule,
            )
        placeholders = Placeholders(self._tenant_key(permit.principal.key.tenant), known)
        pairs = list(zip(found.leaves, spans, strict=True))
        for leaf, one in sorted(pairs, key=lambda pair: pair[0].signed):  # those last, when all values are known
            if leaf.signed:
                text = unrestored(leaf.text, one, profile, placeholders)
            else:
                text = redacted(leaf.text, one, profile, placeholders)
            if text != leaf.text:
                leaf.put(text)
        try:
            body = found.rebuilt()
        except BadJson as error:
            return Refusal(Reason.BAD_REQUEST, f"We could not read the JSON body of your request: {error}")
        return SafeRequest(body, placeholders.restore, coverage)

    def _gate(self, profile: RedactionProfile) -> Gate:
        mark = profile.digest or repr(profile)
        gate = self._gates.get(mark)
        if gate is None:
            if len(self._gates) > 1000:  # old policy sets' profiles
                self._gates.clear()
            gate = self._gates[mark] = Gate(profile)
        return gate

    def _tenant_key(self, tenant: str) -> bytes:
        key = self._tenant_keys.get(tenant)
        if key is None:
            key = self._tenant_keys[tenant] = tenant_key(self._master, tenant)
        return key


class SpanMemory:
    """Spans of texts that were analysed, by a keyed hash. The least recently used go first."""

    def __init__(self, key: bytes, size: int = REMEMBERED) -> None:
        self._key = key
        self._size = size
        self._known: OrderedDict[bytes, Found] = OrderedDict()

    def mark(self, profile: RedactionProfile, text: str) -> bytes:
        """The hash of a text under a profile: 16 bytes."""
        keyed = hashlib.blake2b(key=self._key, digest_size=16)
        keyed.update((profile.digest or repr(profile)).encode() + b"\0")
        keyed.update(text.encode("utf-8", "surrogatepass"))
        return keyed.digest()

    def get(self, mark: bytes) -> Found | None:
        """Its spans, None if it is not known."""
        found = self._known.get(mark)
        if found is not None:
            self._known.move_to_end(mark)
        return found

    def put(self, mark: bytes, spans: Found) -> None:
        """Keep its spans."""
        self._known[mark] = spans
        if len(self._known) > self._size:
            self._known.popitem(last=False)


def checked(spans: Sequence[Span], text: str) -> Found:
    """An analyzer's answer: within the text, sorted, not overlapping. Raises AnalyzerFailure."""
    end = 0
    for span in spans:
        if not (isinstance(span, Span) and end <= span.start < span.end <= len(text)):
            raise AnalyzerFailure("the analyzer's spans do not fit the text")
        end = span.end
    return tuple(spans)


def redacted(text: str, spans: Found, profile: RedactionProfile, placeholders: Placeholders) -> str:
    """A text with its spans replaced or masked, and with what only looks like a placeholder made into a real one, so
    that the reply's restoring cannot take one for the other."""
    parts, at = [], 0
    for span in spans:
        action = profile.action_for(span.entity)
        if action == "detect":
            continue
        parts.append(_literals(text[at : span.start], placeholders))
        value = text[span.start : span.end]
        parts.append(MASK * len(value) if action == "mask" else placeholders.of(span.entity, value))
        at = span.end
    parts.append(_literals(text[at:], placeholders))
    return "".join(parts)


def unrestored(text: str, spans: Found, profile: RedactionProfile, placeholders: Placeholders) -> str:
    """What restoring made of a model's own text, undone: every value that has a placeholder becomes it, whatever its
    surroundings, and nothing that looks like one is escaped. What is found beyond that is replaced as anywhere."""
    known = {value: placeholder for placeholder, value in placeholders.restore.items()}
    if known:
        text, whole = re.sub(_any_of(known), lambda found: known[found[0]], text), text
    else:
        whole = text
    for span in spans:
        value, action = whole[span.start : span.end], profile.action_for(span.entity)
        if action != "detect" and value in text:
            text = text.replace(value, MASK * len(value) if action == "mask" else placeholders.of(span.entity, value))
    return text


def _any_of(values: Iterable[str]) -> str:
    return "|".join(map(re.escape, sorted(values, key=len, reverse=True)))


def _literals(text: str, placeholders: Placeholders) -> str:
    if "<" not in text:
        return text
    return LOOKS_LIKE.sub(lambda found: placeholders.of(LITERAL, found[0]), text)
