"""The windows of URLs. Presidio's recognizer takes a millisecond for each character of "a.a.a." or of dots."""

from __future__ import annotations

import re
from collections.abc import Sequence

from presidio_analyzer import Pattern
from presidio_analyzer.predefined_recognizers import UrlRecognizer

from gateway.redaction.windows import Window, merged

_DOT = re.compile(r"\.(?=([a-z\u0131\u0130\u017f\u212a]{2}))", re.IGNORECASE)
_TLD = re.compile(r"\(\?:([a-z-]+)\)")
_FOLD = str.maketrans({"\u0131": "i", "\u0130": "i", "\u017f": "s", "\u212a": "k"})
_TAIL = re.compile(r"[^\s()<>\"']*")
LONGEST_HOST = 254  # characters
BEFORE = 14  # characters: a quote, https://


class UrlFinder:
    """Around each dot behind which a top-level domain of the recognizer's may begin."""

    def __init__(self, recognizer: UrlRecognizer) -> None:
        patterns: Sequence[Pattern] = recognizer.patterns  # type: ignore[has-type]  # Presidio gives it none
        self._two = frozenset(name[:2] for pattern in patterns for name in _TLD.findall(pattern.regex))

    def windows(self, text: str) -> list[Window]:
        """The windows, in order, not touching."""
        found: list[Window] = []
        for dot in _DOT.finditer(text):
            if dot[1].lower().translate(_FOLD)[:2] not in self._two:
                continue
            host = 0
            turned = text[max(0, dot.start() - LONGEST_HOST) : dot.start()][::-1]
            matched = _HOST.match(turned)
            if matched is not None:
                host = matched.end()
            if not host:
                continue
            tail = _TAIL.match(text, dot.start())
            found.append((dot.start() - host - BEFORE, (tail.end() if tail is not None else dot.end()) + 2))
        return merged(found, len(text))


_HOST = re.compile("[a-z0-9.\\-\u0131\u0130\u017f\u212a]*", re.IGNORECASE)
