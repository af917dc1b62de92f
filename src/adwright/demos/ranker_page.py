"""One page to read about a run: the table, the charts, and what some people would see.

The page is a single HTML file without scripts or outside references. Text is escaped by
jinja2; charts are SVG drawn by `adwright.metrics.reports.charts`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from adwright.demos.folder import write_demo_page
from adwright.metrics.calibration import reliability_table
from adwright.metrics.reports.charts import (
    attention_map,
    interval_chart,
    learning_curves,
    reliability_diagram,
    to_svg,
)
from adwright.metrics.reports.page import inline_svg
from adwright.training.ranking.run import RunResult

if TYPE_CHECKING:
    import altair as alt


@dataclass(frozen=True)
class Activated:
    """A past purchase that activated a product.

    count: how often it was bought. share: of the activation by all past purchases together, in
    [0, 1]; the network's own weights have no unit, and their signs no meaning.
    """

    item_id: str
    name: str
    count: int
    share: float


@dataclass(frozen=True)
class ShownProduct:
    """A product that is shown; taken: whether the person did buy it in that visit."""

    item_id: str
    name: str
    probability: float
    taken: bool
    because: Sequence[Activated]


@dataclass(frozen=True)
class Household:
    """A person at a visit: history events before it, candidates, and the best of them.

    past: names of some past purchases [H], oldest first; weights: theirs for the products that
    are shown [H][T].
    """

    user_id: str
    time: datetime
    history: int
    candidates: int
    taken: int
    shown: Sequence[ShownProduct]
    past: Sequence[str] = ()
    weights: Sequence[Sequence[float]] = ()


def write_page(
    path: str | Path,
    result: RunResult,
    households: Sequence[Household],
    *,
    seconds: Mapping[str, float],
    further: Mapping[str, str] | None = None,
) -> None:
    """Write the page of a run, whole or not at all.

    seconds: of the stages, in order. further: address -> name of pages to go on with.
    Raises ResourceError where the disk is full.
    """
    report = result.comparison.reports[result.comparison.subject]
    values = {
        "subject": result.comparison.subject,
        "verdict": result.comparison.verdict(),
        "header": result.comparison.header(),
        "rows": result.comparison.rows(),
        "protocol": report.protocol.text().splitlines(),
        "report": report,
        "charts": _charts(result, households),
        "households": households,
        "seconds": seconds,
        "artifact": result.artifact,
        "further": further or {},
    }
    write_demo_page(path, "report.html", values)


def _charts(result: RunResult, households: Sequence[Household]) -> dict[str, str]:
    comparison = result.comparison
    gauc = {name: report.metrics["gauc"] for name, report in comparison.reports.items()}
    lead = {name: found["gauc"] for name, found in comparison.differences.items()}
    table = reliability_table(result.label, result.probabilities[comparison.subject])
    charts = {
        "comparison": interval_chart(gauc, title="Group AUC on the test rows", x_title="Group AUC"),
        "reliability": reliability_diagram(table, title=f"Is {comparison.subject} to be believed?"),
    }
    if lead:
        charts["lead"] = interval_chart(
            lead,
            title=f"{comparison.subject} less the other, same people",
            x_title="Difference in group AUC",
            reference=0,
        )
    for name, rows, title in (
        ("losses", _losses(result), "Log loss on training rows"),
        ("curves", _curves(result), "Group AUC on validation rows"),
    ):
        if rows:
            charts[name] = learning_curves(rows, x_title="Batches", y_title=title)
    if households and households[0].past:
        charts["attention"] = _attention(households[0])
    return {name: inline_svg(to_svg(chart), name) for name, chart in charts.items()}


def _curves(result: RunResult) -> list[dict[str, object]]:
    """Validation group AUC of each training run, from its metrics.jsonl; nothing where each
    was validated once, which makes no curve."""
    return _series(
        (name, [(record["batches"], record["valid_gauc"]) for record in records])
        for name, records in _records(result)
    )


def _losses(result: RunResult) -> list[dict[str, object]]:
    """Training log loss of each run, a point for each window of the stream; nothing where
    that makes no curve. On the scale of the sampled rows."""
    return _series(
        (name, [point for record in records for point in record.get("train_curve", [])])
        for name, records in _records(result)
    )


def _series(curves: Iterable[tuple[str, list[Any]]]) -> list[dict[str, object]]:
    """The rows of a chart from names and points (step, value); none without a second point."""
    found = list(curves)
    if max((len(points) for _, points in found), default=0) < 2:
        return []
    return [
        {"step": step, "series": name, "value": value}
        for name, points in found
        for step, value in points
    ]


def _records(result: RunResult) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """(name, lines of metrics.jsonl) of each training run."""
    names = {name.lower(): name for name in result.comparison.reports}
    for path in sorted((result.folder / "runs").glob("*/metrics.jsonl")):
        name = names.get(path.parent.name, path.parent.name)
        yield name, [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def _attention(household: Household) -> alt.TopLevelMixin:
    # Relative to the strongest of each product: one heavy staple would leave the rest blank.
    sizes = np.abs(np.asarray(household.weights))
    return attention_map(
        [_cut(name) for name in household.past],
        [_cut(shown.name) for shown in household.shown],
        sizes / np.maximum(sizes.max(0, keepdims=True), 1e-12),
        title="Which past purchases activated which product",
    )


def _cut(name: str, length: int = 24) -> str:
    """A name that leaves room for the picture."""
    return name if len(name) <= length else name[: length - 1].rstrip(" ,") + "…"
