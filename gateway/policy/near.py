"""What a misspelt word was probably meant to be. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

SIMILAR = 0.6  # difflib's own default: below it suggestions mislead more than they help
SHORTEST_START = 3  # letters of a word that may be the start of a longer one


def suggestion(word: str, allowed: Iterable[str]) -> str:
    """`, did you mean 'models'?` or nothing. Only an allowed word is ever repeated."""
    words = sorted(allowed)
    near = difflib.get_close_matches(word, words, n=1, cutoff=SIMILAR)
    if not near and len(word) >= SHORTEST_START:
        near = [one for one in words if one.lower().startswith(word.lower())]
    return f", did you mean '{near[0]}'?" if near else ""
