"""Metrics, counted from the records in the thread that writes them, and read from the process when scraped.

Every label has a bounded number of values: names of the policy set and of our own tables, never a client's words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

import gateway

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
OVERHEAD = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5)

# name → (help, value): read at each scrape.
Gauges = Mapping[str, tuple[str, Callable[[], float]]]


class Metrics:
    """One registry. `count` takes a record; `text` is what a scrape gets."""

    def __init__(self, gauges: Gauges) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # the library has no types for it
        self.registry = CollectorRegistry()
        self.registry.register(_Gauges(gauges))

        def counter(name: str, words: str, *labels: str) -> Counter:
            return Counter(name, words, labels, registry=self.registry)

        def histogram(name: str, words: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
            return Histogram(name, words, labels, registry=self.registry, buckets=buckets)

        self._requests = counter(
            "gateway_requests", "Exchanges that have ended.", "endpoint", "model", "status", "ending"
        )
        self._refusals = counter("gateway_refusals", "Requests that policy refused.", "reason")
        self._failures = counter("gateway_failures", "Exchanges in which something broke.", "type")
        self._tokens = counter("gateway_tokens", "Tokens used.", "model", "type")
        self._cost = counter("gateway_cost_usd", "What was charged, in USD.", "model")
        self._basis = counter("gateway_charges", "Settled exchanges, by who said what was used.", "basis")
        self._spans = counter("gateway_redacted_spans", "Pieces of personal data found.", "entity")
        self._uncovered = counter("gateway_unredacted_requests", "Let through although redaction failed.", "profile")
        self._duration = histogram("gateway_request_seconds", "From head to end.", SECONDS, "endpoint")
        self._first = histogram("gateway_first_byte_seconds", "From head to our first byte.", SECONDS, "endpoint")
        self._before = histogram("gateway_before_call_seconds", "From head to our call.", OVERHEAD)

    def count(self, record: Mapping[str, Any]) -> None:
        """Count one record of an exchange."""
        endpoint = str(record.get("gateway.endpoint", "none"))
        model = str(record.get("gateway.model", "none"))
        status = str(record.get("http.response.status_code", "none"))
        self._requests.labels(endpoint, model, status, str(record.get("gateway.ending"))).inc()
        if (error := record.get("error.type")) is not None:
            refused = record.get("gateway.ending") == "refused"
            (self._refusals if refused else self._failures).labels(str(error)).inc()
        for name, label in (("gen_ai.usage.input_tokens", "input"), ("gen_ai.usage.output_tokens", "output")):
            if tokens := record.get(name):
                self._tokens.labels(model, label).inc(tokens)
        if (basis := record.get("gateway.usage.basis")) is not None:
            self._basis.labels(str(basis)).inc()
        if cost := record.get("gateway.charged.cost_usd"):
            self._cost.labels(model).inc(cost)
        for entity, spans in record.get("gateway.redaction.spans", {}).items():
            self._spans.labels(entity).inc(spans)
        if record.get("gateway.redaction.failed") is not None:
            self._uncovered.labels(str(record.get("gateway.redaction.profile"))).inc()
        for histogram, name in (
            (self._duration.labels(endpoint), "gateway.ms.total"),
            (self._first.labels(endpoint), "gateway.ms.first_byte"),
            (self._before, "gateway.ms.before_call"),
        ):
            if (milliseconds := record.get(name)) is not None:
                histogram.observe(milliseconds / 1000)

    def text(self) -> bytes:
        """All of it, in Prometheus' text format."""
        return generate_latest(self.registry)


class _Gauges(Collector):
    def __init__(self, gauges: Gauges) -> None:
        self._gauges = gauges

    def collect(self) -> Iterable[Metric]:
        version = GaugeMetricFamily("gateway_build_info", "Which gateway this is.", labels=("version",))
        version.add_metric((gateway.__version__,), 1.0)
        yield version
        for name, (words, value) in self._gauges.items():
            yield GaugeMetricFamily(name, words, value())
