"""What Prometheus hears of each tenant: ads shown and clicked, money, and how well is decided.

Whoever may ask for /metrics learns the names of tenants by it, so a setting turns it on. Counts are
of this process, since its start; money and live ads are those of all.

Decisions are as good as their model says where the responses that it expects come:

    rate(adwright_tenant_responses_total{kind="click"}[1d])
        / rate(adwright_tenant_expected_responses_total[1d])

is 1 for a model of clicks whose probabilities hold, and falls when it grows old. Expected is the
sum of the probabilities of what was shown, of models that tell any.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from adwright.campaigns.store.store import Store
from adwright.delivery.decision import Decision
from adwright.delivery.experiments import ARM
from adwright.service.decide.ads import Ads
from adwright.service.registry.experiments import ArmsDeployed
from adwright.service.registry.registry import Models

#: (tenant, arm of the experiment that runs or empty).
_Cell = tuple[str, str]


class TenantMetrics(Collector):
    """Counts by tenant and arm; may be shared by threads."""

    def __init__(self, store: Store, models: Models, ads: Ads) -> None:
        self._store, self._models, self._ads = store, models, ads
        self._lock = threading.Lock()
        self._shown, self._ads_shown = Counter[_Cell](), Counter[_Cell]()
        self._clicks, self._decisions = Counter[_Cell](), Counter[_Cell]()
        self._responses = Counter[tuple[str, str, str]]()
        self._expected: dict[_Cell, float] = {}

    def decided(self, tenant: str, decision: Decision, expected: float) -> None:
        """A decision was stored. expected: the responses that its model tells, 0 where none."""
        cell = tenant, str(decision.request.context.get(ARM, ""))
        with self._lock:
            self._decisions[cell] += 1
            self._shown[cell] += len(decision.item_ids)
            self._ads_shown[cell] += sum(one is not None for one in decision.shown)
            self._expected[cell] = self._expected.get(cell, 0.0) + expected

    def tell(self, tenant: str, events: Sequence[Mapping[str, Any]]) -> None:
        """Count responses that were stored, each once."""
        said = [one for one in events if one["kind"] not in ("impression", "stop")]
        if not said:
            return
        arms = self._arms(tenant, {one["user_id"] for one in said})
        with self._lock:
            for one in said:
                arm = arms.get(one["user_id"], "")
                self._responses[tenant, arm, one["kind"]] += 1
                self._clicks[tenant, arm] += one["kind"] == "click" and bool(one.get("creative_id"))

    def _arms(self, tenant: str, users: Iterable[str]) -> dict[str, str]:
        status = self._models.status(tenant)
        deployed = None if status is None else status.deployed
        if not isinstance(deployed, ArmsDeployed) or deployed.running is None:
            return {}
        return {user: deployed.running.met(user) for user in users}

    def collect(self) -> Iterator[Metric]:
        """What Prometheus asks for."""
        labels = ("tenant", "arm")
        with self._lock:
            tables = (
                ("decisions", "Decisions that were stored.", labels, dict(self._decisions)),
                ("impressions", "Places that these filled.", labels, dict(self._shown)),
                ("ad_impressions", "Those with an ad.", labels, dict(self._ads_shown)),
                ("ad_clicks", "Clicks on ads.", labels, dict(self._clicks)),
                ("responses", "Responses.", (*labels, "kind"), dict(self._responses)),
                (
                    "expected_responses",
                    "Those that the models of the decisions expected.",
                    labels,
                    dict(self._expected),
                ),
            )
        for name, text, names, counts in tables:
            family = CounterMetricFamily(f"adwright_tenant_{name}", text, labels=names)
            for cell, value in sorted(counts.items()):
                family.add_metric(cell, value)
            yield family
        live = self._ads.live
        spent = {one: sum(self._store.known_spend(one).values()) for one in self._models.statuses()}
        gauges = (
            ("ads_live", "Ads that may be shown.", live),
            ("ad_spend", "What its campaigns have spent, as far as was heard.", spent),
        )
        for name, text, values in gauges:
            gauge = GaugeMetricFamily(f"adwright_tenant_{name}", text, labels=["tenant"])
            for tenant, value in sorted(values.items()):
                gauge.add_metric([tenant], value)
            yield gauge
