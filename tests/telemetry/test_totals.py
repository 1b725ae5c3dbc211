"""Numbers of several processes, added up."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.telemetry.metrics import COUNTERS, HISTOGRAMS, text_of
from gateway.telemetry.totals import HIGHEST, LOWEST, RISING, Snapshot, lasting, together

series = st.dictionaries(
    st.tuples(st.sampled_from("ab"), st.sampled_from("xy")),
    st.lists(st.integers(0, 9), min_size=2, max_size=2),
    max_size=3,
)
gauges = st.dictionaries(
    st.sampled_from([*sorted(RISING)[:1], *sorted(HIGHEST)[:1], *LOWEST, "gateway_requests_running"]), st.integers(0, 9)
)
snapshots = st.builds(
    lambda one, other, stands: Snapshot(
        {"c": [(labels, [float(values[0])]) for labels, values in one.items()]},
        {"h": [(labels, [float(value) for value in values]) for labels, values in other.items()]},
        {name: float(value) for name, value in stands.items()},
    ),
    series, series, gauges,
)  # fmt: skip


def total(one: Snapshot) -> float:
    parts = [*one.counters.get("c", ()), *one.histograms.get("h", ())]
    return sum(sum(values) for _, values in parts)


@given(st.lists(snapshots, max_size=5), st.lists(st.booleans(), min_size=5, max_size=5))
def test_nothing_that_was_counted_is_lost_or_counted_twice_whoever_ends(
    every: list[Snapshot], alive: list[bool]
) -> None:
    ended = Snapshot()
    for one, lives in zip(every, alive, strict=False):
        if not lives:
            ended = lasting(ended, one)
    running = [one for one, lives in zip(every, alive, strict=False) if lives]
    sums = together(running, ended)
    assert total(sums) == sum(map(total, every))
    rising = min(RISING)
    assert sums.gauges.get(rising, 0) == sum(one.gauges.get(rising, 0) for one in every)
    now = "gateway_requests_running"
    assert sums.gauges.get(now, 0) == sum(one.gauges.get(now, 0) for one in running)
    for names, of in ((HIGHEST, max), (LOWEST, min)):
        name = min(names)
        values = [one.gauges[name] for one in running if name in one.gauges]
        assert sums.gauges.get(name) == (of(values) if values else None)
    assert all(len({labels for labels, _ in one}) == len(one) for one in sums.counters.values())


def test_what_is_shown_is_what_prometheus_reads() -> None:
    name, (_, labels) = next(iter(COUNTERS.items()))
    histogram, (_, bounds, _) = next(iter(HISTOGRAMS.items()))
    one = Snapshot(
        {name: [(("chat", "m", "200", "answered")[: len(labels)], [2.0])]},
        {histogram: [(("chat",), [1.0] * (len(bounds) + 1) + [2.5])]},
        {"gateway_requests_running": 3.0},
        {"gateway_requests_running": "Exchanges that run now."},
    )
    text = text_of(together([one, one], Snapshot())).decode()
    assert f'{name}_total{{ending="answered",endpoint="chat",model="m",status="200"}} 4.0' in text
    assert f'{histogram}_count{{endpoint="chat"}} {2.0 * (len(bounds) + 1)}' in text
    assert f'{histogram}_sum{{endpoint="chat"}} 5.0' in text
    assert "# HELP gateway_requests_running Exchanges that run now." in text
    assert "\ngateway_requests_running 6.0" in text
