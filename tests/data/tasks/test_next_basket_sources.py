"""The next-basket task of the real data sets."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from adwright.core.errors import ConfigError, FileUnreadableError
from adwright.data.sources.complete_journey import CompleteJourney
from adwright.data.tasks.next_basket import NextBasket
from adwright.data.tasks.next_basket_sources import build_next_basket, build_next_item, words


@pytest.fixture(scope="module")
def task() -> NextBasket:
    return build_next_basket(CompleteJourney.open(), households=0.02)


def test_every_sold_item_is_a_candidate(task: NextBasket) -> None:
    assert task.catalogue.height == 68_509
    assert len(task.items) == 68_510


def test_splits_follow_each_other_in_time(task: NextBasket) -> None:
    train, valid, test = (task.visit_time[task.visits(s)] for s in ("train", "valid", "test"))
    # Weeks break at midnight of the stores, which no basket of the sample straddles.
    assert train.max() < valid.min() <= valid.max() < test.min()


def test_no_visit_sees_its_own_instant(task: NextBasket) -> None:
    batch = task.batch(np.arange(len(task)))
    assert bool((batch.age > 0).all())


def test_settings_are_checked() -> None:
    source = CompleteJourney.open()
    with pytest.raises(ConfigError, match="train_until"):
        build_next_basket(source, train_until=50, valid_until=48)
    with pytest.raises(ConfigError, match="households"):
        build_next_basket(source, households=0)


def test_words_of_a_type() -> None:
    frame = pl.DataFrame({"type": ["BREAD:ITALIAN/FRENCH", "ICE - 2 LB", None]})
    assert frame.select(words())["words"].to_list() == [
        ["bread", "italian", "french"],
        ["ice", "lb"],
        None,
    ]


def test_sequences(tmp_path: Path) -> None:
    (tmp_path / "sequences.txt").write_text("7 1 2 3\n8 2 1\n")
    (tmp_path / "item_attributes.json").write_text('{"1": [5], "2": [5, 6]}')
    task = build_next_item(tmp_path)
    assert [len(task.visits(s)) for s in ("train", "valid", "test")] == [1, 2, 2]
    assert task.batch(task.visits("test")).age.tolist()[-1] == 1
    assert task.catalogue["broad"].to_list() == ["5", "5", None]
    assert task.catalogue["narrow"].to_list() == ["5", "6", None]
    with pytest.raises(FileUnreadableError):
        build_next_item(tmp_path / "nothing")


@pytest.mark.skipif("ADWRIGHT_DATA" not in os.environ, reason="ADWRIGHT_DATA is not set")
def test_beauty() -> None:
    task = build_next_item(Path(os.environ["ADWRIGHT_DATA"]) / "beauty")
    assert task.catalogue.height == 12_101
    assert len(task.visits("test")) == len(task.users) == 22_363
