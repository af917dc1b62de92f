"""The demonstration: real promotions, a trained DIN, and three households to look at.

Builds the response task of Complete Journey, trains the base model and DIN, measures them
beside the simple rules, and shows ten promoted products to each of three households, with the
past purchases that activated them. Everything lands in one folder, a page to read included.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from adwright.core.clock import Clock
from adwright.core.config import settings
from adwright.core.errors import ConfigError
from adwright.data.hashing import hash_order
from adwright.data.tasks.task import Task
from adwright.demos.folder import MARK, claim_folder, write_demo_page
from adwright.metrics.classification import reliability_table
from adwright.metrics.reports.charts import (
    attention_map,
    interval_chart,
    learning_curves,
    reliability_diagram,
    to_svg,
)
from adwright.metrics.reports.report import inline_svg
from adwright.training.loop.stage_timer import Stages
from adwright.training.ranking.config import RunConfig, TaskConfig, default_fit, open_task
from adwright.training.ranking.ranker import Ranker
from adwright.training.ranking.run import RunResult, run

if TYPE_CHECKING:
    import altair as alt


# --------------------------------------------------------------------------------------------------
# One page to read about a run: the table, the charts, and what some people would see.
#
# The page is a single HTML file without scripts or outside references. Text is escaped by
# jinja2; charts are SVG drawn by `adwright.metrics.reports.charts`.


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
    # Of the training, a point for each window of the stream, on the scale of the sampled rows; of
    # the validation, nothing where each run was validated once, which makes no curve.
    losses, curves = [], []
    for name, records in _records(result):
        losses.append((name, [p for record in records for p in record.get("train_curve", [])]))
        curves.append((name, [(record["batches"], record["valid_gauc"]) for record in records]))
    for name, points, title in (
        ("losses", losses, "Log loss on training rows"),
        ("curves", curves, "Group AUC on validation rows"),
    ):
        if rows := _series(points):
            charts[name] = learning_curves(rows, x_title="Batches", y_title=title)
    if households and households[0].past:
        charts["attention"] = _attention(households[0])
    return {name: inline_svg(to_svg(chart), name) for name, chart in charts.items()}


def _series(found: Sequence[tuple[str, list[Any]]]) -> list[dict[str, object]]:
    """The rows of a chart from names and points (step, value); none without a second point."""
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


_NAMED = 3  # past purchases named for each product
_PICTURED = 18  # past purchases in the picture of activations
_LIVELY = 100  # events of a person whose history is worth looking at


@settings
class DemoConfig:
    """What the demonstration may spend.

    households: share of them in (0, 1]. epochs, negative_rate: of the training; test rows are
    all scored. max_history: most recent purchases that a row sees; 0 for all. people: how many
    households are shown. k: products shown to each. offline: never download.
    seed: of the weights, the order of the rows, and which households. out: the folder.
    """

    households: float = 1.0
    epochs: int = 1
    negative_rate: float = 0.05
    max_history: int = 0
    people: int = 3
    k: int = 10
    seed: int = 0
    offline: bool = False
    out: Path = Path("runs/demo")

    def __post_init__(self) -> None:
        if min(self.people, self.k) < 1:
            raise ConfigError("people and k must be at least 1", where="demo")
        self.run_config()

    def run_config(self) -> RunConfig:
        """The training run that the demonstration consists of."""
        fit = default_fit()
        stream = replace(fit.stream, negative_rate=self.negative_rate, max_history=self.max_history)
        return RunConfig(
            task=TaskConfig(households=self.households, offline=self.offline),
            fit=replace(fit, epochs=self.epochs, stream=stream),
            mix=False,
            seed=self.seed,
            out=self.out,
        )


@dataclass(frozen=True, eq=False)
class DemoResult:
    """The run, the households that are shown, and the page to read."""

    result: RunResult
    households: tuple[Household, ...]
    page: Path


def demo(
    config: DemoConfig | None = None, *, task: Task | None = None, clock: Clock | None = None
) -> DemoResult:
    """Run the demonstration in `config.out`; an earlier demonstration there is replaced.

    task: used instead of building the response task.
    Raises ResourceError where the folder holds something else, AssetError where the data
    cannot be had.
    """
    config = config or DemoConfig()
    out, stages = config.out, Stages(clock)
    claim_folder(out, MARK, config)
    asked = config.run_config()
    if task is None:
        with stages.stage("build the task"):
            task = open_task(asked.task)
    result = run(asked, task=task, overwrite=True, clock=clock, stages=stages)
    with stages.stage("choose what to show"):
        shown = households_shown(
            result.ranker, task, people=config.people, k=config.k, seed=config.seed
        )
    page = out / "report.html"
    with stages.stage("write the page"):
        write_page(page, result, shown, seconds=stages.seconds)
    return DemoResult(replace(result, stages=dict(stages.seconds)), shown, page)


def add_links(found: DemoResult, further: Mapping[str, str]) -> None:
    """Write the page again, with links to further pages: address -> name.

    Raises ResourceError where the disk is full.
    """
    seconds = found.result.stages
    write_page(found.page, found.result, found.households, seconds=seconds, further=further)


def households_shown(
    ranker: Ranker, task: Task, *, people: int = 3, k: int = 10, seed: int = 0
) -> tuple[Household, ...]:
    """What the ranker shows to a few people of the test rows, and why.

    Of each person the visit with the most promoted products is taken; people with at least
    2 k such products and 100 past events come first, in an order that `seed` decides.
    """
    visits = (
        task.rows("test")
        .group_by("user_id", "request_id", "time")
        .agg(rows=pl.len(), visible=pl.col("visible").first())
        .sort(["user_id", "rows", "request_id"], descending=[False, True, False])
        .unique("user_id", keep="first", maintain_order=True)
        .collect()
    )
    poor = (visits["rows"] < 2 * k) | (visits["visible"] < _LIVELY)
    chosen = (
        visits.with_columns(poor=poor, order=hash_order(visits, ["user_id"], seed))
        .sort("poor", "order")
        .head(people)
    )
    return tuple(
        _household(ranker, task, user, request, time, k)
        for user, request, time in chosen.select("user_id", "request_id", "time").iter_rows()
    )


def _household(
    ranker: Ranker, task: Task, user: str, request: str, time: datetime, k: int
) -> Household:
    visit = (pl.col("user_id") == user) & (pl.col("request_id") == request)
    candidates = task.rows("test").filter(visit).collect()
    events = (
        pl.scan_parquet(task.events_path("test"))
        .filter((pl.col("user_id") == user) & (pl.col("time") < time))
        .collect()
    )
    taken = set(candidates.filter(pl.col("label") == 1)["item_id"])
    best = ranker.recommend(events, candidates, k=k)
    if ranker.explains:
        most = max(1, events.height)
        reasons = [ranker.explain(events, item, k=most) for item in best["item_id"]]
    else:
        nothing = pl.DataFrame(schema=["item_id", "name", "count", "weight", "last"])
        reasons = [nothing] * best.height
    shown = [
        ShownProduct(
            item_id=row["item_id"],
            name=row["name"],
            probability=row["probability"],
            taken=row["item_id"] in taken,
            because=_strongest(found),
        )
        for row, found in zip(best.iter_rows(named=True), reasons, strict=True)
    ]
    past, weights = _pictured(reasons)
    return Household(
        user, time, events.height, candidates.height, len(taken), tuple(shown), past, weights
    )


def _strongest(found: pl.DataFrame) -> tuple[Activated, ...]:
    """The past purchases of largest weight, of all that `explain` found."""
    if not found.height:
        return ()
    whole = found["weight"].abs().sum() or 1.0
    return tuple(
        Activated(past["item_id"], past["name"], past["count"], abs(past["weight"]) / whole)
        for past in found.head(_NAMED).iter_rows(named=True)
    )


def _pictured(
    reasons: Sequence[pl.DataFrame],
) -> tuple[tuple[str, ...], tuple[tuple[float, ...], ...]]:
    """(names of the past purchases that weigh most for any product, oldest first; weights)."""
    columns = [
        found.select("item_id", "name", "count", "last", "weight", product=pl.lit(at))
        for at, found in enumerate(reasons)
    ]
    table = pl.concat(columns)
    if not table.height:
        return (), ()
    keys = ["item_id", "name", "count", "last"]
    wide = table.sort("product").group_by(keys, maintain_order=True).agg("weight")
    strongest = wide.sort(
        pl.col("weight").list.eval(pl.element().abs()).list.max(), descending=True
    ).head(_PICTURED)
    ordered = strongest.sort("last", "item_id")
    names = tuple(f"×{count} {name}" for name, count in ordered.select("name", "count").iter_rows())
    return names, tuple(tuple(weights) for weights in ordered["weight"].to_list())
