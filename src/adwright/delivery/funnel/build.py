"""From a task to a cascade that was measured: train, choose what serves, measure, save.

    RUN/
      config.json      what was asked for
      plan.json        what was trained, for how long, and why
      sequence/, two-tower/, hcn/, fine/     the trainings, resumable
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
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl

from adwright.core.atomic import atomic_write_text
from adwright.core.clock import Clock, SystemClock
from adwright.core.config import check_literals, checked, to_jsonable
from adwright.core.errors import ConfigError, ResumeError
from adwright.data.schema import ACTION_KINDS
from adwright.data.sequences.next_log import NextLog, log_of_task
from adwright.data.tasks.next_basket import NextBasket
from adwright.delivery.cascade.cascade import CascadeConfig
from adwright.delivery.funnel.funnel import Funnel
from adwright.delivery.funnel.measure import measure_funnel
from adwright.delivery.funnel.networks import Networks
from adwright.delivery.funnel.parts import FunnelParts
from adwright.delivery.funnel.plan import MODELS, ModelName, Planned, free_cores, planned
from adwright.delivery.funnel.report import FunnelReport
from adwright.delivery.funnel.selection import select_serving
from adwright.delivery.stages.histories import Histories
from adwright.models.retrieval.item_item import ItemItem
from adwright.models.retrieval.rules import NextRules
from adwright.training.loop.stage_timer import Stages
from adwright.training.loop.threads import torch_threads
from adwright.training.ranking.ranker import Ranker
from adwright.training.retrieval.item_item import search_item_item
from adwright.training.retrieval.item_item_artifact import ItemItemArtifact
from adwright.training.retrieval.linear import fit_linear, refit_linear
from adwright.training.retrieval.rules import fit_rules, refit_rules
from adwright.training.run_settings import require_writable

__all__ = [
    "FunnelConfig",
    "FunnelResult",
    "build_funnel",
    "fit_log_rules",
    "plan_funnel",
    "visits_within",
]

Tell = Callable[[str], None]
#: Visits that choose and that measure, in a catalogue of no more than so many items.
VALID, TEST, USUAL_ITEMS = 1_500, 5_000, 20_000
#: Share of the minutes that choosing and measuring take.
_MEASURING = 0.2
#: Share of the minutes without which no model is tried: to ask what one takes is not for nothing.
_TRYING = 0.15


@checked
@dataclass(frozen=True)
class FunnelConfig:
    """minutes: of wall time, for all of it. models: that may be trained, in this order. linear:
    whether item-item is fitted by regression, too. valid, test: visits that choose and that
    measure, at most; 0 for all, None for as many as the catalogue allows in reasonable time
    (`visits_within`). cascade: sizes of the stages. draws: of the bootstrap. seed: of everything.
    threads: of torch; 0 for as many as there are free cores."""

    minutes: float = 5.0
    models: tuple[ModelName, ...] = MODELS
    linear: bool = True
    valid: int | None = None
    test: int | None = None
    cascade: CascadeConfig = field(default_factory=CascadeConfig)
    draws: int = 500
    seed: int = 0
    threads: int = 0

    def __post_init__(self) -> None:
        check_literals(self)
        visits = [number for number in (self.valid, self.test) if number is not None]
        low = min(self.minutes, self.seed, self.threads, *visits)
        if low < 0 or self.draws < 1:
            raise ConfigError(
                "the numbers of a funnel are not negative, draws is at least 1",
                where=f"minutes {self.minutes}, {self.valid}, {self.test}, draws {self.draws}",
            )


@dataclass(frozen=True, eq=False)
class FunnelResult:
    """What was built. funnel: as it was saved, fitted to all events. measured: the one of the
    report, fitted to the training events alone. plan: a decision per model. seconds: of each stage.
    folder: of the run."""

    funnel: Funnel
    measured: Funnel
    report: FunnelReport
    plan: tuple[Planned, ...]
    seconds: Mapping[str, float]
    folder: Path


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
    stages: Stages | None = None,
    tell: Tell | None = None,
) -> FunnelResult:
    """Train, choose, measure and save RUN/deployment.

    repeats: whether what a user had is offered again (`NextItemChoices.repeats`). cache: for the
    fine ranker's rows, by default in the run. log: how the log is called, kept for what trains
    again. events: user_id, item_id and time of the log, for the histories that serve; None for
    those of the task, in which all that a visit took has the time at which it began. resume: take
    up a build of the same config on the same task. overwrite: replace a deployment that is there.
    tell: takes each decision as it falls.
    Raises ConfigError where the folder holds a build (without resume), ResumeError where it holds
    none or another one (with resume), and as the trainings do.
    """
    config, folder = config or FunnelConfig(), Path(run)
    timer = clock or SystemClock()
    began, done = timer.monotonic(), Stages(clock) if stages is None else stages
    say = tell or (lambda _: None)
    require_writable(folder)
    if overwrite and not resume:
        _clear(folder)
    _begin(folder, config, task, log, repeats=repeats, resume=resume)
    asked = log_of_task(task)
    with done.stage("count item-item and the rules"):
        rules, told = fit_log_rules(asked, repeats=repeats, seed=config.seed)
        say(told)
    parts, said = _counted(task, asked, rules, config.seed), [told]
    if config.linear:
        with done.stage("fit the linear model"):
            parts, told = _with_linear(parts, rules, asked, task, config.seed)
        said.append(told)
        say(told)
    networks = Networks(task, repeats, folder, config.seed, cache, clock)
    decisions = _Plan(folder / "plan.json", say)

    def left() -> float:
        spent = timer.monotonic() - began
        return 60 * config.minutes * (1 - _MEASURING) - spent

    say(_intent(config))
    with torch_threads(config.threads or free_cores()):
        for name in config.models:
            with done.stage(f"train {name}"):
                parts = _with_model(parts, name, networks, decisions, left, config)
        notes = decisions.texts(said)
        measured, report = _chosen(parts, rules, asked, task, config, done, notes, folder)
        with done.stage("fit to all events"):
            funnel = _refitted(measured, rules, asked, task)
    report = replace(report, notes=(*report.notes, _knows(funnel, task)))
    for note in report.notes[len(notes) :]:
        say(note)
    with done.stage("save the deployment"):
        if events is not None:
            funnel = replace(funnel, histories=_known(task, events))
        identity = funnel.save(folder / "deployment", overwrite=overwrite or resume, clock=clock)
        atomic_write_text(folder / "report.json", report.to_json())
    built = replace(funnel, artifact_id=identity)
    return FunnelResult(built, measured, report, tuple(decisions.taken), dict(done.seconds), folder)


def _known(task: NextBasket, events: pl.DataFrame) -> Histories:
    """The histories of a log, with what the task knows of its users."""
    profiles = Histories.of_task(task).profiles
    return Histories.from_events(events, task.items, profiles=profiles, kinds=ACTION_KINDS)


def _intent(config: FunnelConfig) -> str:
    """What is going to be trained, in words."""
    if not config.models:
        return "plan: no model is trained"
    return (
        f"plan: {', '.join(config.models)}, one after another as far as {config.minutes:g} minutes "
        f"go, of which a fifth is kept to choose and to measure"
    )


def _chosen(
    parts: FunnelParts,
    rules: NextRules,
    log: NextLog,
    task: NextBasket,
    config: FunnelConfig,
    done: Stages,
    notes: Sequence[str],
    folder: Path,
) -> tuple[Funnel, FunnelReport]:
    """What serves, without the models that it does not ask, and the report of all of them."""
    histories = Histories.of_task(task)
    histories.kinds = tuple(ACTION_KINDS)
    with done.stage("choose what serves"):
        selected = select_serving(
            parts.opened(histories),
            task,
            most=visits_within(task, VALID) if config.valid is None else config.valid,
            cascade=config.cascade,
            seed=config.seed,
            draws=config.draws,
        )
    funnel = Funnel(
        parts, selected.serving, histories, task.data_hash, config.seed, fitted=task.fitted()
    )
    with done.stage("measure"):
        report = measure_funnel(
            funnel,
            rules,
            log,
            task,
            most=visits_within(task, TEST) if config.test is None else config.test,
            draws=config.draws,
            seed=config.seed,
            notes=(*notes, *selected.notes),
            validation=selected.lines,
            visits=folder / "visits.parquet",
        )
    return funnel.serving_alone(), report


def _refitted(funnel: Funnel, rules: NextRules, log: NextLog, task: NextBasket) -> Funnel:
    """The same with its counts and regression of all events, and the settings and weights found."""
    parts, fitted, again = funnel.parts, task.fitted(whole=True), refit_rules(rules, log)

    def all_of(before: ItemItemArtifact | None, model: ItemItem) -> ItemItemArtifact | None:
        return None if before is None else replace(before, model=model, fitted=fitted)

    linear = parts.linear
    if linear is not None:
        memory = rules.item_item.config.recency
        linear = all_of(linear, refit_linear(log, linear.model.config, memory=memory))
    parts = replace(
        parts,
        count=log.whole.count,
        item_item=all_of(parts.item_item, again.item_item),
        linear=linear,
        lately=None if parts.lately is None else again.lately,
    )
    return replace(funnel, parts=parts, fitted=fitted)


def _knows(funnel: Funnel, task: NextBasket) -> str:
    """What was measured, and what each part of what serves was fitted to, in words."""
    training, whole = task.fitted(), task.fitted(whole=True)
    late = [
        name
        for name, model in funnel.parts.models.items()
        if isinstance(model, Ranker) or model.fitted != whole
    ]
    return (
        f"what was measured was fitted to {training.text()}; what is saved is the same, fitted "
        f"again to all {whole.text()}"
        + (f", but for {' and '.join(late)}, as measured" if late else "")
    )


def visits_within(task: NextBasket, most: int) -> int:
    """How many visits are asked: `most`, fewer where each scores a large catalogue, but a third."""
    return max(most // 3, min(most, most * USUAL_ITEMS // len(task.items)))


def fit_log_rules(log: NextLog, *, repeats: bool, seed: int = 0) -> tuple[NextRules, str]:
    """All rules of a log with item-item's settings searched on validation, and what was found."""
    found = search_item_item(log, repeats=repeats, seed=seed)
    return fit_rules(log, repeats=repeats, item_item=found.config, seed=seed), found.text()


