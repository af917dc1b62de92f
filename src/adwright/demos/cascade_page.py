"""What the trial of a cascade found, as tables of text and as a page to read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from adwright.delivery.cascade.trial import OrderQuality, StageQuality
from adwright.demos.folder import write_demo_page

#: What each stage is, for a reader.
_STAGES = {
    "retrieve": "retrieve: two towers, own past",
    "coarse": "coarse: HCN, own counts",
    "fine": "fine: DIN, its best",
    "policy": "policy: the slate",
}


@dataclass(frozen=True)
class SlateItem:
    """An item of a slate: its probability of being taken, the chance with which it was drawn
    for this place, how often the person had it before, and whether they then bought it."""

    item_id: str
    name: str
    probability: float
    propensity: float
    had: int
    bought: bool


@dataclass(frozen=True)
class ShownDecision:
    """A slate for a person; history: events before, basket: items that were then bought.
    calibrated: whether the probabilities are some, and not scores of the coarse order."""

    user_id: str
    time: datetime
    history: int
    basket: int
    places: tuple[SlateItem, ...]
    calibrated: bool = True


@dataclass(frozen=True)
class CascadeMeasures:
    """The numbers of a trial.

    requests of so many households; items: of the catalogue; k: places of a slate. stages: in
    their order. cpu_ms: stage -> processor milliseconds per request. orders: the cascade's first.
    p50_ms, p99_ms: wall milliseconds of a whole decision. sample: requests for which the fine
    ranker ranked the whole catalogue, at exhaustive_cpu_ms each. fine: whether it serves, and why.
    """

    requests: int
    households: int
    items: int
    k: int
    stages: tuple[StageQuality, ...]
    cpu_ms: dict[str, float]
    orders: tuple[OrderQuality, ...]
    p50_ms: float
    p99_ms: float
    sample: int
    exhaustive_cpu_ms: float
    fine: str = ""

    @property
    def whole_cpu_ms(self) -> float:
        """Of all stages, per request."""
        return sum(self.cpu_ms.values())

    def stage_header(self) -> tuple[str, ...]:
        """Names of the columns of `stage_rows`."""
        return (
            "stage",
            "items left",
            "of what was bought",
            f"of the fine ranker's own {self.k} ({self.sample} requests)",
            "CPU-ms per request",
        )

    def stage_rows(self) -> list[tuple[str, ...]]:
        """One line per stage, as text."""
        return [
            (
                _STAGES.get(one.stage, one.stage),
                f"{one.items:,.0f}",
                one.bought.text(".1%"),
                one.own.text(".1%"),
                f"{self.cpu_ms[one.stage]:.1f}",
            )
            for one in self.stages
        ]

    def order_header(self) -> tuple[str, ...]:
        """Names of the columns of `order_rows`."""
        return ("order", f"recall@{self.k}", f"NDCG@{self.k}", "best first ahead by (NDCG)")

    def order_rows(self) -> list[tuple[str, ...]]:
        """One line per order, as text."""
        return [
            (
                one.name,
                one.recall.text(".3f"),
                one.ndcg.text(".3f"),
                "" if one.ahead is None else one.ahead.text("+.3f"),
            )
            for one in self.orders
        ]

    def title(self) -> str:
        """What the numbers are of."""
        return (
            f"{self.requests:,} baskets of the test weeks, {self.households:,} households, "
            f"{self.items:,} items; 95% intervals over households"
        )

    def cost(self) -> str:
        """Time, in a sentence or two."""
        return (
            f"A decision took {self.p50_ms:.0f} ms (median; 99% within {self.p99_ms:.0f} ms) and "
            f"{self.whole_cpu_ms:.0f} CPU-ms, one request at a time on one thread. The fine "
            f"ranker alone, over the whole catalogue: {self.exhaustive_cpu_ms:,.0f} CPU-ms."
        )


def write_cascade_page(
    path: str | Path,
    measures: CascadeMeasures,
    shown: Sequence[ShownDecision],
    *,
    protocol: str,
    artifact: str,
    seed: int,
    seconds: Mapping[str, float],
) -> None:
    """Write the page, whole or not at all.

    protocol: of the task. artifact: id of the deployment. seconds: of the stages, in order.
    Raises ResourceError where the disk is full.
    """
    values = {
        "measures": measures,
        "shown": shown,
        "protocol": protocol,
        "artifact": artifact,
        "seed": seed,
        "seconds": seconds,
    }
    write_demo_page(path, "cascade.html", values)
