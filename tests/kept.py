"""Where records go in a test: they stay."""

from __future__ import annotations

from gateway.record import Record


class Kept:
    """Takes records."""

    def __init__(self) -> None:
        self.all: list[Record] = []
        self.bugs: list[BaseException] = []

    def write(self, record: Record) -> None:
        self.all.append(record)

    def bug(self, _: str, error: BaseException) -> None:
        self.bugs.append(error)
