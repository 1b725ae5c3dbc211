"""Which of a provider's credentials a call takes. Pure, but for the memory of which ones rest.

By weight, among those that may serve the tenant and do not rest. One that the provider refuses (401, 403) or limits
(429) rests for a while, and the call is made again with the next.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from math import inf

import msgspec

ROTATED = frozenset((401, 403, 429))
REFUSED_REST = 60.0  # seconds; a key that was renewed in its file comes back within a minute
LIMITED_REST = 10.0  # seconds, where the provider does not say how long
LONGEST_REST = 300.0  # seconds


def lines_of(access_key_id: str, secret_access_key: str, session_token: str | None) -> str:
    """An access key of AWS's as one secret."""
    return "\n".join((access_key_id, secret_access_key, session_token or ""))


class Application(msgspec.Struct, frozen=True):
    """An application of Entra's. Its secret is a token of its workload where it is `federated`."""

    tenant_id: str
    client_id: str
    authority: str
    scope: str
    federated: bool = False


class Credential(msgspec.Struct, frozen=True):
    """`read` gives the secret of this moment; `tenants` (all, if empty) may be served by it."""

    name: str
    read: Callable[[], str]
    tenants: frozenset[str] = frozenset()
    weight: int = 1


class Credentials:
    """All of one provider's; none where it needs none. Times in seconds of one clock. `usual` is the one that every
    tenant's call takes, whatever is drawn, if there is such a one and it does not rest."""

    def __init__(self, all_of_them: Sequence[Credential] = ()) -> None:
        self._all = tuple(all_of_them)
        self._rest: dict[str, float] = {}  # name → until when
        self._single = self._all[0] if len(self._all) == 1 and not self._all[0].tenants else None
        self.usual = self._single

    def __bool__(self) -> bool:
        return bool(self._all)

    def pick(self, tenant: str, now: float, draw: float, tried: Collection[str] = ()) -> Credential | None:
        """One for a tenant's call that was not tried; `draw` in [0, 1). None: there is none. Where all rest, the one
        that rests the shortest."""
        single = self._single
        if single is not None and not tried and self._rest.get(single.name, 0.0) <= now:
            if now != inf:  # which says that it need not be awake
                self.usual = single
            return single
        fitting = [one for one in self._all if one.name not in tried and (not one.tenants or tenant in one.tenants)]
        awake = [one for one in fitting if self._rest.get(one.name, 0.0) <= now]
        if not awake:
            return min(fitting, key=lambda one: self._rest[one.name], default=None)
        point = draw * sum(one.weight for one in awake)
        for one in awake:
            if point < one.weight:
                return one
            point -= one.weight
        return awake[-1]

    def refused(self, one: Credential, status: int, now: float, wait: float | None) -> None:
        """The provider answered `status` to it; `wait` is how long it asks to wait."""
        rest = REFUSED_REST if status != 429 else LIMITED_REST if wait is None else min(wait, LONGEST_REST)
        self._rest[one.name] = now + rest
        self.usual = None
