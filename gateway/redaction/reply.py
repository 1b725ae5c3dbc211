"""What a model writes by itself: searched before the client reads it, where the profile says `output = true`.

A whole reply is searched as a whole. Of a stream the end of each run of text is held back (`unfinished.py`), so that
what is found was seen with what stands behind it; a tool call's arguments are held until they are whole, since nobody
acts on half of them. What comes out depends on the text alone, not on how the provider cut it. Where the profile only
watches (`shadow`, or nothing but `detect`), nothing is held back and nothing changed.

This stage stands before the one that restores: a placeholder in a reply is the client's own value, and no finding.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

from gateway.errors import AnalyzerFailure, BlockedReply, UnscannableReply
from gateway.json_object import BadJson, dumped, parse_object, splice, tree_of
from gateway.policy.compiled import RedactionProfile
from gateway.redaction.placeholders import LOOKS_LIKE, Placeholders
from gateway.redaction.safe import Coverage
from gateway.redaction.spans import Span
from gateway.redaction.unfinished import MOST, Unfinished
from gateway.redaction.walk import Leaf, leaves_of
from gateway.shapes.shape import Key, Piece, Runs
from gateway.stream.sse import Event, rewritten

STEP = 64  # characters that are let go at a time, so that an analysis is worth its way to a worker
AT_LEAST = MOST // 4  # characters that go on where nothing came of what was held for so long
BEFORE = 80  # characters before, as written, for words that say what a number or a token is
REFUSED = frozenset(("audio", "image"))  # what cannot be searched and is content; a file's id is a name of one
LARGEST_CALL = 1 << 20  # characters of a tool call's arguments

Found = tuple[Span, ...]
Search = Callable[[Sequence[str]], Awaitable[list[Found]]]  # spans of each text; raises AnalyzerFailure


class ReplyGuard:
    """The guard of one exchange's reply. `coverage` is what it has seen so far."""

    def __init__(
        self, profile: RedactionProfile, search: Search, placeholders: Placeholders, clock: Callable[[], float],
        unfinished: Unfinished,
    ) -> None:  # fmt: skip
        self._profile = profile
        self._search = search
        self._placeholders = placeholders
        self._clock = clock
        self._counts: Counter[str] = Counter()
        self._parts = self._bytes = 0
        self._seconds = 0.0
        self._unscanned: set[str] = set()
        self._failed: str | None = None
        self.changes_made = 0  # texts that became others
        actions = {profile.action_for(entity, reply=True) for entity in profile.finds}
        self.watching = profile.shadow or actions <= {"detect"}
        self.unfinished = unfinished

    @property
    def coverage(self) -> Coverage:
        """Counts and names, never a value."""
        return Coverage(
            self._profile.name, tuple(sorted(self._profile.finds)), self._parts, self._bytes, dict(self._counts),
            milliseconds=self._seconds * 1000, unscanned=tuple(sorted(self._unscanned)), failed=self._failed,
        )  # fmt: skip

    async def whole(self, body: bytes, texts: frozenset[bytes]) -> bytes:
        """A whole reply; its text stands below the top-level keys `texts`. Raises BlockedReply, AnalyzerFailure."""
        try:
            fields = parse_object(body, texts)
        except BadJson as error:
            raise AnalyzerFailure(f"the reply: {error}") from None
        values = {}
        for name in fields.keys() & {text.decode() for text in texts}:
            node = json.loads(bytes(fields[name]))
            stripped = not self.watching and _without_logprobs(node)
            clean = await self.tree(node, {})
            if stripped or clean != json.loads(bytes(fields[name])):
                values[name] = dumped(clean)
        return body if self.watching or not values else splice(body, fields, values)

    async def tree(self, node: Any, known: dict[str, str]) -> Any:
        """A tree that holds whole texts, which is changed in place; `known` maps those that were searched before
        to what became of them, and learns the others. Raises BlockedReply, AnalyzerFailure."""
        found = leaves_of(node)
        for leaf in found.leaves:
            if leaf.text in known:
                self._put(leaf, known[leaf.text])
        self._unscanned |= found.unscannable
        if self._profile.unscannable == "deny" and not self.watching and (kinds := found.unscannable & REFUSED):
            raise UnscannableReply(", ".join(sorted(kinds)))
        leaves = [leaf for leaf in found.leaves if leaf.text not in known]
        for leaf, spans in zip(leaves, await self.spans([leaf.text for leaf in leaves]), strict=True):
            known[leaf.text] = text = self.cleaned(leaf.text, spans)
            self._put(leaf, text)
        return found.tree

    def _put(self, leaf: Leaf, text: str) -> None:
        if text != leaf.text:
            self.changes_made += 1
            leaf.put(text)

    async def spans(self, texts: Sequence[str], *, fresh: int | None = None) -> list[Found]:
        """What texts hold. `fresh` counts the characters that were not searched before. Raises BlockedReply,
        AnalyzerFailure."""
        if not texts:
            return []
        self._parts += len(texts)
        self._bytes += sum(map(len, texts)) if fresh is None else fresh
        began = self._clock()
        try:
            found = await self._search(texts)
        except AnalyzerFailure as failure:
            if self._profile.on_error == "deny" and not self.watching:
                raise
            self._failed = failure.detail[:200] or "failed"
            return [()] * len(texts)
        finally:
            self._seconds += self._clock() - began
        return [_outside(text, spans) for text, spans in zip(texts, found, strict=True)]

    def note(self, spans: Iterable[Span]) -> None:
        """Count findings. Raises BlockedReply."""
        for span in spans:
            self._counts[span.entity] += 1
            if not self.watching and self._profile.action_for(span.entity, reply=True) == "block":
                raise BlockedReply(span.entity)

    def cleaned(self, text: str, spans: Iterable[Span]) -> str:
        """A text without what was found in it. Raises BlockedReply."""
        parts, at = [], 0
        for span in spans:
            self.note((span,))
            action = self._profile.action_for(span.entity, reply=True)
            if action == "detect" or self.watching:
                continue
            value = text[span.start : span.end]
            masked = "*" * len(value) if action == "mask" else self._placeholders.of(span.entity, value)
            parts += [text[at : span.start], masked]
            at = span.end
        return "".join((*parts, text[at:]))

    def stream(self, runs: Runs, *, json_text: bool) -> StreamGuard:
        """The stage of one stream."""
        return StreamGuard(self, runs, json_text=json_text)

    def changes(self, entity: str) -> bool:
        """Whether finding this changes the text."""
        return not self.watching and self._profile.action_for(entity, reply=True) != "detect"


