"""From a task to a cascade that was measured: train, choose what serves, measure, save.

    RUN/
      config.json      what was asked for
      plan.json        what was trained, for how long, and why
      sequence/, sasrec/, two-tower/, hcn/, fine/     the trainings, resumable
      report.json      rules, sources, parts and what serves, on validation and test
      visits.parquet   what each test visit got by each of them
      deployment/      what serves: an artifact of kind "cascade"

Training visits fit the models, validation visits stop them and choose what serves, test visits are
asked once. Then what serves is fitted again, to all events, with the settings found. A build that
was cut off goes on where it stood, with the decisions that it had taken.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from adwright.core.artifacts import Fitted
from adwright.core.atomic import atomic_write_text
from adwright.core.clock import Clock, ProcessorClock
from adwright.core.config import (
    Count,
    Natural,
    NotNegative,
    from_jsonable,
    settings,
    to_jsonable,
)
from adwright.core.errors import ResumeError
from adwright.data.schema import ACTION_KINDS
from adwright.data.sequences.datasets import NextLog, log_of_task
from adwright.data.tasks.next_basket import NextBasket
from adwright.delivery.calibrated import fit_to_visits
from adwright.delivery.cascade.build import begun_before
from adwright.delivery.cascade.cascade import CascadeConfig
from adwright.delivery.cascade.trial import UserMeans
from adwright.delivery.funnel.choice import (
    NETWORKS,
    RULES,
    Bench,
    FoundCandidates,
    TriedOrder,
    chosen,
    find_candidates,
    halves,
    on_all_visits,
    score_candidates,
    some_visits,
    try_orders,
)
from adwright.delivery.funnel.columns import ScorerColumn, stacked
from adwright.delivery.funnel.funnel import Funnel, FunnelParts, OpenParts, Serving, SourceName
from adwright.delivery.funnel.measure import (
    SIZES,
    Asking,
    FunnelLine,
    FunnelReport,
    LineKind,
    MeasuredVisits,
    measure_funnel,
)
from adwright.delivery.funnel.networks import (
    MODELS,
    ModelName,
    Networks,
    Trained,
    free_cores,
    next_slice,
)
from adwright.delivery.stages.histories import Histories, visit_requests
from adwright.delivery.stages.protocols import Shortlist
from adwright.models.retrieval.item_item import ItemItem
from adwright.models.retrieval.rules import NextRules
from adwright.training.loop.run_folder import different_settings
from adwright.training.loop.stage_timer import Stages
from adwright.training.loop.threads import torch_threads
from adwright.training.retrieval.alike import alike_config, alike_neighbours
from adwright.training.retrieval.fit import RetrieverArtifact
from adwright.training.retrieval.item_item import (
    ItemItemArtifact,
    fit_linear,
    refit_linear,
    search_item_item,
)
from adwright.training.retrieval.rules import fit_rules, refit_rules
from adwright.training.search import require_writable
from adwright.training.sequential.artifact import SequenceArtifact

# --------------------------------------------------------------------------------------------------
# Which sources are needed, and what serves: decided on validation visits.

#: A source stays that brings this share of what was taken, beyond all others.
LEAST_RECALL = 0.001
_TOGETHER = 64


@dataclass(frozen=True, eq=False)
class Selected:
    """serving: what is to serve. orders: all that were tried. notes: what was decided, a sentence
    each. lines: of the report, on validation."""

    serving: Serving
    orders: tuple[TriedOrder, ...]
    notes: tuple[str, ...]
    lines: tuple[FunnelLine, ...]


def select_serving(
    parts: OpenParts,
    task: NextBasket,
    config: FunnelConfig,
) -> Selected:
    """Measure sources and orders on at most `most` validation visits, and choose what serves.

    cascade: sizes; of these only `coarse` is read here. Deterministic for a seed.
    """
    unseen, seed = not parts.parts.repeats, config.seed
    most = visits_within(task, VALID) if config.valid is None else config.valid
    visits = some_visits(task, task.visits("valid"), most, unseen=unseen, seed=seed)
    found = find_candidates(parts, {name: SIZES[name] for name in parts.sources}, task, visits)
    kept, notes = needed_sources(found)
    short = found.union(kept)
    bench = score_candidates(parts, parts.columns(parts.coarse_names), task, found, short)

    def fine(top: Shortlist) -> NDArray[np.float64]:
        columns = [c for c in parts.columns(("fine",)) if isinstance(c, ScorerColumn)]
        pieces = []
        for start in range(0, len(visits), _TOGETHER):
            rows = range(start, min(start + _TOGETHER, len(visits)))
            batch = parts.histories.batch(visit_requests(task, visits[list(rows)]))
            pieces.append(stacked(columns, batch, top.some(rows))[1][:, 0])
        return np.concatenate(pieces)

    orders = try_orders(
        bench,
        halves(bench.user, seed),
        kept,
        through=config.cascade.coarse,
        fine=fine if "fine" in parts.parts.models else None,
    )
    best = on_all_visits(chosen(orders, bench.user), bench)
    lines = _lines(found, bench, orders, config)
    serving = Serving(serving_sources(best, kept), best.coarse, best.fine, config.cascade)
    return Selected(serving, tuple(orders), (*notes, *_notes(best, orders)), lines)


def needed_sources(found: FoundCandidates) -> tuple[tuple[SourceName, ...], tuple[str, ...]]:
    """The sources without those that bring nothing, and a sentence for each that was left out.

    One after another the source goes whose loss costs the union least, as long as that is less
    than LEAST_RECALL of what was taken. One that knows popular items stays, for newcomers.
    """
    kept, notes = list(found.lists), []
    while len(kept) > 1:
        whole = float(found.recalled(kept).mean())
        without = {
            name: float(found.recalled([n for n in kept if n != name]).mean())
            for name in kept
            if _may_go(name, kept)
        }
        if not without:
            break
        name = max(without, key=lambda one: without[one])
        if whole - without[name] >= LEAST_RECALL:
            break
        kept.remove(name)
        notes.append(
            f"source {name} is left out: without it the others find {without[name]:.4f} of what "
            f"was taken, with it {whole:.4f}"
        )
    return tuple(kept), tuple(notes)


def _may_go(name: SourceName, kept: Sequence[SourceName]) -> bool:
    popular = [one for one in kept if one in ("popularity", "lately")]
    return popular != [name]


def serving_sources(order: TriedOrder, kept: Sequence[SourceName]) -> dict[SourceName, int]:
    """The sources of an order, with their sizes: no network is asked for candidates alone, and a
    rule that serves alone brings its own."""
    names = order.coarse.names
    if order.is_rule:
        (name,) = names
        match name:
            case "item-item" | "lately" | "popularity":
                mine: list[SourceName] = [name]
            case "frequency" | "again":
                mine = ["past"]
            case _:
                mine = [one for one in kept if one not in NETWORKS]
        if not {"popularity", "lately"} & set(mine):
            mine.append("popularity")
    else:
        asked = {*names, *(order.fine.names if order.fine is not None else ())}
        mine = [one for one in kept if one not in NETWORKS or one in asked]
    return {name: SIZES[name] for name in mine}


def _lines(
    found: FoundCandidates, bench: Bench, orders: Sequence[TriedOrder], config: FunnelConfig
) -> tuple[FunnelLine, ...]:
    best = max((one for one in orders if one.is_rule), key=lambda one: float(one.gain.mean()))
    measured = MeasuredVisits(UserMeans(bench.user, config.draws, config.seed), best.gain)
    lines = []
    for name in found.lists:
        short = found.union([name])
        items = float(np.diff(short.offsets).mean())
        lines.append(measured.line(name, "source", items, found.recall(short)))
    for order in orders:
        rule = order.name in RULES.values()
        kind: LineKind = "rule" if rule else "part" if order.name in NETWORKS else "order"
        lines.append(measured.line(order.name, kind, 50.0, order.recall, order.gain))
    return tuple(lines)


def _notes(best: TriedOrder, orders: Sequence[TriedOrder]) -> list[str]:
    """What was chosen, and what was better but not by more than chance."""
    top = max(orders, key=lambda one: float(one.gain.mean()))
    said = [f"{best.name} serves: NDCG@10 {best.gain.mean():.4f} on validation, cross-fitted"]
    if top is not best:
        said.append(
            f"{top.name} has {top.gain.mean():.4f}, which is within a standard error, and asks more"
        )
    said.append(f"weights of the coarse order: {best.coarse.text()}")
    if best.fine is not None:
        said.append(f"weights of the fine order: {best.fine.text()}")
    return said


Tell = Callable[[str], None]
#: Visits that choose and that measure, in a catalogue of no more than so many items.
VALID, TEST, USUAL_ITEMS = 1_500, 5_000, 20_000
#: Shares of the minutes: to choose, to measure, to fit again to all events; the search of the
#: linear model, at most; a slice of a network.
_CHOOSING, _MEASURING, _AGAIN, _LINEAR, _SLICE = 0.07, 0.05, 0.20, 0.15, 0.05
#: Visits whose time is taken before it is said how many there can be, and the fewest that choose
#: and that measure.
_PROBED, _FEWEST_VALID, _FEWEST_TEST = 128, 300, 500
#: How many times as long a visit takes that chooses, and one that measures, as finding and scoring
#: its candidates once.
_TO_CHOOSE, _TO_MEASURE = 2.5, 1.5
#: Seconds without which the fine ranker is not begun: its rows have to be made first.
_FINE = 60.0


@settings
class FunnelConfig:
    """minutes: of the processor, for all of it. models: that may be trained. linear:
    whether item-item is fitted by regression, too. valid, test: visits that choose and that
    measure, at most; 0 for all, None for as many as the catalogue allows in reasonable time
    (`visits_within`). cascade: sizes of the stages. draws: of the bootstrap. seed: of everything.
    threads: of torch; 0 for as many as there are free cores."""

    minutes: NotNegative = 5.0
    models: tuple[ModelName, ...] = MODELS
    linear: bool = True
    valid: Natural | None = None
    test: Natural | None = None
    cascade: CascadeConfig = field(default_factory=CascadeConfig)
    draws: Count = 500
    seed: Natural = 0
    threads: Natural = 0


@dataclass(frozen=True, eq=False)
class FunnelResult:
    """What was built. funnel: as it was saved, fitted to all events. measured: the one of the
    report, fitted to the training events alone. trained: how far each model came. seconds: of each
    stage. folder: of the run. before_test: makes what the test may judge: counts and regression of
    all that came before it, networks as measured."""

    funnel: Funnel
    measured: Funnel
    report: FunnelReport
    trained: tuple[Trained, ...]
    seconds: Mapping[str, float]
    folder: Path
    before_test: Callable[[], Funnel]


def build_funnel(
    task: NextBasket,
    run: str | Path,
    config: FunnelConfig | None = None,
    *,
    repeats: bool,
    log: str = "",
    events: pl.DataFrame | None = None,
    cache: Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    clock: Clock | None = None,
    began: float | None = None,
    tell: Tell | None = None,
) -> FunnelResult:
    """Train, choose, measure and save RUN/deployment.

    repeats: whether what a user had is offered again (`NextItemChoices.repeats`). cache: for the
    fine ranker's rows, by default in the run. log: how the log is called, kept for what trains
    again. events: user_id, item_id and time of the log, for the histories that serve; None for
    those of the task, in which all that a visit took has the time at which it began. resume: take
    up a build of the same config on the same task, whose minutes may be others: with more of them
    what was cut off trains on. clock: of the processor by default (`ProcessorClock`). began: the
    moment of it from which the minutes count, by default now.
    overwrite: replace a deployment that is there. tell: takes each decision as it falls.
    Raises ConfigError where the folder holds a build (without resume), ResumeError where it holds
    none or another one (with resume), and as the trainings do.
    """
    config, folder = config or FunnelConfig(), Path(run)
    timer = clock or ProcessorClock()
    began = timer.monotonic() if began is None else began
    done = Stages(timer)
    say = tell or (lambda _: None)
    require_writable(folder)
    if overwrite and not resume:
        _clear(folder)
    _begin(folder, config, task, log, repeats=repeats, resume=resume)
    asked, race = log_of_task(task), Race(folder / "plan.json", config.models)
    whole = 60 * config.minutes

    def left(share: float = 1.0) -> float:
        """Seconds of this share of the minutes."""
        return whole * share - spent()

    def spent() -> float:
        """Seconds of this build, and of the earlier ones that it takes up."""
        return race.before + timer.monotonic() - began

    with done.stage("count item-item and the rules"):
        # The search has said itself what it found.
        rules, told = fit_log_rules(asked, repeats=repeats, seed=config.seed)
    parts, said = _counted(task, asked, rules, config.seed), [told]
    if config.linear:
        with done.stage("fit the linear model"):
            until = timer.monotonic() + whole * _LINEAR
            enough = lambda: timer.monotonic() >= until  # noqa: E731
            parts, told = _with_linear(parts, rules, asked, task, config.seed, enough)
        said.append(told)
        say(told)
    with done.stage("see which items are alike"):
        parts = _with_alike(parts, rules, asked, task, config.seed)
    networks = Networks(task, repeats, folder, config.seed, cache, timer)
    for sentence in plan_funnel(config):
        say(f"plan: {sentence}")
    with torch_threads(config.threads or free_cores()):
        to_choose = partial(race.to_choose, left, networks, whole)
        to_train = partial(race.to_choose, partial(left, 1 - _CHOOSING), networks, whole)
        race.run(networks, done, to_train, spent, whole * _SLICE)
        parts = _with_models(parts, networks, race.runs)
        notes = (*said, *(one.text() for one in race.runs.values()))
        for note in notes[len(said) :]:
            say(note)
        visits = partial(_with_visits, config, task, left=to_choose, clock=timer)
        measured, report = _chosen(parts, rules, asked, task, visits, done, notes, folder)
        with done.stage("fit to all events"):
            funnel, how = _refitted(measured, rules, asked, task, networks, race.runs, left)
    report = replace(report, notes=(*report.notes, _knows(task, how)))
    for note in report.notes[len(notes) :]:
        say(note)
    with done.stage("save the deployment"):
        if events is not None:
            funnel = replace(funnel, histories=_known(task, events))
        identity = funnel.save(folder / "deployment", overwrite=overwrite or resume, clock=clock)
        atomic_write_text(folder / "report.json", report.to_json())
    built, trained = replace(funnel, artifact_id=identity), tuple(race.runs.values())

    def before_test() -> Funnel:
        return replace(measured, parts=_recounted(measured.parts, rules, asked.before_test))

    seconds = dict(done.seconds)
    return FunnelResult(built, measured, report, trained, seconds, folder, before_test)


def _with_visits(
    config: FunnelConfig,
    task: NextBasket,
    parts: OpenParts,
    *,
    left: Callable[[], float],
    clock: Clock,
) -> FunnelConfig:
    """The config with as many visits that choose and that measure as the time allows, by what the
    first of them take; numbers that it has already stay. left: seconds to choose."""
    valid, test = visits_within(task, VALID), visits_within(task, TEST)
    visits = some_visits(task, task.visits("valid"), _PROBED, unseen=not parts.parts.repeats)
    columns = parts.columns(parts.coarse_names)
    sizes = {name: SIZES[name] for name in parts.sources}
    each = 0.0
    # What is opened at the first visit is opened by then.
    for some in (visits[: _PROBED // 2], visits[_PROBED // 2 :]):
        began = clock.monotonic()
        found = find_candidates(parts, sizes, task, some)
        score_candidates(parts, columns, task, found, found.union(list(found.lists)))
        each = (clock.monotonic() - began) / max(len(some), 1)
    if each:
        valid = min(valid, max(_FEWEST_VALID, int(left() / (_TO_CHOOSE * each))))
        measuring = 60 * config.minutes * _MEASURING / (_TO_MEASURE * each)
        test = min(test, max(_FEWEST_TEST, int(measuring)))
    return replace(
        config,
        valid=valid if config.valid is None else config.valid,
        test=test if config.test is None else config.test,
    )


def _known(task: NextBasket, events: pl.DataFrame) -> Histories:
    """The histories of a log, with what the task knows of its users."""
    profiles = Histories.of_task(task).profiles
    return Histories.from_events(events, task.items, profiles=profiles, kinds=ACTION_KINDS)


def _chosen(
    parts: FunnelParts,
    rules: NextRules,
    log: NextLog,
    task: NextBasket,
    visits: Callable[[OpenParts], FunnelConfig],
    done: Stages,
    notes: Sequence[str],
    folder: Path,
) -> tuple[Funnel, FunnelReport]:
    """What serves, without the models that it does not ask, and the report of all of them."""
    histories = Histories.of_task(task)
    histories.kinds = tuple(ACTION_KINDS)
    with done.stage("choose what serves"):
        opened = parts.opened(histories)
        config = visits(opened)
        selected = select_serving(opened, task, config)
    funnel = Funnel(
        parts, selected.serving, histories, task.data_hash, config.seed, fitted=task.fitted()
    )
    with done.stage("calibrate what serves"):
        calibration = fit_to_visits(funnel.cascade(), task, seed=config.seed)
        funnel = replace(funnel, serving=replace(funnel.serving, calibration=calibration))
    with done.stage("measure"):
        report = measure_funnel(
            funnel,
            rules,
            log,
            task,
            Asking(
                most=visits_within(task, TEST) if config.test is None else config.test,
                draws=config.draws,
                seed=config.seed,
            ),
            notes=(*notes, *selected.notes),
            validation=selected.lines,
            visits=folder / "visits.parquet",
        )
    return funnel.serving_alone(), report


def _refitted(
    funnel: Funnel,
    rules: NextRules,
    log: NextLog,
    task: NextBasket,
    networks: Networks,
    runs: Mapping[ModelName, Trained],
    left: Callable[[], float],
) -> tuple[Funnel, list[str]]:
    """The same fitted to all events, with the settings and weights found, and how each network was:
    counts and regression exactly, networks as far as the time goes."""
    fitted, said = task.fitted(whole=True), list[str]()
    parts = _recounted(funnel.parts, rules, log, fitted)
    asked = [runs[name] for name in MODELS if name in parts.models and name != "fine"]
    # The one that needs least is first, and what it leaves of its share is for the others.
    for at, run in enumerate(sorted(asked, key=networks.needs)):
        measured = parts.models[run.model]
        if isinstance(measured, SequenceArtifact | RetrieverArtifact):
            model, how = networks.of_all(measured, run, left() / (len(asked) - at))
            parts, said = parts.with_models({run.model: model}), [*said, how]
    if "fine" in parts.models:
        fine, how = networks.fine_of_all(runs["fine"], left())
        parts = parts if fine is None else parts.with_models({"fine": fine})
        said.append(how)
    return replace(funnel, parts=parts, fitted=fitted), said


def _recounted(
    parts: FunnelParts, rules: NextRules, log: NextLog, fitted: Fitted | None = None
) -> FunnelParts:
    """Counts and regression of all events of a log, with the settings found."""
    again, models = refit_rules(rules, log), dict(parts.models)
    for name, before in parts.models.items():
        if isinstance(before, ItemItemArtifact):
            memory, model = rules.item_item.config.recency, again.item_item
            if name == "linear":
                model = refit_linear(log, before.model.config, memory=memory)
            elif name == "alike":
                model = replace(before.model, count=again.item_item.count)
            models[name] = replace(before, model=model, fitted=fitted)
    return replace(
        parts,
        count=log.whole.count,
        models=models,
        lately=None if parts.lately is None else again.lately,
    )


def _knows(task: NextBasket, how: Sequence[str]) -> str:
    """What was measured, and what each part of what serves was fitted to, in words."""
    training, whole = task.fitted(), task.fitted(whole=True)
    said = (
        f"what was measured was fitted to {training.text()}; what is saved is the same, fitted "
        f"again to all {whole.text()}"
    )
    return "; ".join((said, *how))


def visits_within(task: NextBasket, most: int) -> int:
    """How many visits are asked: `most`, fewer where each scores a large catalogue, but a third."""
    return max(most // 3, min(most, most * USUAL_ITEMS // len(task.items)))


def fit_log_rules(log: NextLog, *, repeats: bool, seed: int = 0) -> tuple[NextRules, str]:
    """All rules of a log with item-item's settings searched on validation, and what was found."""
    found = search_item_item(log, repeats=repeats, seed=seed)
    return fit_rules(log, repeats=repeats, item_item=found.config, seed=seed), found.text()


