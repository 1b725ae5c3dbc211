"""GCRA with variable cost, in its form as a leaky bucket: integers only. Pure.

A bucket holds a *level*, counted in 1/60,000,000 of a token: a token that is admitted adds `TICK`, a microsecond takes
away `rate` (tokens per minute). So any rate is exact: neither 7 per minute nor 100,000,000 rounds. A claim fits while
the level stays within `burst`, hence tokens admitted in any time t ≤ burst + rate × t. (The level is GCRA's
"theoretical arrival time − now" in tokens instead of seconds, so a changed rate keeps what was taken.) A bucket leaks
by the rate of its last claim until the next one: a limit that an admin lowers finds a key that was idle empty, and one
that is raised gives nothing for the time before.

A refund must not over-admit. The level is max over j of (what was taken since the j-th claim − what leaked since).
Giving back r of claim i lowers the terms j ≤ i by r and none of the others, and those are at most what was taken
after i. `gross` counts all that was ever taken; a lease keeps its value as a mark, and the refund stops at
`gross − mark`. Without that stop, a refund long after its claim erases claims that are younger.
"""

from __future__ import annotations

from dataclasses import dataclass

TICK = 60_000_000  # of a level, per token: µs per minute


@dataclass(slots=True)
class Bucket:
    """`at` in µs; `gross` in tokens; `rate` is that of the last claim."""

    level: int = 0
    at: int = 0
    gross: int = 0
    rate: int = 0

    def pace(self, rate: int) -> int:
        """The rate that it leaks by until its next claim."""
        return self.rate or rate

    def leak(self, rate: int, now: int) -> int:
        """The level at `now`; nothing changes. A clock that went back leaks nothing."""
        return max(0, self.level - max(0, now - self.at) * self.pace(rate))

    def take(self, cost: int, rate: int, now: int) -> int:
        """Add a cost in tokens, whether it fits or not; the mark to refund it by."""
        self.level = self.leak(rate, now) + cost * TICK
        self.at, self.rate = max(self.at, now), rate
        self.gross += cost
        return self.gross

    def refund(self, tokens: int, mark: int, rate: int, now: int) -> None:
        """Give back tokens of the claim that left `mark`."""
        level = self.leak(rate, now)
        self.level = max(level - tokens * TICK, min(level, (self.gross - mark) * TICK))
        self.at = max(self.at, now)


def wait(level: int, cost: int, rate: int, burst: int) -> int | None:
    """µs until `cost` tokens fit; 0: they fit now; None: they never will."""
    if cost > burst:
        return None
    over = level + cost * TICK - burst * TICK
    if over <= 0:
        return 0
    return -(-over // rate) if rate else None


def remaining(level: int, burst: int) -> int:
    """Whole tokens that fit now; negative where usage went beyond what was reserved."""
    return (burst * TICK - level) // TICK


def full_after(level: int, rate: int) -> int:
    """µs until the bucket is as good as unused."""
    return -(-level // rate) if rate else 0