def _outside(text: str, spans: Found) -> Found:
    """The spans that touch no placeholder: its digits are nobody's."""
    if not spans or "<" not in text:
        return spans
    taken = [found.span() for found in LOOKS_LIKE.finditer(text)]
    return tuple(one for one in spans if not any(one.start < end and start < one.end for start, end in taken))


class _Run:
    """One run of text: `held` is not let go yet, `before` was the last to go."""

    def __init__(self, piece: Piece, wanted: int) -> None:
        self.piece = piece
        self.held = self.before = ""
        self.wanted = wanted  # characters to have before the next step
        self.searched = 0  # characters of what is held
        self.came: list[str] = []
        self.went: list[str] = []


class StreamGuard:
    """The guard's stage of one stream: as a StreamFilter, but that it waits for analyses."""

    def __init__(self, guard: ReplyGuard, runs: Runs, *, json_text: bool) -> None:
        self._guard = guard
        self._runs = runs
        self._json_text = json_text
        self.passed: list[Event] = []
        self._over = False  # it has raised
        self._open: dict[Key, _Run] = {}
        self._known: dict[str, str] = {}  # whole texts of runs, and what became of them
        self._unfinished = guard.unfinished
        self._wanted = guard.unfinished.hold + STEP

    async def feed(self, events: Iterable[Event]) -> list[Event]:
        """What may go on now. Raises BlockedReply, AnalyzerFailure; then `passed` is what may go on before."""
        if self._over:  # what is held back stays back; what comes is ours
            return list(events)
        self._over = True
        self.passed = out = []
        for event in events:
            if event.data is None:
                out.append(event)
            elif event.data.startswith(b"[DONE]"):
                out += [*await self.flush(), event]
            else:
                out += await self._event(event, event.data)
        self._over = False
        return out

    async def flush(self) -> list[Event]:
        """What is held back at the end of a stream. Raises BlockedReply, AnalyzerFailure."""
        return await self._rest(lambda _: True)

    async def _event(self, event: Event, data: bytes) -> list[Event]:
        try:
            chunk = tree_of(data)
        except ValueError:
            return [event] if self._guard.watching else []  # what cannot be searched does not go on
        if not isinstance(chunk, dict):
            return [event] if self._guard.watching else []
        changed = not self._guard.watching and _without_logprobs(chunk)
        pieces = {piece.key: piece for piece in self._runs.pieces(chunk)}
        if pieces:
            changed |= await self._beside(chunk, pieces.values())
        for key, piece in pieces.items():
            run = self._open.setdefault(key, _Run(piece, self._wanted))
            run.piece = piece
            changed |= _put(piece, await self._fed(run, piece.owner[piece.field]))
        before: list[Event] = []
        if (ended := self._runs.ends(chunk)) is not None:
            for key in [key for key in pieces if ended(key)]:
                rest = await self._last(self._open.pop(key))
                changed |= _put(pieces[key], pieces[key].owner[pieces[key].field] + rest)
            before = await self._rest(ended)
        if not pieces:  # whole texts, of runs that ended with it too
            changed |= await self._beside(chunk, ())
        changed |= self._runs.renumber(chunk)
        return [*before, rewritten(event, chunk) if changed else event]

    async def _beside(self, chunk: dict[str, Any], pieces: Iterable[Piece]) -> bool:
        """Search what stands in an event beside its pieces of running text; whether that changed it."""
        running = [(piece, piece.owner[piece.field]) for piece in pieces]
        for piece, _ in running:
            piece.owner[piece.field] = ""
        before = self._guard.changes_made
        await self._guard.tree(chunk, self._known)
        for piece, text in running:
            piece.owner[piece.field] = text
        return self._guard.changes_made > before

    async def _rest(self, ended: Callable[[Key], bool]) -> list[Event]:
        out = []
        for key in [key for key in self._open if ended(key)]:
            run = self._open.pop(key)
            if rest := await self._last(run):
                out.append(self._runs.more(run.piece, rest))
        return out

    async def _fed(self, run: _Run, text: str) -> str:
        run.came.append(text)
        if self._guard.watching:
            return text
        run.held += text
        if run.piece.is_json:
            if len(run.held) > LARGEST_CALL:
                raise AnalyzerFailure("a tool call's arguments are too long")
            return ""  # until it is whole
        out = []
        while len(run.held) >= run.wanted:
            out.append(await self._step(run, run.held[: run.wanted]))
        return "".join(out)

    async def _last(self, run: _Run) -> str:
        """The rest of a run that has ended."""
        came = "".join(run.came)
        if run.piece.is_json:
            rest = await self._document(came)
            run.went.append(rest)
        elif self._guard.watching:
            for spans in await self._guard.spans([came]):
                self._guard.note(spans)
            run.went, rest = run.came, ""
        else:
            rest = ""
            while run.held:
                rest += await self._step(run, run.held, last=True)
        self._known[came] = "".join(run.went)
        return "" if self._guard.watching else rest

    async def _document(self, text: str) -> str:
        """A tool call's arguments: a JSON document, or what is left of one."""
        try:
            tree = json.loads(text)
        except (ValueError, RecursionError):
            (spans,) = await self._guard.spans([text])
            return self._guard.cleaned(text, _past_escapes(text, spans))
        whole = await self._guard.tree({"arguments": text}, self._known)
        return text if json.loads(whole["arguments"]) == tree else str(whole["arguments"])

    async def _step(self, run: _Run, window: str, *, last: bool = False) -> str:
        """Search a window, and let go of it as far as nothing that could still be found has begun."""
        seen, skip = run.before + window, len(run.before)
        (found,) = await self._guard.spans([seen], fresh=len(window) - run.searched)
        run.searched = len(window)
        spans = [
            Span(max(0, one.start - skip), one.end - skip, one.entity, one.score) for one in found if one.end > skip
        ]
        if self._json_text:
            spans = list(_past_escapes(window, spans))
        cut = len(window)
        if not last:
            cut = max(0, self._unfinished.start(seen, self._unfinished.hold) - skip)
            across = self._across(spans, cut)
            cut = across.start if across is not None else cut
            if not cut and len(window) < MOST:
                run.wanted = len(window) + max(STEP, len(window) // 4)  # see more of it first
                return ""
            if not cut:  # it is longer than anything that is looked for
                cut = AT_LEAST + self._unfinished.start(window[AT_LEAST:], self._unfinished.hold)
                across = self._across(spans, cut)
                cut = across.end if across is not None else cut
        run.wanted = self._wanted
        text = self._guard.cleaned(window[:cut], [one for one in spans if one.end <= cut])
        run.held = run.held[cut:]
        run.searched -= cut
        run.before = seen[: skip + cut][-BEFORE:]
        run.went.append(text)
        return text

    def _across(self, spans: Iterable[Span], cut: int) -> Span | None:
        """What was found across a place, and is to be changed."""
        return next((one for one in spans if one.start < cut < one.end and self._guard.changes(one.entity)), None)


def _past_escapes(text: str, spans: Iterable[Span]) -> Iterable[Span]:
    """Spans in JSON text: none begins in the middle of an escape."""
    for span in spans:
        start = span.start
        if start and text[start - 1] == "\\" and text[start] != "\\":
            start += 5 if text[start] == "u" else 1
        if start < span.end:
            yield Span(start, span.end, span.entity, span.score)


def _put(piece: Piece, text: str) -> bool:
    changed = bool(piece.owner[piece.field] != text)
    piece.owner[piece.field] = text
    return changed


def _without_logprobs(node: Any) -> bool:
    """Take out what repeats text token by token; whether there was any."""
    found = False
    for one in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        found |= _without_logprobs(one)
    if isinstance(node, dict) and node.get("logprobs"):
        node["logprobs"] = [] if isinstance(node["logprobs"], list) else None
        found = True
    return found
