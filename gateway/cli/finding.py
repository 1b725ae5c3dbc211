"""What a doctor says of one thing that it looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

SECONDS = 5.0  # for each thing that is reached


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    verdict: Literal["ok", "warning", "FAILED"]
    about: str
    words: str

    def __str__(self) -> str:
        return f"{self.verdict:<8}{self.about}: {self.words}"
