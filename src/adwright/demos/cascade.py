"""The demonstration's second half: a cascade is trained, saved, and decides for real people.

Builds the next-basket task of Complete Journey, trains two towers, HCN and DIN on a small
budget, loads what was saved, and serves baskets of the test weeks one after the other: 68,509
items, the whole history before each, and a policy that makes the choice and logs how probable
it was. What each stage let through is held against what was then bought (see `judging`).
The fine ranker serves where validation baskets speak for it (`measured_fine`).

    OUT/cascade.json       what was asked for
    OUT/deployment/        the cascade, as the service loads it
    OUT/decisions.parquet  one impression per place, with its propensity
    OUT/measures.json      the numbers
    OUT/cascade.html       the page to read
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Annotated

import numpy as np
import polars as pl
from numpy.typing import NDArray

from adwright.core.atomic import atomic_write_bytes, atomic_write_text
from adwright.core.clock import Clock
from adwright.core.config import Count, Gt, Le, settings, to_jsonable
from adwright.core.errors import ConfigError
from adwright.data.batches.stream import StreamConfig
from adwright.data.popularity import most_popular
from adwright.data.schema import validate_events
from adwright.data.sources.complete_journey import CompleteJourney
from adwright.data.tasks.choice import ChoiceConfig
from adwright.data.tasks.negatives import Draws
from adwright.data.tasks.next_basket import NextBasket
from adwright.data.tasks.next_basket_sources import build_next_basket
from adwright.delivery.cascade.build import BuildConfig, Deployment, build_deployment
from adwright.delivery.cascade.cascade import Cascade, Meter
from adwright.delivery.cascade.trial import (
    OrderQuality,
    Served,
    StageQuality,
    exhaustive_best,
    frequency_best,
    judge_orders,
    judge_stages,
    serve_visits,
    stage_lists,
)
from adwright.delivery.funnel.choice import measured_fine
from adwright.delivery.policy.rules import PolicyConfig, SoftmaxConfig
from adwright.delivery.policy.slate_policy import build_policy
from adwright.demos.folder import claim_folder, remove_demo, write_demo_page
from adwright.training.loop.stage_timer import Stages
from adwright.training.loop.threads import torch_threads
from adwright.training.ranking.fit import FitConfig
from adwright.training.ranking.frames import item_names
from adwright.training.retrieval.fit import RetrievalConfig

# --------------------------------------------------------------------------------------------------
# What the trial of a cascade found, as tables of text and as a page to read.

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
        whole = sum(self.cpu_ms.values())
        return (
            f"A decision took {self.p50_ms:.0f} ms (median; 99% within {self.p99_ms:.0f} ms) and "
            f"{whole:.0f} CPU-ms, one request at a time on one thread. The fine "
            f"ranker alone, over the whole catalogue: {self.exhaustive_cpu_ms:,.0f} CPU-ms."
        )


Ints = NDArray[np.int64]
MARK = "cascade.json"
#: Of a person and a basket worth looking at: events before it, items in it.
_LIVELY, _FULL = 100, 10


def small_build(*, max_history: int = 0, seed: int = 0) -> BuildConfig:
    """A cascade in a minute of one core. Its sizes were settled on validation baskets, after first
    comparisons that looked at test baskets.

    Most of it goes to the fine ranker: from 3,000 baskets it learns less than what a person
    bought most often says. max_history: most recent events that it sees. seed: of all of it.
    """
    fit = RetrievalConfig(epochs=1, visits_per_epoch=10_000, batch=256, validation_visits=0)
    return BuildConfig(
        retriever_fit=fit,
        coarse_fit=replace(fit, visits_per_epoch=8_000, batch=128),
        # Fewer negatives of more baskets: most of a basket's price is its history.
        choice=ChoiceConfig(train=12_000, valid=150, test=150, draws=Draws(number=20)),
        fine_fit=FitConfig(
            epochs=1, learning_rate=3e-3, stream=StreamConfig(max_history=max_history)
        ),
        blend=100,
        seed=seed,
    )


@settings
class CascadeDemoConfig:
    """What the second half may spend.

    households: share of them in (0, 1]. requests: baskets of the test weeks that are decided.
    exhaustive: of these, how many the fine ranker also ranks the whole catalogue for. people:
    decisions that are shown. k: places of a slate. policy: fills them. build: the training.
    draws: of the bootstrap. seed: of which requests, and of the policy's chance; the training
    has its own.
    offline: never download. cache: of the fine ranker's rows, by default in the asset cache.
    out: the folder.
    """

    households: Annotated[float, Gt(0), Le(1)] = 1.0
    requests: Count = 1000
    exhaustive: Count = 30
    people: Count = 3
    k: Count = 10
    policy: PolicyConfig = field(default_factory=lambda: SoftmaxConfig(temperature=0.25))
    build: BuildConfig = field(default_factory=small_build)
    draws: Count = 500
    seed: int = 0
    offline: bool = False
    cache: Path | None = None
    out: Path = Path("runs/demo/cascade")


@dataclass(frozen=True, eq=False)
class CascadeDemoResult:
    """The numbers, some decisions, and where everything lies.

    seconds: name of a stage -> how long it took. artifact: id of the deployment.
    """

    measures: CascadeMeasures
    shown: tuple[ShownDecision, ...]
    seconds: dict[str, float]
    artifact: str
    folder: Path

    @property
    def deployment(self) -> Path:
        """What the service loads."""
        return self.folder / "deployment"

    @property
    def page(self) -> Path:
        """The page to read."""
        return self.folder / "cascade.html"


def cascade_demo(
    config: CascadeDemoConfig | None = None,
    *,
    task: NextBasket | None = None,
    clock: Clock | None = None,
) -> CascadeDemoResult:
    """Run the second half in `config.out`; an earlier one there is replaced.

    task: used instead of Complete Journey's.
    Raises ResourceError where the folder holds something else, AssetError where the data cannot
    be had, ConfigError where the task has no test visit.
    """
    config = config or CascadeDemoConfig()
    out, stages = config.out, Stages(clock)
    remove_demo(out, MARK)
    claim_folder(out, MARK, config)
    if task is None:
        with stages.stage("gather the baskets"):
            source = CompleteJourney.open(offline=config.offline)
            task = build_next_basket(source, households=config.households)
    visits = task.visits("test")
    if not len(visits):
        raise ConfigError("the task has no visit to test on", hint="move the dates of its split")
    drawn = np.random.default_rng(config.seed).permutation(visits)[: config.requests]
    with torch_threads(1):
        built = build_deployment(
            task, out, config.build, cache=config.cache, clock=clock, stages=stages
        )
        with stages.stage("measure the fine ranker on validation"):
            served_by = measured_fine(built, task, draws=config.draws, seed=config.seed)
            if served_by.deployment.fine is None:
                served_by.deployment.save(out / "deployment", overwrite=True, clock=clock)
        with stages.stage("load the deployment"):
            saved = Deployment.load(out / "deployment")
            cascade = saved.cascade(clock=clock)
            cascade.warm_up()
        with stages.stage("serve the requests"):
            policy = build_policy(config.policy)
            served = serve_visits(
                cascade, policy, task, np.sort(drawn), k=config.k, seed=config.seed, clock=clock
            )
            rows = [row for decision in served.decisions for row in decision.impressions()]
            log, buffer = pl.DataFrame(rows, infer_schema_length=None), io.BytesIO()
            validate_events(log).write_parquet(buffer)
            atomic_write_bytes(out / "decisions.parquet", buffer.getvalue())
        # What the fine ranker would say of everything is asked of it whether it serves or not.
        measures = _measured(cascade, built.cascade(), task, served, config, stages)
        measures = replace(measures, fine=served_by.why)
    shown = _shown(cascade, task, served, config)
    with stages.stage("write the cascade's page"):
        result = CascadeDemoResult(measures, shown, stages.seconds, saved.artifact_id, out)
        text = json.dumps(to_jsonable(measures), indent=1) + "\n"
        atomic_write_text(out / "measures.json", text)
        values = {
            "measures": measures,
            "shown": shown,
            "protocol": task.protocol,
            "artifact": saved.artifact_id,
            "seed": config.seed,
            "seconds": stages.seconds,
        }
        write_demo_page(result.page, "cascade.html", values)
    return result


def _measured(
    cascade: Cascade,
    whole: Cascade,
    task: NextBasket,
    served: Served,
    config: CascadeDemoConfig,
    stages: Stages,
) -> CascadeMeasures:
    """whole: the cascade with its fine stage."""
    meter, rng = Meter(), np.random.default_rng(config.seed)
    visits, person = served.visits, task.visit_user[served.visits]
    sample = np.sort(rng.permutation(len(visits))[: config.exhaustive])
    with stages.stage("rank the whole catalogue"):
        own = exhaustive_best(whole, task, visits[sample], k=config.k, meter=meter)
    with stages.stage("judge the stages"):
        bought = _bought(task, visits)
        lists = stage_lists(cascade, task, served, k=config.k)
        orders = {
            "cascade, best first": lists["fine"],
            "cascade, as the policy drew": lists["policy"],
            "personal frequency": frequency_best(cascade, task, visits, k=config.k),
            "popularity": [most_popular(task.count)[: config.k]] * len(visits),
        }
        draws, seed = config.draws, config.seed
        found = judge_stages(lists, bought, person, own=own, sample=sample, draws=draws, seed=seed)
        best = judge_orders(orders, bought, person, k=config.k, draws=draws, seed=seed)
    served_stages = {cost.stage for cost in served.costs}
    return CascadeMeasures(
        requests=len(visits),
        households=len(np.unique(person)),
        items=len(task.items) - 1,
        k=config.k,
        stages=tuple(one for one in found if one.stage in served_stages),
        cpu_ms={cost.stage: cost.cpu_ms for cost in served.costs},
        orders=tuple(best),
        p50_ms=float(np.percentile(served.milliseconds, 50)),
        p99_ms=float(np.percentile(served.milliseconds, 99)),
        sample=len(sample),
        exhaustive_cpu_ms=meter.report()[0].cpu_ms,
    )


def _bought(task: NextBasket, visits: Ints) -> list[Ints]:
    starts, ends = task.target_offsets[visits], task.target_offsets[visits + 1]
    return [task.targets[a:b] for a, b in zip(starts.tolist(), ends.tolist(), strict=True)]


def _shown(
    cascade: Cascade, task: NextBasket, served: Served, config: CascadeDemoConfig
) -> tuple[ShownDecision, ...]:
    """Decisions for some people, those with a long history and a full basket first."""
    names = dict(item_names(task.catalogue).iter_rows())
    visits = served.visits
    before = task.visit_end[visits] - task.user_offsets[task.visit_user[visits]]
    size = task.target_offsets[visits + 1] - task.target_offsets[visits]
    poor = (before < _LIVELY) | (size < _FULL)
    chance = np.random.default_rng(config.seed).permutation(len(visits))
    order = np.lexsort((chance, poor))
    _, first = np.unique(task.visit_user[visits][order], return_index=True)
    chosen = order[np.sort(first)][: config.people].tolist()
    shown = []
    for place in chosen:
        decision = served.decisions[place]
        (basket,) = _bought(task, visits[place : place + 1])
        taken = {task.items.ids[code - 1] for code in basket.tolist()}
        past = cascade.histories.batch([decision.request]).item
        times = np.bincount(past, minlength=len(task.items))
        codes = [task.items.ids.index(item_id) + 1 for item_id in decision.item_ids]
        columns = (decision.item_ids, codes, decision.score.tolist(), decision.propensity.tolist())
        places = tuple(
            SlateItem(item_id, names[item_id], score, chance, int(times[code]), item_id in taken)
            for item_id, code, score, chance in zip(*columns, strict=True)
        )
        asked = decision.request
        said = served.candidates[place].probability
        shown.append(ShownDecision(asked.user_id, asked.time, len(past), len(taken), places, said))
    return tuple(shown)