def plan_funnel(config: FunnelConfig | None = None) -> tuple[str, ...]:
    """How the minutes are spent, in sentences."""
    config = config or FunnelConfig()
    whole, racing = 60 * config.minutes, [name for name in config.models if name != "fine"]
    if not config.models:
        return ("no model is trained",)
    said = [
        f"{whole:.0f} s of the processor, of which {whole * (_CHOOSING + _MEASURING):.0f} are kept "
        f"to choose what serves and to measure it, {whole * _AGAIN:.0f} at most to fit it again to "
        "all events"
    ]
    if racing:
        said.append(
            f"after the rules {', '.join(racing)} are tried for some {whole * _SLICE / 2:.0f} s "
            "each; then the next slice is always for the one that promises most for the time left"
        )
    if "fine" in config.models:
        said.append(f"fine comes last, where {_FINE:.0f} s are left")
    return tuple(said)


def _clear(folder: Path) -> None:
    """Remove what an earlier build left in the folder, and nothing else."""
    for name in ("config.json", "plan.json", "report.json", "visits.parquet"):
        (folder / name).unlink(missing_ok=True)
    for name in (*MODELS, "fine-again", "rows"):
        shutil.rmtree(folder / name, ignore_errors=True)


def _counted(task: NextBasket, log: NextLog, rules: NextRules, seed: int) -> FunnelParts:
    """What takes no training."""
    return FunnelParts(
        ids=log.ids,
        count=task.count,
        repeats=rules.repeats,
        models={"item-item": _artifact(rules.item_item, rules.repeats, log, task, seed)},
        lately=rules.lately,
        category=rules.category,
    )