def plan_funnel(
    task: NextBasket, config: FunnelConfig | None = None, *, repeats: bool
) -> tuple[Planned, ...]:
    """What would be trained, as far as a few steps of each model tell; nothing is kept.

    Each model is taken to need all the time that it is given: what it leaves falls to others.
    """
    config, found = config or FunnelConfig(), []
    left = 60 * config.minutes * (1 - _MEASURING)
    with TemporaryDirectory(prefix="adwright-plan-") as scratch:
        networks = Networks(task, repeats, Path(scratch), config.seed)
        for name in config.models:
            short = _too_little(name, left, config)
            found.append(short or planned(name, networks.cost(name), left))
            left -= found[-1].seconds
    return tuple(found)


def _too_little(name: ModelName, left: float, config: FunnelConfig) -> Planned | None:
    """That a model is left out, where so little time is left that it is not even tried."""
    if left > 60 * config.minutes * _TRYING:
        return None
    return Planned(name, 0, 0.0, f"as {max(left, 0):.0f} s are left: give --minutes more")


def _clear(folder: Path) -> None:
    """Remove what an earlier build left in the folder, and nothing else."""
    for name in ("config.json", "plan.json", "report.json", "visits.parquet"):
        (folder / name).unlink(missing_ok=True)
    for name in (*MODELS, "rows"):
        shutil.rmtree(folder / name, ignore_errors=True)


