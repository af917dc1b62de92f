"""What a run file may say, and the sequences that come of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from adwright.core.config import from_jsonable, load_toml, to_jsonable
from adwright.core.errors import ConfigError
from adwright.training.sequential.runfile import (
    HSTURun,
    SASRecRun,
    SequenceDataConfig,
    Sizes,
    changed,
    open_sequences,
    own_data,
    read_run,
)


@pytest.mark.parametrize("kind", [HSTURun, SASRecRun])
def test_a_run_file_says_any_part(kind: Any, tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text(
        'seed = 4\nout = "there"\n[data]\nkind = "events"\npath = "e.csv"\nagain = true\n'
        '[model]\nblocks = 3\n[fit]\nepochs = 7\nwhole = false\n[model.loss]\nkind = "exact"\n'
    )
    config = load_toml(path, kind)
    assert (config.seed, config.out, config.model.blocks) == (4, Path("there"), 3)
    assert (config.fit.epochs, config.fit.whole, config.model.loss.kind) == (7, False, "exact")
    assert config.data == SequenceDataConfig("events", Path("e.csv"), again=True)
    assert from_jsonable(kind, to_jsonable(config)) == config
    path.write_text("[model]\nlayers = 3\n")
    with pytest.raises(ConfigError, match="unknown key"):
        load_toml(path, kind)


@pytest.mark.parametrize("kind", [HSTURun, SASRecRun])
def test_the_defaults_follow_the_data(kind: Any, tmp_path: Path) -> None:
    assert read_run(None, kind) == kind()
    own = read_run(None, kind, own=True)
    assert own == own_data(kind())
    assert type(own) is kind
    assert (own.model.max_length, own.model.loss.positions) == (200, 0)
    assert own.fit.epochs > kind().fit.epochs
    path = tmp_path / "run.toml"
    path.write_text("seed = 4\n")
    assert read_run(path, kind, own=True) == replace(kind(), seed=4)


def test_what_cannot_be_meant_is_refused() -> None:
    with pytest.raises(ConfigError, match="names its path"):
        SequenceDataConfig("events")
    with pytest.raises(ConfigError, match="names its path"):
        SequenceDataConfig(path=Path("e.csv"))
    with pytest.raises(ConfigError, match="share"):
        SequenceDataConfig(households=0)
    for wrong in ({"households": 0.5}, {"seed": 1}):
        with pytest.raises(ConfigError, match="alone"):
            SequenceDataConfig("events", Path("e.csv"), **wrong)
    good = HSTURun()
    for other, about in (
        ({"draws": 0}, "draws"),
        ({"threads": -1}, "threads"),
        ({"fit": replace(good.fit, seed=1)}, "seed"),
        ({"fit": replace(good.fit, unseen=False)}, "said of the data"),
    ):
        with pytest.raises(ConfigError, match=about):
            replace(good, **other)


@pytest.mark.parametrize("run", [HSTURun(), SASRecRun()], ids=["hstu", "sasrec"])
def test_what_is_given_is_changed_and_nothing_else(run: Any, tmp_path: Path) -> None:
    assert changed(run) == run
    assert changed(run, sizes=Sizes(blocks=3)) == replace(run, model=replace(run.model, blocks=3))
    longer = changed(run, sizes=Sizes(max_length=9, width=8))
    assert (longer.model.max_length, longer.model.width) == (9, 8)
    if isinstance(run, HSTURun):
        assert isinstance(longer, HSTURun)
        assert (longer.model.qk_width, longer.model.v_width) == (2, 2)
        wider = replace(run, model=replace(run.model, qk_width=5))
        assert changed(wider, sizes=Sizes(blocks=3)).model.qk_width == 5  # type: ignore[union-attr]
    found = changed(run, households=0.1, epochs=2, seed=3, out=tmp_path)
    assert (found.data.households, found.fit.epochs) == (0.1, 2)
    assert (found.seed, found.out) == (3, tmp_path)
    assert changed(run, events=tmp_path).data == SequenceDataConfig("items", tmp_path)
    assert changed(run, events=tmp_path / "e").data == SequenceDataConfig("events", tmp_path / "e")
    (tmp_path / "events.parquet").touch()
    assert changed(run, events=tmp_path).data == SequenceDataConfig("events", tmp_path)
    (tmp_path / "sequences.txt").touch()
    assert changed(run, events=tmp_path).data == SequenceDataConfig("items", tmp_path)


def test_whether_people_take_items_again_is_read_off_the_training_events(tmp_path: Path) -> None:
    path = tmp_path / "e.parquet"
    rows = [(f"u{n}", f"i{(n + k) % 9}", k) for n in range(9) for k in range(6)]
    once = pl.DataFrame(rows, schema=["user_id", "item_id", "time"], orient="row")
    once.write_parquet(path)
    asked = SequenceDataConfig("events", path)
    data = open_sequences(asked)
    assert (data.task, data.again) == (None, False)
    assert open_sequences(replace(asked, again=True)).again
    # The last two events of a person are no training events.
    late = once.with_columns(
        item_id=pl.when(pl.col("time") > 3).then(pl.lit("i0")).otherwise("item_id")
    )
    late.write_parquet(path)
    assert not open_sequences(asked).again
    early = once.with_columns(
        item_id=pl.when(pl.col("time") < 2).then(pl.lit("i0")).otherwise("item_id")
    )
    early.write_parquet(path)
    assert open_sequences(asked).again


def test_a_folder_of_items_has_no_times(tmp_path: Path) -> None:
    (tmp_path / "sequences.txt").write_text("1 5 6 7 8\n2 6 7 8 5\n3 7 8 5 6\n")
    (tmp_path / "item_attributes.json").write_text('{"5": [1], "6": [1], "7": [2], "8": [2]}')
    data = open_sequences(SequenceDataConfig("items", tmp_path))
    assert (data.sequences.items, len(data.sequences)) == (4, 3)
    assert (data.sequences.time, data.task, data.again) == (None, None, False)


def test_complete_journey_is_asked_by_visits() -> None:
    data = open_sequences(SequenceDataConfig(households=0.01, seed=1))
    assert data.task is not None
    assert data.again
    assert data.sequences.by_moment
    assert data.sequences.users == data.task.users
    assert "1% share" in data.sequences.protocol