def _with_linear(
    parts: FunnelParts,
    rules: NextRules,
    log: NextLog,
    task: NextBasket,
    seed: int,
    enough: Callable[[], bool],
) -> tuple[FunnelParts, str]:
    """The parts with item-item by regression, and what was found until it was enough."""
    found = fit_linear(log, rules.item_item.config, repeats=rules.repeats, seed=seed, enough=enough)
    linear = _artifact(found.model, rules.repeats, log, task, seed)
    return parts.with_models({"linear": linear}), found.text()


def _with_alike(
    parts: FunnelParts, rules: NextRules, log: NextLog, task: NextBasket, seed: int
) -> FunnelParts:
    """The parts with which items are alike by what is known of them, where anything is."""
    table = alike_neighbours(task.items, rules.item_item.config.neighbours.neighbours)
    if table is None:
        return parts
    model = replace(rules.item_item, neighbours=table, config=alike_config(rules.item_item.config))
    return parts.with_models({"alike": _artifact(model, rules.repeats, log, task, seed)})


def _artifact(
    model: ItemItem, repeats: bool, log: NextLog, task: NextBasket, seed: int
) -> ItemItemArtifact:
    return ItemItemArtifact(
        model, log.ids, repeats, task.name, task.data_hash, seed, fitted=task.fitted()
    )


