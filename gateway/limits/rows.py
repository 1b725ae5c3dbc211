"""Usage of keys without limits, added up until it is told to the store. Pure.

No limit waits for these settlements, so one for each usage row and second does for all of its exchanges. It goes under
the request id of the first of them, which the store counts once, however often it is sent.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.limits.ledger import UNCOUNTED
from gateway.limits.scopes import Account, Charge, Claim, Lease


@dataclass(slots=True)
class _Sum:
    request_id: str
    requests: int
    tokens: int
    nano_usd: int


class Waiting:
    """What is not told yet: one settlement for each usage row."""

    def __init__(self) -> None:
        self._rows: dict[Account, _Sum] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, account: Account, request_id: str, charge: Charge) -> bool:
        """Add an exchange to its row; whether nothing else waits."""
        if (row := self._rows.get(account)) is None:
            self._rows[account] = _Sum(request_id, charge.requests, charge.tokens, charge.nano_usd)
            return len(self._rows) == 1
        row.requests += charge.requests
        row.tokens += charge.tokens
        row.nano_usd += charge.nano_usd
        return False

    def taken(self) -> list[tuple[Lease, Charge]]:
        """All of it, which now is the caller's to tell."""
        rows, self._rows = self._rows, {}
        return [
            (
                Lease(
                    Claim(row.request_id, account.tenant, (), 0, 0, row=account.row, time_zone=account.time_zone),
                    (),
                    epoch=UNCOUNTED,
                ),
                Charge(row.tokens, row.nano_usd, row.requests),
            )
            for account, row in rows.items()
        ]
