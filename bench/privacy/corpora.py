"""Texts to measure time on: made the same on every run, with nothing of the labelled templates in the clean ones."""

from __future__ import annotations

import random
from collections.abc import Callable

from bench.privacy.texts import labelled

_SUBJECTS = ("The harbour", "A teacher", "Our committee", "The old mill", "Every evening", "The report", "A good map")
_VERBS = ("explains", "follows", "crosses", "describes", "has changed", "will need", "remembers", "compares")
_OBJECTS = (
    "the road along the river", "what the council decided", "three reasons for it", "a quiet part of the town",
    "the cost of the repair, about 1,200 euros in 2024", "nothing that matters at noon", "section 3.2 of the plan",
)  # fmt: skip
_ENDS = ("and that is all", "as it did before", "without much noise", "because nobody asked", "at half past ten")
_CODE = (
    'def {a}(self, {b}: int = {n}) -> dict[str, int]:\n    """Return {b} of {a}."""\n',
    '    if self.{a}.{b} > {n} and not {b}_seen:\n        raise ValueError(f"{{{b}}} is not {a}")\n',
    "    for {a}, {b} in zip(self.rows, range({n})):\n        total += {a}.weight * {n}.5\n",
    '    return {{"{a}": {b}, "size": {n}, "version": "{n}.{m}.0"}}\n\n',
    "import {a}.{b}\nfrom {a}.{b} import Base{n}\n@{a}.{b}(timeout={n})\nclass Widget{n}(Base{n}):\n    width = {n}\n",
)  # fmt: skip
_NAMES = ("index", "buffer", "node", "cache", "token", "model", "reader", "stage", "layer", "batch")


def prose(size: int, seed: int = 1) -> str:
    """English without personal data; a number now and then."""
    chance = random.Random(seed)
    parts = ""
    while len(parts) < size:
        parts += (
            f"{chance.choice(_SUBJECTS)} {chance.choice(_VERBS)} {chance.choice(_OBJECTS)} {chance.choice(_ENDS)}. "
        )
    return parts[:size]


def code(size: int, seed: int = 2) -> str:
    """Python that never ran."""
    chance = random.Random(seed)
    parts = ""
    while len(parts) < size:
        parts += chance.choice(_CODE).format(
            a=chance.choice(_NAMES), b=chance.choice(_NAMES), n=chance.randint(0, 400), m=chance.randint(0, 30)
        )
    return parts[:size]


def mixed(size: int) -> str:
    """Labelled texts between prose: one sentence in eight holds something."""
    texts = [one.text for one in labelled("tuning", 2)]
    parts = ""
    for number, text in enumerate(texts):
        parts += prose(500, number) + "\n" + text + "\n"
        if len(parts) >= size:
            break
    return parts[:size]


def dense() -> list[str]:
    """Short texts, each full of personal data."""
    return [one.text for one in labelled("tuning", 2) if one.labels]


def chat(turns: int = 20) -> list[list[str]]:
    """The messages that each turn of a chat sends: its whole history, and a new question. Some hold something."""
    texts = dense()
    history: list[str] = [prose(600, 99)]
    sent = []
    for turn in range(turns):
        asked = prose(300, 100 + turn) + (texts[turn * 7 % len(texts)] if turn % 3 == 0 else "")
        history = [*history, asked]
        sent.append(list(history))
        history.append(prose(700, 200 + turn) if turn % 4 else code(700, 200 + turn))
    return sent


WORST: dict[str, Callable[[], str]] = {
    "5 KB of `a.a.a.`": lambda: "a." * 2560,
    "5 KB of dots": lambda: "." * 5120,
    "contents page with dot leaders, 5 KB": lambda: "".join(
        f"{number}. Chapter {number} {'.' * 60} {number * 7}\n" for number in range(1, 65)
    )[:5120],
}
