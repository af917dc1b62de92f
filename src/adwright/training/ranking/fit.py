"""fit(): train a ranking network, from a stream of batches to a folder with the best model.

Dense weights take Adam; embedding tables take a row-wise optimiser with mini-batch aware
decay. Validation group AUC decides when to stop and which weights are kept. Everything that a
step depends on is in the checkpoint (weights, optimiser state, position in the stream, the
best weights so far) or a function of the position (sampled negatives, the order of the
batches, the random numbers of dropout), so a run that was killed continues and ends with the
same bits.

How a ranker is trained: what was asked for, and everything decided.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Unpack

import torch
from torch import Tensor, nn

from adwright.core.clock import Clock, SystemClock
from adwright.core.config import settings, to_jsonable
from adwright.core.errors import ConfigError, ResumeError, ValueInvalidError
from adwright.data.batches.batch import Batch
from adwright.data.batches.stream import PartialStream, Position, StreamConfig
from adwright.data.tasks.task import Task
from adwright.metrics.classification import group_auc, log_loss
from adwright.training.loop.distributed import share_of, sum_gradients
from adwright.training.loop.loop import RunOptions, train
from adwright.training.loop.optimisers import RowWise, Rule
from adwright.training.loop.run_folder import RunFolder, RunPosition, unpack
from adwright.training.loop.trainee import LoopConfig, StepLoss, Trainee, dense_and_sparse
from adwright.training.ranking.frames import Occurrence, training_counts
from adwright.training.ranking.predict import Predictions, open_stream, predict
from adwright.training.run_settings import check_ranges


@settings
class PartialFit:
    """How a model is trained, where None leaves a setting to the data (`ranker_defaults`).

    epochs: at most so many. learning_rate: Adam's, for dense weights.
    embedding_learning_rate, embedding_rule: of the row-wise optimiser.
    decay: lambda of the mini-batch aware regulariser, 0 for none; of the order of 1 (the paper has
    .01 with SGD). decay_counts: what its n_j counts, see `counts`: the training rows in which a
    value occurs, which is the paper's, or the events, as earlier versions did.
    clip_norm: gradients of dense weights are scaled down to this norm; 0 for no clipping.
    Row-wise steps of Adagrad and Adam are bounded by their learning rate already.
    precision: "bf16" computes the dense layers in bfloat16; weights stay in float32.
    patience: stop after so many validations without a better group AUC.
    validations_per_epoch: how often validation runs in an epoch, at most once a window.
    checkpoint_every: batches between checkpoints; 0 saves only after validations.
    seed: of the order of the rows, the sampled negatives and dropout, so also of `stream`,
    whose own seed stays 0.
    """

    epochs: int | None = None
    learning_rate: float | None = None
    embedding_learning_rate: float | None = None
    embedding_rule: Rule = "adagrad"
    decay: float | None = None
    decay_counts: Occurrence = "rows"
    clip_norm: float = 10.0
    precision: Literal["fp32", "bf16"] = "fp32"
    patience: int | None = None
    validations_per_epoch: int = 1
    checkpoint_every: int = 200
    seed: int = 0
    stream: PartialStream = field(default_factory=PartialStream)

    def __post_init__(self) -> None:

        def given(*names: str) -> list[str]:
            return [name for name in names if getattr(self, name) is not None]

        check_ranges(
            self,
            counts=given("epochs", "patience", "validations_per_epoch"),
            positive=given("learning_rate", "embedding_learning_rate"),
            not_negative=given("decay", "clip_norm", "checkpoint_every", "seed"),
        )
        if self.stream.seed:
            raise ConfigError(
                "the stream takes the seed of the run",
                where=f"stream.seed {self.stream.seed}",
                hint="set seed, and leave stream.seed at 0",
            )

    @property
    def is_complete(self) -> bool:
        """Whether nothing is left to the data."""
        own = [getattr(self, f.name) for f in fields(self)]
        return None not in [*own, *(getattr(self.stream, f.name) for f in fields(self.stream))]

    def over(self, default: FitConfig) -> FitConfig:
        """`default` with what is given here."""
        given = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "stream"}
        return replace(
            default,
            **{name: value for name, value in given.items() if value is not None},
            stream=self.stream.over(default.stream),
        )


@settings
class FitConfig(PartialFit):
    """`PartialFit` with nothing left open; its own values suit a log of millions of rows."""

    epochs: int = 2
    learning_rate: float = 6e-3
    embedding_learning_rate: float = 0.05
    decay: float = 0.0
    patience: int = 2
    stream: StreamConfig = field(default_factory=StreamConfig)


def as_begun(config: FitConfig, run: str | Path) -> FitConfig:
    """The config for the run folder `run`, with the counts of the run that is there.

    A run with a decay that was begun by a version without `decay_counts` goes on by events.
    """
    try:
        begun = json.loads((Path(run) / "config.json").read_text("utf-8"))["fit"]
        counted_events = begun["decay"] > 0 and "decay_counts" not in begun
    except (OSError, ValueError, KeyError, TypeError):
        # No run, or none that can be resumed, which `RunFolder` says.
        return config
    return replace(config, decay_counts="events") if counted_events else config


_logger = logging.getLogger("adwright")


@dataclass(frozen=True)
class FitResult:
    """The best validation, and the path of metrics.jsonl that tells the rest.

    gauc, log_loss, epoch: of the best validation; epochs count from 1. batches: trained on.
    stopped_early: patience ran out before the epochs did. valid: what the best weights say of
    the validation rows, so that nobody has to score them again; None where another process or
    an earlier start of the run validated.
    """

    gauc: float
    log_loss: float
    epoch: int
    batches: int
    stopped_early: bool
    metrics: Path
    valid: Predictions | None = field(default=None, repr=False, compare=False)


def fit(
    model: nn.Module,
    task: Task,
    config: FitConfig,
    run: str | Path,
    **how: Unpack[RunOptions],
) -> FitResult:
    """Train `model` in place on the task; afterwards it holds the best validation's weights.

    run: folder for config.json, metrics.jsonl, curves.svg and the checkpoint. how: see
    `RunOptions`; without `resume` an existing run is refused.
    Under torchrun the processes divide each batch among them; all see the same folders.
    Raises ConfigError (an existing run without resume, a loss that is not finite),
    ResumeError (no run, another config, task or model), ValueInvalidError (a validation split
    that cannot be judged), ResourceError (disk full).
    """
    begun, clock = as_begun(config, run), how.get("clock")
    if begun != config:
        _logger.warning(
            "the run in %s was begun by a version whose decay counts events: it goes on so "
            '(decay_counts = "events")',
            run,
        )
    trainee = _Ranking(model, task, begun, clock or SystemClock())
    folder = run_folder(task, begun, run, clock=clock)
    at = train(trainee, folder, **how)
    found = _result(at, trainee.best_log_loss, config.epochs, config.patience, folder)
    return replace(found, valid=trainee.valid)


def run_folder(
    task: Task, config: FitConfig, run: str | Path, *, clock: Clock | None = None
) -> RunFolder:
    """The folder of a run of `fit`, to check what it would refuse before the model is built."""
    about, asked = {"protocol": task.protocol}, _asked(task, as_begun(config, run))
    return RunFolder(run, asked, _Ranking.kind, about=about, grows=_Ranking.grows, clock=clock)


def _asked(task: Task, config: FitConfig) -> dict[str, Any]:
    asked = to_jsonable(config)
    if not config.decay or config.decay_counts == "events":
        # As runs of versions without the choice have it.
        del asked["decay_counts"]
    return {"fit": asked, "task": task.meta["id"], "data_hash": task.data_hash}


def load_best(model: nn.Module, run: str | Path) -> FitResult:
    """Put the best weights of a run into `model`, in evaluation mode.

    Raises ResumeError where the folder holds no run, no validation yet, or another model.
    """
    folder = RunFolder(run, {"fit": {}, "task": ""}, _Ranking.kind)
    asked = folder.read_config()["fit"]
    at, own, tensors = folder.load(_Ranking.renamed)
    if at.best is None:
        raise ResumeError(
            "the run has no validation yet", where=str(folder.path), hint="resume it first"
        )
    try:
        model.load_state_dict(unpack(tensors, model, {}))
    except ValueError as error:
        hint = "build the model as at the start of the run"
        raise ResumeError(str(error), where=str(folder.path), hint=hint) from error
    model.eval()
    return _result(at, own["best_log_loss"], asked["epochs"], asked["patience"], folder)


#: Plain values of a ranking in training that a checkpoint keeps as they are.
_COUNTED = ("rows", "epoch_rows", "window_loss", "window_rows", "best_log_loss")


class _Ranking(Trainee[tuple[Batch, Position]]):
    """A ranking network in training; `fit` is its only user."""

    kind = "checkpoint"
    goal = "valid_gauc"
    unit = "rows"
    divides_batches = validates_together = shows_validation = True
    renamed: ClassVar = {"batches": "steps", "loss_rows": "loss_count", "best_gauc": "best"}
    grows: ClassVar = ("fit.epochs",)
    hint = "lower the learning rates or clip_norm"

    def __init__(self, model: nn.Module, task: Task, config: FitConfig, clock: Clock) -> None:
        require_both_labels(task)
        self.task, self.config, self.clock = task, config, clock
        self.stream = open_stream(task, "train", replace(config.stream, seed=config.seed))
        self.dense, self.tables = dense_and_sparse(model)
        adam = torch.optim.Adam(
            [{"params": self.dense}], lr=config.learning_rate, fused=bool(self.dense)
        )
        stream = config.stream
        rows = RowWise(
            self.tables,
            learning_rate=config.embedding_learning_rate,
            rule=config.embedding_rule,
            decay=config.decay,
            counts=training_counts(
                model,
                task,
                stream.negative_rate,
                max_history=stream.max_history,
                occurrence=config.decay_counts,
            )
            if config.decay
            else None,
        )
        bfloat16 = config.precision == "bf16"
        loop = LoopConfig.of(config, checkpoint_every=config.checkpoint_every, bfloat16=bfloat16)
        super().__init__(model, {"adam": adam, "rows": rows}, loop, _asked(task, config))
        n_windows = math.ceil(self.stream.n_row_groups / stream.window)
        self.due = validation_windows(n_windows, config.validations_per_epoch)
        self.best_log_loss: float | None = None
        self.valid: Predictions | None = None
        #: Where the stream goes on, the rows of the run and of the epoch, and the loss by window:
        #: (batches, mean loss) of each since the last validation.
        self.position, self.rows, self.epoch_rows = Position(), 0, 0
        self.window_loss, self.window_rows = 0.0, 0
        self.curve: list[tuple[int, float]] = []

    def epoch(self, at: RunPosition) -> Iterator[tuple[Batch, Position]]:
        """(batch, position after it) from where the stream stands."""
        if self.position.epoch != at.epoch:
            self.position, self.epoch_rows = Position(at.epoch), 0
        return self.stream.epoch(self.position)

    def gradients(self, batch: tuple[Batch, Position], at: RunPosition) -> StepLoss:
        """Of this process's share of the batch, over the rows of the whole."""
        rows, after = batch
        with torch.autocast("cpu", torch.bfloat16, enabled=self.loop.bfloat16):
            summed: Tensor = self.model.loss(share_of(rows))  # type: ignore[operator]
        (summed / len(rows)).backward()  # type: ignore[no-untyped-call]
        loss = sum_gradients(self.dense, self.tables, summed.detach().float())
        self.position = after
        self.rows, self.epoch_rows = self.rows + len(rows), self.epoch_rows + len(rows)
        self.window_loss, self.window_rows = self.window_loss + loss, self.window_rows + len(rows)
        if not after.batch:
            self.curve.append((at.steps + 1, self.window_loss / self.window_rows))
            self.window_loss, self.window_rows = 0.0, 0
        return StepLoss(loss, len(rows), shown=len(rows))

    def parameters(self) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        """Dense weights, and tables."""
        return self.dense, self.tables

    def is_due(self, at: RunPosition) -> bool:
        """At the end of some windows."""
        return self.position.batch == 0 and self.position.window in self.due

    def left(self, at: RunPosition) -> int:
        """The rows that are left of the epoch; how many negatives are drawn is an estimate."""
        counts = self.task.meta["splits"]["train"]
        negatives = self.config.stream.negative_rate * (counts["rows"] - counts["positives"])
        return max(int(counts["positives"] + negatives) - self.epoch_rows, 0)

    def line(self, at: RunPosition) -> dict[str, Any]:
        """Rows and losses since the last validation."""
        return {
            "epoch": at.epoch + 1,
            "batches": at.steps,
            "rows": self.rows,
            "train_loss": at.mean_loss,
            "train_curve": self.curve,
        }

    def validate(self, at: RunPosition) -> tuple[float, dict[str, Any]]:
        """Group AUC decides; the log loss is of the true odds."""
        stream = self.config.stream
        found = predict(
            self.model, self.task, "valid", max_history=stream.max_history, divided=True
        )
        p, label, rate = found.probability, found.label, stream.negative_rate
        gauc = group_auc(label, p, found.user)
        # The network learns the odds of the sampled rows: undo that for the true ones.
        loss = log_loss(label, p / (p + (1 - p) / rate))
        sampled = log_loss(label, p, label + (1 - label) * rate)
        if at.best is None or gauc > at.best:
            self.best_log_loss, self.valid = loss, found
        measures = {"valid_loss": sampled, "valid_log_loss": loss, "valid_gauc": gauc}
        return gauc, {**measures, "time": self.clock.now().isoformat()}

    def validated(self) -> None:
        """A new curve begins."""
        self.curve = []

    def state(self) -> dict[str, Any]:
        """Where the stream stands, and what was counted."""
        own = {name: getattr(self, name) for name in _COUNTED}
        return {"position": asdict(self.position), **own, "curve": list(self.curve)}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """As `state` returned it."""
        self.position = Position(**state["position"])
        for name in _COUNTED:
            setattr(self, name, state[name])
        self.curve = [(step, loss) for step, loss in state["curve"]]


