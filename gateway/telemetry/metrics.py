"""Metrics, counted from the records where their lines are made, and read from the process when scraped.

Counting is a look-up and an addition; Prometheus' families are made at the scrape. Every label has a bounded number of
values: names of the policy set and of our own tables, never a client's words.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

import gateway
from gateway.record import Record, Sort, ToldMore
from gateway.telemetry.totals import Snapshot

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
OVERHEAD = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5)

# name → (help, value): read at each scrape.
Gauges = Mapping[str, tuple[str, Callable[[], float]]]
Labels = tuple[str, ...]

COUNTERS: Mapping[str, tuple[str, Labels]] = {
    "gateway_requests": ("Exchanges that have ended.", ("endpoint", "model", "status", "ending")),
    "gateway_refusals": ("Requests that policy refused.", ("reason",)),
    "gateway_failures": ("Exchanges in which something broke.", ("type",)),
    "gateway_tokens": ("Tokens used.", ("model", "type")),
    "gateway_cost_usd": ("What was charged, in USD.", ("model",)),
    "gateway_charges": ("Settled exchanges, by who said what was used.", ("basis",)),
    "gateway_redacted_spans": ("Pieces of personal data found.", ("entity",)),
    "gateway_limit_warnings": ("Shares of limits (`warn_at`) that were passed.", ("scope", "limit", "share")),
    "gateway_shadow_refusals": ("What limits that are only watched would have refused.", ("limit",)),
    "gateway_worker_ends": ("Worker processes that ended, by why.", ("why",)),
    "gateway_unredacted_requests": ("Let through although redaction failed.", ("profile",)),
}
HISTOGRAMS: Mapping[str, tuple[str, tuple[float, ...], Labels]] = {
    "gateway_request_seconds": ("From head to end.", SECONDS, ("endpoint",)),
    "gateway_first_byte_seconds": ("From head to our first byte.", SECONDS, ("endpoint",)),
    "gateway_before_call_seconds": ("From head to our call.", OVERHEAD, ()),
}


class _Course:
    """What exchanges of one sort, which share all labels, came to: of each time the counts by bucket, and its sum."""

    __slots__ = (
        "before_call", "before_call_ms", "first_byte", "first_byte_ms", "input_tokens", "output_tokens", "requests",
        "total", "total_ms", "usd",
    )  # fmt: skip

    def __init__(self) -> None:
        self.requests = self.input_tokens = self.output_tokens = 0
        self.usd = self.total_ms = self.first_byte_ms = self.before_call_ms = 0.0
        self.total = [0] * (len(SECONDS) + 1)
        self.first_byte = [0] * (len(SECONDS) + 1)
        self.before_call = [0] * (len(OVERHEAD) + 1)


class Metrics(Collector):
    """One registry. `count` takes a record; `text` is what a scrape gets."""

    def __init__(self, gauges: Gauges) -> None:
        self._gauges = gauges
        self._counters: dict[str, dict[Labels, float]] = {name: {} for name in COUNTERS}
        # per label set: counts by bucket, the last one above all bounds; then the sum
        self._histograms: dict[str, dict[Labels, list[float]]] = {name: {} for name in HISTOGRAMS}
        self._courses: dict[Sort, _Course] = {}
        self.registry = CollectorRegistry()
        self.registry.register(self)

    def count(self, record: Record) -> None:
        """Count one record of an exchange."""
        told, standing = record.told, record.standing
        course = self._courses.get(standing.sort)
        if course is None:
            course = self._courses[standing.sort] = _Course()
        course.requests += 1
        if told.input_tokens is not None and told.output_tokens is not None:
            course.input_tokens += told.input_tokens
            course.output_tokens += told.output_tokens
        if told.charged_usd is not None:
            course.usd += told.charged_usd
        if (ms := told.ms_total) is not None:
            course.total[bisect_left(_SECONDS_MS, ms)] += 1
            course.total_ms += ms
        if (ms := told.ms_first_byte) is not None:
            course.first_byte[bisect_left(_SECONDS_MS, ms)] += 1
            course.first_byte_ms += ms
        if (ms := told.ms_before_call) is not None:
            course.before_call[bisect_left(_OVERHEAD_MS, ms)] += 1
            course.before_call_ms += ms
        if isinstance(told, ToldMore):
            self._count_more(told)

    def _count_more(self, told: ToldMore) -> None:
        if told.spans:
            for entity, spans in told.spans.items():
                self._add("gateway_redacted_spans", (entity,), spans)
        for limit in told.shadow:
            self._add("gateway_shadow_refusals", (limit.partition(" ")[0],), 1)
        if told.redaction_failed is not None:
            self._add("gateway_unredacted_requests", (str(told.redaction),), 1)

    def warn(self, scope: str, limit: str, share: float) -> None:
        """Count one warning; `scope` is a sort of scope (key, team …), never one scope's name."""
        self._add("gateway_limit_warnings", (scope, limit, f"{share:g}"), 1)

    def text(self) -> bytes:
        """All of it, in Prometheus' text format."""
        return generate_latest(self.registry)

    def snapshot(self) -> Snapshot:
        """All of it as numbers, for whoever adds up several processes."""
        return Snapshot(
            {name: [(labels, [value]) for labels, value in one.items()] for name, one in self._counted().items()},
            {
                name: [(labels, list(counts)) for labels, counts in one.items()]
                for name, one in self._observed().items()
            },
            {name: value() for name, (_, value) in self._gauges.items()},
            {name: words for name, (words, _) in self._gauges.items()},
        )

    def describe(self) -> list[Metric]:
        """Nothing: what there is is known at the scrape (prometheus_client would otherwise collect at registration)."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Every family, as it stands."""
        counted, observed = self._counted(), self._observed()
        version = GaugeMetricFamily("gateway_build_info", "Which gateway this is.", labels=("version",))
        version.add_metric((gateway.__version__,), 1.0)
        yield version
        for name, (words, value) in self._gauges.items():
            yield GaugeMetricFamily(name, words, value())
        for name, (words, labels) in COUNTERS.items():
            counter = CounterMetricFamily(name, words, labels=labels)
            for values, total in counted[name].items():
                counter.add_metric(values, total)
            yield counter
        for name, (words, bounds, labels) in HISTOGRAMS.items():
            histogram = HistogramMetricFamily(name, words, labels=labels)
            for values, counts in observed[name].items():
                buckets, seen = [], 0.0
                for bound, here in zip((*map(str, bounds), "+Inf"), counts, strict=False):
                    seen += here
                    buckets.append((bound, seen))
                histogram.add_metric(values, buckets, counts[-1])
            yield histogram

    def _add(self, name: str, labels: Labels, value: float) -> None:
        series = self._counters[name]
        series[labels] = series.get(labels, 0) + value

    def _counted(self) -> dict[str, dict[Labels, float]]:
        """Every counter, what courses have come to included."""
        all_of_them = {name: dict(tuple(series.items())) for name, series in self._counters.items()}

        def add(name: str, labels: Labels, value: float) -> None:
            if value:
                all_of_them[name][labels] = all_of_them[name].get(labels, 0) + value

        for (endpoint, model, status, ending, error, basis), course in tuple(self._courses.items()):
            add("gateway_requests", (endpoint, model, str(status), ending), course.requests)
            if error is not None:
                add("gateway_refusals" if ending == "refused" else "gateway_failures", (error,), course.requests)
            if basis is not None:
                add("gateway_charges", (basis,), course.requests)
            add("gateway_tokens", (model, "input"), course.input_tokens)
            add("gateway_tokens", (model, "output"), course.output_tokens)
            add("gateway_cost_usd", (model,), course.usd)
        return all_of_them

    def _observed(self) -> dict[str, dict[Labels, list[float]]]:
        """Every histogram, what courses have come to included."""
        all_of_them = {name: dict(tuple(series.items())) for name, series in self._histograms.items()}

        def add(name: str, labels: Labels, counts: list[int], milliseconds: float) -> None:
            if any(counts):
                before = all_of_them[name].get(labels) or [0.0] * (len(counts) + 1)
                here = (*counts, milliseconds / 1000)
                all_of_them[name][labels] = [one + other for one, other in zip(before, here, strict=True)]

        for (endpoint, *_), course in tuple(self._courses.items()):
            add("gateway_request_seconds", (endpoint,), course.total, course.total_ms)
            add("gateway_first_byte_seconds", (endpoint,), course.first_byte, course.first_byte_ms)
            add("gateway_before_call_seconds", (), course.before_call, course.before_call_ms)
        return all_of_them


_SECONDS_MS = tuple(bound * 1000 for bound in SECONDS)
_OVERHEAD_MS = tuple(bound * 1000 for bound in OVERHEAD)


def text_of(total: Snapshot) -> bytes:
    """Several processes' numbers in Prometheus' text format."""

    def gauge(name: str) -> tuple[str, Callable[[], float]]:
        return total.words.get(name, name), lambda: total.gauges[name]

    made = Metrics({name: gauge(name) for name in total.gauges})
    for name, series in total.counters.items():
        made._counters[name] = {labels: values[0] for labels, values in series}  # noqa: SLF001  # made here
    for name, series in total.histograms.items():
        made._histograms[name] = dict(series)  # noqa: SLF001  # made here
    return made.text()
