"""Stories: creatives that tell the same, which must never stand on both sides of a split.

    stories = stories_of(outcomes)                      # int64 [N]
    folds = story_folds(stories, 5, seed=0)             # int64 [N], the fold that holds a row out
    check_split(train, held_out, stories)               # raises where one story is on both sides

One story is tested again and again: of 4,873 tests of headlines, 36% share a headline word for word
with another test, 41% a lede, 37% an image. A split by test would know the story it is asked about.
A story is a connected component of creatives that share a test, a title, a text of `least`
characters or more beside the title, or an image.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adwright.core.errors import ConfigError, DataError, ValueInvalidError
from adwright.creative.response.protocol.outcomes import CreativeOutcomes
from adwright.metrics.arrays import check_positive_integer, check_same_length

__all__ = [
    "LEAST_CHARACTERS",
    "TimeSplit",
    "check_split",
    "components",
    "split_by_week",
    "stories_of",
    "story_folds",
]

Whole = NDArray[np.int64]
#: A shorter text is shared by chance, or is a default.
LEAST_CHARACTERS = 20


def stories_of(outcomes: CreativeOutcomes, *, least: int = LEAST_CHARACTERS) -> Whole:
    """int64 [N]: the story of each creative, numbered from 0 by first appearance.

    Creatives of one test are one story; so are those that share the title, whatever its length, the
    lede where it has `least` characters, or the image.
    """
    check_positive_integer(least, "least")
    tests = [test if test >= 0 else None for test in outcomes.tests.tolist()]
    titles = [record.title.strip() or None for record in outcomes.records]
    ledes = [lede if len(lede) >= least else None for lede in outcomes.ledes]
    images = [image or None for image in outcomes.images]
    return components((tests, titles, ledes, images))


def components(links: Iterable[Sequence[Hashable | None]]) -> Whole:
    """int64 [N]: connected components of N rows, numbered from 0 by first appearance.

    links: of each kind of link N keys; rows of the same key are connected, None connects nothing.
    """
    columns = [list(keys) for keys in links]
    rows = len(columns[0]) if columns else 0
    parent = np.arange(rows).tolist()

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    for keys in columns:
        if len(keys) != rows:
            raise DataError(f"expected {rows} keys and found {len(keys)}", column="links")
        first: dict[Hashable, int] = {}
        for row, key in enumerate(keys):
            if key is None:
                continue
            a, b = root(first.setdefault(key, row)), root(row)
            parent[max(a, b)] = min(a, b)
    roots = [root(row) for row in range(rows)]
    number: dict[int, int] = {}
    return np.array([number.setdefault(one, len(number)) for one in roots], np.int64)


def story_folds(stories: Whole, folds: int, *, seed: int = 0) -> Whole:
    """int64 [N]: the fold, from 0, in which each row is held out; a story is in one fold whole.

    Stories are shuffled by `seed`, then dealt from the largest on, each to the fold that has the
    fewest rows, so that folds are balanced. Raises ConfigError for more folds than stories.
    """
    check_positive_integer(folds, "folds")
    names, code, size = np.unique(stories, return_inverse=True, return_counts=True)
    if folds < 2 or folds > len(names):
        raise ConfigError(
            f"{len(names)} stories cannot be parted into {folds} folds",
            where="folds",
            hint="take from 2 folds to as many as there are stories",
        )
    shuffled = np.random.default_rng(seed).permutation(len(names))
    order = shuffled[np.argsort(-size[shuffled], kind="stable")]
    rows, fold = [0] * folds, np.empty(len(names), np.int64)
    for story in order.tolist():
        least = min(range(folds), key=rows.__getitem__)
        fold[story] = least
        rows[least] += int(size[story])
    return fold[code]


@dataclass(frozen=True, eq=False)
class TimeSplit:
    """Rows to train on and to test on, int64 ascending; left_out counts later rows of stories that
    had begun before."""

    train: Whole
    held_out: Whole
    left_out: int


def split_by_week(outcomes: CreativeOutcomes, week: int, stories: Whole) -> TimeSplit:
    """Train on what ran before `week`, test on stories that began in it or later.

    Raises DataError where there are no weeks, or one side is empty.
    """
    if outcomes.weeks is None:
        raise DataError(
            "these creatives have no weeks to split by",
            hint="name their column: OutcomeColumns(week=...)",
        )
    check_same_length(len(outcomes), {"stories": stories})
    before = outcomes.weeks < week
    began = np.isin(stories, stories[before])
    held_out = np.flatnonzero(~before & ~began)
    if not before.any() or not len(held_out):
        weeks = f"{outcomes.weeks.min()} to {outcomes.weeks.max()}"
        raise DataError("one side of the split is empty", value=week, hint=f"weeks are {weeks}")
    return TimeSplit(np.flatnonzero(before), held_out, int((~before & began).sum()))


def check_split(train: Whole, held_out: Whole, stories: Whole) -> None:
    """Raise ValueInvalidError where a story has rows on both sides; it names the first one.

    train, held_out: rows. stories: int64 [N] of all rows.
    """
    shared = np.isin(stories[held_out], stories[train])
    if shared.any():
        row = int(held_out[np.argmax(shared)])
        number = len(np.unique(stories[held_out][shared]))
        raise ValueInvalidError(
            f"{number:,} stories stand on both sides of the split, the first is named: what was "
            "learnt of a story answers for it",
            row=row,
            column="stories",
            value=int(stories[row]),
            hint="split by story: story_folds, or split_by_week",
        )