def validation_windows(n_windows: int, wanted: int) -> set[int]:
    """After how many of an epoch's windows validation runs, `wanted` times an epoch, evenly
    spread; the end of the epoch, always one of them, is left out."""
    ends = (math.ceil(i * n_windows / wanted) for i in range(1, wanted))
    return {window for window in ends if window < n_windows}


def require_both_labels(task: Task) -> None:
    """Raise ValueInvalidError where the validation rows are all of one label: better before the
    first epoch than after it."""
    counts = task.meta["splits"]["valid"]
    if not 0 < counts["positives"] < counts["rows"]:
        raise ValueInvalidError(
            "the validation split needs rows of both labels",
            file=str(task.rows_path("valid")),
            column="label",
            value=f"{counts['positives']} of {counts['rows']} rows are 1",
            hint="move the dates of the split",
        )


def _result(
    at: RunPosition, log_loss: float | None, epochs: int, patience: int, folder: RunFolder
) -> FitResult:
    if at.best is None or log_loss is None:
        raise ResumeError("the run has no validation yet", where=str(folder.path))
    return FitResult(
        gauc=at.best,
        log_loss=log_loss,
        epoch=at.best_epoch,
        batches=at.steps,
        stopped_early=at.worse >= patience and at.epoch < epochs,
        metrics=folder.metrics,
    )
