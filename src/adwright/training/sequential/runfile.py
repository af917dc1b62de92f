"""What a training of a sequential model is asked for, as a run file in TOML says it, and the
sequences that it names."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np

from adwright.core.config import check_literals, load_toml
from adwright.core.errors import ConfigError
from adwright.data.history_kinds import events_file
from adwright.data.sequences.datasets import sequences_of_task
from adwright.data.sequences.from_events import read_event_file
from adwright.data.sequences.item_sequences import ItemSequences
from adwright.data.sources.complete_journey import CompleteJourney
from adwright.data.tasks.next_basket import NextBasket
from adwright.data.tasks.next_basket_sources import build_next_basket, build_next_item
from adwright.models.sequential.hstu import HSTUConfig
from adwright.models.sequential.losses import LossConfig
from adwright.models.sequential.sasrec import SASRecConfig
from adwright.training.sequential.fit import SequentialConfig

__all__ = [
    "HSTURun",
    "SASRecRun",
    "SequenceData",
    "SequenceDataConfig",
    "SequenceRun",
    "SequenceRunConfig",
    "Sizes",
    "changed",
    "default_fit",
    "default_hstu",
    "default_sasrec",
    "open_sequences",
    "own_data",
    "read_run",
]

#: From this share of events on, of an item that the person had before, people take items again.
AGAIN = 0.01

# Over 68,509 items the exact sum for some positions teaches more than draws for all.
_LOSS = LossConfig("exact", positions=512)


def default_hstu() -> HSTUConfig:
    """An HSTU for the next basket of Complete Journey that two cores train in ten minutes."""
    return HSTUConfig(
        width=64,
        max_length=1024,
        blocks=2,
        heads=4,
        qk_width=16,
        v_width=16,
        popularity=True,
        repeats=True,
        loss=_LOSS,
    )


def default_sasrec() -> SASRecConfig:
    """A SASRec of the same size."""
    return SASRecConfig(
        width=64,
        max_length=1024,
        blocks=2,
        heads=4,
        attention_dropout=0.0,
        popularity=True,
        repeats=True,
        loss=_LOSS,
    )


def default_fit() -> SequentialConfig:
    """Three epochs over all events, in windows where a person has more than the model reads."""
    return SequentialConfig(
        epochs=3,
        batch=16,
        learning_rate=2e-3,
        schedule="linear",
        whole=True,
        validation_people=300,
    )


@dataclass(frozen=True)
class SequenceDataConfig:
    """Which sequences to train on.

    kind: "journey" is the next basket of Complete Journey, split by weeks; "events" a file of
    one's own or an imported log, see `read_event_file`, and "items" a folder of sequences, see
    `build_next_item`, where the last event of a person tests and the one before it validates.
    path: of the file or folder. households: share in (0, 1], for kind "journey"; seed: of which.
    offline: never download. again: whether what a person had stays a candidate; by default it
    does where at least one event in a hundred is of such an item.
    """

    kind: Literal["journey", "events", "items"] = "journey"
    path: Path | None = None
    households: float = 1.0
    seed: int = 0
    offline: bool = False
    again: bool | None = None

    def __post_init__(self) -> None:
        check_literals(self)
        if (self.kind == "journey") != (self.path is None):
            raise ConfigError(
                'data of kind "events" or "items" names its path, and no other kind does',
                where="data.path",
                hint='write kind = "events" and path = "path/to/events.parquet"',
            )
        if not 0 < self.households <= 1:
            raise ConfigError("households is a share in (0, 1]", where=f"{self.households}")
        if self.kind != "journey" and (self.households, self.seed) != (1, 0):
            raise ConfigError(
                "a share of households is of Complete Journey alone",
                where=f"households {self.households}, seed {self.seed}",
                hint="leave both out for data of your own",
            )


@dataclass(frozen=True)
class SequenceRunConfig:
    """What both kinds of run have; every field has a default.

    data, fit: see there; `fit` by default is `default_fit()`, its seed is that of the run, its
    unseen follows from the data, and its validation_people are households for kind "journey".
    draws: of the bootstrap. seed: of the weights, the order of the samples and the draws.
    threads: of torch, 0 for as many as it likes. out: the folder to write.
    """

    data: SequenceDataConfig = field(default_factory=SequenceDataConfig)
    fit: SequentialConfig = field(default_factory=default_fit)
    draws: int = 500
    seed: int = 0
    threads: int = 0
    out: Path = Path("runs/sequence")

    def __post_init__(self) -> None:
        if self.draws < 1:
            raise ConfigError("draws must be at least 1", where=f"draws {self.draws}")
        if self.threads < 0:
            raise ConfigError("threads must not be negative", where=f"threads {self.threads}")
        if self.fit.seed:
            raise ConfigError(
                "the seed of the fit is that of the run",
                where=f"fit.seed {self.fit.seed}",
                hint="set seed, and leave fit.seed out",
            )
        if not self.fit.unseen:
            raise ConfigError(
                "whether what a person had may come again is said of the data",
                where="fit.unseen",
                hint="set data.again to true, and leave fit.unseen out",
            )


@dataclass(frozen=True)
class HSTURun(SequenceRunConfig):
    """A training of HSTU; model: by default `default_hstu()`."""

    model: HSTUConfig = field(default_factory=default_hstu)
    out: Path = Path("runs/hstu")


@dataclass(frozen=True)
class SASRecRun(SequenceRunConfig):
    """A training of SASRec; model: by default `default_sasrec()`."""

    model: SASRecConfig = field(default_factory=default_sasrec)
    out: Path = Path("runs/sasrec")


SequenceRun = HSTURun | SASRecRun


def own_data(run: SequenceRun) -> SequenceRun:
    """The run with a training for data of one's own, of which nothing is known: shorter
    histories, all positions, and epochs until three validations in a row were no better."""
    fit = SequentialConfig(epochs=50, batch=64, whole=True, patience=3)
    loss = LossConfig(draw="popular")
    match run:
        case HSTURun(model=hstu):
            return replace(run, fit=fit, model=replace(hstu, max_length=200, loss=loss))
        case SASRecRun(model=sasrec):
            return replace(run, fit=fit, model=replace(sasrec, max_length=200, loss=loss))


def read_run(
    path: Path | None, kind: type[HSTURun] | type[SASRecRun], *, own: bool = False
) -> SequenceRun:
    """The run of a run file; without one the defaults, those of `own_data` with `own`.

    Raises ConfigError as `load_toml`.
    """
    if path is not None:
        return load_toml(path, kind)
    return own_data(kind()) if own else kind()


@dataclass(frozen=True)
class Sizes:
    """Sizes of a model, None for what stays."""

    max_length: int | None = None
    blocks: int | None = None
    width: int | None = None


def changed(
    run: SequenceRun,
    *,
    sizes: Sizes | None = None,
    events: Path | None = None,
    households: float | None = None,
    epochs: int | None = None,
    seed: int | None = None,
    out: Path | None = None,
) -> SequenceRun:
    """The run with what is not None changed.

    sizes: with another width, those of an HSTU's heads follow. events: a file of events, the
    folder of an imported log, or a folder of items. Raises ConfigError for values that do not
    fit each other.
    """
    data, fit, asked = run.data, run.fit, sizes or Sizes()
    if events is not None:
        listed = (events / "sequences.txt").is_file() or not events_file(events).is_file()
        kind: Literal["events", "items"] = "items" if events.is_dir() and listed else "events"
        data = replace(data, kind=kind, path=events)
    if households is not None:
        data = replace(data, households=households)
    if epochs is not None:
        fit = replace(fit, epochs=epochs)
    longest = asked.max_length or run.model.max_length
    blocks, width = asked.blocks or run.model.blocks, asked.width or run.model.width
    match run:
        case HSTURun(model=hstu):
            head = max(width // hstu.heads, 1)
            wide = (hstu.qk_width, hstu.v_width) if asked.width is None else (head, head)
            sized = replace(
                hstu,
                max_length=longest,
                blocks=blocks,
                width=width,
                qk_width=wide[0],
                v_width=wide[1],
            )
            run = replace(run, model=sized)
        case SASRecRun(model=sasrec):
            model = replace(sasrec, max_length=longest, blocks=blocks, width=width)
            run = replace(run, model=model)
    return replace(
        run,
        data=data,
        fit=fit,
        seed=run.seed if seed is None else seed,
        out=run.out if out is None else out,
    )


@dataclass(frozen=True)
class SequenceData:
    """sequences: to train on. task: whose visits are asked; None where the last event of a person
    is. again: whether what a person had stays a candidate."""

    sequences: ItemSequences
    task: NextBasket | None
    again: bool


def open_sequences(config: SequenceDataConfig) -> SequenceData:
    """The data of a config.

    Raises AssetError where public data cannot be had, and as `read_event_file` and
    `build_next_item`.
    """
    if config.path is not None:
        if config.kind == "events":
            sequences = read_event_file(config.path)
        else:
            # There the position stands for the time.
            sequences = replace(sequences_of_task(build_next_item(config.path)), time=None)
        return SequenceData(sequences, None, _again(config, sequences))
    task = build_next_basket(
        CompleteJourney.open(offline=config.offline),
        households=config.households,
        seed=config.seed,
    )
    sequences = sequences_of_task(task, split="task")
    return SequenceData(sequences, task, _again(config, sequences))


def _again(config: SequenceDataConfig, sequences: ItemSequences) -> bool:
    """What the config says, or the training events."""
    if config.again is not None:
        return config.again
    person = np.repeat(np.arange(len(sequences)), np.diff(sequences.offsets))
    kept = np.arange(len(person)) < sequences.training_end()[person]
    pairs = (person * (sequences.items + 1) + sequences.item)[kept]
    return len(np.unique(pairs)) <= (1 - AGAIN) * len(pairs)
