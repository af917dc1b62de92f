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
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Unpack

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from adwright.core.clock import Clock, SystemClock
from adwright.core.config import settings, to_jsonable
from adwright.core.errors import ConfigError, ResumeError, ValueInvalidError
from adwright.core.progress import Progress, progress
from adwright.data.batches.batch import Batch
from adwright.data.batches.stream import PartialStream, Position, Stream, StreamConfig
from adwright.data.ranges import ranges, run_starts
from adwright.data.sequences.pasts import Pasts, moment_numbers
from adwright.data.tasks.history import user_codes
from adwright.data.tasks.split import Split
from adwright.data.tasks.task import Task
from adwright.metrics.classification import group_auc, log_loss, log_loss_per_row
from adwright.models.calibration import fit_calibrator, fit_logistic
from adwright.models.retrieval.item_item import ItemItem, ItemItemConfig, count_neighbours
from adwright.training.loop.distributed import (
    RowWise,
    Rule,
    gather,
    rank,
    share_of,
    sum_gradients,
    world_size,
)
from adwright.training.loop.loop import LoopOptions, train
from adwright.training.loop.run_folder import RunFolder, RunPosition, unpack
from adwright.training.loop.trainee import LoopConfig, StepLoss, Trainee, dense_and_sparse
from adwright.training.ranking.frames import Occurrence, training_counts
from adwright.training.search import check_ranges

# --------------------------------------------------------------------------------------------------
# Scores of a stream's rows, in file order.

#: Groups of whole users, whose history is prepared once for all of their rows.
SCORING = StreamConfig(groups_per_batch=128, rows_per_group=512, window=1, shuffle=False)


@dataclass(frozen=True)
class Predictions:
    """Float64 probabilities, int8 labels and int64 user codes of N rows in file order."""

    probability: NDArray[np.float64]
    label: NDArray[np.int8]
    user: NDArray[np.int64]


def open_stream(task: Task, split: Split, config: StreamConfig) -> Stream:
    """A split of a task as a stream of batches."""
    return Stream(
        task.rows_path(split),
        task.events_path(split),
        spec=task.spec,
        items=task.item_table,
        config=config,
    )


def predict(
    model: nn.Module, task: Task, split: Split, *, max_history: int = 0, divided: bool = False
) -> Predictions:
    """Probabilities of the positive class for all rows of a split, as they were drawn.

    max_history: most recent events that a row may see, as in training; 0 for all.
    divided: in a distributed run, each process scores a share and all get the whole; every
    process must call.
    Raises ValueInvalidError where the split has no rows.
    """
    stream = open_stream(task, split, replace(SCORING, max_history=max_history))
    if not stream.n_rows:
        raise ValueInvalidError(
            f"the {split} split has no rows to score",
            file=str(task.rows_path(split)),
            hint="move the dates of the split",
        )
    # A process without a group still takes part in the gathering.
    scores, labels = [np.zeros(0, np.float32)], [np.zeros(0, np.float32)]
    rows = [np.zeros(0, np.int64)]
    n_mine = stream.n_rows // world_size() if divided else stream.n_rows
    first = rank() == 0
    with progress(n_mine, f"score {split}") if first else nullcontext(Progress()) as bar:
        for batch, logits in predict_batches(model, stream, divided=divided):
            scores.append(logits)
            labels.append(batch.label.numpy())
            rows.append(batch.row.numpy())
            bar.advance(len(batch))
    logit, label = (_whole(parts, divided) for parts in (scores, labels))
    # Only where each process scored some of the groups they are out of order.
    order = torch.argsort(_whole(rows, divided), stable=True)
    users = task.rows(split).select("user_id").collect()["user_id"].rle_id().to_numpy()
    return Predictions(
        probability=torch.sigmoid(logit[order].double()).numpy(),
        label=label[order].to(torch.int8).numpy(),
        user=users.astype(np.int64),
    )


def predict_batches(
    model: nn.Module, stream: Stream, *, divided: bool = False
) -> Iterator[tuple[Batch, NDArray[np.float32]]]:
    """Batches of a stream with the logits of their rows (`Batch.of_rows`); the model is left in
    the mode it was in.

    divided: only the groups that this process of a distributed run is to score.
    """
    was_training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            for whole, _ in stream.epoch():
                batch = share_of(whole) if divided else whole
                if len(batch):
                    yield batch, batch.of_rows(model(batch)).float().numpy()
    finally:
        model.train(was_training)


