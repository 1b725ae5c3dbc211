"""Words instead of a language model: enough for context words ("call", "ssn") to count."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from presidio_analyzer import RecognizerResult
from presidio_analyzer.context_aware_enhancers import LemmaContextAwareEnhancer
from presidio_analyzer.nlp_engine import NlpArtifacts, NlpEngine

LANGUAGE = "en"
_WORD = re.compile(r"\w+|[^\w\s]")
_STOP = frozenset(
    "a an and are as at be by for from in is it my of on or our that the this to was with your".split()  # noqa: SIM905  # a list of 25 lines says no more
)
_FIRST_LOOK = 200  # characters before a match, in which its words usually are


class WordEngine(NlpEngine):
    """What Presidio asks of a language model, answered by a regular expression. The lemma of a word is its lower
    case."""

    engine_name = "words"
    is_available = True

    def load(self) -> None:
        """Nothing is loaded."""

    def is_loaded(self) -> bool:
        """Always."""
        return True

    def process_text(self, text: str, language: str) -> NlpArtifacts:
        """Words, and their lower-case forms as lemmas."""
        found = list(_WORD.finditer(text))
        words = [match[0] for match in found]
        return NlpArtifacts(
            entities=[],
            tokens=words,  # type: ignore[arg-type]  # only their text is used
            tokens_indices=[match.start() for match in found],
            lemmas=[word.lower() for word in words],
            nlp_engine=self,
            language=language,
        )

    def process_batch(
        self, texts: Iterable[str], language: str, batch_size: int = 1, n_process: int = 1, **kwargs: Any
    ) -> Iterator[tuple[str, NlpArtifacts]]:
        """One after the other."""
        for text in texts:
            yield text, self.process_text(text, language)

    def is_stopword(self, word: str, language: str) -> bool:
        """Whether a word says nothing about its neighbours."""
        return word.lower() in _STOP

    def is_punct(self, word: str, language: str) -> bool:
        """Whether it is no word."""
        return not word[:1].isalnum()

    def get_supported_entities(self) -> list[str]:
        """None: names of persons need a model."""
        return []

    def get_supported_languages(self) -> list[str]:
        """The one."""
        return [LANGUAGE]


class LocalContext(LemmaContextAwareEnhancer):
    """Presidio's enhancer reads all words of a text for each match, which is quadratic; this one reads the few that
    it uses: five before the match, and the word that it begins with or the next. The scores are the same."""

    def enhance(self, text: str, results: Sequence[RecognizerResult], context: Sequence[str]) -> None:
        """Raise the scores of one recognizer's results, whose context words these are."""
        for result in results:
            words = self._words(text, result.start)
            if self._find_supportive_word_in_context(words, list(context), self.context_matching_mode):
                raised = max(result.score + self.context_similarity_factor, self.min_score_with_context_similarity)
                result.score = min(raised, self.MAX_SCORE)

    def _words(self, text: str, start: int) -> list[str]:
        """The words around a match: those before it, nearest first, and the one from it on."""
        first = _first_word(text, start)
        if first is None:
            return []
        words = [] if first[1] is None else [first[1]]
        for word in _backwards(text, first[0]):
            if len(words) > self.context_prefix_count:
                break
            words.append(word)
        if first[1] is None:
            words += _next_word(text, first[0])
        return words


def _keyword(token: str) -> str | None:
    """A token as a context word, if it can be one: lower case, as NlpArtifacts keeps them."""
    lower = token.lower()
    return lower if token[:1].isalnum() and lower not in _STOP else None


def _first_word(text: str, start: int) -> tuple[int, str | None] | None:
    """Where the token that holds `start`, or the next one, begins, and its word if it is one."""
    begin = start
    while begin > 0 and _is_word(text[begin - 1]) and _is_word(text[start : start + 1]):
        begin -= 1
    found = _WORD.search(text, begin)
    return None if found is None else (found.start(), _keyword(found[0]))


def _next_word(text: str, start: int) -> list[str]:
    for found in _WORD.finditer(text, start):
        word = _keyword(found[0])
        if word is not None:
            return [word]
    return []


def _backwards(text: str, end: int) -> Iterator[str]:
    """Context words before `end`, the nearest first."""
    look = _FIRST_LOOK
    while end > 0:
        begin = max(0, end - look)
        while begin > 0 and _is_word(text[begin - 1]) and _is_word(text[begin]):
            begin -= 1
        for found in reversed(list(_WORD.finditer(text, begin, end))):
            word = _keyword(found[0])
            if word is not None:
                yield word
        end, look = begin, look * 8


def _is_word(char: str) -> bool:
    return char.isalnum() or char == "_"