def _counted(task: NextBasket, log: NextLog, rules: NextRules, seed: int) -> FunnelParts:
    """What takes no training."""
    return FunnelParts(
        ids=log.ids,
        count=task.count,
        repeats=rules.repeats,
        item_item=_artifact(rules.item_item, rules.repeats, log, task, seed),
        lately=rules.lately,
        category=rules.category,
    )


def _with_linear(
    parts: FunnelParts, rules: NextRules, log: NextLog, task: NextBasket, seed: int
) -> tuple[FunnelParts, str]:
    """The parts with item-item by regression, and what was found."""
    found = fit_linear(log, rules.item_item.config, repeats=rules.repeats, seed=seed)
    linear = _artifact(found.model, rules.repeats, log, task, seed)
    return replace(parts, linear=linear), found.text()


def _artifact(
    model: ItemItem, repeats: bool, log: NextLog, task: NextBasket, seed: int
) -> ItemItemArtifact:
    return ItemItemArtifact(
        model, log.ids, repeats, task.name, task.data_hash, seed, fitted=task.fitted()
    )


class _Plan:
    """The decisions of a run, kept in its folder: a resumed run takes the same."""

    def __init__(self, path: Path, say: Tell) -> None:
        self.path, self.say = path, say
        self.taken: list[Planned] = []
        self._before: dict[str, Planned] = {}
        if path.exists():
            for one in json.loads(path.read_text("utf-8")):
                self._before[one["model"]] = Planned(**one)

    def decide(self, name: ModelName, decide: Callable[[], Planned]) -> Planned:
        found = self._before.get(name) or decide()
        self.taken.append(found)
        kept = [to_jsonable(one) for one in self.taken]
        atomic_write_text(self.path, json.dumps(kept, indent=1) + "\n")
        self.say(found.text())
        return found

    def texts(self, first: Sequence[str]) -> tuple[str, ...]:
        """Some sentences, and those of the decisions."""
        return *first, *(one.text() for one in self.taken)


