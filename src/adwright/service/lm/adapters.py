"""Report where the adapters of a base are, and how full the pool is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from adwright.lm.serving.adapter_folder import Scanned
    from adwright.lm.serving.engine import AdapterModels


class Rescans(Protocol):
    """A folder of adapters that can be read again, as `AdapterFolder` can."""

    def rescan(self) -> Scanned:
        """Add what is new and take away what is gone; it may take seconds."""

    def load(self, name: str, path: str) -> None:
        """Serve one adapter of it under a name."""

    def unload(self, name: str) -> None:
        """Take one adapter away."""


@dataclass(frozen=True)
class Adapters:
    """The models of one base. folder: of its adapters, or None where they are fixed."""

    models: AdapterModels
    folder: Rescans | None = None


class AdapterMeasures(Collector):
    """Counters and gauges for Prometheus. They name no adapter."""

    def __init__(self, models: AdapterModels) -> None:
        self._models = models

    def collect(self) -> Iterator[Metric]:
        """Yield the present values."""
        state = self._models.pool()
        counts = state.counts
        counters = {
            "lm_adapter_hits": ("Requests that found their adapter in the pool.", counts.hits),
            "lm_adapter_evictions": ("Adapters that left the pool.", counts.evictions),
            "lm_shared_tokens": (
                "Tokens of prompts whose keys and values were there.",
                state.shared_tokens,
            ),
            "lm_preemptions": ("Requests that had to begin again.", state.preemptions),
        }
        for name, (text, value) in counters.items():
            yield CounterMetricFamily(f"adwright_{name}", text, value=value)
        loads = CounterMetricFamily(
            "adwright_lm_adapter_loads", "Adapters brought into the pool.", labels=["source"]
        )
        loads.add_metric(["host"], counts.from_host)
        loads.add_metric(["disk"], counts.from_disk)
        yield loads
        pages = GaugeMetricFamily(
            "adwright_lm_pages", "Pages of the pool, by who has them.", labels=["use"]
        )
        pages.add_metric(["adapters"], state.adapters)
        pages.add_metric(["keys"], state.keys)
        pages.add_metric(["prefixes"], state.prefixes)
        pages.add_metric(["free"], state.pages - state.adapters - state.keys - state.prefixes)
        yield pages
        text = "Bytes of adapters in host memory."
        yield GaugeMetricFamily("adwright_lm_adapter_host_bytes", text, value=state.host_bytes)


def adapters_of(models: AdapterModels) -> dict[str, Any]:
    """The body of GET /v1/adapters."""
    state = models.pool()
    data = [
        {
            "id": one.name,
            "method": one.method,
            "where": one.tier,
            "bytes": one.bytes,
            "pages": one.pages,
            "pins": one.pins,
            "hits": one.hits,
        }
        for one in models.adapters()
    ]
    return {
        "object": "list",
        "base": models.name,
        "data": data,
        "totals": {
            "hits": state.counts.hits,
            "loads_from_host": state.counts.from_host,
            "loads_from_disk": state.counts.from_disk,
            "evictions": state.counts.evictions,
            "dropped": state.counts.dropped,
            "preemptions": state.preemptions,
            "shared_tokens": state.shared_tokens,
        },
        "pages": {
            "total": state.pages,
            "adapters": state.adapters,
            "keys": state.keys,
            "prefixes": state.prefixes,
            "bytes": state.bytes,
        },
        "host_bytes": state.host_bytes,
    }
