"""What a client is told about limits: a refusal in words, and OpenAI's own headers. Pure.

Header names and formats: OpenAI's rate limit guide; `reset` is a Go duration ("120ms", "1s", "6m0s").
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

from gateway.errors import Reason, Refusal
from gateway.fields import lines_of
from gateway.limits.reservation import Estimate
from gateway.limits.scopes import NANO, Denial, Limit, Remaining, Scope, Unit, Window
from gateway.limits.standing import Shown, Standing
from gateway.limits.windows import FOREVER, MICRO, period

_PERIODS = {Window.MINUTE: "per minute", Window.DAY: "per day", Window.MONTH: "per month", Window.TOTAL: "in all"}
_HEADERS = tuple(
    (unit, f"x-ratelimit-limit-{unit}", f"x-ratelimit-remaining-{unit}", f"x-ratelimit-reset-{unit}")
    for unit in (Unit.REQUESTS, Unit.TOKENS)
)
_LONG = 999_000  # µs above which a duration is told in whole seconds


def denied(
    denial: Denial, estimate: Estimate, decision: str = "", *, now: float, output: str | None = "max_tokens"
) -> Refusal:
    """The refusal of a denial. It names limit, scope, what stands now, when it could pass, and the decision that
    `gateway explain` resolves. `now` in Unix seconds; `output`: the request's own parameter that bounds its output."""
    limit = denial.limit
    param = "requests" if limit.unit is Unit.REQUESTS else "tokens" if limit.unit is Unit.TOKENS else None
    if denial.never:
        reason, wait = Reason.NEVER_FITS, None
        message = _never(denial, estimate, output)
        param = output if param != "requests" and estimate.output_tokens else None
    elif limit.window in (Window.MINUTE, Window.OPEN):
        reason, wait = Reason.RATE_LIMITED, denial.retry_after
        message = _limited(denial, estimate)
    else:
        reason, wait, param = Reason.OVER_BUDGET, denial.retry_after, None
        message = _spent(denial, now)
    if decision:
        message += f" (decision {decision})"
    return Refusal(reason, message, param, limit.rule, wait, remaining=denial.remaining)


def limit_headers(remaining: Iterable[Remaining]) -> tuple[tuple[str, str], ...]:
    """`x-ratelimit-{limit,remaining,reset}-{requests,tokens}` of the tightest scope each."""
    standing = remaining if isinstance(remaining, Standing) else tuple(remaining)
    headers: list[tuple[str, str]] = []
    for unit, limit, left, reset in _HEADERS:
        if (one := tightest(standing, unit)) is None:
            continue
        headers.append((limit, str(one.limit.amount)))
        headers.append((left, str(max(0, one.remaining))))
        if one.reset is not None:
            headers.append((reset, duration(one.reset)))
    return tuple(headers)


def limit_lines(remaining: Iterable[Remaining]) -> str:
    """The same as lines of a head."""
    if type(remaining) is not Standing or remaining.odd:
        return lines_of(limit_headers(remaining))
    # As it mostly is: of the figures themselves, with what was told of these limits the last time.
    figures, lines = remaining.figures, ""
    for told in remaining.shown.told or _told(remaining.shown):
        at, rivals, first, then, end = told
        least = figures[at]
        for rival in rivals:
            if figures[rival] <= least and remaining.tighter(rival, at):
                at, rivals, first, then, end = _told_now(remaining, told)
                least = figures[at]
                break
        if not end:
            lines += f"{first}{least if least > 0 else '0'}\r\n"
            continue
        wait = figures[at + 1] if end < 0 else end - remaining.now
        if wait > _LONG:
            lines += f"{first}{least if least > 0 else '0'}{then}{_whole(-(-wait // MICRO))}\r\n"
        else:
            short = f"{-(-wait // 1000)}ms" if wait > 0 else "0s"
            lines += f"{first}{least if least > 0 else '0'}{then}{short}\r\n"
    return lines


