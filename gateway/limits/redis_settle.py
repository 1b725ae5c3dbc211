"""Settlements and renewals as they go to Redis: those of one tenant in one call of a script, and by itself what needs a
closer look.

`settle_all.lua` takes the leases that are open and that this life of the store admitted: nearly all. It settles a whole
call of them or none, and says which must come alone; `settle.lua` knows the rest (a lease that has expired or was
settled before, a store that came back empty), and is told the scopes, which the other finds in the lease.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from gateway.errors import StoreFailure
from gateway.limits.ledger import LARGEST, UNCOUNTED
from gateway.limits.redis_books import crossed_of
from gateway.limits.redis_code import Keys, Plans, Script, charged, closing, closing_all, plans_of, renewing, row_in
from gateway.limits.redis_nodes import Servers
from gateway.limits.redis_pipe import Lost, ReplyError
from gateway.limits.scopes import Charge, Crossed, Lease, Scope

# Of one call: what Redis does for it, 2 to 4 µs for each limit, keeps it from everybody else for a millisecond or two.
COUNTED_AT_ONCE = 300  # limits
AT_ONCE, FEW = 32, 4  # settlements, and how many may be together however many limits they have
RENEWED_AT_ONCE = 250  # of one call: less than a millisecond
NOSCRIPT = "NOSCRIPT"  # a server that has not seen a script

_ALONE = frozenset({"", UNCOUNTED})  # epochs of leases that no life of the store admitted

Closed = tuple[Lease, Charge]
Told = tuple[str, int, int, int]  # request id, tokens, nano-USD, requests
Group = tuple[list[int], list[Sequence[Scope]], list[Told]]
Said = Sequence[Crossed] | StoreFailure


class Call(msgspec.Struct, frozen=True):
    """A script with its arguments, and the places of the settlements that it is about."""

    slot: int
    script: Script
    count: int
    keyed: bytes
    places: list[int]


class Settling:
    """`keys_of` a tenant; `given` is the time where it is not Redis' own; `now` what Redis' clock probably says, µs;
    `learn` hears what it said."""

    def __init__(
        self, servers: Servers, keys_of: Callable[[str], Keys], given: Callable[[], bytes], now: Callable[[], int],
        learn: Callable[[int], int],
    ) -> None:  # fmt: skip
        self._servers, self._keys_of = servers, keys_of
        self._given, self._now, self._learn = given, now, learn
        self._renew = Script.load("renew.lua")
        self._one, self._all = Script.load("charge.lua", "settle.lua"), Script.load("charge.lua", "settle_all.lua")

    @property
    def script(self) -> Script:
        """The one that a lease expires by, too."""
        return self._one

    async def settle_all(self, closed: Sequence[Closed]) -> list[Said]:
        """Of each what it passed, or its failure. One write for those that go together, one for those that do not."""
        found: list[Said] = [()] * len(closed)
        calls, alone = self._together(closed)
        for call, reply in zip(calls, await self._ask(calls), strict=True):
            places = call.places
            if isinstance(reply, StoreFailure):
                for at in places:
                    found[at] = reply
                continue
            self._learn(reply[0])
            for number, *passed in reply[1:]:
                at = places[number - 1]
                if passed:
                    found[at] = self._crossed(closed[at][0], passed)
                else:
                    alone.append(at)
        if alone:
            alone.sort()
            for at, said in zip(alone, await self._settle_each([closed[at] for at in alone]), strict=True):
                found[at] = said
        return found

    async def renew(self, leases: Sequence[Lease]) -> None:
        """Raises StoreFailure where some could not be; the others are renewed all the same."""
        tenants: dict[str, list[str]] = {}
        for lease in leases:
            tenants.setdefault(lease.claim.tenant, []).append(lease.claim.request_id)
        calls: list[Call] = []
        for tenant, names in tenants.items():
            keys = self._keys_of(tenant)
            for start in range(0, len(names), RENEWED_AT_ONCE):
                count, keyed = renewing(keys, names[start : start + RENEWED_AT_ONCE], self._given())
                calls.append(Call(keys.slot, self._renew, count, keyed, []))
        for reply in await self._ask(calls):
            if isinstance(reply, StoreFailure):
                raise reply

    def _together(self, closed: Sequence[Closed]) -> tuple[list[Call], list[int]]:
        """The calls for those that go together, and the places of those of which that is known not to work."""
        groups: dict[tuple[str, str], Group] = {}
        alone: list[int] = []
        for at, (lease, charge) in enumerate(closed):
            claim, epoch = lease.claim, lease.epoch
            if epoch in _ALONE or lease.local:
                alone.append(at)
                continue
            group = groups.get((claim.tenant, epoch))
            if group is None:
                group = groups[claim.tenant, epoch] = [], [], []
            tokens, nano_usd, requests = charge.tokens, charge.nano_usd, charge.requests
            if not 0 <= tokens | nano_usd | requests <= LARGEST:  # LARGEST is all ones
                tokens, nano_usd, requests = charged(charge)
            group[0].append(at)
            group[1].append(claim.scopes)
            group[2].append((claim.request_id, tokens, nano_usd, requests))
        calls: list[Call] = []
        for (tenant, epoch), group in groups.items():
            calls += self._calls(tenant, epoch, *group)
        return calls, alone

    def _calls(
        self, tenant: str, epoch: str, places: list[int], scopes: list[Sequence[Scope]], told: list[Told]
    ) -> Sequence[Call]:
        """Of leases of one tenant and one life of the store: their places, their scopes, and what is told of them."""
        keys, now, given = self._keys_of(tenant), self._now(), self._given()
        plans = _plans(keys, scopes, now)
        most = FEW if len(places) <= FEW else _at_once(plans)
        if len(places) <= most:
            return (Call(keys.slot, self._all, *closing_all(keys, plans, epoch, told, given), places),)
        calls: list[Call] = []
        for start in range(0, len(places), most):
            some = slice(start, start + most)
            plans = _plans(keys, scopes[some], now)
            calls.append(Call(keys.slot, self._all, *closing_all(keys, plans, epoch, told[some], given), places[some]))
        return calls

    async def _settle_each(self, closed: Sequence[Closed]) -> list[Said]:
        """Each by a call of its own, which knows whatever a lease may have come to."""
        found: list[Said] = [StoreFailure("the store's clock jumps")] * len(closed)
        due = list(range(len(closed)))
        for _ in range(3):
            calls = [self._call_alone(at, *closed[at]) for at in due]
            due = []
            for call, reply in zip(calls, await self._ask(calls), strict=True):
                (at,) = call.places
                if isinstance(reply, StoreFailure):
                    found[at] = reply
                    continue
                self._learn(reply[1])
                if reply[0] == -1:  # a period is over
                    due.append(at)
                else:
                    found[at] = self._crossed(closed[at][0], reply[2:])
            if not due:
                break
        return found

    def _call_alone(self, at: int, lease: Lease, charge: Charge) -> Call:
        claim, now = lease.claim, self._now()
        keys = self._keys_of(claim.tenant)
        plans = plans_of(keys, claim.scopes, now)
        count, keyed = closing(keys, lease, plans, charged(charge), self._given(), row_in(keys, claim, now))
        return Call(keys.slot, self._one, count, keyed, [at])

    async def _ask(self, calls: list[Call]) -> list[Any]:
        """Of each call its reply, or its failure. What was lost is asked for once more: what ran before is known by
        then. A script that a server has not seen is sent."""
        if not calls:
            return []
        replies = await self._ask_once(calls)
        for reply in replies:
            if isinstance(reply, StoreFailure):
                return await self._ask_again(calls, replies)
        return replies

    async def _ask_once(self, calls: list[Call]) -> list[Any]:
        if len(calls) == 1:
            (one,) = calls
            try:
                reply = self._servers.send(one.slot, one.script.evalsha(one.count, one.keyed))
                if reply is not None:
                    return [await reply]
            except ReplyError:
                pass  # it has not run; whoever asks again sees to what that means
            except StoreFailure as failure:
                return [failure]
        return await self._servers.call_all([(one.slot, one.script.evalsha(one.count, one.keyed)) for one in calls])

    async def _ask_again(self, calls: list[Call], replies: list[Any]) -> list[Any]:
        lost = [at for at, reply in enumerate(replies) if isinstance(reply, Lost)]
        if lost:
            again = [(calls[at].slot, calls[at].script.evalsha(calls[at].count, calls[at].keyed)) for at in lost]
            _put(replies, lost, await self._servers.call_all(again))
        unseen = [at for at, reply in enumerate(replies) if isinstance(reply, ReplyError) and reply.code == NOSCRIPT]
        if unseen:
            whole: list[tuple[int, bytes]] = []
            sent: set[tuple[int, bytes]] = set()
            for one in [calls[at] for at in unseen]:
                known = (one.slot, one.script.sha) in sent  # commands of a slot are run in the order they are sent in
                sent.add((one.slot, one.script.sha))
                say = one.script.evalsha if known else one.script.eval
                whole.append((one.slot, say(one.count, one.keyed)))
            _put(replies, unseen, await self._servers.call_all(whole))
        return replies

    def _crossed(self, lease: Lease, figures: Sequence[Any]) -> Sequence[Crossed]:
        return crossed_of(self._keys_of(lease.claim.tenant), lease.claim.scopes, figures) if figures else ()


def _plans(keys: Keys, scopes: list[Sequence[Scope]], now: int) -> list[Plans]:
    """Of each of them once."""
    return [plans_of(keys, one, now) for one in dict(zip(map(id, scopes), scopes, strict=True)).values()]


def _at_once(plans: Sequence[Plans]) -> int:
    """How many leases with such scopes go in one call."""
    most = max([len(one.shown.limits) for one in plans])
    return max(FEW, min(AT_ONCE, COUNTED_AT_ONCE // max(1, most)))


def _put(replies: list[Any], places: list[int], others: list[Any]) -> None:
    for at, other in zip(places, others, strict=True):
        replies[at] = other
