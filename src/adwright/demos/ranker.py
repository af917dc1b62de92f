"""The demonstration: real promotions, a trained DIN, and three households to look at.

Builds the response task of Complete Journey, trains the base model and DIN, measures them
beside the simple rules, and shows ten promoted products to each of three households, with the
past purchases that activated them. Everything lands in one folder, a page to read included.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import polars as pl

from adwright.core.clock import Clock
from adwright.core.config import settings
from adwright.core.errors import ConfigError
from adwright.data.hashing import hash_order
from adwright.data.tasks.task import Task
from adwright.demos.folder import claim_folder
from adwright.demos.ranker_page import Activated, Household, ShownProduct, write_page
from adwright.training.loop.stage_timer import Stages
from adwright.training.ranking.config import RunConfig, TaskConfig, default_fit, open_task
from adwright.training.ranking.ranker import Ranker
from adwright.training.ranking.run import RunResult, run

_MARK = "demo.json"
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
    config: DemoConfig | None = None,
    *,
    task: Task | None = None,
    clock: Clock | None = None,
) -> DemoResult:
    """Run the demonstration in `config.out`; an earlier demonstration there is replaced.

    task: used instead of building the response task.
    Raises ResourceError where the folder holds something else, AssetError where the data
    cannot be had.
    """
    config = config or DemoConfig()
    out, stages = config.out, Stages(clock)
    claim_folder(out, _MARK, config)
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
    ranker: Ranker, task: Task, *, people: int = 3, k: int = 10, seed: int = 0, because: int = 3
) -> tuple[Household, ...]:
    """What the ranker shows to a few people of the test rows, and why.

    Of each person the visit with the most promoted products is taken; people with at least
    2 k such products and 100 past events come first, in an order that `seed` decides.
    because: past purchases named for each product, those of largest weight.
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
        _household(ranker, task, user, request, time, k=k, because=because)
        for user, request, time in chosen.select("user_id", "request_id", "time").iter_rows()
    )


def _household(
    ranker: Ranker,
    task: Task,
    user: str,
    request: str,
    time: datetime,
    *,
    k: int,
    because: int,
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
    reasons = _reasons(ranker, events, best["item_id"])
    shown = [
        ShownProduct(
            item_id=row["item_id"],
            name=row["name"],
            probability=row["probability"],
            taken=row["item_id"] in taken,
            because=_strongest(found, because),
        )
        for row, found in zip(best.iter_rows(named=True), reasons, strict=True)
    ]
    past, weights = _pictured(reasons)
    return Household(
        user, time, events.height, candidates.height, len(taken), tuple(shown), past, weights
    )


def _strongest(found: pl.DataFrame, k: int) -> tuple[Activated, ...]:
    """The k past purchases of largest weight, of all that `explain` found."""
    if not found.height:
        return ()
    whole = found["weight"].abs().sum() or 1.0
    return tuple(
        Activated(past["item_id"], past["name"], past["count"], abs(past["weight"]) / whole)
        for past in found.head(k).iter_rows(named=True)
    )


def _reasons(ranker: Ranker, events: pl.DataFrame, item_ids: Iterable[str]) -> list[pl.DataFrame]:
    """For each item all past purchases as `Ranker.explain` gives them; none for a base model."""
    if not ranker.explains:
        nothing = pl.DataFrame(schema=["item_id", "name", "count", "weight", "last"])
        return [nothing for _ in item_ids]
    return [ranker.explain(events, item, k=max(1, events.height)) for item in item_ids]


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
