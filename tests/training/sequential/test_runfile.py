"""What a run file may say, and the sequences that come of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from adwright.core.config import from_jsonable, to_jsonable
from adwright.core.errors import ConfigError
from adwright.data.sequences.item_sequences import ItemSequences
from adwright.data.sequences.stochastic_length import StochasticLength
from adwright.data.tasks.own.next_item import open_next_item
from adwright.models.sequential.hstu import HSTUConfig, SASRecConfig
from adwright.models.sequential.union import default_config
from adwright.training.search import Defaults
from adwright.training.sequential.fit import OLD_NAMES, SequentialConfig, renamed
from adwright.training.sequential.runfile import (
    FROM_DATA,
    SequenceDataConfig,
    SequenceRun,
    default_run,
    names_journey,
    open_sequences,
    read_run,
    sequence_defaults,
    sequence_search,
    with_options,
)
from tests.support.data.small_sequences import small_sequences

KINDS = {"hstu": HSTUConfig, "sasrec": SASRecConfig}


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_file_says_any_part(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text(
        'seed = 4\nout = "there"\n[data]\nkind = "events"\npath = "e.csv"\nallow_repeats = true\n'
        "[model]\nblocks = 3\n[fit]\nepochs = 7\nall_windows = false\n"
        '[model.loss]\nkind = "exact"\n'
    )
    config = read_run(path, kind)
    assert type(config.model) is KINDS[kind]
    assert (config.seed, config.out, config.model.blocks) == (4, Path("there"), 3)
    assert (config.fit.epochs, config.fit.all_windows, config.model.loss.kind) == (
        7,
        False,
        "exact",
    )
    assert config.data == SequenceDataConfig("events", Path("e.csv"), allow_repeats=True)
    path.write_text("[model]\nlayers = 3\n")
    with pytest.raises(ConfigError, match="unknown key") as raised:
        read_run(path, kind)
    assert "layers" in str(raised.value)
    assert str(path) in str(raised.value)


def test_a_run_file_may_name_its_model(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text('[model]\nkind = "sasrec"\nblocks = 3\n')
    assert read_run(path).model == replace(default_config("sasrec"), blocks=3)
    assert read_run(path) == read_run(path, "sasrec")
    assert read_run(path).out == Path("runs/sasrec")
    with pytest.raises(ConfigError, match="another model than hstu"):
        read_run(path, "hstu")
    path.write_text("[model]\nblocks = 3\n")
    assert read_run(path).model == replace(default_config("hstu"), blocks=3)
    for kind, message in (("gru", "no sequence model"), ("hstu_ranker", "no retriever")):
        path.write_text(f'[model]\nkind = "{kind}"\n')
        with pytest.raises(ConfigError, match=message):
            read_run(path)


OLD = """[data]
kind = "events"
path = "e.csv"
again = true
[fit]
whole = false
final = true
shortening = { alpha = 1.5 }
"""


def test_the_old_names_of_keys_are_read_with_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text(OLD)
    with pytest.warns(UserWarning, match="is now called") as told:
        found = read_run(path)
    assert [str(one.message).split(": ")[1] for one in told] == [
        "again is now called allow_repeats",
        "whole is now called all_windows",
        "final is now called train_on_validation",
        "shortening is now called stochastic_length",
    ]
    assert found.data.allow_repeats
    assert (found.fit.all_windows, found.fit.train_on_validation) == (False, True)
    assert found.fit.stochastic_length == StochasticLength(1.5)
    path.write_text("[fit]\nwhole = true\nall_windows = true\n")
    with pytest.raises(ConfigError, match="old name of all_windows"):
        read_run(path)
    path.write_text("[fit]\nunseen = false\n")
    with pytest.warns(UserWarning, match="exclude_seen"), pytest.raises(ConfigError, match="data"):
        read_run(path)


@pytest.mark.parametrize("kind", KINDS)
def test_the_defaults_follow_the_data(kind: str, tmp_path: Path) -> None:
    assert read_run(None, kind) == default_run(kind)
    own = read_run(None, kind, own=True)
    assert own == default_run(kind, own=True)
    assert type(own.model) is KINDS[kind]
    assert (own.model.max_length, own.model.loss.positions) == (200, 0)
    assert own.fit.epochs > default_run(kind).fit.epochs
    # A run file of the same data has the same defaults, and so has each of its tables.
    path = tmp_path / "run.toml"
    path.write_text("seed = 4\n")
    assert read_run(path, kind) == replace(default_run(kind), seed=4)
    assert read_run(path, kind, own=True) == replace(own, seed=4)
    data = SequenceDataConfig("events", Path("e.csv"))
    named = '[data]\nkind = "events"\npath = "e.csv"\n'
    path.write_text(named)
    assert read_run(path, kind) == replace(own, data=data)
    path.write_text(f"{named}[fit]\nepochs = 7\n[model]\nblocks = 3\n")
    fit, model = replace(own.fit, epochs=7), replace(own.model, blocks=3)
    left = tuple(name for name in FROM_DATA if name != "fit.epochs")
    said = replace(own, data=data, fit=fit, model=model, from_data=left)
    assert read_run(path, kind) == said
    path.write_text("[fit]\nepochs = 7\n")
    assert read_run(path, kind).fit == replace(default_run(kind).fit, epochs=7)
    assert to_jsonable(read_run(None, kind))["out"] == f"runs/{kind}"


def test_what_is_said_does_not_follow_from_the_data(tmp_path: Path) -> None:
    assert default_run().from_data == ()
    own = default_run(own=True)
    assert own.from_data == FROM_DATA
    path = tmp_path / "run.toml"
    path.write_text(
        '[data]\nkind = "events"\npath = "e.csv"\n[fit]\nepochs = 50\nlearning_rate = 0.01\n'
        "[model]\nblocks = 3\n[model.loss]\npositions = 9\n"
    )
    left = set(FROM_DATA) - {"fit.epochs", "model.loss"}
    assert set(read_run(path).from_data) == left
    options = with_options(read_run(path), max_length=200, width=8, epochs=2)
    assert set(options.from_data) == left - {"model.max_length", "model.width"}
    path.write_text('[data]\nkind = "events"\npath = "e.csv"\n[model]\nheads = 2\n')
    assert set(read_run(path).from_data) == set(FROM_DATA) - {"model.width"}
    path.write_text("[fit]\nepochs = 50\n")
    assert read_run(path).from_data == ()
    again = from_jsonable(SequenceRun, to_jsonable(own))
    assert again == own
    with pytest.raises(ConfigError, match="does not follow from the data"):
        replace(own, from_data=("fit.seed",))


def test_what_cannot_be_meant_is_refused() -> None:
    with pytest.raises(ConfigError, match="names its path"):
        SequenceDataConfig("events")
    with pytest.raises(ConfigError, match="names its path"):
        SequenceDataConfig(path=Path("e.csv"))
    for wrong in ({"households": 0.5}, {"seed": 1}):
        with pytest.raises(ConfigError, match="alone"):
            SequenceDataConfig("events", Path("e.csv"), **wrong)
    good = SequenceRun()
    for other, about in (
        ({"draws": 0}, "draws"),
        ({"threads": -1}, "threads"),
        ({"fit": replace(good.fit, seed=1)}, "seed"),
        ({"fit": replace(good.fit, exclude_seen=False)}, "said of the data"),
    ):
        with pytest.raises(ConfigError, match=about):
            replace(good, **other)


@pytest.mark.parametrize("kind", KINDS)
def test_options_replace_what_is_given_and_nothing_else(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = default_run(kind)
    assert with_options(run) == run
    assert with_options(run, blocks=3) == replace(run, model=replace(run.model, blocks=3))
    longer = with_options(run, max_length=9, width=8)
    assert (longer.model.max_length, longer.model.width) == (9, 8)
    found = with_options(run, households=0.1, epochs=2, seed=3, out=tmp_path)
    assert (found.data.households, found.fit.epochs) == (0.1, 2)
    assert (found.seed, found.out) == (3, tmp_path)
    assert with_options(run, events=tmp_path).data == SequenceDataConfig("items", tmp_path)
    file = tmp_path / "e"
    assert with_options(run, events=file).data == SequenceDataConfig("events", file)
    (tmp_path / "events.parquet").touch()
    assert with_options(run, events=tmp_path).data == SequenceDataConfig("events", tmp_path)
    (tmp_path / "sequences.txt").touch()
    assert with_options(run, events=tmp_path).data == SequenceDataConfig("items", tmp_path)
    named = with_options(run, events=file)
    again = with_options(named, events=Path("complete-journey"), households=0.5)
    assert again.data == SequenceDataConfig(households=0.5)
    monkeypatch.chdir(tmp_path)
    assert names_journey(Path("complete-journey"))
    assert not names_journey(None)
    Path("complete-journey").touch()
    assert not names_journey(Path("complete-journey"))


def test_whether_people_take_items_again_is_read_off_the_training_events(tmp_path: Path) -> None:
    path = tmp_path / "e.parquet"
    rows = [(f"u{n}", f"i{(n + k) % 9}", k) for n in range(9) for k in range(6)]
    once = pl.DataFrame(rows, schema=["user_id", "item_id", "time"], orient="row")
    once.write_parquet(path)
    asked = SequenceDataConfig("events", path)
    data = open_sequences(asked)
    assert data.task is not None
    assert not data.allow_repeats
    assert any("the last visit of each of the 9 users" in line for line in data.why)
    assert open_sequences(replace(asked, allow_repeats=True)).allow_repeats
    # The last two events of a person are no training events.
    late = once.with_columns(
        item_id=pl.when(pl.col("time") > 3).then(pl.lit("i0")).otherwise("item_id")
    )
    late.write_parquet(path)
    assert not open_sequences(asked).allow_repeats
    early = once.with_columns(
        item_id=pl.when(pl.col("time") < 2).then(pl.lit("i0")).otherwise("item_id")
    )
    early.write_parquet(path)
    assert open_sequences(asked).allow_repeats


def test_a_log_is_split_as_for_all_other_models(tmp_path: Path) -> None:
    """By time where the times say enough; the visits of the task are asked."""
    path = tmp_path / "e.parquet"
    start = 1_700_000_000
    rows = [
        (f"u{n}", f"i{(n + k) % 9}", start + 86_400 * k + n) for n in range(60) for k in range(20)
    ]
    pl.DataFrame(rows, schema=["user_id", "item_id", "time"], orient="row").write_parquet(path)
    asked, found = SequenceDataConfig("events", path), open_next_item(path)
    data = open_sequences(asked)
    assert data.task is not None
    assert data.task.data_hash == found.task.data_hash
    assert any(line.startswith("split: by time") for line in data.why)
    assert data.sequences.train_ends is not None
    assert np.array_equal(data.task.split, found.task.split)
    last = open_sequences(replace(asked, split="last"))
    assert any(line.startswith("split: the last visit") for line in last.why)
    with pytest.raises(ConfigError, match="how it is split"):
        SequenceDataConfig(split="last")


def test_a_public_log_is_taken_by_its_name() -> None:
    named = with_options(default_run(own=True), events=Path("movielens")).data
    assert named == SequenceDataConfig("events", Path("movielens"))


def test_a_folder_of_items_has_no_times(tmp_path: Path) -> None:
    (tmp_path / "sequences.txt").write_text("1 5 6 7 8\n2 6 7 8 5\n3 7 8 5 6\n")
    (tmp_path / "item_attributes.json").write_text('{"5": [1], "6": [1], "7": [2], "8": [2]}')
    data = open_sequences(SequenceDataConfig("items", tmp_path))
    assert (data.sequences.items, len(data.sequences)) == (4, 3)
    assert (data.sequences.time, data.task, data.allow_repeats) == (None, None, False)


def test_complete_journey_is_asked_by_visits() -> None:
    data = open_sequences(SequenceDataConfig(households=0.01, seed=1))
    assert data.task is not None
    assert data.allow_repeats
    assert data.sequences.by_moment
    assert data.sequences.users == data.task.users
    assert "1% share" in data.sequences.protocol


@pytest.mark.parametrize("wrong", [{"learning_rate": 0.0}, {"betas": (0.9, 1.0)}])
def test_settings_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        SequentialConfig(**wrong)  # type: ignore[arg-type]


def test_what_was_saved_under_old_names_is_read() -> None:
    config = SequentialConfig(all_windows=True, exclude_seen=False, epochs=3)
    new = to_jsonable(config)
    current = {name: old for old, name in OLD_NAMES.items()}
    old = {current.get(name, name): value for name, value in new.items()}
    assert set(OLD_NAMES) <= set(old)
    assert from_jsonable(SequentialConfig, renamed(old)) == config
    model = {"stochastic_length": {"alpha": 1.6}, "blocks": 2}
    assert renamed({"fit": old, "model": model}) == {"fit": new, "model": model}
    assert renamed(new) == new


def sequences_of(people: int, each: int, items: int = 50) -> ItemSequences:
    """`people` of `each` events, without times."""
    rng = np.random.default_rng(0)
    return ItemSequences(
        name="s",
        protocol="p",
        data_hash="h",
        users=tuple(map(str, range(people))),
        ids=tuple(map(str, range(items))),
        item=rng.integers(1, items + 1, people * each),
        offsets=np.arange(people + 1) * each,
    )


@pytest.mark.parametrize(
    ("people", "each", "items", "found"),
    [
        # longest, width, batch, epochs, dropout
        (30, 10, 50, (20, 32, 16, 200, 0.4)),
        (3_000, 40, 50, (64, 64, 32, 88, 0.2)),
        (20_000, 12, 30_000, (20, 64, 128, 50, 0.4)),
        (20, 5_002, 50, (1024, 64, 16, 100, 0.2)),
    ],
)
def test_sizes_follow_from_the_sequences(
    people: int, each: int, items: int, found: tuple[float, ...]
) -> None:
    made = sequence_defaults(sequences_of(people, each, items))
    model, fit = made.model, made.fit
    sizes = (model.max_length, model.width, fit.batch, fit.epochs, model.dropout)
    assert sizes == found
    assert f"the latest {model.max_length:,} events" in made.why[0]
    assert (fit.patience, fit.all_windows) == (3, True)


def test_what_the_data_lack_is_not_read() -> None:
    timed = small_sequences()
    assert sequence_defaults(timed).model.reads_time
    assert not sequence_defaults(replace(timed, time=None)).model.reads_time
    once = sequence_defaults(timed, repeats=False)
    assert not once.model.repeats
    assert once.fit.exclude_seen
    assert not sequence_defaults(timed).fit.exclude_seen
    assert isinstance(sequence_defaults(timed, "sasrec").model, SASRecConfig)
    with pytest.raises(ConfigError, match="no sequence model"):
        sequence_defaults(timed, "gru")


def test_what_is_not_left_to_the_data_stays() -> None:
    some, fit = sequences_of(3_000, 40), SequentialConfig(epochs=5, batch=7, patience=9)
    asked = default_config("hstu").resized(width=12, max_length=9)
    found = sequence_defaults(some, model=asked, fit=fit, chosen=("fit.batch", "model.dropout"))
    assert found.model == replace(asked, dropout=0.2, time=False)
    # Each history of 38 training events is read in windows of 9.
    assert found.fit == replace(fit, batch=128, exclude_seen=False)
    text = " ".join(found.why)
    assert "the latest 9 events" in text
    assert "width 12, dropout 0.2" in text
    assert "batches of 128 of 15,000 sequences, at most 5 epochs, fewer when 9" in text
    assert "for 512 positions a step" in text
    whole = sequence_defaults(some, model=asked, fit=fit)
    assert (whole.model, whole.fit) == (
        *(sequence_defaults(some).model, sequence_defaults(some).fit),
    )
    once = sequence_defaults(some, model=replace(asked, repeats=False))
    assert not once.model.repeats
    heads = replace(default_config("sasrec"), heads=3, width=9)
    assert sequence_defaults(some, "sasrec", model=heads).model.width == 66


def test_a_search_changes_the_defaults(tmp_path: Path) -> None:
    walks = small_sequences()
    before = sequence_defaults(walks)
    small = before.model.resized(width=8, max_length=20, blocks=1)
    quick = Defaults(small, SequentialConfig(epochs=1, batch=8), before.why)
    found, result = sequence_search(walks, quick, trials=2, folder=tmp_path)
    assert result.goal == "ndcg@10"
    assert len(result.trials) == 2
    assert found.why[:-1] == before.why
    assert (tmp_path / "trials.json").exists()

    asked: list[str] = []

    def validate(model: object) -> object:
        asked.append(type(model).__name__)
        return lambda: (0.5, {})

    sequence_search(walks, quick, trials=1, folder=tmp_path / "b", validate=validate)  # type: ignore[arg-type]
    assert asked == ["HSTU"]
