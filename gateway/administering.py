"""What admins ask of limits and usage, and what they may change for a time. Everything that is understood and cannot be
done is an `Unfit`, in words.

Exceptions live in the store, so that they hold in every process and end by themselves (limits/exceptions.py).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from msgspec import structs

from gateway.identity.standing import own_scopes, standing_of
from gateway.limits.answer import moment, quantity, scope_words
from gateway.limits.exceptions import Exemption
from gateway.limits.scopes import NANO, Limit, Remaining, Scope, Unit, Window
from gateway.limits.usage import Line, report
from gateway.limits.windows import FOREVER, MICRO, period
from gateway.policy.near import suggestion

if TYPE_CHECKING:
    from gateway.policy.compiled import Key, PolicySet
    from gateway.ports import Clock, LimitStore

LONGEST = timedelta(days=366)  # of an exception: what is to hold longer belongs into a policy
MOST = 10**15  # requests, tokens or nano-USD, as in policies
BY = ("key", "team", "tenant", "label", "model")
_SPAN = re.compile(r"([1-9][0-9]{0,5})([mhd])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}
Kind = Literal["raise", "reset", "lift"]


class Unfit(Exception):
    """What was asked is wrong; `what` says so to the admin."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what


@dataclass(frozen=True, slots=True)
class Change:
    """What was changed: for the answer and for the audit log."""

    done: Exemption
    before: Remaining
    after: Remaining
    words: str


