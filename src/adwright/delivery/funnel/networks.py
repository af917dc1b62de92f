"""Train the networks of a funnel, each with the defaults of its room, slice by slice.

Every training is a resumable run in a folder of its own, which the next slice takes up; `opened`
closes it with the best weights so far.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from torch import nn

from adwright.core.clock import Clock, ProcessorClock
from adwright.core.config import settings
from adwright.data.sequences.datasets import sequences_of_task
from adwright.data.sequences.item_sequences import ItemSequences
from adwright.data.tasks.choice import ChoiceConfig, build_choice_task, taken_in
from adwright.data.tasks.negatives import Draws
from adwright.data.tasks.next_basket import NextBasket
from adwright.data.tasks.split import SPLITS
from adwright.data.time import MICROSECONDS_PER_DAY
from adwright.models.retrieval.multi_interest import HCN
from adwright.models.retrieval.two_tower import TwoTower
from adwright.models.sequential.union import SequenceRetriever, sequence_retriever
from adwright.training.loop.trainee import Callback, RunBegins, RunEnds, StepDone, ValidationDone
from adwright.training.ranking.config import RunConfig
from adwright.training.ranking.ranker import Ranker
from adwright.training.ranking.run import run as run_ranker
from adwright.training.retrieval.fit import (
    RetrievalConfig,
    RetrieverArtifact,
    RetrieverModel,
    fit_retriever,
)
from adwright.training.retrieval.run import hcn_defaults, two_tower_defaults
from adwright.training.search import seeded
from adwright.training.sequential.artifact import SequenceArtifact
from adwright.training.sequential.fit import SequentialConfig, fit_sequential
from adwright.training.sequential.ranks import some_visits, visit_validation
from adwright.training.sequential.runfile import sequence_defaults

# --------------------------------------------------------------------------------------------------
# What is trained in the minutes that there are: a race in slices.
#
# Item-item and the other rules take seconds and are always there. Then each network gets half a
# slice, of a twentieth of the time, at whose end it is validated; an epoch, several of them, or a
# part of one. From there on the next slice goes to the network that would recall most of the same
# validation visits if all that is left went to it and each doubling of its time gained what its
# last one gained, until the time is over or patience stops them all. HSTU is not begun before it is
# SASRec's turn, and promises what that does until then, as both read the same. So a network that
# learns fast from low down takes nothing from one that is ahead, what one leaves falls to the
# others, and nothing is spent on asking what an epoch would take: the question is the first slice,
# and that is kept.
#
#     sequence    HSTU, for whom the next item follows from the last ones
#     sasrec      likewise, by plain attention
#     two-tower   for whom the items' features matter, and new items
#     hcn         several interests a user; an order
#     fine        DIN over what the coarse order lets through: last, in what is left, as what it
#                 gains is of another measure
#
# The seconds are those of the processor, as what waits for a busy core learns nothing. Every
# training is kept between its slices, and a build that is given more minutes goes on with each.

ModelName = Literal["sequence", "sasrec", "two-tower", "hcn", "fine"]
MODELS: tuple[ModelName, ...] = get_args(ModelName)
#: Those that read a sequence, and which network each is.
_KINDS: Mapping[ModelName, str] = {"sequence": "hstu", "sasrec": "sasrec"}
_TRAIN = SPLITS.index("train")
#: A slice is at least so many times as long as what it takes to begin and to validate one.
_WORTH = 3.0
#: What is less than this share of a slice is not begun; of the first one that a network gets.
_LEAST, _FIRST = 0.25, 0.5
#: After one slice: by how much of its value a doubling of the time is taken to raise it.
_DOUBLING = 0.5


class Slice(Callback):
    """Ends a training after so many seconds of it, and knows how it went.

    steps, seconds: of the slice. value: of its last validation, None without one. best_step: of the
    run, at the best validation of this slice, None where that was before. ended: whether the run is
    over, however much time there is.
    """

    def __init__(self, seconds: float, clock: Clock) -> None:
        self.pauses, self.ended = False, False
        self.steps, self.seconds = 0, 0.0
        self.value: float | None = None
        self.best_step: int | None = None
        self._limit, self._clock, self._began = seconds, clock, 0.0

    def on_begin(self, run: RunBegins) -> None:
        """The clock starts."""
        self._began = self._clock.monotonic()

    def on_step(self, step: StepDone) -> None:
        """Ask for the end where the time is over."""
        self.steps += 1
        self.seconds = self._clock.monotonic() - self._began
        self.pauses = self.seconds >= self._limit

    def on_validation(self, found: ValidationDone) -> None:
        """Keep the value."""
        self.value = found.value
        self.best_step = found.step if found.is_best else self.best_step

    def on_end(self, run: RunEnds) -> None:
        """Keep why."""
        self.ended = run.outcome in ("all epochs", "early stop")


@settings
class Trained:
    """How far a model came. seconds: of all slices; of these `stepping` trained, and `around` was
    what the last slice took beside. epochs: done, and up to the best validation. curve: (seconds,
    validation) after each slice. ended: whether more time would change nothing."""

    model: ModelName
    seconds: float = 0.0
    stepping: float = 0.0
    around: float = 0.0
    epochs: float = 0.0
    best_epochs: float = 0.0
    curve: tuple[tuple[float, float], ...] = ()
    ended: bool = False

    def after(self, done: Slice, seconds: float, steps_per_epoch: int) -> Trained:
        """One slice later, which took so many seconds in all."""
        curve, spent = self.curve, self.seconds + seconds
        if done.value is not None:
            curve = (*curve, (spent, done.value))
        epochs = self.epochs + done.steps / steps_per_epoch
        best = self.best_epochs if done.best_step is None else done.best_step / steps_per_epoch
        return replace(
            self,
            seconds=spent,
            stepping=self.stepping + done.seconds,
            around=max(seconds - done.seconds, 0.0),
            epochs=epochs,
            best_epochs=best,
            curve=curve,
            ended=done.ended,
        )

    @property
    def an_epoch(self) -> float:
        """Seconds that one takes; infinite before the first step."""
        return self.stepping / self.epochs if self.epochs else math.inf

    def promise(self, left: float) -> float:
        """The value after `left` seconds more, if each doubling of the time gains what the last one
        gained; infinite before the first slice."""
        if not self.curve:
            return math.inf
        best, times = self._best, [time for time, _ in self.curve]
        gained = _DOUBLING * best[-1]
        if len(best) > 1:
            since = max((n for n, time in enumerate(times) if time <= times[-1] / 2), default=0)
            gained = (best[-1] - best[since]) / math.log2(times[-1] / times[since])
        return best[-1] + gained * math.log2(1 + max(left, 0.0) / times[-1])

    @property
    def best(self) -> float:
        """The best validation so far; 0 before the first."""
        return max((value for _, value in self.curve), default=0.0)

    @property
    def _best(self) -> list[float]:
        return list(accumulate((value for _, value in self.curve), max))

    def text(self) -> str:
        """One sentence: how long, with which results, and whether more time could help."""
        if not self.epochs:
            return f"{self.model}: left out, as no time is left for it: give --minutes more"
        said = f"{self.model}: {self.epochs:.3g} epochs in {self.seconds:.0f} s"
        if self.curve:
            values = ", ".join(f"{value:.4f}" for _, value in self.curve)
            times = ", ".join(f"{time:.0f}" for time, _ in self.curve)
            said += f", validation {values} after {times} s"
        if self.ended:
            return f"{said}; more time would change nothing"
        return f"{said}; cut off, it goes on with more --minutes and --resume"


def _epochs(run: Trained) -> int:
    """Those up to the best validation, the begun one too."""
    return max(math.ceil(run.best_epochs), 1)


def next_slice(
    runs: Iterable[Trained], left: float, usual: float
) -> tuple[ModelName, float] | None:
    """Which model is trained next, and for how many seconds; None where none is worth beginning.

    left: seconds that there are. usual: seconds of a slice.
    """
    every = {one.model: one for one in runs}
    least = max(_LEAST * usual, 1e-9)
    able = [one for one in every.values() if not one.ended and left - one.around >= least]
    if not able:
        return None

    def promise(run: Trained) -> tuple[float, bool]:
        """Of a run; what was not begun comes after its like."""
        alike = every.get("sasrec", run) if run.model == "sequence" and not run.curve else run
        return alike.promise(left), alike is run

    best = max(able, key=promise)
    slice = max(usual, _WORTH * best.around) if best.curve else _FIRST * usual
    return best.model, min(slice, left - best.around)


def free_cores() -> int:
    """Cores of this process that nothing else keeps busy, by the load of the last minute; at least
    one. A second thread that waits for a busy core costs more than it saves."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    return max(1, round((cores or 1) - load))


