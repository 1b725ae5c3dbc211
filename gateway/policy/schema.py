"""The shape of policies/*.toml, declared once: every table, every key, its type and its default.

What later versions enforce is accepted and checked here already; `later.py` says which. Messages name types and
numbers and never repeat a text, which might be a secret in the wrong place.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, date, datetime, time
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator, StringConstraints
from pydantic_core import PydanticCustomError

from gateway.endpoints import NAMES
from gateway.identity.secrets import parse_hash
from gateway.policy.expressions import explodes
from gateway.policy.near import suggestion

MOST = 10**15  # requests or tokens: more is a slip of the pen, and Lua counts exactly up to 2**53
MOST_USD = 10**6  # USD: nano-USD of sums stay below 2**53
ENTITIES = frozenset({
    "CREDIT_CARD", "CRYPTO", "DATE_TIME", "EMAIL_ADDRESS", "IBAN_CODE", "IP_ADDRESS", "MAC_ADDRESS",
    "MEDICAL_LICENSE", "PHONE_NUMBER", "SECRET", "UK_NHS", "UK_NINO", "URL", "US_BANK_NUMBER", "US_DRIVER_LICENSE",
    "US_ITIN", "US_PASSPORT", "US_SSN", "UUID",
})  # fmt: skip
NAMED_ENTITIES = frozenset({"LOCATION", "NRP", "ORGANIZATION", "PERSON"})  # which only a language model finds


def wrong(what: str, allowed: str) -> PydanticCustomError:
    """A mistake in our own words; `what` continues a sentence that begins with the key's path."""
    return PydanticCustomError("gateway", "wrong", {"what": what, "allowed": allowed})


def noun(value: object) -> str:
    """What kind of value it is, without saying which."""
    for kind, name in (
        (bool, "true or false"), (str, "a text"), (int, "an integer"), (float, "a number with a fraction"),
        (dict, "a table"), (list, "an array"), (date, "a date"), (time, "a time"),
    ):  # fmt: skip
        if isinstance(value, kind):
            return name
    return "of another type"


