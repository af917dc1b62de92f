"""Stories are connected components, and no story stands on both sides of a split."""

from __future__ import annotations

from pathlib import Path

import networkx as nx
import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.core.errors import ConfigError, DataError, ValueInvalidError
from adwright.creative.records.verbal.record import AdRecord
from adwright.creative.response.protocol.outcomes import UPWORTHY, CreativeOutcomes, read_outcomes
from adwright.creative.response.protocol.stories import (
    check_split,
    components,
    split_by_week,
    stories_of,
    story_folds,
)

KEY = st.one_of(st.none(), st.integers(0, 5))


@given(st.lists(st.tuples(KEY, KEY, KEY), max_size=25))
def test_components_are_what_walking_from_row_to_row_reaches(rows: list) -> None:
    found = components([[row[kind] for row in rows] for kind in range(3)]) if rows else np.empty(0)
    story = [-1] * len(rows)
    for start in range(len(rows)):
        if story[start] >= 0:
            continue
        number, reached = max(story) + 1, [start]
        while reached:
            row = reached.pop()
            story[row] = number
            for other in range(len(rows)):
                pairs = zip(rows[row], rows[other], strict=True)
                if story[other] < 0 and any(a == b and a is not None for a, b in pairs):
                    reached.append(other)
    assert found.tolist() == story


def _outcomes(
    titles: list[str],
    *,
    tests: list[int] | None = None,
    ledes: list[str] | None = None,
    images: list[str] | None = None,
    weeks: list[int] | None = None,
) -> CreativeOutcomes:
    rows = len(titles)
    return CreativeOutcomes(
        records=tuple(AdRecord(title=title) for title in titles),
        ids=tuple(str(n) for n in range(rows)),
        impressions=np.full(rows, 10),
        clicks=np.ones(rows, np.int64),
        tests=np.array(tests or [-1] * rows),
        ledes=tuple(ledes or [""] * rows),
        images=tuple(images or [""] * rows),
        weeks=None if weeks is None else np.array(weeks),
    )


def test_each_link_makes_a_story_and_nothing_makes_none() -> None:
    lede = "a text of more than twenty signs"
    assert stories_of(_outcomes(["a", "b", "a", ""])).tolist() == [0, 1, 0, 2]
    assert stories_of(_outcomes(["a", "b"], tests=[3, 3])).tolist() == [0, 0]
    assert stories_of(_outcomes(["a", "b"], images=["p", "p"])).tolist() == [0, 0]
    assert stories_of(_outcomes(["a", "b"], ledes=[lede, lede])).tolist() == [0, 0]
    assert stories_of(_outcomes(["a", "b"], ledes=["short", "short"])).tolist() == [0, 1]
    assert stories_of(_outcomes(["a", "b"], ledes=["short", "short"]), least=5).tolist() == [0, 0]
    assert stories_of(_outcomes(["", ""])).tolist() == [0, 1]


@given(st.lists(st.integers(0, 12), min_size=10, max_size=80), st.integers(0, 3))
def test_folds_hold_whole_stories_and_are_balanced(stories: list[int], seed: int) -> None:
    story = np.array(stories)
    if len(set(stories)) < 3:
        return
    fold = story_folds(story, 3, seed=seed)
    assert all(len(set(fold[story == one])) == 1 for one in set(stories))
    rows = np.bincount(fold, minlength=3)
    assert rows.max() - rows.min() <= np.bincount(story).max()
    assert (story_folds(story, 3, seed=seed) == fold).all()
    check_split(np.flatnonzero(fold != 0), np.flatnonzero(fold == 0), story)


def test_folds_follow_the_seed() -> None:
    story = np.arange(50)
    assert (story_folds(story, 5, seed=0) != story_folds(story, 5, seed=1)).any()
    with pytest.raises(ConfigError, match="2 stories cannot be parted into 3"):
        story_folds(np.array([0, 1, 1]), 3)


def test_a_story_on_both_sides_is_refused() -> None:
    story = np.array([0, 1, 1, 2])
    check_split(np.array([0]), np.array([1, 2]), story)
    with pytest.raises(ValueInvalidError, match=r"1 stories stand on both sides.*row 2.*value 1"):
        check_split(np.array([0, 1]), np.array([2, 3]), story)


def test_time_splits_by_week_and_leaves_out_stories_that_go_on() -> None:
    outcomes = _outcomes(["a", "b", "a", "c"], weeks=[1, 1, 2, 3])
    split = split_by_week(outcomes, 2, stories_of(outcomes))
    assert (split.train.tolist(), split.held_out.tolist(), split.left_out) == ([0, 1], [3], 1)
    with pytest.raises(DataError, match="one side of the split is empty"):
        split_by_week(outcomes, 9, stories_of(outcomes))
    with pytest.raises(DataError, match="no weeks"):
        split_by_week(_outcomes(["a"]), 1, np.zeros(1, np.int64))


def test_upworthy_has_the_stories_that_were_counted(shared_data: Path) -> None:
    table = pl.read_parquet(shared_data / "upworthy" / "creatives.parquet")
    # Word for word, blanks at the ends counted: 3,508 stories, the largest of 7 tests.
    columns = ("clickability_test_id", "headline", "lede", "eyecatcher_id")
    keys = [table[name].to_list() for name in columns]
    keys[2] = [lede if lede and len(lede) >= 20 else None for lede in keys[2]]
    story = components(keys)
    assert story.max() + 1 == 3508
    tests = table.with_columns(story=pl.Series(story)).group_by("story")
    assert tests.agg(pl.col("clickability_test_id").n_unique())["clickability_test_id"].max() == 7
    graph = nx.Graph()
    graph.add_nodes_from(range(table.height))
    for kind in keys:
        first: dict = {}
        graph.add_edges_from(
            (first.setdefault(key, row), row) for row, key in enumerate(kind) if key is not None
        )
    assert nx.number_connected_components(graph) == 3508
    # Without the blanks three of them are others' too.
    assert stories_of(read_outcomes(table, UPWORTHY)).max() + 1 == 3505