class Race:
    """How far each model is, kept in the run's folder. before: seconds that earlier builds took,
    which this one takes up."""

    def __init__(self, path: Path, names: Sequence[ModelName]) -> None:
        self.path, self.before = path, 0.0
        self.runs: dict[ModelName, Trained] = {name: Trained(name) for name in names}
        found = json.loads(path.read_text("utf-8")) if path.exists() else None
        # A plan of an older version, a list, says nothing of how far a training came.
        if isinstance(found, dict):
            self.before = float(found["spent"])
            known = [from_jsonable(Trained, one) for one in found["models"]]
            self.runs |= {one.model: one for one in known if one.model in self.runs}

    def run(
        self,
        networks: Networks,
        done: Stages,
        left: Callable[[], float],
        spent: Callable[[], float],
        usual: float,
    ) -> None:
        """Train, slice by slice, until no time is left or nobody learns. usual: seconds of one."""
        racing = [name for name in self.runs if name != "fine"]
        while step := next_slice([self.runs[name] for name in racing], left(), usual):
            self._slice(networks, done, *step)
            self._write(spent())
        fine = self.runs.get("fine")
        if fine is not None and not fine.ended and left() >= _FINE:
            self._slice(networks, done, "fine", left() - fine.around)
        self._write(spent())

    def to_choose(self, left: Callable[[], float], networks: Networks, whole: float) -> float:
        """Seconds left, without those that are kept to measure and to fit again."""
        return left() - whole * _MEASURING - self.again(networks, whole)

    def again(self, networks: Networks, whole: float) -> float:
        """Seconds kept to fit again to all events: what the network takes that is ahead, between a
        fourth of `_AGAIN` and all of it."""
        begun = [one for name, one in self.runs.items() if name != "fine" and one.curve]
        most = whole * _AGAIN
        needed = networks.needs(max(begun, key=lambda one: one.best), most) if begun else most
        return min(max(needed, most / 4), most)

    def _slice(self, networks: Networks, done: Stages, name: ModelName, seconds: float) -> None:
        with done.stage(f"train {name}"):
            self.runs[name] = networks.slice(self.runs[name], seconds)

    def _write(self, spent: float) -> None:
        kept = {"spent": spent, "models": [to_jsonable(one) for one in self.runs.values()]}
        atomic_write_text(self.path, json.dumps(kept, indent=1) + "\n")