class Administering:
    """Over the store and the policy set of the moment."""

    def __init__(self, store: LimitStore, policy: Callable[[], PolicySet], clock: Clock) -> None:
        self._store, self._policy, self._clock = store, policy, clock

    async def usage(self, by: str, only: str | None, since: str | None, until: str | None) -> list[Line]:
        """Daily lines. Raises Unfit, StoreFailure."""
        if by not in BY:
            raise Unfit(f"usage is by {', '.join(BY)}")
        today = datetime.fromtimestamp(self._clock.now(), UTC).date()
        first = day_of(since) if since is not None else today.replace(day=1)
        last = day_of(until) if until is not None else date.max
        label = first.year * 10_000 + first.month * 100 + first.day
        rows = []
        for tenant in self._tenants(only if by == "tenant" else None):
            rows += [row for row in await self._store.usage(tenant, label) if row.day <= last]
        if by == "key" and only is not None:
            only = self._id_of(only)
        lines = report(rows, by, only)
        if not lines and only is not None:
            self._known(by, only)
        names = {f"key {key.id}": key.name for key in self._policy().keys.values()} if by == "key" else {}
        return [structs.replace(line, name=names.get(line.scope, "")) for line in lines]

    def _known(self, by: str, name: str) -> None:
        """Raises Unfit for the name of nothing: what is no more may have been used, and is then no mistake."""
        policy = self._policy()
        keys = policy.keys.values()
        there: set[str] = {
            "key": {*policy.keys, *(key.id for key in keys)},
            "team": {key.team for key in keys if key.team is not None},
            "tenant": {key.tenant for key in keys} | {"default"},
            "label": {word for key in keys for label, value in key.labels for word in (label, f"{label}={value}")},
            "model": {*policy.models, *(model.name for model in policy.wildcards)},
        }[by]
        if name not in there:
            keyless = " with a key in it" if by in ("team", "tenant") else ""
            raise Unfit(
                f"there is no {by} '{name[:100]}'{keyless}{suggestion(name, there)}, and none was used in these days"
            )

    async def limits(self, name: str) -> dict[str, Any]:
        """How a key stands. Raises Unfit, StoreFailure."""
        key, now = self._key(name), self._clock.now()
        standing = await self._store.standing(key.tenant, own_scopes(key))
        told = [{**standing_of(one, now), "rule": str(one.limit.rule)} for one in standing]
        return {"key": key.name, "id": key.id, "team": key.team, "tenant": key.tenant, "limits": told}

    async def exceptions(self) -> list[dict[str, Any]]:
        """All that stand. Raises StoreFailure."""
        names = {key.id: key.name for key in self._policy().keys.values()}
        found = []
        for tenant in self._tenants(None):
            found += [_listed(tenant, one, names) for one in await self._store.exemptions(tenant)]
        return found

    async def change(self, kind: Kind, asked: Mapping[str, Any], by: str) -> list[Change]:
        """Raise, reset or lift limits of a key, or of what it is under. `asked`: key, limit, scope, amount, until,
        reason. Raises Unfit, StoreFailure."""
        key = self._key(_text(asked, "key"))
        now = int(self._clock.now() * MICRO)
        until = _until(asked.get("until"), self._clock.now())
        reason = str(asked.get("reason") or "")[:200]
        changes = []
        for scope, limit in self._meant(key, kind, asked):
            end = until
            if kind == "raise" and end is None:
                raise Unfit("an exception needs an end: until")
            if kind == "reset" and end is None:
                end = period(limit.window, scope.time_zone, now).end if limit.window is not Window.MINUTE else 0
            amount = _amount(asked.get("amount"), limit) if kind == "raise" else 0
            one = Scope(scope.id, (limit,), scope.time_zone, scope.key_name)
            (before,) = await self._store.standing(key.tenant, (one,))
            exemption = Exemption(kind, scope.id, limit.name, amount, end or 0, by, now, reason)
            if kind != "raise" and (nothing := await self._nothing_to(kind, key.tenant, scope, before)):
                about = f"{limit.name} of {scope_words(scope.id, scope.key_name)}"
                changes.append(Change(exemption, before, before, f"{about}: {nothing}; nothing is changed"))
                continue
            done = await self._store.exempt(key.tenant, one, exemption)
            (after,) = await self._store.standing(key.tenant, (one,))
            changes.append(Change(done, before, after, _words(done, scope, before, after)))
        return changes

    async def _nothing_to(self, kind: Kind, tenant: str, scope: Scope, before: Remaining) -> str:
        """Why a change would change nothing; "" where it would."""
        limit = before.limit
        if kind == "reset":
            unused = limit.window is not Window.MINUTE and before.remaining >= limit.amount
            return "none of it is used" if unused else ""
        standing = await self._store.exemptions(tenant)
        return "" if any((one.scope, one.limit) == (scope.id, limit.name) for one in standing) else "no exception stood"

    def _meant(self, key: Key, kind: Kind, asked: Mapping[str, Any]) -> list[tuple[Scope, Limit]]:
        scopes = own_scopes(key)
        where = asked.get("scope") or f"key:{key.id}"
        ids = sorted(scope.id for scope in scopes)
        if where not in ids:
            shown = suggestion(str(where), ids)
            raise Unfit(
                f"the key '{key.name}' counts in no scope '{where}'{shown}; its scopes: {', '.join(ids) or 'none'}"
            )
        name = asked.get("limit")
        here = [(scope, limit) for scope in scopes if scope.id == where for limit in scope.limits]
        found = [(scope, limit) for scope, limit in here if name in (None, limit.name)]
        if name is None and kind == "raise":
            raise Unfit("say which limit is to be raised")
        if name is None:
            found = [(scope, limit) for scope, limit in found if limit.window is not Window.OPEN]
        if not found:
            there = ", ".join(sorted(limit.name for _, limit in here)) or "none"
            raise Unfit(
                f"{scope_words(str(where), key.name)} has no such limit{suggestion(str(name), [])}; its limits: {there}"
            )
        for _, limit in found:
            if kind == "reset" and limit.window is Window.OPEN:
                raise Unfit(f"{limit.name} is the number of requests that are open: there is nothing to reset")
        return found

    def _key(self, name: str) -> Key:
        policy = self._policy()
        found = policy.keys.get(name) or next((key for key in policy.keys.values() if key.id == name), None)
        if found is None:
            raise Unfit(f"there is no key '{name[:100]}'{suggestion(name, policy.keys)}")
        return found

    def _id_of(self, name: str) -> str:
        """A key's id by its name; else the word itself, for keys that are no more."""
        found = self._policy().keys.get(name)
        return found.id if found is not None else name

    def _tenants(self, only: str | None) -> Sequence[str]:
        if only is not None:
            return (only,)
        return sorted({key.tenant for key in self._policy().keys.values()} | {"default"})


def shown(change: Change, now: float) -> dict[str, Any]:
    """A change as the admin listener answers it; `now` in Unix seconds."""
    return {
        "words": change.words,
        "scope": change.done.scope,
        "limit": change.done.limit,
        "until": moment(change.done.until) if 0 < change.done.until < FOREVER else None,
        "before": standing_of(change.before, now),
        "after": standing_of(change.after, now),
    }


def audit(changes: Sequence[Change], *, reason: str) -> dict[str, Any]:
    """What the audit log says of changes."""
    return {"changes": [change.words for change in changes], "reason": reason}