class _Told(NamedTuple):
    """What a client is told of one unit's tightest limit."""

    at: int  # its place
    rivals: tuple[int, ...]  # the places of those that might be it
    first: str  # the lines up to what is left
    then: str  # and on to when it is back
    end: int


def _told(shown: Shown) -> list[_Told]:
    """Of each unit, to begin with the first limit."""
    shown.told[:] = [_told_of(shown, places, places[0]) for places in (shown.requests, shown.tokens) if places]
    return shown.told


def _told_of(shown: Shown, places: tuple[int, ...], at: int) -> _Told:
    _, limit, end = shown.limits[at // 2]
    first = f"x-ratelimit-limit-{limit.unit}: {limit.amount}\r\nx-ratelimit-remaining-{limit.unit}: "
    rivals = tuple(one for one in places if one != at)
    return _Told(at, rivals, first, f"\r\nx-ratelimit-reset-{limit.unit}: ", end)


def _told_now(remaining: Standing, before: _Told) -> _Told:
    """The same of a unit of which another limit has become the tightest; it is told of from now on."""
    shown = remaining.shown
    places = tuple(sorted((before.at, *before.rivals)))
    found = _told_of(shown, places, remaining.tightest_of(places))
    shown.told[shown.told.index(before)] = found
    return found


def tightest(remaining: Sequence[Remaining], unit: Unit) -> Remaining | None:
    """Of the limits of one unit the one with the least left, and of several such the one that takes longest to come
    back. Shadow limits do not count; None: there is none."""
    if isinstance(remaining, Standing):
        return remaining.tightest(unit)
    of_unit = [
        one
        for one in remaining
        if one.limit.unit is unit and not one.limit.shadow and one.limit.window is not Window.OPEN
    ]
    return min(
        of_unit, key=lambda one: (one.remaining, -(math.inf if one.reset is None else one.reset)), default=None
    )  # fmt: skip


def raised_words(limit: Limit, scope: str) -> str:
    """What an exception has made of a limit, and until when."""
    return f"{limit.name} of {scope_words(scope)} is {_amount(limit)}"


def moment(micros: int) -> str:
    """An instant in µs as text."""
    return datetime.fromtimestamp(micros / MICRO, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _amount(limit: Limit) -> str:
    """The amount as it holds, and what an exception has to do with it."""
    text = quantity(limit.amount, limit.unit)
    if not limit.until:
        return text
    until = "for good" if limit.until >= FOREVER else f"until {moment(limit.until)}"
    return f"{text} (an exception {until}; {quantity(limit.written, limit.unit)} by the policy)"


def cut_words(denial: Denial) -> str:
    """Why an answer ended before its time."""
    limit = denial.limit
    about = _about(limit, denial.scope)
    return f"answer ended by the gateway: {about} is {_amount(limit)}, and it is used up"


def duration(seconds: float) -> str:
    """Seconds as a Go duration, rounded up so that whoever waits that long has waited long enough."""
    return _duration(math.ceil(round(seconds * 1000, 3)))


def _duration(milliseconds: int) -> str:
    if milliseconds <= 0:
        return "0s"
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    return _whole(-(-milliseconds // 1000))


@lru_cache(1000)
def _whole(whole: int) -> str:
    """So many seconds, one or more. Those to the end of a period are the same for all who ask within one."""
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    if hours:
        return f"{hours}h{minutes}m{rest}s"
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"


def quantity(amount: int, unit: Unit) -> str:
    """An amount with its unit: "60 requests", "40000 tokens", "47.12 USD" (never rounded to nothing)."""
    if unit is not Unit.USD:
        return f"{amount} {unit if amount != 1 else unit.value[:-1]}"
    sign, amount = ("-", -amount) if amount < 0 else ("", amount)
    whole, fraction = divmod(amount, NANO)
    digits = f"{fraction:09d}".rstrip("0")
    return f"{sign}{whole}.{digits:0<2} USD"


def key_words(key_id: str, name: str) -> str:
    """A key as people know it, `my-app (k_7f3a)`; one that has no name or is its own id by that alone."""
    return f"{name} ({key_id})" if name not in ("", key_id) else key_id


def scope_words(scope: str, key_name: str = "") -> str:
    """A scope's id as an admin would say it; the digest of a user or session says nothing to a reader and is left out.
    `key:k_7f3a|model:gpt-5*` of the key my-app → "key my-app (k_7f3a), model gpt-5*"."""
    parts = []
    for part in scope.split("|"):
        kind, _, name = part.partition(":")
        if kind == "key":
            name = key_words(name, key_name)
        parts.append(f"this {kind}" if kind in ("user", "session") else f"{kind} {name}")
    return ", ".join(parts)


def _about(limit: Limit, scope: Scope) -> str:
    return f"{limit.name} of {scope_words(scope.id, scope.key_name)}"


def _limited(denial: Denial, estimate: Estimate) -> str:
    limit, about = denial.limit, _about(denial.limit, denial.scope)
    if limit.window is Window.OPEN:
        return (
            f"Rate limit reached: {about} is {limit.amount}, and {denial.current} requests are open. "
            "Try again when one ends."
        )
    amount = _amount(limit) if limit.until else str(limit.amount)
    wait = f" Please try again in {duration(denial.retry_after)}." if denial.retry_after is not None else ""
    burst = limit.burst or limit.amount
    room = f" ({burst} at once)" if burst != limit.amount else ""
    return (
        f"Rate limit reached: {about} is {amount}{room}. In use: {denial.current}, "
        f"requested: {_wanted(denial, estimate)}.{wait}"
    )


def _spent(denial: Denial, now: float) -> str:
    limit, unit = denial.limit, denial.limit.unit
    held = f", of which open requests reserve {quantity(denial.reserved, unit)}" if denial.reserved else ""
    when = "It does not renew."
    if denial.retry_after is not None:
        when = f"It starts anew in {duration(denial.retry_after)}{_at(denial, now)}."
    return (
        f"Budget exceeded: {_about(limit, denial.scope)} is {_amount(limit)}. "
        f"In use: {quantity(denial.current, unit)}{held}; requested: up to {quantity(denial.wanted, unit)}. {when}"
    )


def _at(denial: Denial, now: float) -> str:
    """The beginning of the next period, in the zone that it is counted in."""
    zone = denial.scope.time_zone
    end = period(denial.limit.window, zone, int(now * MICRO)).end
    if end >= FOREVER:
        return ""
    at = datetime.fromtimestamp(end / MICRO, UTC if zone == "UTC" else ZoneInfo(zone))
    return f", on {at:%Y-%m-%d} at {at:%H:%M} {zone}"


def _never(denial: Denial, estimate: Estimate, output: str | None) -> str:
    limit = denial.limit
    most = (limit.burst or limit.amount) if limit.window is Window.MINUTE else limit.amount
    fits = quantity(most, limit.unit)
    advice = ""
    if limit.unit is not Unit.REQUESTS and estimate.output_tokens and output is not None:
        advice = f" A smaller {output} or a shorter prompt would fit."
        if limit.unit is Unit.TOKENS and most > estimate.input_tokens:
            advice = f" With this prompt {output} of at most {most - estimate.input_tokens} would fit."
        elif limit.unit is Unit.TOKENS:
            advice = " A shorter prompt would fit."
    return (
        f"This request can never fit: {_about(limit, denial.scope)} lets at most {fits} pass at once, and the "
        f"request may take {_wanted(denial, estimate)}.{advice}"
    )


def _wanted(denial: Denial, estimate: Estimate) -> str:
    text = quantity(denial.wanted, denial.limit.unit)
    if denial.limit.unit is Unit.TOKENS:
        text += f" ({estimate.input_tokens} input, up to {estimate.output_tokens} output)"
    return text
