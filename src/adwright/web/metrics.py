"""The service's own measures, for Prometheus. They name no tenant: whoever may scrape sees none."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

__all__ = ["CONTENT_TYPE", "ServiceMetrics"]

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.04, 0.05, 0.075, 0.1, 0.25, 0.5, 1, 2.5)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 512, 2048, 8192)


class ServiceMetrics:
    """All measures of one process, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        count, spread = self._counter, self._histogram
        self.requests = count(
            "requests", "Answers by route, method and status.", "route", "method", "status"
        )
        self.seconds = spread(
            "request_seconds", "From a request's head to its answer's end.", _SECONDS, "route"
        )
        self.decisions = count("decisions", "Decisions by the order they came from.", "stage")
        self.repeats = count(
            "decisions_repeated", "Decisions that were recorded before and were answered again."
        )
        self.rescued = count(
            "decisions_rescued",
            "Decisions from the fallback, because the model failed or was late.",
            "reason",
        )
        self.shed = count("shed", "Requests refused with 429, by what was full.", "reason")
        self.connections_closed = count(
            "connections_closed",
            "Connections that were closed by the service before they had an answer.",
            "reason",
        )
        self.events = count("events", "Acknowledged events.", "outcome")
        self.batch = spread("batch_size", "Decisions computed together.", _SIZES)
        self.model_seconds = spread(
            "batch_seconds", "Time of the model and the policy for one batch.", _SECONDS
        )
        self.commit_rows = spread("commit_rows", "Rows written together.", _SIZES)
        self.commit_seconds = spread(
            "commit_seconds", "Time until the store had committed.", _SECONDS
        )
        self.commit_failures = count("commit_failures", "Writes that the store refused.")

    def gauge(self, name: str, text: str, value: Callable[[], float]) -> None:
        """Add a measure that is read when Prometheus asks."""
        Gauge(f"adwright_{name}", text, registry=self.registry).set_function(value)

    def text(self) -> bytes:
        """Everything, in the text format of CONTENT_TYPE."""
        return generate_latest(self.registry)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"adwright_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: Sequence[float], *labels: str) -> Histogram:
        return Histogram(f"adwright_{name}", text, labels, buckets=buckets, registry=self.registry)