class Table(BaseModel):
    """A table whose keys are all known."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


def whole(value: object) -> int:
    """A number of requests or tokens."""
    allowed = f"an integer from 1 to {MOST}"
    if isinstance(value, bool) or not isinstance(value, int):
        raise wrong(f"is {noun(value)}", allowed)
    if not 1 <= value <= MOST:
        raise wrong(f"is {value}", allowed)
    return value


def _money(value: object) -> int:
    """Nano-USD. Binary fractions are read by their shortest decimal, so that 0.1 is a tenth."""
    allowed = f"a number of USD above 0 and up to {MOST_USD}"
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise wrong(f"is {noun(value)}", allowed)
    if not 0 < value <= MOST_USD:
        raise wrong(f"is {value}", allowed)
    return nano(value)


def nano(value: float) -> int:
    """USD as nano-USD, rounded up."""
    from decimal import ROUND_CEILING, Decimal  # noqa: PLC0415  # only compiling needs it

    return int((Decimal(repr(value)) * 10**9).to_integral_value(ROUND_CEILING))


def _share(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1:
        raise wrong(
            "is not a share" if not isinstance(value, int | float) else f"is {value}", "numbers between 0 and 1"
        )
    return float(value)


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise wrong(f"is {noun(value)}", "true or false")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise wrong(f"is {noun(value)}", "a text")
    if not value.strip():
        raise wrong("is empty", "a text")
    return value


def _score(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise wrong(f"is {value if isinstance(value, int | float) else noun(value)}", "a number from 0 to 1")
    return float(value)


def _seconds(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 60:
        raise wrong(f"is {value if isinstance(value, int | float) else noun(value)}", "seconds above 0 and up to 60")
    return float(value)


def _moment(value: object) -> datetime:
    allowed = "a date and time such as 2027-01-01T00:00:00Z"
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise wrong("has no time zone", allowed)
        return value
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    raise wrong(f"is {noun(value)}", allowed)


def day(value: object) -> date:
    """A date without a time."""
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    raise wrong(f"is {noun(value)}", "a date such as 2026-08-07")


def _hash(value: object) -> bytes:
    digest = parse_hash(value) if isinstance(value, str) else None
    if digest is None:
        raise wrong("is not a hash", "sha256: and 64 hex digits, as `gateway keys new` prints it")
    return digest


def _zone(value: object) -> str:
    text = _text(value)
    try:
        ZoneInfo(text)
    except (ValueError, OSError, ZoneInfoNotFoundError):
        near = suggestion(text, available_timezones())
        raise wrong(f"is no time zone{near}", "a name such as Europe/Berlin or UTC") from None
    return text


def _regex(value: object) -> str:
    text = _text(value)
    allowed = "a regular expression of up to 1000 characters, without a repeated group of repetitions"
    if len(text) > 1000:
        raise wrong(f"has {len(text)} characters", allowed)
    try:
        compiled = re.compile(text)
    except re.error as error:
        raise wrong(f"is no regular expression: {error.msg}", allowed) from None
    if compiled.search("") is not None:
        raise wrong("matches the empty text", allowed)
    if explodes(text):
        raise wrong("could take for ever on some text: it repeats what can be divided in several ways", allowed)
    return text


def _endpoint(value: object) -> str:
    text = _text(value)
    if text != "*" and text != "inference" and text not in NAMES:
        near = suggestion(text, NAMES | {"inference"})
        raise wrong(f"is no endpoint{near}", f"inference, *, or {', '.join(sorted(NAMES))}")
    return text


def price(value: object) -> int:
    """Nano-USD per token, of USD per million tokens; thousandths of a nano-USD are rounded up."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1_000_000:
        what = f"is {value}" if isinstance(value, int | float) and not isinstance(value, bool) else f"is {noun(value)}"
        raise wrong(what, "USD per million tokens, from 0 to 1000000")
    return -(-nano(value) // 10**6)


def _json(value: object) -> object:
    """A value that a JSON body can hold."""
    if isinstance(value, date | time) or (isinstance(value, float) and not math.isfinite(value)):
        raise wrong(f"is {noun(value)}, and a body cannot hold one", "what JSON has: texts, numbers, true, false, …")
    for one in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _json(one)
    return value


def _country(value: object) -> str:
    if not isinstance(value, str) or not re.fullmatch("[A-Z]{2}", value):
        raise wrong("is no country", "two letters of ISO 3166, such as DE or US")
    return value


def _yaml(value: object) -> str:
    text = _text(value)
    if not text.startswith("/") or not text.endswith((".yaml", ".yml")):
        raise wrong("is no path of a YAML file", "an absolute path that ends in .yaml or .yml")
    return text


def _as_table(value: object) -> object:
    return value if isinstance(value, dict) else {"limit": value}


Whole = Annotated[int, PlainValidator(whole)]
Text = Annotated[str, PlainValidator(_text)]
Flag = Annotated[bool, PlainValidator(_flag)]
Share = Annotated[float, PlainValidator(_share)]
Moment = Annotated[datetime, PlainValidator(_moment)]
Name = Annotated[str, StringConstraints(strict=True, pattern=r"^[A-Za-z0-9][A-Za-z0-9._@/ -]{0,99}$")]
Digest = Annotated[bytes, PlainValidator(_hash)]
Action = Literal["replace", "mask", "block", "detect"]


class CountLimit(Table):
    """A limit of requests or tokens."""

    limit: Whole
    shadow: Flag = False
    warn_at: tuple[Share, ...] = ()


class RateLimit(CountLimit):
    """One per minute, which may come in a burst."""

    burst: Whole | None = None


class BudgetLimit(CountLimit):
    """One per calendar period or in all."""

    at_limit: Literal["finish", "cut", "strict"] = "finish"


class MoneyLimit(BudgetLimit):
    limit: Annotated[int, PlainValidator(_money)]


Rate = Annotated[RateLimit, BeforeValidator(_as_table)]
Open = Annotated[CountLimit, BeforeValidator(_as_table)]
Count = Annotated[BudgetLimit, BeforeValidator(_as_table)]
Money = Annotated[MoneyLimit, BeforeValidator(_as_table)]


class Limits(Table):
    requests_per_minute: Rate | None = None
    tokens_per_minute: Rate | None = None
    concurrent_requests: Open | None = None


class Budget(Table):
    requests_per_day: Count | None = None
    requests_per_month: Count | None = None
    requests_total: Count | None = None
    tokens_per_day: Count | None = None
    tokens_per_month: Count | None = None
    tokens_total: Count | None = None
    usd_per_day: Money | None = None
    usd_per_month: Money | None = None
    usd_total: Money | None = None


NO_LIMITS, NO_BUDGET = Limits(), Budget()  # frozen, and one for all that say nothing: most of many keys do


class Counted(Table):
    limits: Limits = NO_LIMITS
    budget: Budget = NO_BUDGET


class Each(Table):
    user: Counted | None = None
    session: Counted | None = None


class DisabledTable(Table):
    reason: Text
    until: Moment | None = None


class RequestTable(Table):
    max: dict[str, Whole] = Field(default_factory=dict)
    force: dict[str, Annotated[Any, PlainValidator(_json)]] = Field(default_factory=dict)
    deny: tuple[Text, ...] = ()


NO_EACH, NO_REQUEST = Each(), RequestTable()


class Level(Table):
    """What tenants, teams and keys have in common."""

    models: tuple[Text, ...] | None = None
    endpoints: tuple[Annotated[str, PlainValidator(_endpoint)], ...] | None = None
    redaction: Text | None = None
    limits: Limits = NO_LIMITS
    budget: Budget = NO_BUDGET
    per_model: dict[str, Counted] = Field(default_factory=dict)
    each: Each = NO_EACH
    request: RequestTable = Field(default_factory=lambda: NO_REQUEST)  # a factory: pydantic would copy what holds dicts
    labels: dict[str, Text] = Field(default_factory=dict)
    provider: Text | None = None
    require: dict[str, Text] = Field(default_factory=dict)
    disabled: DisabledTable | None = None
    unknown_objects: Literal["allow", "deny"] | None = None
    drop_params: Flag | None = None


class Tenant(Level):
    time_zone: Annotated[str, PlainValidator(_zone)] = "UTC"
    on_failure: Literal["closed", "bounded", "open"] | None = None


class Team(Level):
    tenant: Text | None = None


class SecretTable(Table):
    id: Name
    hash: Digest = Field(repr=False)
    expires: Moment | None = None


class KeyTable(Level):
    id: Annotated[str, StringConstraints(strict=True, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")] | None = None
    hash: Digest | None = Field(default=None, repr=False)
    secrets: tuple[SecretTable, ...] = ()
    team: Text | None = None
    tenant: Text | None = None
    expires: Moment | None = None


class Defaults(Table):
    redaction: Text | None = None
    limits: Limits | None = None
    budget: Budget | None = None


class VersionTable(Table):
    name: Name
    provider: Text
    model: Text
    weight: Annotated[int, Field(ge=0, le=1_000_000, strict=True)] = 100
    disabled: DisabledTable | None = None


class ModelTable(Table):
    provider: Text | None = None
    model: Text | None = None
    versions: tuple[VersionTable, ...] = ()
    groups: tuple[Text, ...] = ()
    sticky: Literal["key", "user", "conversation", "none"] = "none"
    fallback: tuple[Text, ...] = ()
    disabled: DisabledTable | None = None


class PatternTable(Table):
    entity: Annotated[str, StringConstraints(strict=True, pattern=r"^[A-Z][A-Z0-9_]{0,63}$")]
    regex: Annotated[str, PlainValidator(_regex)]
    score: Annotated[float, PlainValidator(_score)] = 0.8


class WordTable(Table):
    entity: Annotated[str, StringConstraints(strict=True, pattern=r"^[A-Z][A-Z0-9_]{0,63}$")]
    text: Text


class ProfileTable(Table):
    entities: tuple[Text, ...]
    action: Action = "replace"
    actions: dict[str, Action] = Field(default_factory=dict)
    on_error: Literal["deny", "allow"] = "deny"
    unscannable: Literal["allow", "deny"] = "deny"
    input: Flag = True
    output: Flag = False
    output_action: Action | None = None
    output_actions: dict[str, Action] = Field(default_factory=dict)
    shadow: Flag = False
    countries: tuple[Annotated[str, PlainValidator(_country)], ...] = ()
    score: Annotated[float, PlainValidator(_score)] = 0.4
    scores: dict[str, Annotated[float, PlainValidator(_score)]] = Field(default_factory=dict)
    allow: tuple[Text, ...] = ()
    deny: tuple[WordTable, ...] = ()
    patterns: tuple[PatternTable, ...] = ()
    presidio: Annotated[str, PlainValidator(_yaml)] | None = None
    deadline: Annotated[float, PlainValidator(_seconds)] = 5.0
    remember_days: Annotated[int, Field(ge=0, le=400, strict=True)] = 30


# Tables of named things: section → the shape of one.
SECTIONS: dict[str, type[Table]] = {
    "tenants": Tenant, "teams": Team, "keys": KeyTable, "models": ModelTable, "redaction": ProfileTable,
}  # fmt: skip
TOP = frozenset({*SECTIONS, "defaults", "prices", "schema"})
