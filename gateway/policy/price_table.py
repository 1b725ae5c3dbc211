"""The shape of a row of [[prices]]: USD per million tokens as written, nano-USD per token as used."""

from __future__ import annotations

from datetime import date
from typing import Annotated

from pydantic import PlainValidator

from gateway.policy.schema import Share, Table, Text, Whole, day, price

PerToken = Annotated[int, PlainValidator(price)]


class LongTable(Table):
    """What a request costs whose input is longer than `over` tokens: all of it, as the providers bill it."""

    over: Whole
    input: PerToken
    output: PerToken
    cached_input: PerToken | None = None
    cache_write: PerToken | None = None


class PriceTable(Table):
    """`tier`: what is asked for as `service_tier` (none: every tier that has no row of its own)."""

    provider: Text
    model: Text
    tier: Text | None = None
    since: Annotated[date, PlainValidator(day)] | None = None
    input: PerToken
    output: PerToken
    cached_input: PerToken | None = None
    cache_write: PerToken | None = None
    cache_write_1h: PerToken | None = None
    audio_input: PerToken | None = None
    audio_output: PerToken | None = None
    image_input: PerToken | None = None
    image_output: PerToken | None = None
    long: LongTable | None = None
    discount: Share | None = None
