"""Train the networks of a funnel, each with the defaults of its room for as many epochs as planned.

Every training is a resumable run in a folder of its own; a finished one is taken as it stands.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from adwright.core.clock import Clock, SystemClock
from adwright.data.sequences.datasets import sequences_of_task
from adwright.data.sequences.item_sequences import ItemSequences
from adwright.data.tasks.choice import ChoiceConfig, build_choice_task
from adwright.data.tasks.negatives import Draws
from adwright.data.tasks.next_basket import NextBasket
from adwright.data.time import MICROSECONDS_PER_DAY
from adwright.delivery.funnel.plan import EpochCost, ModelName, timed
from adwright.models.ranking.union import ranker_model
from adwright.models.retrieval.hcn import HCN
from adwright.models.retrieval.two_tower import TwoTower
from adwright.models.sequential.union import SequenceRetriever, sequence_retriever
from adwright.training.ranking.config import RunConfig
from adwright.training.ranking.defaults import ranker_defaults
from adwright.training.ranking.fit import fit as fit_ranker
from adwright.training.ranking.fit_config import PartialFit
from adwright.training.ranking.ranker import Ranker
from adwright.training.ranking.run import run as run_ranker
from adwright.training.retrieval.artifact import RetrieverArtifact, RetrieverModel
from adwright.training.retrieval.defaults import hcn_defaults, two_tower_defaults
from adwright.training.retrieval.fit import RetrievalConfig, fit_retriever
from adwright.training.run_settings import seeded
from adwright.training.sequential.artifact import SequenceArtifact
from adwright.training.sequential.choice_validation import some_visits
from adwright.training.sequential.config import SequentialConfig
from adwright.training.sequential.defaults import sequence_defaults
from adwright.training.sequential.fit import fit_sequential
from adwright.training.sequential.samples import SequenceSamples
from adwright.training.sequential.visit_ranks import visit_validation

__all__ = ["Networks", "task_sequences"]

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
class Networks:
    """The networks of one task. repeats: whether what a user had is offered again. folder: of the
    runs. seed: of all of them. cache: where the fine ranker's rows are kept. clock: measures
    costs."""

    task: NextBasket
    repeats: bool
    folder: Path
    seed: int = 0
    cache: Path | None = None
    clock: Clock | None = None

    def why(self, name: ModelName) -> tuple[str, ...]:
        """The defaults that a training has, a sentence each."""
        match name:
            case "sequence":
                sequences = task_sequences(self.task)
                return sequence_defaults(sequences, repeats=self.repeats, longest=_LATEST).why
            case "two-tower":
                return two_tower_defaults(self.task).why
            case "hcn":
                return hcn_defaults(self.task).why
            case "fine":
                return ()

    def cost(self, name: ModelName) -> EpochCost:
        """What an epoch takes, by trying a few steps."""
        match name:
            case "sequence":
                return self._sequence_cost()
            case "two-tower" | "hcn":
                return self._retriever_cost(name)
            case "fine":
                return self._fine_cost()

    def sequence(self, epochs: int) -> SequenceArtifact:
        """HSTU, trained to predict what is taken at the next visit."""
        sequences = task_sequences(self.task)
        model, fit = self._sequence(sequences)
        run = self.folder / "sequence"
        fit_sequential(
            model,
            sequences,
            replace(fit, epochs=epochs),
            run,
            validate=self._validate(model),
            resume=(run / "config.json").exists(),
        )
        return SequenceArtifact.of(model, sequences, seed=self.seed)

    def retriever(self, name: ModelName, epochs: int) -> RetrieverArtifact:
        """Two towers, or HCN."""
        model, fit = self._retriever(name)
        run = self.folder / name
        resume = (run / "config.json").exists()
        fit_retriever(model, self.task, replace(fit, epochs=epochs), run, resume=resume)
        return RetrieverArtifact.of(model, self.task, seed=self.seed)

    def fine(self, epochs: int) -> tuple[Ranker, Draws]:
        """DIN over choices, and how its negatives were drawn."""
        run, choice = self.folder / "fine", self._choice()
        if (run / "ranker").exists():
            return Ranker.load(run / "ranker"), choice.draws
        rows = build_choice_task(self.task, self._rows(), choice)
        asked = RunConfig(
            fit=PartialFit(epochs=epochs),
            calibration="none",
            base=False,
            draws=200,
            seed=self.seed,
            out=run,
        )
        resume = (run / "runs" / asked.model.title.lower() / "config.json").exists()
        return run_ranker(asked, task=rows, resume=resume, clock=self.clock).ranker, choice.draws

    def _sequence(self, sequences: ItemSequences) -> tuple[SequenceRetriever, SequentialConfig]:
        found = sequence_defaults(sequences, repeats=self.repeats, longest=_LATEST)
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
    def _timer(self) -> Clock:
        return self.clock or SystemClock()

    @property
    def _depth(self) -> int:
        """Length of the lists that validation looks at."""
        return min(_K, len(self.task.items) - 1)

    def _sequence_cost(self) -> EpochCost:
        sequences = task_sequences(self.task)
        model, fit = self._sequence(sequences)
        alone = replace(fit, epochs=1, train_on_validation=True)
        seconds = timed(
            lambda step: fit_sequential(model, sequences, alone, on_step=step), self.clock
        )
        samples = SequenceSamples(sequences, model.config.max_length, all_windows=fit.all_windows)
        steps = len(samples.epoch(0, fit.batch))
        start = self._timer.monotonic()
        self._validate(model)()
        validation = self._timer.monotonic() - start
        return EpochCost(steps * seconds + validation, fit.epochs, int(sequences.count.sum()))

    def _retriever(self, name: ModelName) -> tuple[RetrieverModel, RetrievalConfig]:
        task = self.task
        if name == "hcn":
            found = hcn_defaults(task)
            fit = replace(found.fit, seed=self.seed, k=self._depth)
            make = lambda: HCN(found.model, task.spec, task.items, task.count)  # noqa: E731
            return seeded(self.seed, make), fit
        towers = two_tower_defaults(task)
        fit = replace(towers.fit, seed=self.seed, k=self._depth)
        return (
            seeded(self.seed, lambda: TwoTower(towers.model, task.spec, task.items, task.count)),
            fit,
        )

    def _retriever_cost(self, name: ModelName) -> EpochCost:
        model, fit = self._retriever(name)
        alone = replace(fit, epochs=1, validation_visits=0)
        seconds = timed(
            lambda step: fit_retriever(model, self.task, alone, on_step=step), self.clock
        )
        visits = self.task.visits("train")
        steps = math.ceil(len(visits) / fit.batch)
        number = self.task.target_offsets[visits + 1] - self.task.target_offsets[visits]
        return EpochCost(steps * seconds * 1.1, fit.epochs, int(number.sum()))

    def _choice(self) -> ChoiceConfig:
        """Rows of ten thousand visits: more would take longer to read than they teach."""
        draws = Draws() if self.repeats else Draws(own=0.0, popular=0.5)
        return ChoiceConfig(train=10_000, valid=500, test=500, draws=draws, seed=self.seed)

    def _rows(self) -> Path:
        return self.folder / "rows" if self.cache is None else self.cache

    def _fine_cost(self) -> EpochCost:
        start, choice = self._timer.monotonic(), self._choice()
        rows = build_choice_task(self.task, self._rows(), choice)
        once = self._timer.monotonic() - start
        found = ranker_defaults(rows)
        model = seeded(self.seed, lambda: ranker_model(found.model, rows.spec, rows.item_table))
        with TemporaryDirectory(prefix="adwright-cost-") as scratch:
            seconds = timed(
                lambda step: fit_ranker(model, rows, found.fit, scratch, on_batch=step), self.clock
            )
        visits = min(choice.train, len(self.task.visits("train")))
        steps = math.ceil(visits / found.fit.stream.groups_per_batch)
        return EpochCost(1.1 * steps * seconds, found.fit.epochs, visits, once)