def _whole(parts: Sequence[NDArray[Any]], divided: bool) -> Tensor:
    mine = torch.from_numpy(np.concatenate(parts))
    return gather(mine) if divided else mine


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
    **how: Unpack[LoopOptions],
) -> FitResult:
    """Train `model` in place on the task; afterwards it holds the best validation's weights.

    run: folder for config.json, metrics.jsonl, curves.svg and the checkpoint. how: see
    `LoopOptions`; without `resume` an existing run is refused.
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
        weights = label + (1 - label) * rate
        sampled = float(np.average(log_loss_per_row(label, p), weights=weights))
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


# --------------------------------------------------------------------------------------------------
# The simple rules that a network has to beat, as probabilities on a task's test rows.
#
# Popularity, personal frequency and the item-item score are no probabilities; each becomes one by
# a logistic regression on log(1 + n), fitted on validation rows. That leaves their ranking as it
# is and gives them the best log loss that a curve of two numbers can. The logistic model of all
# three is fitted on validation rows too: the item-item table is counted from training events, so it
# knows the answers of training rows. For the logistic, the item-item score counts in units of its
# mean.
#
# The item-item score of each row of a task: how often the shown item is taken near what its user
# took before.
#
# The table is counted from what the training rows may know: of each user of the training split
# the events before that user's last training row. So no row of validation or test is in it, and
# a training row is: scores of training rows would know their own answers.

Ints = NDArray[np.int64]


class _Part(NamedTuple):
    """Rows and events of a split. user, visible, asked: int64 [N], of the rows: a user's number,
    the events before it, and the item's code. item, moment: int64 [E]; user u has the events
    offsets[u] to offsets[u + 1]."""

    user: Ints
    visible: Ints
    asked: Ints
    item: Ints
    moment: Ints
    offsets: Ints


def fit_rows_item_item(task: Task, config: ItemItemConfig | None = None) -> ItemItem:
    """The rule of a task's training rows; codes are those of `task.item_table`."""
    config, part = config or ItemItemConfig(), _part(task, "train")
    seen = np.zeros(len(part.offsets) - 1, np.int64)
    np.maximum.at(seen, part.user, part.visible)
    place, offsets = ranges(part.offsets[:-1], seen)
    item, items = part.item[place], len(task.item_table) - 1
    table = count_neighbours(item, part.moment[place], offsets, items, config.neighbours)
    return ItemItem(config, table, np.bincount(item, minlength=items + 1))


def rows_item_item(model: ItemItem, task: Task, split: Split) -> NDArray[np.float64]:
    """The scores [N] of a split's rows, in their order."""
    part = _part(task, split)
    # Rows of one request share the history.
    starts = run_starts(part.user, part.visible)
    heads = starts[:-1]
    first = part.offsets[part.user[heads]]
    pasts = Pasts.between(part.item, part.moment, first, first + part.visible[heads])
    owner = np.repeat(np.arange(len(heads)), np.diff(starts))
    return model.pair_scores(pasts, owner, part.asked)


def _part(task: Task, split: Split) -> _Part:
    rows = task.rows(split).select("user_id", "item_id", "visible").collect()
    events = pl.read_parquet(task.events_path(split), columns=["user_id", "item_id", "time"])
    user, of_event = user_codes(rows["user_id"], events["user_id"])
    users = int(user[-1]) + 1 if len(user) else 0
    offsets = np.searchsorted(of_event, np.arange(users + 1))
    codes = task.item_table.rows
    return _Part(
        user,
        rows["visible"].to_numpy().astype(np.int64),
        codes(rows["item_id"].cast(pl.String).to_arrow()),
        codes(events["item_id"].cast(pl.String).to_arrow()),
        moment_numbers(offsets, events["time"].to_physical().to_numpy()),
        offsets,
    )


_COLUMNS = ("label", "popularity", "frequency")
_RULES = ("popularity", "frequency", "item-item")
NEGATIVES = 2_000_000

Floats = NDArray[np.float64]


def has_rules(task: Task) -> bool:
    """Whether the task's rows carry the counts `popularity` and `frequency`."""
    return set(_COLUMNS) <= set(task.rows("test").collect_schema().names())


def rule_probabilities(task: Task, *, seed: int) -> dict[str, Floats]:
    """popularity, frequency, item-item and logistic: probabilities [N] of the task's test rows.

    seed: of the negatives that stand for all of them where validation has millions; they are
    weighted, so the fit is that of the full data up to chance.
    Raises ValueInvalidError where the validation rows have one label only.
    """
    valid, test = _counts(task, "valid"), _counts(task, "test")
    model = fit_rows_item_item(task)
    valid["item-item"], test["item-item"] = (
        rows_item_item(model, task, split) for split in ("valid", "test")
    )
    unit = valid["item-item"].mean() or 1.0
    for counts in (valid, test):
        counts["item-item"] = counts["item-item"] / unit
    found = {}
    for name in _RULES:
        calibrator = fit_calibrator("platt", valid["label"], _share(valid[name]))
        found[name] = calibrator(_share(test[name]))
    labels = valid["label"]
    rate = min(1.0, NEGATIVES / max(1, int((labels == 0).sum())))
    kept = (labels == 1) | (np.random.default_rng(seed).random(len(labels)) < rate)
    rule = fit_logistic(
        valid["popularity"][kept],
        valid["frequency"][kept],
        labels[kept].astype(np.int8),
        np.where(labels[kept] == 1, 1.0, 1 / rate),
        item_item=valid["item-item"][kept],
    )
    found["logistic"] = rule(test["popularity"], test["frequency"], test["item-item"])
    return found


def _counts(task: Task, split: Split) -> dict[str, Floats]:
    columns = [pl.col(name).cast(pl.Float32).fill_null(0) for name in _COLUMNS]
    table = task.rows(split).select(columns).collect()
    return {name: table[name].to_numpy().astype(np.float64) for name in _COLUMNS}


def _share(counts: Floats) -> Floats:
    """(1 + n) / (2 + n), whose logit is log(1 + n): what Platt's curve is a logistic model of."""
    return (1 + counts) / (2 + counts)
