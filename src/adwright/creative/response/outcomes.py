"""How creatives did: what each says, how often it was shown and clicked, and beside which others.

    outcomes = read_outcomes("creatives.parquet", UPWORTHY)
    outcomes.records[0].title, outcomes.rate[0]            # 4,873 tests, 22,666 creatives

A test is a group of creatives among which it was drawn at random who saw which; only within a test
does a click rate compare ads, and not audiences or days. Tables without tests are read as well.
Columns that say how an ad did can never become part of what it says, see `guard`.

Stories: creatives that tell the same, which must never stand on both sides of a split.

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
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from adwright.core.clock import Clock, SystemClock
from adwright.core.errors import ConfigError, DataError, SchemaError, ValueInvalidError
from adwright.core.hashing import content_hash
from adwright.creative.records.ad_record import AdRecord
from adwright.creative.records.ads_table import AdColumns, AdTable, read_ads
from adwright.creative.response.data_guard import (
    CountedTable,
    check_inputs,
    check_names,
    read_counts,
    read_groups,
    read_weeks,
)
from adwright.data.sources.bounds import USUAL_BOUNDS, ReadBounds, reading
from adwright.data.sources.frames import Tabular, as_frame
from adwright.data.table_door import find_column
from adwright.metrics.arrays import check_positive_integer

_OUTCOMES = ("impressions", "clicks", "test", "week", "image_id")


@dataclass(frozen=True)
class OutcomeColumns:
    """Which column of a table holds what; empty: there is none.

    ads: what an ad says and shows; None for what the names of the columns tell. impressions,
    clicks: how often it was shown and clicked. test: the group of randomised alternatives that it
    belongs to. week: when it ran, a whole number that grows with time, or a date. image_id: of its
    picture, which only tells who shares one. inputs: further columns that a model of the user's
    own is given; they are guarded as the texts are.
    """

    ads: AdColumns | None = None
    impressions: str = "impressions"
    clicks: str = "clicks"
    test: str = ""
    week: str = ""
    image_id: str = ""
    inputs: tuple[str, ...] = ()


#: Of the Upworthy Research Archive (Matias et al., Scientific Data 2021).
UPWORTHY = OutcomeColumns(
    ads=AdColumns(
        id="index",
        title="headline",
        words=("lede", "excerpt"),
        brand="",
        seconds="",
        image="",
        video="",
        text="",
    ),
    test="clickability_test_id",
    week="test_week",
    image_id="eyecatcher_id",
)


@dataclass(frozen=True, eq=False)
class CreativeOutcomes:
    """N creatives and how they did.

    records: what each says and shows. ids: one of each. impressions, clicks: int64 [N], at least
    one impression and no more clicks than impressions. tests: int64 [N], the number of its test
    from 0, -1 where it was in none. weeks: int64 [N] that grows with time, or None. images: of each
    the id of its picture, "" for none. ledes: of each its main text beside the title, by which
    stories are told apart; by default the first paragraph of its words. notes: what was read how,
    left out or repaired.
    """

    records: tuple[AdRecord, ...]
    ids: tuple[str, ...]
    impressions: NDArray[np.int64]
    clicks: NDArray[np.int64]
    tests: NDArray[np.int64]
    weeks: NDArray[np.int64] | None = None
    images: tuple[str, ...] = ()
    ledes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.images:
            object.__setattr__(self, "images", ("",) * len(self))
        if not self.ledes:
            ledes = tuple(record.words.partition("\n")[0] for record in self.records)
            object.__setattr__(self, "ledes", ledes)

    def __len__(self) -> int:
        """N."""
        return len(self.records)

    @property
    def rate(self) -> NDArray[np.float64]:
        """float64 [N], clicks / impressions."""
        return self.clicks / self.impressions

    @property
    def texts(self) -> tuple[str, ...]:
        """All that is to be read in each."""
        return tuple(record.text for record in self.records)

    @cached_property
    def varied(self) -> NDArray[np.bool_]:
        """bool [N]: its test has two headlines or more; elsewhere text can do no better than
        chance, as only the picture differs."""
        titles: dict[int, set[str]] = {}
        for test, record in zip(self.tests.tolist(), self.records, strict=True):
            titles.setdefault(test, set()).add(record.title)
        several = {test for test, found in titles.items() if len(found) > 1 and test >= 0}
        return np.isin(self.tests, np.fromiter(several, np.int64, len(several)))

    @cached_property
    def data_hash(self) -> str:
        """SHA-256 of all but the notes; another order of the rows is another table."""
        said = [repr(record) for record in self.records]
        counts = [self.impressions.tolist(), self.clicks.tolist(), self.tests.tolist()]
        weeks = None if self.weeks is None else self.weeks.tolist()
        return content_hash([said, self.ids, counts, weeks, self.images, self.ledes])

    def take(self, rows: NDArray[np.int64]) -> CreativeOutcomes:
        """Those of these `rows`, in this order; tests keep their numbers."""
        return CreativeOutcomes(
            records=tuple(self.records[row] for row in rows),
            ids=tuple(self.ids[row] for row in rows),
            impressions=self.impressions[rows],
            clicks=self.clicks[rows],
            tests=self.tests[rows],
            weeks=None if self.weeks is None else self.weeks[rows],
            images=tuple(self.images[row] for row in rows),
            ledes=tuple(self.ledes[row] for row in rows),
            notes=self.notes,
        )


def read_outcomes(
    source: Tabular,
    columns: OutcomeColumns | None = None,
    *,
    bounds: ReadBounds = USUAL_BOUNDS,
    clock: Clock | None = None,
) -> CreativeOutcomes:
    """The creatives of a table and how they did: CSV, TSV, JSON lines, Parquet or a frame.

    What is repaired, each in the notes: a creative that was never shown is left out; one whose
    test is empty, or that is alone in its test, is in none. Anything else is refused: raises
    SchemaError for a column that is missing or says how an ad did (`guard.check_inputs`),
    ValueInvalidError naming file, row, column and value for counts that are missing, not whole,
    negative or of more clicks than impressions, for a missing week, a date after now by `clock`
    and for two rows of one id, DataError where no creative is left; and as `read_ads`.
    """
    asked = columns or OutcomeColumns()
    file = str(source) if isinstance(source, str | Path) else ""
    told = () if asked.ads is None else _inputs_of(asked.ads)
    check_names((*told, *asked.inputs), file=file)
    ads = read_ads(source, asked.ads, bounds=bounds)
    asked = _found(asked, ads)
    _check_apart(asked, ads)
    table = CountedTable(ads.frame, ads.locate, ads.name)
    counts = read_counts(table, asked.impressions, asked.clicks)
    impressions, clicks = (counts[name].to_numpy() for name in ("impressions", "clicks"))
    rows = len(ads)
    groups = read_groups(table, asked.test) if asked.test else (None,) * rows
    further = [name for name in asked.inputs if name not in ads.columns.told]
    parts = _parts(source, ads, bounds).hstack(ads.frame.select(further))
    check_inputs(parts, parts.columns, impressions, clicks, number_tests(groups), file=ads.name)
    shown = np.flatnonzero(impressions > 0)
    if not len(shown):
        hint = "see whether the columns are the right ones"
        raise DataError("no creative was ever shown", file=ads.name, hint=hint)
    ledes = _ledes(parts, ads.columns)
    kept = number_tests([groups[row] for row in shown])
    now = (clock or SystemClock()).now()
    weeks = read_weeks(table, asked.week, now)[shown] if asked.week else None
    images = read_groups(table, asked.image_id) if asked.image_id else (None,) * rows
    return CreativeOutcomes(
        records=tuple(ads.records[row] for row in shown),
        ids=tuple(ads.ids[row] for row in shown),
        impressions=impressions[shown],
        clicks=clicks[shown],
        tests=kept,
        weeks=weeks,
        images=tuple(images[row] or "" for row in shown),
        ledes=() if ledes is None else tuple(ledes[row] for row in shown),
        notes=(*ads.said, *_notes(rows, asked, groups, shown, kept)),
    )


def number_tests(groups: Sequence[str | None]) -> NDArray[np.int64]:
    """int64 [N]: tests numbered from 0 in the order of their names, -1 for None and for who is
    alone in a test, which compares nothing."""
    names, sizes = np.unique([one for one in groups if one is not None], return_counts=True)
    several = {str(name): n for n, name in enumerate(names[sizes > 1])}
    return np.array([several.get(one, -1) if one else -1 for one in groups], np.int64)


def _inputs_of(columns: AdColumns) -> tuple[str, ...]:
    """All that becomes part of an ad; the id does not."""
    return tuple(name for name in columns.told if name != columns.id)


def _found(columns: OutcomeColumns, ads: AdTable) -> OutcomeColumns:
    """The columns of outcomes as the table writes them."""
    names = [*ads.frame.columns, *ads.columns.told]

    found = {name: getattr(columns, name) for name in _OUTCOMES}
    for name, theirs in found.items():
        found[name] = theirs and find_column(theirs, names, f"its {name}", file=ads.name)
    return replace(columns, **found)


def _check_apart(columns: OutcomeColumns, ads: AdTable) -> None:
    """Raise SchemaError for a column that is both a part of the ad and what became of it."""
    check_names(_inputs_of(ads.columns), file=ads.name)
    for name in (getattr(columns, field) for field in _OUTCOMES):
        if name and name in ads.columns.told:
            raise SchemaError(
                f"column {name!r} is read as a part of the ad and cannot be read as its outcome, "
                "test, week or image id too",
                file=ads.name,
                column=name,
                hint="say which columns hold the ad: OutcomeColumns(ads=AdColumns(title=...))",
            )


def _parts(source: Tabular, ads: AdTable, bounds: ReadBounds) -> pl.DataFrame:
    """The columns that became parts of the ads, as they stand in the table."""
    names = _inputs_of(ads.columns)
    lazy = as_frame(source, whole=True, bounds=bounds).frame.select(names)
    return reading(Path(ads.name), lazy.collect)


def _ledes(parts: pl.DataFrame, columns: AdColumns) -> tuple[str, ...] | None:
    """Of each row the first of its words; None where that is no column of text."""
    name = columns.words[0] if columns.words else ""
    if not name or parts.schema[name].is_nested():
        return None
    cells = parts[name].cast(pl.String).fill_null("").str.strip_chars()
    return tuple(cells.to_list())


def _notes(
    rows: int,
    columns: OutcomeColumns,
    groups: Sequence[str | None],
    shown: NDArray[np.int64],
    tests: NDArray[np.int64],
) -> tuple[str, ...]:
    notes = []
    if len(shown) < rows:
        notes.append(f"{rows - len(shown):,} creatives that were never shown are left out")
    if not columns.test:
        notes.append(
            "no column of tests is named: click rates are compared across audiences and days"
        )
        return tuple(notes)
    none = sum(groups[row] is None for row in shown)
    alone = int((tests < 0).sum()) - none
    if none:
        notes.append(f"{none:,} creatives have no {columns.test} and are in no test")
    if alone:
        notes.append(f"{alone:,} creatives are alone in their {columns.test} and are in no test")
    return tuple(notes)


Whole = NDArray[np.int64]
#: A shorter text is shared by chance, or is a default.
LEAST_CHARACTERS = 20


def stories_of(outcomes: CreativeOutcomes) -> Whole:
    """int64 [N]: the story of each creative, numbered from 0 by first appearance.

    Creatives of one test are one story; so are those that share the title, whatever its length, the
    lede where it has twenty characters, or the image.
    """
    tests = [test if test >= 0 else None for test in outcomes.tests.tolist()]
    titles = [record.title.strip() or None for record in outcomes.records]
    ledes = [lede if len(lede) >= LEAST_CHARACTERS else None for lede in outcomes.ledes]
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
            hint="split by story: story_folds",
        )