def _with_models(
    parts: FunnelParts, networks: Networks, runs: Mapping[ModelName, Trained]
) -> FunnelParts:
    """The parts with what was trained."""
    trained = [name for name in MODELS if name in runs and runs[name].epochs]
    found = parts.with_models({name: networks.trained(name) for name in trained})
    return replace(found, draws=networks.draws) if "fine" in trained else found


def _begin(
    folder: Path, config: FunnelConfig, task: NextBasket, log: str, *, repeats: bool, resume: bool
) -> None:
    """Write or compare config.json."""
    path = folder / "config.json"
    values = {"config": to_jsonable(config), "data_hash": task.data_hash, "repeats": repeats}
    values["log"] = log
    asked = json.loads(json.dumps(values))
    before = begun_before(path, asked, resume=resume)
    if before is None:
        return
    names = different_settings(
        {key: before.get(key) for key in asked if key != "log"},
        {key: value for key, value in asked.items() if key != "log"},
    )
    differing = [one for one in names if one[0] != "config.minutes"]
    if differing:
        named = "; ".join(f"{name} was {was!r} and is now {now!r}" for name, was, now in differing)
        raise ResumeError(
            f"the build was started with another config or log: {named}",
            where=str(path),
            hint="resume with what it was started with, or begin in another folder",
        )
    if names:
        atomic_write_text(path, json.dumps(asked, indent=1) + "\n")