def _with_model(
    parts: FunnelParts,
    name: ModelName,
    networks: Networks,
    decisions: _Plan,
    left: Callable[[], float],
    config: FunnelConfig,
) -> FunnelParts:
    """The parts with one more model, where there is time for it."""

    def decide() -> Planned:
        short = _too_little(name, left(), config)
        return short or planned(name, networks.cost(name), left())

    decided = decisions.decide(name, decide)
    if not decided.epochs:
        return parts
    match name:
        case "sequence":
            return replace(parts, sequence=networks.sequence(decided.epochs))
        case "two-tower":
            return replace(parts, two_tower=networks.retriever(name, decided.epochs))
        case "hcn":
            return replace(parts, hcn=networks.retriever(name, decided.epochs))
        case "fine":
            fine, draws = networks.fine(decided.epochs)
            return replace(parts, fine=fine, draws=draws)


def _begin(
    folder: Path, config: FunnelConfig, task: NextBasket, log: str, *, repeats: bool, resume: bool
) -> None:
    """Write or compare config.json."""
    path = folder / "config.json"
    values = {"config": to_jsonable(config), "data_hash": task.data_hash, "repeats": repeats}
    values["log"] = log
    asked = json.loads(json.dumps(values))
    if not resume:
        if path.exists():
            raise ConfigError(
                "this folder already holds a build",
                where=str(folder),
                hint="resume it, or name another folder",
            )
        atomic_write_text(path, json.dumps(asked, indent=1) + "\n")
        return
    try:
        before = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ResumeError(
            "this folder holds no build", where=str(folder), hint="check the path"
        ) from error
    differing = [key for key in asked if key != "log" and asked[key] != before.get(key)]
    if differing:
        raise ResumeError(
            f"the build was started with another {' and '.join(differing)}",
            where=str(path),
            hint="resume with what it was started with, or begin in another folder",
        )