#: Where the latest event lies before this, positions stand for times: ten years of days.
_POSITIONS = 3_650 * MICROSECONDS_PER_DAY
#: Events that the sequence model reads at most: an epoch of 64 takes a fourth of one of 512, and
#: what lies further back the other sources know.
_LATEST = 64
#: Users whose validation visits a training looks at after each epoch, and k of the recall.
_VALIDATION, _K = 1_500, 50


def task_sequences(task: NextBasket) -> ItemSequences:
    """The sequences of a task, split as it is; without times where it has none."""
    found = sequences_of_task(task, split="task")
    return replace(found, time=None) if task.time.max(initial=0) < _POSITIONS else found


@dataclass(frozen=True, eq=False)
class _Again:
    """How a model is fitted to all events. before: whose weights it begins with, None for new
    ones. newest: whether only what was not trained on, and as much that was."""

    epochs: int
    text: str
    before: nn.Module | None = None
    newest: bool = False

    def begin(self, model: nn.Module) -> None:
        """Give it the weights; what is counted stays its own."""
        if self.before is not None:
            model.load_state_dict(dict(self.before.named_parameters()), strict=False)


@dataclass(frozen=True, eq=False)
class Networks:
    """The networks of one task. repeats: whether what a user had is offered again. folder: of the
    runs. seed: of all of them. cache: where the fine ranker's rows are kept. clock: of the slices,
    the processor's by default."""

    task: NextBasket
    repeats: bool
    folder: Path
    seed: int = 0
    cache: Path | None = None
    clock: Clock | None = None

    def slice(self, before: Trained, seconds: float) -> Trained:
        """Train a model for so many seconds more, from where it stands."""
        timer = self.clock or ProcessorClock()
        began, slice = timer.monotonic(), Slice(seconds, timer)
        match before.model:
            case "sequence" | "sasrec":
                self._sequence(before.model, (slice,))
                steps = self._sequence_steps(before.model)
            case "two-tower" | "hcn":
                steps = self._retriever(before.model, (slice,))
            case "fine":
                self._fine((slice,))
                steps = max(slice.steps, 1)
        return before.after(slice, timer.monotonic() - began, steps)

    def trained(self, name: ModelName) -> SequenceArtifact | RetrieverArtifact | Ranker:
        """A model as far as its slices came: HSTU or SASRec, trained to predict what is taken at
        the next visit; two towers or HCN; DIN over choices."""
        if name == "fine":
            return Ranker.load(self.folder / "fine" / "ranker")
        if name in _KINDS:
            retriever = self._sequence(name, stop_now=True)
            return SequenceArtifact.of(retriever, self.sequences, seed=self.seed)
        model, fit = self._new(name, self.task)
        fit_retriever(model, self.task, fit, self.folder / name, resume=True, stop_now=True)
        return RetrieverArtifact.of(model, self.task, seed=self.seed)

    @property
    def draws(self) -> Draws:
        """How the negatives of the choices were drawn."""
        return self._choice().draws

    def of_all(
        self, measured: SequenceArtifact | RetrieverArtifact, run: Trained, left: float
    ) -> tuple[SequenceArtifact | RetrieverArtifact, str]:
        """The same model fitted to all events, as far as the seconds left allow, and how."""
        again, task = self._again(run, left, measured.model), self.task
        if not again.epochs:
            return measured, again.text
        found: SequenceArtifact | RetrieverArtifact
        if run.model in _KINDS:
            ends = self.sequences.offsets[1:]
            sequences = replace(self.sequences, train_ends=(ends, ends))
            retriever, settings = self._new_sequence(run.model, sequences)
            again.begin(retriever)
            settings = replace(settings, epochs=again.epochs, train_on_validation=True)
            fit_sequential(retriever, sequences, settings)
            found = SequenceArtifact.of(retriever, sequences, seed=self.seed)
        else:
            count = np.bincount(task.item, minlength=len(task.items))
            task = replace(task, split=np.zeros_like(task.split), count=count)
            model, fit = self._new(run.model, task)
            again.begin(model)
            if again.newest:
                task = replace(task, split=self._newest())
            fit_retriever(model, task, replace(fit, epochs=again.epochs, validation_visits=0))
            found = RetrieverArtifact.of(model, task, seed=self.seed)
        return replace(found, fitted=self.task.fitted(whole=True)), again.text

    def fine_of_all(self, run: Trained, left: float) -> tuple[Ranker | None, str]:
        """The fine ranker fitted anew to choices of all visits but those that stop its training,
        with all that it takes; None where the seconds left do not allow it. And how."""
        if run.seconds > left:
            said = f"fine stays as measured, as it takes {run.seconds:.0f} s and"
            return None, f"{said} {max(left, 0):.0f} s are left"
        task, choice = self.task, self._choice()
        held = np.flatnonzero(task.split != _TRAIN)
        held = np.random.default_rng(self.seed).permutation(held)[: choice.valid + choice.test]
        split = np.full_like(task.split, _TRAIN)
        split[held] = np.where(
            np.arange(len(held)) % 2, SPLITS.index("test"), SPLITS.index("valid")
        )
        count = np.bincount(task.item, minlength=len(task.items))
        taken, _ = taken_in(task, held)
        count = np.maximum(count - np.bincount(taken, minlength=len(count)), 0)
        name, cache = "fine-again", self.cache or self.folder / "rows"
        self._fine((), replace(task, split=split, count=count), name, cache / "all")
        return Ranker.load(self.folder / name / "ranker"), "fine is trained anew"

    def needs(self, run: Trained, most: float = math.inf) -> float:
        """Seconds of fitting a model anew to all events. Where that is more than `most`, of a
        network that learns visit by visit those of what is new and as much that is not."""
        epochs = self._epoch_of_all(run) * _epochs(run)
        return epochs if run.model in _KINDS or epochs <= most else epochs * self._part()

    def _again(self, run: Trained, left: float, measured: nn.Module) -> _Again:
        """Anew for the epochs found; or on from the weights that were measured: a network that
        learns visit by visit sees what is new as often as these saw what is not, and as much of
        that beside it; another has some of its epochs more; or not."""
        an_epoch, epochs = self._epoch_of_all(run), _epochs(run)
        if an_epoch * epochs <= left:
            return _Again(epochs, f"{run.model} is trained anew for the {epochs} epochs found")
        if run.model not in _KINDS:
            part = an_epoch * self._part()
            more = min(epochs, int(left / part))
            if more > 0:
                said = f"{run.model} is trained on with what is new and as much that is not"
                said += f", {more} times" if more > 1 else ""
                return _Again(more, said, measured, newest=True)
        elif an_epoch <= left:
            more = int(left / an_epoch)
            return _Again(more, f"{run.model} is trained on for {more} of its epochs", measured)
        said = f"{run.model} stays as measured, as an epoch takes {an_epoch:.0f} s and"
        return _Again(0, f"{said} {max(left, 0):.0f} s are left")

    def _epoch_of_all(self, run: Trained) -> float:
        """Seconds of an epoch of all events."""
        return run.an_epoch * len(self.task.item) / max(int(self.task.count.sum()), 1)

    def _part(self) -> float:
        """Of an epoch of all events, what `_newest` trains on."""
        return float((self._newest() == _TRAIN).mean())

    def _newest(self) -> NDArray[np.int8]:
        """A split in which the visits train that did not, and as many that did."""
        split, old = self.task.split, self.task.visits("train")
        kept = np.random.default_rng(self.seed).permutation(old)[: len(split) - len(old)]
        found = np.where(split == _TRAIN, SPLITS.index("valid"), _TRAIN).astype(np.int8)
        found[kept] = _TRAIN
        return found

    @cached_property
    def sequences(self) -> ItemSequences:
        """Those of the task."""
        return task_sequences(self.task)

    def _sequence(
        self, name: ModelName, callbacks: Sequence[Callback] = (), *, stop_now: bool = False
    ) -> SequenceRetriever:
        model, fit = self._new_sequence(name, self.sequences)
        run = self.folder / name
        fit_sequential(
            model,
            self.sequences,
            fit,
            run,
            validate=self._validate(model),
            resume=(run / "config.json").exists(),
            stop_now=stop_now,
            callbacks=callbacks,
        )
        return model

    def _sequence_steps(self, name: ModelName) -> int:
        """Of an epoch."""
        model, fit = self._new_sequence(name, self.sequences)
        windows, _ = self.sequences.windows(model.config.max_length, whole=fit.all_windows)
        return max(math.ceil(len(windows) / fit.batch), 1)

    def _new_sequence(
        self, name: ModelName, sequences: ItemSequences
    ) -> tuple[SequenceRetriever, SequentialConfig]:
        """With first weights; its settings follow from what trains in the task, so that they are
        the same where `sequences` train on more."""
        found = sequence_defaults(
            self.sequences, _KINDS[name], repeats=self.repeats, longest=_LATEST
        )
        model = seeded(
            self.seed,
            lambda: sequence_retriever(found.model, sequences.items, count=sequences.count),
        )
        return model, replace(found.fit, seed=self.seed)

    def _validate(self, model: SequenceRetriever) -> Callable[[], tuple[float, dict[str, float]]]:
        visits = some_visits(self.task, _VALIDATION, self.seed)
        depth = self._depth
        return visit_validation(model, self.task, visits, depth=depth, k=min(10, depth))

    @property
    def _depth(self) -> int:
        """Length of the lists that validation looks at."""
        return min(_K, len(self.task.items) - 1)

    def _retriever(self, name: ModelName, callbacks: Sequence[Callback]) -> int:
        """Train it; returns the steps of an epoch."""
        model, fit = self._new(name, self.task)
        run = self.folder / name
        resume = (run / "config.json").exists()
        fit_retriever(model, self.task, fit, run, resume=resume, callbacks=callbacks)
        return max(math.ceil(len(self.task.visits("train")) / fit.batch), 1)

    def _new(self, name: ModelName, task: NextBasket) -> tuple[RetrieverModel, RetrievalConfig]:
        """With first weights; its settings follow from what trains in the task of the run."""
        if name == "hcn":
            found = hcn_defaults(self.task)
            fit = replace(found.fit, seed=self.seed, k=self._depth)
            make = lambda: HCN(found.model, task.spec, task.items, task.count)  # noqa: E731
            return seeded(self.seed, make), fit
        towers = two_tower_defaults(self.task)
        fit = replace(towers.fit, seed=self.seed, k=self._depth)
        return (
            seeded(self.seed, lambda: TwoTower(towers.model, task.spec, task.items, task.count)),
            fit,
        )

    def _choice(self) -> ChoiceConfig:
        """Rows of ten thousand visits: more would take longer to read than they teach."""
        draws = Draws() if self.repeats else Draws(own=0.0, popular=0.5)
        return ChoiceConfig(train=10_000, valid=500, test=500, draws=draws, seed=self.seed)

    def _fine(
        self,
        callbacks: Sequence[Callback],
        task: NextBasket | None = None,
        name: str = "fine",
        cache: Path | None = None,
    ) -> None:
        run = self.folder / name
        cache = cache or self.cache or self.folder / "rows"
        rows = build_choice_task(task or self.task, cache, self._choice())
        asked = RunConfig(calibration="none", base=False, draws=200, seed=self.seed, out=run)
        resume = (run / "runs" / asked.model.title.lower() / "config.json").exists()
        run_ranker(asked, task=rows, resume=resume, overwrite=True, callbacks=callbacks)
