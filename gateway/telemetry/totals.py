"""What one process has counted, and what several have together. Pure.

Counters and histograms are sums, and a process that has ended keeps its part in them. A gauge says how things stand, so
one that has ended has none; those that only ever rise are counters by nature and stay.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

Series = list[
    tuple[tuple[str, ...], list[float]]
]  # label values, and a counter's value or a histogram's buckets and sum

# Of these the highest of all processes is shown: they are about the whole, or about the worst of it.
HIGHEST = frozenset(
    (
        "gateway_store_away", "gateway_store_processes", "gateway_policies_degraded", "gateway_draining",
        "gateway_policies_reloads", "gateway_policies_reloads_failed",
    )
)  # fmt: skip
LOWEST = frozenset(("gateway_policies_loaded_seconds",))  # the process that lags behind
# These only rise, and are summed with those of processes that have ended.
RISING = frozenset(
    (
        "gateway_records_dropped", "gateway_settlements_lost", "gateway_leases_swept",
        "gateway_admitted_without_store", "gateway_analysis_failures",
    )
)  # fmt: skip


class Snapshot(msgspec.Struct):
    """All that a process has counted so far, by the metric's name."""

    counters: dict[str, Series] = msgspec.field(default_factory=dict)
    histograms: dict[str, Series] = msgspec.field(default_factory=dict)
    gauges: dict[str, float] = msgspec.field(default_factory=dict)
    words: dict[str, str] = msgspec.field(default_factory=dict)  # what each gauge is


def together(running: Iterable[Snapshot], ended: Snapshot) -> Snapshot:
    """What processes that run and those that have ended (as `lasting` left them) come to."""
    now = list(running)
    everything = [*now, ended]
    gauges: dict[str, float] = {}
    for name in dict.fromkeys(name for one in everything for name in one.gauges):
        values = [one.gauges[name] for one in (everything if name in RISING else now) if name in one.gauges]
        if values:
            gauges[name] = max(values) if name in HIGHEST else min(values) if name in LOWEST else sum(values)
    return Snapshot(
        _summed([one.counters for one in everything]), _summed([one.histograms for one in everything]), gauges,
        {name: words for one in everything for name, words in one.words.items()},
    )  # fmt: skip


def lasting(ended: Snapshot, last: Snapshot) -> Snapshot:
    """What stays of processes that have ended, one more included."""
    gauges = {
        name: ended.gauges.get(name, 0) + last.gauges.get(name, 0)
        for name in RISING
        if name in ended.gauges or name in last.gauges
    }
    both = [ended, last]
    return Snapshot(
        _summed([one.counters for one in both]), _summed([one.histograms for one in both]), gauges, last.words
    )


def _summed(parts: Iterable[dict[str, Series]]) -> dict[str, Series]:
    sums: dict[str, dict[tuple[str, ...], list[float]]] = {}
    for part in parts:
        for name, series in part.items():
            known = sums.setdefault(name, {})
            for labels, values in series:
                before = known.get(labels)
                known[labels] = (
                    values if before is None else [one + other for one, other in zip(before, values, strict=True)]
                )
    return {name: list(series.items()) for name, series in sums.items()}
