"""Usage of keys without limits, added up until it is told to the store. Pure.

No limit waits for these settlements, so one for each usage row and second does for all of its exchanges. It goes under
the request id of the first of them, which the store counts once, however often it is sent.
"""

from __future__ import annotations

from gateway.limits.scopes import Charge, Lease


class Waiting:
    """What is not told yet: one settlement for each usage row."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str, str], tuple[Lease, Charge]] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, lease: Lease, charge: Charge) -> None:
        """Add an exchange to its row; one without a row is nobody's."""
        claim = lease.claim
        if not claim.row:
            return
        row = claim.tenant, claim.row, claim.time_zone
        first, sum_ = self._rows.get(row, (lease, Charge(0, 0, requests=0)))
        self._rows[row] = (
            first,
            Charge(sum_.tokens + charge.tokens, sum_.nano_usd + charge.nano_usd, sum_.requests + charge.requests),
        )

    def taken(self) -> list[tuple[Lease, Charge]]:
        """All of it, which now is the caller's to tell."""
        rows, self._rows = self._rows, {}
        return list(rows.values())
