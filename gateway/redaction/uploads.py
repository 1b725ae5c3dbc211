"""Personal data in forms, as they pass: in their fields, in the names of files, and in files that are text.

A line that is JSON, as those of batches and of fine-tuning are, is searched text by text, as a request's body is; other
lines as they stand. A file that is no text is named in the record, and passes: whoever named the path in `endpoints`
lets it (docs/decisions/0001-side-door.md). Nothing can be replaced in what is passing, so what is found is refused.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from msgspec import structs

from gateway.errors import AnalyzerFailure, LateRefusal, Reason, Refusal
from gateway.json_object import BadJson
from gateway.policy.compiled import RedactionProfile
from gateway.redaction.safe import Coverage
from gateway.redaction.spans import Span
from gateway.redaction.walk import NOT_TEXT, TwiceTheSame, leaves_of, loaded

Search = Callable[[Sequence[str]], Awaitable[Sequence[Sequence[Span]]]]  # spans of each text; raises AnalyzerFailure
_NO_TEXT = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")  # of a file that is text there is none
_SAYS_SO = (b"%PDF-",)  # beginnings of files that look like text and are none
_NOT_TEXT = frozenset(("model", "purpose", "language", "response_format"))  # fields
AT_ONCE = 200  # texts of one analysis


class UploadSearch:
    """The port `FormSearch`, of one form. `coverage` is what it has seen so far; `kind` is what a file is called there
    that cannot be read."""

    def __init__(
        self, profile: RedactionProfile, search: Search, looked_for: tuple[str, ...], kind: str,
        clock: Callable[[], float],
    ) -> None:  # fmt: skip
        self.unread = False
        self._profile, self._search, self._kind, self._clock = profile, search, kind, clock
        self._coverage = Coverage(profile.name, looked_for)
        self._counts: Counter[str] = Counter()
        self._unscanned: set[str] = set()
        self._texts: list[str] = []
        self._lines: list[bytes] = []  # whole ones
        self._parts: list[bytes] = []  # of the line at hand
        self._begun = False  # the file at hand has content

    @property
    def coverage(self) -> Coverage:
        """Counts and names, never a value."""
        return structs.replace(
            self._coverage, spans=dict(self._counts), unscanned=tuple(sorted(self._unscanned)),
        )  # fmt: skip

    def field(self, name: str, value: str) -> None:
        """A field; a file's name is one too."""
        if value and name not in _NOT_TEXT:
            self._texts.append(value)

    def file(self, data: bytes) -> None:
        """A piece of a file; b"" ends it."""
        if not data:
            self._end_line()
            self.unread = self._begun = False
            return
        if self.unread:
            return
        if not self._begun and data.startswith(_SAYS_SO):
            self._give_up()
            return
        self._begun = True
        strange = _NO_TEXT.search(data)
        self._take(data if strange is None else data[: strange.start()])
        if strange is not None:  # the lines before are searched all the same, wherever it is cut
            self._give_up()

    def _take(self, data: bytes) -> None:
        *lines, last = data.split(b"\n")
        for line in lines:
            self._parts.append(line)
            self._end_line()
        self._parts.append(last)

    def _end_line(self) -> None:
        line, self._parts = b"".join(self._parts), []
        if not self.unread and line:
            self._lines.append(line)

    def _give_up(self) -> None:
        """The file at hand is no text."""
        self.unread = True
        self._parts.clear()
        self._unscanned.add(self._kind)

    async def settle(self) -> None:
        """Search what is whole. Raises LateRefusal, AnalyzerFailure."""
        lines, self._lines = self._lines, []
        plain: list[str] = []
        for line in lines:
            self._line(line.decode("utf-8", "replace"), plain)
        texts, self._texts = [*self._texts, *(["\n".join(plain)] if plain else [])], []
        for start in range(0, len(texts), AT_ONCE):
            await self._look(texts[start : start + AT_ONCE])

    def _line(self, line: str, plain: list[str]) -> None:
        tree, line = None, line.removeprefix("\ufeff")  # a byte order mark
        if line.lstrip()[:1] in ("{", "["):
            try:
                tree = loaded(line.encode())
            except TwiceTheSame as error:
                raise LateRefusal(Refusal(Reason.BAD_REQUEST, f"A line of the file: {error}")) from None
            except BadJson:
                tree = None
        if not isinstance(tree, (dict, list)):
            plain.append(line)
            return
        found = leaves_of(_worded(tree))
        self._texts += [leaf.text for leaf in found.leaves]
        self._unscanned |= found.unscannable

    async def _look(self, texts: Sequence[str]) -> None:
        began, seen = self._clock(), self._coverage
        try:
            found = await self._search(texts)
        except AnalyzerFailure as failure:
            if self._profile.on_error == "deny" and not self._profile.shadow:
                raise
            self._coverage = structs.replace(seen, failed=failure.detail[:200] or "failed")
            return
        self._coverage = structs.replace(
            seen, parts=seen.parts + len(texts), bytes=seen.bytes + sum(map(len, texts)),
            milliseconds=seen.milliseconds + (self._clock() - began) * 1000,
        )  # fmt: skip
        entities = [span.entity for spans in found for span in spans]
        self._counts.update(entities)
        held = sorted({one for one in entities if self._profile.action_for(one) != "detect"})
        if held and not self._profile.shadow:
            raise LateRefusal(Refusal(Reason.BLOCKED_CONTENT, _words(held), rule=self._profile.rule))


def _worded(tree: Any) -> Any:
    """What may be somebody's words in a line of JSON. Where it is a batch's request, its method, its path and the
    API's own words in its body are not."""
    if not isinstance(tree, dict):
        return tree
    body = tree.get("body")
    if not isinstance(body, dict):
        return list(tree.values())
    inner = [value for name, value in body.items() if name not in NOT_TEXT or isinstance(value, (dict, list))]
    own = [
        value for name, value in tree.items()
        if name != "body" and (name not in ("method", "url") or isinstance(value, (dict, list)))
    ]  # fmt: skip
    return own + inner


def _words(entities: Sequence[str]) -> str:
    return (
        f"The form, or a file in it, holds personal data ({', '.join(entities)}), which cannot be replaced in an "
        "upload: take it out, or send the requests one by one."
    )