def day_of(text: str) -> date:
    """A date such as 2026-11-01, or a span back from today is not. Raises Unfit."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise Unfit(f"'{text[:40]}' is no date; a date is written 2026-11-01") from None


def csv_lines(lines: Sequence[Line]) -> Iterator[str]:
    """A report as CSV (RFC 4180)."""
    yield "day,scope,name,requests,tokens,usd\r\n"
    for line in lines:
        cells = (line.day, _cell(line.scope), _cell(line.name), line.requests, line.tokens, usd(line.nano_usd))
        yield ",".join(map(str, cells)) + "\r\n"


def _cell(text: str) -> str:
    cell = '"' + text.replace('"', '""') + '"' if re.search('[",\r\n]', text) else text
    return f"'{cell}" if cell and cell[0] in "=+-@\t" else cell  # a spreadsheet would take it for a formula


def usd(nano_usd: int) -> str:
    """An exact amount."""
    sign, nano_usd = ("-", -nano_usd) if nano_usd < 0 else ("", nano_usd)
    whole, fraction = divmod(nano_usd, NANO)
    return f"{sign}{whole}.{fraction:09d}"


def _text(asked: Mapping[str, Any], name: str) -> str:
    value = asked.get(name)
    if not isinstance(value, str) or not value:
        raise Unfit(f"'{name}' is needed, a text")
    return value


def _amount(value: object, limit: Limit) -> int:
    """In the limit's unit. Raises Unfit."""
    money = limit.unit is Unit.USD
    what = "a number of USD" if money else f"a whole number of {limit.unit.value}"
    fits = isinstance(value, int | float) and not isinstance(value, bool) and (money or isinstance(value, int))
    if not fits:
        raise Unfit(f"'amount' must be {what}")
    assert isinstance(value, int | float)  # noqa: S101  # INVARIANT: just seen
    amount = round(value * NANO) if money and value < MOST / NANO else int(value) if not money else MOST + 1
    if not limit.amount < amount <= MOST:
        raise Unfit(
            f"'amount' must be above what the policy says, {quantity(limit.amount, limit.unit)}, and at most "
            f"{quantity(MOST, limit.unit)}: an exception only raises"
        )
    return amount


def _until(value: object, now: float) -> int | None:
    """µs; `value` is a moment, or a span such as 90m, 24h, 7d. Raises Unfit."""
    if value is None:
        return None
    at = datetime.fromtimestamp(now, UTC)
    allowed = "a moment such as 2026-12-01T00:00:00Z, or a span such as 90m, 24h, 7d"
    if not isinstance(value, str):
        raise Unfit(f"'until' must be {allowed}")
    if (span := _SPAN.fullmatch(value)) is not None:
        end = at + timedelta(**{_UNITS[span[2]]: int(span[1])})
    else:
        try:
            end = datetime.fromisoformat(value)
        except ValueError:
            raise Unfit(f"'until' must be {allowed}") from None
        end = end if end.tzinfo is not None else end.replace(tzinfo=UTC)
    if not at < end <= at + LONGEST:
        raise Unfit(f"'until' must be in the future, by at most {LONGEST.days} days: what holds longer is a policy")
    return int(end.timestamp() * MICRO)


def _words(done: Exemption, scope: Scope, before: Remaining, after: Remaining) -> str:
    unit, limit = after.limit.unit, after.limit
    about = f"{limit.name} of {scope_words(scope.id, scope.key_name)}"
    left = f"{quantity(before.remaining, unit)} left before, {quantity(after.remaining, unit)} after"
    until = f" until {moment(done.until)}" if 0 < done.until < FOREVER else ""
    if done.kind == "raise":
        return f"{about}: {quantity(before.limit.amount, unit)} → {quantity(limit.amount, unit)}{until}; {left}"
    if done.kind == "lift":
        was, now = quantity(before.limit.amount, unit), quantity(limit.amount, unit)
        return f"{about}: exceptions taken back, {was} → {now}; {left}"
    forgiven = f", {quantity(done.amount, unit)} forgiven{until}" if limit.window is not Window.MINUTE else ""
    return f"{about}: reset{forgiven}; {left}"


def _listed(tenant: str, one: Exemption, names: Mapping[str, str]) -> dict[str, Any]:
    key_id = one.scope.partition("|")[0].removeprefix("key:")
    money = one.limit.startswith("usd_")
    return {
        "tenant": tenant,
        "scope": one.scope,
        "name": names.get(key_id, "") if one.scope.startswith("key:") else "",
        "limit": one.limit,
        "kind": one.kind,
        "amount": one.amount / NANO if money else one.amount,
        "until": moment(one.until) if one.until < FOREVER else None,
        "by": one.by,
        "at": moment(one.at),
        "reason": one.reason,
    }
