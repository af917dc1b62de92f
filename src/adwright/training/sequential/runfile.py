"""The settings of a training run of a sequence model, as its run file has them, and the sequences
that it names.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray

from adwright.core.config import (
    Gt,
    Le,
    from_jsonable,
    read_toml,
    settings,
    to_jsonable,
    with_current_names,
    with_overrides,
)
from adwright.core.errors import ConfigError, ValueInvalidError
from adwright.data.history_kinds import REPEAT_SHARE, events_file
from adwright.data.sequences.datasets import item_categories, sequences_of_task
from adwright.data.sequences.item_sequences import ItemSequences
from adwright.data.sources.complete_journey import CompleteJourney
from adwright.data.tasks.next_basket import NextBasket
from adwright.data.tasks.next_basket_sources import build_next_basket, build_next_item
from adwright.data.tasks.own.next_item import NextItem, NextItemConfig, SplitRule, open_next_item
from adwright.models.sequential.losses import EXACT_BELOW, LossConfig
from adwright.models.sequential.union import (
    RetrieverConfig,
    SequenceRetriever,
    default_config,
    retriever_config,
    sequence_retriever,
)
from adwright.training.search import (
    Defaults,
    SearchResult,
    Settings,
    check_run_settings,
    near_power_of_two,
    search_defaults,
    seeded,
    within,
)
from adwright.training.sequential.fit import OLD_NAMES, SequentialConfig, Validate, fit_sequential

# --------------------------------------------------------------------------------------------------
# Defaults of the sequence models, counted from the sequences.
#
# history      what 95 of 100 users have, from 20 to 1,024 events (or as many as are asked for), in
#              steps of a power of two
# width        64 numbers; 32 below 20,000 training events
# batch        so that an epoch has a hundred steps, from 16 to 128 sequences
# epochs       so many that training sees ten million events, from 3 to 200; three validations in
#              a row that are no better stop it
# dropout      .2; .4 where an item has fewer than 20 training events on average
# loss         over the whole catalogue; of more than 50,000 items for 512 positions a step

EVENTS = 10_000_000
#: The settings that `sequence_defaults` chooses, by table and key of a run file.
FROM_DATA = (
    *("fit.epochs", "fit.batch", "fit.all_windows", "fit.patience"),
    *("model.max_length", "model.width", "model.dropout", "model.loss"),
)
#: What `sequence_search` tries: factors of the rate and of the width, dropout and decay.
SEQUENCE_SPACE = {
    "learning_rate": (0.3, 1.0, 3.0),
    "width": (0.5, 1.0, 2.0),
    "dropout": (0.1, 0.2, 0.4, 0.6),
    "weight_decay": (0.0, 0.01, 0.1),
}


def sequence_defaults(
    sequences: ItemSequences,
    kind: str = "hstu",
    *,
    repeats: bool = True,
    model: RetrieverConfig | None = None,
    fit: SequentialConfig | None = None,
    chosen: Collection[str] = FROM_DATA,
    longest: int = 1_024,
) -> Defaults[RetrieverConfig, SequentialConfig]:
    """Model and training for these sequences.

    kind: "hstu" or "sasrec". repeats: whether users take items again, which gets a score of its
    own. model, fit: what the settings that are not `chosen` are taken from, by default those of
    the kind. longest: events that are read at most. Raises ConfigError for an unknown kind.
    """
    lengths = sequences.training_end() - sequences.offsets[:-1]
    lengths = lengths[lengths > 1]
    events, usual = int(lengths.sum()), int(np.quantile(lengths, 0.95)) if len(lengths) else 1
    each = events / max(sequences.items, 1)
    large = sequences.items >= EXACT_BELOW
    plain = model or default_config(kind)
    # A multiple of the heads.
    width = -(-(64 if events >= 20_000 else 32) // plain.heads) * plain.heads
    most = near_power_of_two(usual, min(20, longest), longest)
    network = plain.resized(
        max_length=most if "model.max_length" in chosen else None,
        width=width if "model.width" in chosen else None,
    )
    of_model: dict[str, Any] = {
        "dropout": 0.2 if each >= 20 else 0.4,
        "loss": LossConfig("exact", positions=512) if large else LossConfig(draw="popular"),
    }
    network = replace(
        network,
        repeats=network.repeats and repeats,
        **{name: value for name, value in of_model.items() if f"model.{name}" in chosen},
    )
    # Longer sequences are read in windows: each is a sample.
    samples = int(np.ceil(lengths / network.max_length).sum())
    of_fit: dict[str, Any] = {
        "epochs": within(EVENTS / max(events, 1), 3, 200),
        "batch": near_power_of_two(samples / 100, 16, 128),
        "all_windows": True,
        "patience": 3,
    }
    plan = replace(
        fit or SequentialConfig(),
        exclude_seen=not repeats,
        **{name: value for name, value in of_fit.items() if f"fit.{name}" in chosen},
    )
    positions = network.loss.positions
    return Defaults(
        network if sequences.time is not None else network.without_time(),
        plan,
        (
            f"histories: the latest {network.max_length:,} events; 95 of 100 users have at most "
            f"{usual:,}",
            f"width {network.width}, dropout {network.dropout:g}: {events:,} training events, "
            f"{each:.0f} an item",
            f"batches of {plan.batch} of {samples:,} sequences, at most {plan.epochs} epochs, "
            f"fewer when {plan.patience} validations are no better",
            f"the loss is over all {sequences.items:,} items"
            + (f", for {positions:,} positions a step" if positions else ""),
        ),
    )


def sequence_search(
    sequences: ItemSequences,
    defaults: Defaults[RetrieverConfig, SequentialConfig],
    *,
    trials: int,
    folder: Path,
    seed: int = 0,
    validate: Callable[[SequenceRetriever], Validate] | None = None,
) -> tuple[Defaults[RetrieverConfig, SequentialConfig], SearchResult]:
    """Look for better settings by the validation; see `search`.

    folder: of the trials. validate: what measures a model, as `visit_validation`; needed where the
    sequences are split by time. Returns the defaults changed by the best trial, with a sentence
    that says so.
    """
    count, context = sequences.count, sequences.context_sizes

    def measure(tried: Defaults[RetrieverConfig, SequentialConfig]) -> float:
        model = seeded(
            seed,
            lambda: sequence_retriever(
                tried.model, sequences.items, count=count, context_sizes=context
            ),
        )
        measured = None if validate is None else validate(model)
        asked = replace(tried.fit, seed=seed)
        return fit_sequential(model, sequences, asked, validate=measured).best

    return search_defaults(
        defaults,
        _changed,
        measure,
        SEQUENCE_SPACE,
        trials=trials,
        folder=folder,
        about={"data": sequences.data_hash, "model": defaults.model.kind},
        goal=f"ndcg@{defaults.fit.k}",
        seed=seed,
    )


def _changed(
    defaults: Defaults[RetrieverConfig, SequentialConfig], settings: Settings, epochs: int
) -> Defaults[RetrieverConfig, SequentialConfig]:
    fit, model = defaults.fit, defaults.model
    # A multiple of the heads.
    width = round(model.width * settings.get("width", 1.0) / model.heads) * model.heads
    return Defaults(
        replace(model.resized(width=width), dropout=float(settings.get("dropout", model.dropout))),
        replace(
            fit,
            epochs=epochs,
            learning_rate=fit.learning_rate * settings.get("learning_rate", 1.0),
            weight_decay=float(settings.get("weight_decay", fit.weight_decay)),
        ),
        defaults.why,
    )


def default_fit() -> SequentialConfig:
    """Three epochs over all events, in windows where a user has more than the model reads."""
    return SequentialConfig(
        epochs=3,
        batch=16,
        learning_rate=2e-3,
        schedule="linear",
        all_windows=True,
        validation_people=300,
    )


@settings
class SequenceDataConfig:
    """Which sequences to train on.

    kind: "journey" is the next basket of Complete Journey, split by weeks; "events" a file of
    one's own, an imported log or a public one by its name, see `open_next_item`, and "items" a
    folder of sequences, see `build_next_item`, where the last event of a user tests and the one
    before it validates. path: of the file or folder, or the name. split: of kind "events", see
    `split_visits`: what the retrievers and cascades of this log are tested on, too.
    households: share in (0, 1], for kind "journey"; seed: of which.
    offline: never download. allow_repeats: whether what a user had stays a candidate; by default
    it does where at least one event in a hundred is of such an item.
    """

    kind: Literal["journey", "events", "items"] = "journey"
    path: Path | None = None
    households: Annotated[float, Gt(0), Le(1)] = 1.0
    seed: int = 0
    offline: bool = False
    allow_repeats: bool | None = None
    split: SplitRule = "auto"

    def __post_init__(self) -> None:
        if (self.kind == "journey") != (self.path is None):
            raise ConfigError(
                'data of kind "events" or "items" names its path, and no other kind does',
                where="data.path",
                hint='write kind = "events" and path = "path/to/events.parquet"',
            )
        if self.kind != "events" and self.split != "auto":
            raise ConfigError(
                "how it is split belongs to this data",
                where=f"data.split {self.split}, data.kind {self.kind}",
                hint="leave split out, but for events of your own",
            )
        if self.kind != "journey" and (self.households, self.seed) != (1, 0):
            raise ConfigError(
                "a share of households is of Complete Journey alone",
                where=f"households {self.households}, seed {self.seed}",
                hint="leave both out for data of your own",
            )


@settings
class SequenceRun:
    """A training run from sequences to artifact; every field has a default.

    data, fit: see there; `fit` by default is `default_fit()`, its seed is that of the run, its
    exclude_seen follows from the data, and its validation_people are households for kind
    "journey". draws: of the bootstrap. seed: of the weights, the order of the samples and the
    draws. threads: of torch, 0 for as many as it likes. out: the folder to write. model: a
    retriever of the next item, by default HSTU.
    from_data: names of `FROM_DATA` that `sequence_defaults` chooses when the data is read
    (`decided_run`); by `default_run` for data of one's own all of them, less those that a run file
    or an option says.
    """

    data: SequenceDataConfig = field(default_factory=SequenceDataConfig)
    fit: SequentialConfig = field(default_factory=default_fit)
    draws: int = 500
    seed: int = 0
    threads: int = 0
    out: Path = Path("runs/hstu")
    model: RetrieverConfig = field(default_factory=lambda: default_config("hstu"))
    from_data: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in set(self.from_data) - set(FROM_DATA):
            raise ConfigError(
                "this setting does not follow from the data",
                where=f"from_data: {name}",
                hint=f"use some of {', '.join(FROM_DATA)}",
            )
        check_run_settings(draws=self.draws, threads=self.threads, fit_seed=self.fit.seed)
        if not self.fit.exclude_seen:
            raise ConfigError(
                "whether items repeat is said of the data",
                where="fit.exclude_seen",
                hint="set data.allow_repeats to true, and leave fit.exclude_seen out",
            )


def default_run(kind: str = "hstu", *, own: bool = False) -> SequenceRun:
    """Make the run of a model without a run file.

    own: for data of one's own: what `sequence_defaults` can choose follows from the data, and
    what stands here is of no consequence.
    Raises ConfigError for an unknown kind.
    """
    run = SequenceRun(model=default_config(kind), out=Path("runs") / kind)
    if not own:
        return run
    return replace(
        run,
        fit=SequentialConfig(epochs=50, batch=64, all_windows=True, patience=3),
        model=replace(run.model, max_length=200, loss=LossConfig(draw="popular")),
        from_data=FROM_DATA,
    )


def read_run(path: Path | None, kind: str | None = None, *, own: bool = False) -> SequenceRun:
    """Read the run of a run file; without one `default_run`.

    kind: of the model; None for that of the file's [model], or "hstu" where it names none.
    What the file leaves out is as `default_run` has it for its data: a key of a table may be given
    alone. own: as in `default_run`, and true for a file that names data of one's own. Keys of older
    versions are read, with a warning.
    Raises ConfigError as `load_toml`, for an unknown kind, and where the file names another one.
    """
    if path is None:
        return default_run(kind or "hstu", own=own)
    source, values = str(path), read_toml(path)
    for table, names in (("data", {"again": "allow_repeats"}), ("fit", OLD_NAMES)):
        if isinstance(values.get(table), dict):
            values[table] = with_current_names(
                values[table], names, source=f"{source}, table {table}"
            )
    asked = values.get("model")
    named = asked.get("kind") if isinstance(asked, dict) else None
    if kind is not None and named not in (None, kind):
        raise ConfigError(
            f"the run file trains another model than {kind}",
            where=f"{source}, key model.kind: {named}",
            hint="leave the key out, or ask for that model",
        )
    kind = kind or str(named or "hstu")
    retriever_config({"kind": kind})  # there is such a model
    data = values.get("data")
    own = own or (isinstance(data, dict) and data.get("kind", "journey") != "journey")
    default = default_run(kind, own=own)
    plain = to_jsonable(default)
    # What a table says of `kind` is of the model's class and not of its fields.
    plain["model"] |= {"kind": kind}
    plain["from_data"] = [name for name in plain["from_data"] if name not in _said(values)]
    for table, inner in plain.items():
        given = values.get(table, {})
        if isinstance(inner, dict) and isinstance(given, dict):
            values[table] = inner | given
        else:
            values.setdefault(table, inner)
    return from_jsonable(SequenceRun, values, source=source)


def _said(values: Mapping[str, object]) -> set[str]:
    """Names, as in FROM_DATA, of what a run file says; widths of heads say the width."""
    tables = {name: values.get(name) for name in ("fit", "model")}
    said = {
        f"{name}.{key}"
        for name, table in tables.items()
        if isinstance(table, Mapping)
        for key in table
    }
    if said & {"model.heads", "model.qk_width", "model.v_width"}:
        said.add("model.width")
    return said


def with_options(
    run: SequenceRun,
    *,
    max_length: int | None = None,
    blocks: int | None = None,
    width: int | None = None,
    events: Path | None = None,
    households: float | None = None,
    epochs: int | None = None,
    seed: int | None = None,
    out: Path | None = None,
) -> SequenceRun:
    """Replace what is not None in a run.

    max_length, blocks, width: see `SequenceConfig.resized`. events: a file of events, the folder of
    an imported log, or a folder of items; or what `names_journey`. Raises ConfigError for values
    that do not fit each other.
    """
    kind, data = None, run.data
    said = {"fit.epochs": epochs, "model.max_length": max_length, "model.width": width}
    left = tuple(name for name in run.from_data if said.get(name) is None)
    if names_journey(events):
        data, events = replace(data, kind="journey", path=None), None
    if events is not None:
        log = events_file(events).is_file() or any(events.rglob("*.parquet"))
        listed = (events / "sequences.txt").is_file() or not log
        kind = "items" if events.is_dir() and listed else "events"
    return with_overrides(
        run,
        {
            "data": with_overrides(data, {"kind": kind, "path": events, "households": households}),
            "fit": with_overrides(run.fit, {"epochs": epochs}),
            "model": run.model.resized(max_length=max_length, blocks=blocks, width=width),
            "seed": seed,
            "out": out,
            "from_data": left,
        },
    )


def names_journey(events: Path | None) -> bool:
    """Whether `--events` means Complete Journey: its name, where there is no such file."""
    return str(events) == "complete-journey" and events is not None and not events.exists()


@dataclass(frozen=True)
class SequenceData:
    """What a run trains on and is measured by.

    sequences: to train on. task: whose visits are asked; None where the last event of each user
    is. allow_repeats: whether what a user had stays a candidate. categories: name -> code of each
    item, int64 [N + 1], 0 for none, for the rules that go by them; of a task, the task knows them.
    why: what was decided for data of one's own, a sentence a decision.
    """

    sequences: ItemSequences
    task: NextBasket | None
    allow_repeats: bool
    categories: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)
    why: tuple[str, ...] = ()


def open_sequences(config: SequenceDataConfig) -> SequenceData:
    """Open the data of a config.

    Raises AssetError where public data cannot be had, ValueInvalidError where nobody can be asked
    or there is nothing to choose among, and as `open_next_item` and `build_next_item`.
    """
    if config.path is not None and config.kind == "events":
        asked = NextItemConfig(repeats=config.allow_repeats, split=config.split)
        return sequence_data(open_next_item(config.path, asked, offline=config.offline))
    if config.path is not None:
        items = build_next_item(config.path)
        # There the position stands for the time.
        sequences = replace(sequences_of_task(items), time=None)
        _check_own(sequences, str(config.path))
        repeats = _allow_repeats(config, sequences)
        why = ("split: the last event of each user tests, the one before it validates",)
        return SequenceData(sequences, None, repeats, item_categories(items), why)
    task = build_next_basket(
        CompleteJourney.open(offline=config.offline),
        households=config.households,
        seed=config.seed,
    )
    sequences = sequences_of_task(task, split="task")
    return SequenceData(sequences, task, _allow_repeats(config, sequences))


def sequence_data(found: NextItem) -> SequenceData:
    """The task of a log, as sequences: visits of its validation and test are asked."""
    sequences = sequences_of_task(found.task, split="task")
    why = tuple(line for line in found.choices.lines() if not line.startswith("column "))
    return SequenceData(sequences, found.task, found.choices.repeats, why=why)


def _check_own(sequences: ItemSequences, file: str) -> None:
    """Raise ValueInvalidError for sequences by which no model can be trained and measured."""
    if sequences.items < 2:
        raise ValueInvalidError(
            "all events are of one item: there is nothing to choose among",
            file=file,
            column="item_id",
            value=sequences.ids[0],
            hint="see whether the right column is taken as the item",
        )
    if not len(sequences.people("test")):
        raise ValueInvalidError(
            "no user has two events at different times, one to ask for and one before it",
            file=file,
            column="user_id",
            value=f"{len(sequences):,} users, {len(sequences.item):,} events",
            hint="take a longer log, or see whether the right column is taken as the user",
        )


def _allow_repeats(config: SequenceDataConfig, sequences: ItemSequences) -> bool:
    """What the config says, or else the training events show."""
    if config.allow_repeats is not None:
        return config.allow_repeats
    person = np.repeat(np.arange(len(sequences)), np.diff(sequences.offsets))
    kept = np.arange(len(person)) < sequences.training_end()[person]
    pairs = (person * (sequences.items + 1) + sequences.item)[kept]
    return len(np.unique(pairs)) <= (1 - REPEAT_SHARE) * len(pairs)
