"""How creatives did: what each says, how often it was shown and clicked, and beside which others.

    outcomes = read_outcomes("creatives.parquet", OutcomeColumns(test="test"))
    outcomes.records[0].title, outcomes.rate[0]            # 4,873 tests, 22,666 creatives

A test is a group of creatives among which it was drawn at random who saw which; only within a test
does a click rate compare ads, and not audiences or days. Tables without tests are read as well.
Columns that say how an ad did can never become part of what it says, see `check_inputs`. Beside the
ad stand its fields: page, format, placement, targeting and the like, found by their usual names or
named, categories and numbers; and its date. An outcome may also be a score without impressions.

Stories: creatives that tell the same, which must never stand on both sides of a split.

    stories = stories_of(outcomes)                      # int64 [N]
    folds = story_folds(stories, 5, seed=0)             # int64 [N], the fold that holds a row out

One story is tested again and again: of 4,873 tests of headlines, 36% share a headline word for word
with another test, 41% a lede, 37% an image. A split by test would know the story it is asked about.
A story is a connected component of creatives that share a test, a title, a text of `least`
characters or more beside the title, or an image.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from adwright.core.errors import ConfigError, DataError, SchemaError
from adwright.core.hashing import content_hash
from adwright.creative.records.ad_record import AdRecord
from adwright.creative.records.ads_table import AdColumns, AdTable, read_ads
from adwright.creative.records.cells import LARGEST_COUNT, check_rows, find_decimal, read_number
from adwright.data.schema import Check, Locate, is_category
from adwright.data.sources.bounds import USUAL_BOUNDS, ReadBounds, reading
from adwright.data.sources.csvfile import format_of
from adwright.data.sources.frames import Tabular, as_frame
from adwright.data.table_door import find_column, listed, table_specs
from adwright.metrics.arrays import check_positive_integer
from adwright.metrics.bootstrap import best_of_test
from adwright.metrics.choosing import dealt
from adwright.metrics.ranking import spearman

# --------------------------------------------------------------------------------------------------
# Refuse inputs that say how an ad did: a label among the features makes any score look brilliant.
#
#     check_inputs(frame, ["headline", "significance"], impressions, clicks, tests)      # raises
#
# Three ways of being a label are looked for:
#
# - by name: `ctr`, `winner`, `first_place`, `clicks` and the like;
# - by measurement within tests: where a column differs within at least 20 tests, and picks the best
#   of a test in more of them than max(60%, chance + 40% of what is left), at two standard errors.
#   The best texts can do stands far below: of 2,607 tests of headlines, 31% where chance is 23%;
# - by measurement over all rows: its ranks agree with those of the click rate, the clicks or the
#   impressions by more than .9 (Spearman).
#
# Both thresholds are our choice. A number is measured as it is; a text by the first three numbers
# in
# it, and by what other tests had where it stood (means of the other four fifths of the tests),
# which
# finds words such as "won". Where a column is half empty, only the tests in which it differs count.
#
# Read the counts and groups of a table of creatives, each cell checked.
#
#     counts = read_counts(table, ("impressions", "clicks"))     # Int64, none missing
#
# Counts may be whole numbers, floats that are whole (as pandas makes of them) or text of any
# locale.

Floats = NDArray[np.float64]

#: Words of a name that tell an outcome.
_WORDS = frozenset(
    (
        *("ctr", "cvr", "cpc", "cpm", "cpa", "roas", "clicks", "impressions", "views", "reach"),
        *("conversions", "conversion", "purchases", "revenue", "significance", "winner"),
        *("winning", "won", "lift", "uplift", "pvalue", "clickrate", "clickthroughrate"),
    )
)
_PHRASES = ("first_place", "click_rate", "click_through", "p_value", "best_of", "label", "outcome")
_LEAST_TESTS, _SHARE, _LEFT, _ERRORS = 20, 0.6, 0.4, 2.0
_ALIKE, _LEAST_ROWS, _FOLDS, _KNOWN = 0.9, 30, 5, 5
_NUMBERS = 3
_NUMBER = r"([-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)"
_EMPTY = "fill it in, or leave the row out; what was not counted is no zero"
_PART = "write counts, not rates or averages; a creative's rows of several days are summed"
_ABOVE = "see whether the two columns were exchanged, or clicks counted on other days"
_HINT = "leave it out: what is learnt from it cannot be known before the ad has run"


def is_label_name(name: str) -> bool:
    """Whether a column of this name says how an ad did.

    >>> [is_label_name(name) for name in ("CTR (all)", "first_place", "headline", "call_to_action")]
    [True, True, False, False]
    """
    split = re.sub(r"([a-z])([A-Z])", r"\1_\2", name)
    plain = re.sub(r"[^a-z0-9]+", "_", split.lower()).strip("_")
    parts = plain.split("_")
    return bool(_WORDS & {*parts, plain.replace("_", "")}) or any(
        f"_{phrase}_" in f"_{plain}_" for phrase in _PHRASES
    )


def check_names(names: Sequence[str], *, file: str = "") -> None:
    """Raise SchemaError for the first of these input columns whose name tells an outcome."""
    for name in names:
        if is_label_name(name):
            raise SchemaError(
                f"column {name!r} says how an ad did, by its name, and cannot be an input",
                file=file,
                column=name,
                hint=_HINT,
            )


def check_inputs(
    frame: pl.DataFrame,
    names: Sequence[str],
    impressions: NDArray[np.int64],
    clicks: NDArray[Any],
    tests: NDArray[np.int64],
    *,
    file: str = "",
) -> None:
    """Raise SchemaError for the first of the columns `names` of `frame` that is a label.

    impressions, clicks: int64 [N], of its rows; those without impressions are not looked at.
    tests: int64 [N], -1 for none. file: shown in the error, with the column and what was found.
    """
    check_names(names, file=file)
    shown = np.flatnonzero(impressions > 0)
    seen, clicked, group = impressions[shown], clicks[shown], tests[shown]
    rate = clicked / np.maximum(seen, 1)
    for name in names:
        for score in _scores_of(frame[name][shown.tolist()], rate, group):
            said = _within(score, rate, group) or _overall(
                score, {"click rate": rate, "clicks": clicked, "impressions": seen}
            )
            if said:
                raise SchemaError(
                    f"column {name!r} cannot be an input: {said}",
                    file=file,
                    column=name,
                    hint=_HINT,
                )


def _within(score: Floats, rate: Floats, tests: NDArray[np.int64]) -> str:
    """What is wrong with a score within the tests in which it differs; empty for nothing."""
    there = (tests >= 0) & np.isfinite(score)
    s, y, t = score[there], rate[there], tests[there]
    if not len(t):
        return ""
    _, code = np.unique(t, return_inverse=True)
    low, high = np.full(code.max() + 1, np.inf), np.full(code.max() + 1, -np.inf)
    np.minimum.at(low, code, s)
    np.maximum.at(high, code, s)
    differs = (low < high)[code]
    if not differs.any():
        return ""
    for side in (s[differs], -s[differs]):
        found = best_of_test(side, y[differs], t[differs])
        tests_found = len(found.top)
        if tests_found < _LEAST_TESTS:
            continue
        chance = float(found.chance.mean())
        bound = max(_SHARE, chance + _LEFT * (1 - chance))
        share = float(found.value)
        error = np.sqrt(share * (1 - share) / tests_found)
        if share - _ERRORS * error > bound:
            return (
                f"it picks the best ad in {share:.0%} of the {tests_found:,} tests in which it "
                f"differs, where chance is {chance:.0%}; no text can do that, so it is made of "
                "the outcome"
            )
    return ""


def _overall(score: Floats, outcomes: dict[str, NDArray[np.generic]]) -> str:
    """What is wrong with a score over all rows; empty for nothing."""
    there = np.isfinite(score)
    if there.sum() < _LEAST_ROWS or np.ptp(score[there]) == 0:
        return ""
    for name, outcome in outcomes.items():
        alike = spearman(score[there], outcome[there].astype(np.float64))
        if abs(alike) > _ALIKE:
            return f"its ranks agree with those of the {name} (Spearman {alike:.2f})"
    return ""


def _scores_of(column: pl.Series, rate: Floats, tests: NDArray[np.int64]) -> Iterator[Floats]:
    """float64 [N], NaN where the column says nothing: each way to read it as a score."""
    if column.dtype.is_numeric() or column.dtype == pl.Boolean:
        yield _floats(column)
    elif column.dtype.is_temporal():
        yield _floats(column.to_physical())
    else:
        if column.dtype.is_nested() or column.dtype == pl.Binary:
            column = pl.Series([None if one is None else str(one) for one in column.to_list()])
        column = column.cast(pl.String)
        numbers = column.str.extract_all(_NUMBER)
        for place in range(_NUMBERS):
            yield _floats(numbers.list.get(place, null_on_oob=True).cast(pl.Float64, strict=False))
    yield _by_other_tests(column, rate, tests)


def _floats(column: pl.Series) -> Floats:
    return np.asarray(column.cast(pl.Float64).fill_null(np.nan).to_numpy(), np.float64)


def _by_other_tests(column: pl.Series, rate: Floats, tests: NDArray[np.int64]) -> Floats:
    """float64 [N]: how the rate stands to the mean of its test where other tests have the same
    value; NaN for a value of fewer than five rows of the other fifths: the same text in another
    test is worth the same there, and no label."""
    codes = column.rank("dense").fill_null(0).to_numpy().astype(np.int64)
    alone = tests < 0
    unit = np.where(alone, np.arange(len(tests)) + tests.max(initial=0) + 1, tests)
    _, unit = np.unique(unit, return_inverse=True)
    mean = np.bincount(unit, rate) / np.maximum(np.bincount(unit), 1)
    lift = np.where(alone, rate, rate - mean[unit])
    # A fixed draw: the same table gives the same answer.
    fold = np.random.default_rng(0).permutation(unit.max(initial=0) + 1)[unit] % _FOLDS
    size = int(codes.max(initial=0)) + 1
    made = np.full(len(rate), np.nan)
    for held in range(_FOLDS):
        rest, own = fold != held, fold == held
        number = np.bincount(codes[rest], minlength=size)
        total = np.bincount(codes[rest], lift[rest], minlength=size)
        known = own & (number[codes] >= _KNOWN)
        made[known] = total[codes[known]] / number[codes[known]]
    return made


@dataclass(frozen=True)
class CountedTable:
    """A table in memory, and how its rows are named in errors. decimal_comma: of its text."""

    frame: pl.DataFrame
    locate: Locate
    file: str = ""
    decimal_comma: bool = False


def read_counts(table: CountedTable, impressions: str, clicks: str) -> pl.DataFrame:
    """Columns `impressions` and `clicks`, Int64 [N]: 0 <= clicks <= impressions.

    Raises ValueInvalidError naming the file, row, column and value of the first cell that is
    missing, no number, not whole, negative, or of clicks above impressions; SchemaError for a
    column of another type.
    """
    names = {"impressions": impressions, "clicks": clicks}
    text = [name for name in names.values() if table.frame.schema[name] == pl.String]
    sign, _ = find_decimal(
        table.frame, text, text, table.locate, separator_comma=table.decimal_comma
    )
    found = {}
    for ours, name in names.items():
        dtype = table.frame.schema[name]
        if dtype == pl.String:
            value = read_number(table.frame, name, sign, table.locate, whole=True).value
        elif dtype.is_numeric():
            value = table.frame[name].cast(pl.Float64).fill_nan(None)
        elif dtype == pl.Null:
            value = table.frame[name].cast(pl.Float64)
        else:
            raise SchemaError(
                f"{name} must be whole numbers, not {dtype}",
                file=table.file,
                column=name,
                hint="write how often the creative was shown, and how often it was clicked",
            )
        found[ours] = value
    read = table.frame.select(*names.values()).with_columns(
        value.alias(f"__{ours}") for ours, value in found.items()
    )
    checks = []
    for ours, name in names.items():
        cell = pl.col(f"__{ours}")
        for wrong, what, hint in (
            (cell.is_null(), "must not be empty", _EMPTY),
            (cell.is_infinite(), "must be finite", "correct the cell"),
            (cell != cell.floor(), "must be a whole number", _PART),
            (cell < 0, "must not be negative", "correct the cell"),
            (cell > LARGEST_COUNT, "is more than anybody counts", "correct it"),
        ):
            checks.append(Check(name, wrong, f"{name} {what}", hint))
    above, what = pl.col("__clicks") > pl.col("__impressions"), f"must not be above {impressions}"
    checks.append(Check(clicks, above, f"{clicks} {what}", _ABOVE))
    check_rows(read, checks, table.locate)
    return read.select(pl.col(f"__{ours}").cast(pl.Int64).alias(ours) for ours in names)


def read_groups(table: CountedTable, column: str) -> tuple[str | None, ...]:
    """The name of each row's group as text, None where it has none."""
    dtype = table.frame.schema[column]
    if not (dtype == pl.String or dtype.is_integer() or is_category(dtype) or dtype == pl.Null):
        raise SchemaError(
            f"{column} must be text or whole numbers, not {dtype}",
            file=table.file,
            column=column,
            hint="name each group, and leave the cell of a creative of none empty",
        )
    texts = table.frame[column].cast(pl.String).str.strip_chars()
    return tuple(text or None for text in texts.to_list())


_OUTCOMES = ("impressions", "clicks", "test", "image_id", "score")
#: Numbers of so few values are categories too; whole ones, of so many rows a value as well.
_FEW_VALUES, _ROWS_PER_VALUE = 50, 2
#: A weekday tells from so many days on; days since 1970 that a table of ads may have.
_FEW_DAYS, _DAYS = 14, (3_650, 40_000)
_AS_NUMBER, _CLOCK = " as number", (" weekday", " hour")
_MONTHS = {
    name: at
    for at, name in enumerate(
        ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
    )
}
#: Tried in turn beside those of day and month in numbers; the first that reads most cells is taken.
_FORMATS = (
    *("%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%d", "%Y/%m/%d"),
    *("%m/%d/%y %I:%M:%S %p", "%d-%b-%y", "%d-%b-%Y", "%b %d, %Y", "%Y%m%d"),
)


@dataclass(frozen=True)
class OutcomeColumns:
    """Which column of a table holds what; empty: there is none.

    ads: what an ad says and shows; None for what the names of the columns tell. impressions,
    clicks: how often it was shown and clicked. test: the group of randomised alternatives that it
    belongs to. image_id: of its picture, which only tells who shares one. score: an outcome in the
    place of both, such as points; then `test` is a group within which scores are compared, and no
    story. fields: what else is known before; None finds usual names. date: when it ran; None finds
    a usual name.
    """

    ads: AdColumns | None = None
    impressions: str = "impressions"
    clicks: str = "clicks"
    test: str = ""
    image_id: str = ""
    score: str = ""
    fields: tuple[str, ...] | None = None
    date: str | None = None


@dataclass(frozen=True, eq=False)
class CreativeOutcomes:
    """N creatives and how they did.

    records: what each says and shows. ids: one of each. impressions, clicks: int64 [N], at least
    one impression and no more clicks than impressions. tests: int64 [N], the number of its test
    from 0, -1 where it was in none. images: of each the id of its picture, "" for none. ledes: of
    each its main text beside the title, by which stories are told apart; by default the first
    paragraph of its words. notes: what was read how, left out or repaired.
    """

    records: tuple[AdRecord, ...]
    ids: tuple[str, ...]
    impressions: NDArray[np.int64]
    clicks: NDArray[np.int64]
    tests: NDArray[np.int64]
    images: tuple[str, ...] = ()
    ledes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    fields: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    times: Floats | None = None
    scores: Floats | None = None

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
        return self.clicks / self.impressions if self.scores is None else self.scores

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
        more = [[name, one.tolist()] for name, one in self.fields.items()]
        told = [None if one is None else one.tolist() for one in (self.times, self.scores)]
        return content_hash([said, self.ids, counts, None, self.images, self.ledes, more, told])

    def take(self, rows: NDArray[np.int64]) -> CreativeOutcomes:
        """Those of these `rows`, in this order; tests keep their numbers."""
        return CreativeOutcomes(
            records=tuple(self.records[row] for row in rows),
            ids=tuple(self.ids[row] for row in rows),
            impressions=self.impressions[rows],
            clicks=self.clicks[rows],
            tests=self.tests[rows],
            images=tuple(self.images[row] for row in rows),
            ledes=tuple(self.ledes[row] for row in rows),
            notes=self.notes,
            fields={name: one[rows] for name, one in self.fields.items()},
            times=None if self.times is None else self.times[rows],
            scores=None if self.scores is None else self.scores[rows],
        )


def read_outcomes(
    source: Tabular, columns: OutcomeColumns | None = None, *, bounds: ReadBounds = USUAL_BOUNDS
) -> CreativeOutcomes:
    """The creatives of a table and how they did: CSV, TSV, JSON lines, Parquet or a frame.

    What is repaired, each in the notes: a creative that was never shown is left out; one whose
    test is empty, or that is alone in its test, is in none. Anything else is refused: raises
    SchemaError for a column that is missing or says how an ad did (`check_inputs`),
    ValueInvalidError naming file, row, column and value for counts that are missing, not whole,
    negative or of more clicks than impressions, and for two rows of one id, DataError where no
    creative is left; and as `read_ads`.
    """
    asked = columns or OutcomeColumns()
    file = str(source) if isinstance(source, str | Path) else ""
    check_names(() if asked.ads is None else _inputs_of(asked.ads), file=file)
    ads = read_ads(source, asked.ads, bounds=bounds, bare=True)
    asked = _found(asked, ads)
    _check_apart(asked, ads)
    table = CountedTable(ads.frame, ads.locate, ads.name)
    rows, scores = len(ads), None
    if asked.score:
        scores = _numbers(ads.frame[asked.score])
        impressions, clicks = np.ones(rows, np.int64), np.zeros(rows, np.int64)
        kept = np.isfinite(scores)
        wrong = "has a score"
    else:
        counts = read_counts(table, asked.impressions, asked.clicks)
        impressions, clicks = (counts[name].to_numpy() for name in ("impressions", "clicks"))
        kept, wrong = impressions > 0, "was ever shown"
    groups = read_groups(table, asked.test) if asked.test else (None,) * rows
    named, said = find_fields(ads, asked)
    # The columns that became parts of the ads, as they stand in the table.
    lazy = as_frame(source, whole=True, bounds=bounds).frame.select(_inputs_of(ads.columns))
    parts = reading(Path(ads.name), lazy.collect)
    told = ads.frame.select(one for one in named if one not in parts.columns)
    inputs = parts.hstack(told) if parts.width else told
    within = number_tests(groups)
    found = clicks if scores is None else np.nan_to_num(scores)
    known = impressions * kept
    check_inputs(inputs, inputs.columns, known, found, within, file=ads.name)
    shown = np.flatnonzero(kept)
    if not len(shown):
        hint = "see whether the columns are the right ones"
        raise DataError(f"no creative {wrong}", file=ads.name, hint=hint)
    if not (len(inputs.columns) or any(ads.media)):
        raise SchemaError(
            "nothing in the table is known of an ad before it runs",
            file=ads.name,
            hint=f"say which columns are, --columns title=THEIRS or --field THEIRS; the table has "
            f"{listed(ads.frame.columns)}",
        )
    within = number_tests([groups[row] for row in shown])
    ledes: list[str] = []
    first = next(iter(ads.columns.words or ()), "")
    if first and not parts.schema[first].is_nested():
        cells = parts[first].cast(pl.String).fill_null("").str.strip_chars()
        ledes = cells.to_list()
    images = read_groups(table, asked.image_id) if asked.image_id else (None,) * rows
    fields, times = fields_of(ads.frame, named), None
    if asked.date:
        times = read_times(ads.frame, asked.date)
        fields |= {f"{asked.date} {name}": one for name, one in clock_of(times).items()}
    return CreativeOutcomes(
        records=tuple(ads.records[row] for row in shown),
        ids=tuple(ads.ids[row] for row in shown),
        impressions=impressions[shown],
        clicks=clicks[shown],
        tests=within,
        images=tuple(images[row] or "" for row in shown),
        ledes=tuple(ledes[row] for row in shown) if ledes else (),
        notes=(*ads.said, *said, *_notes(rows, asked, groups, shown, within)),
        fields={name: one[shown] for name, one in fields.items()},
        times=None if times is None else times[shown],
        scores=None if scores is None else scores[shown],
    )


def _numbers(column: pl.Series) -> Floats:
    """[N], NaN for what is no number."""
    if column.dtype == pl.String:
        column = column.str.strip_chars().str.replace_all(",", "").cast(pl.Float64, strict=False)
    found = column.cast(pl.Float64, strict=False).fill_null(np.nan).to_numpy()
    return np.asarray(found, np.float64)


def find_fields(ads: AdTable, asked: OutcomeColumns) -> tuple[list[str], list[str]]:
    """Names of the columns that are fields, and what was taken by its name, a sentence each."""
    outcomes = [getattr(asked, name) for name in (*_OUTCOMES, "date")]
    free = [name for name in ads.frame.columns if name not in outcomes]
    if asked.fields is not None:
        return [find_column(one, free, "a field", file=ads.name) for one in asked.fields], []
    spec = table_specs("fields")["field"]
    found = [name for one in spec.synonyms if one != "date" for name in spec.guesses(one, free)]
    usual = list(dict.fromkeys(found))
    # A group within which scores are compared is known before.
    usual += [asked.test] if asked.score and asked.test else []
    said = [f"{', '.join(usual)} {'are' if usual[1:] else 'is'} taken as fields"] if usual else []
    return usual, said


def fields_of(frame: pl.DataFrame, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Name -> [N, 1]: numbers where nine of ten cells are, else texts. A number of few values, or
    a whole one that repeats as ids do, is a category too: which view tells more, training finds."""
    made: dict[str, NDArray[Any]] = {}
    for name in names:
        if name not in frame.columns:
            continue
        column = frame[name]
        filled, numbers = column.drop_nulls(), _numbers(column)
        if len(filled) and np.isfinite(numbers).sum() >= 0.9 * len(filled):
            made[name + _AS_NUMBER] = numbers[:, None]
            known = numbers[np.isfinite(numbers)]
            values = len(np.unique(known))
            repeats = values * _ROWS_PER_VALUE <= len(known) and bool((known % 1 == 0).all())
            if values > _FEW_VALUES and not repeats:
                continue
        made[name] = _texts(column)[:, None]
    return made


def _texts(column: pl.Series) -> NDArray[np.str_]:
    """[N], "" for what is missing; 7.0 is 7, as a column with a missing cell may write it."""
    if column.dtype.is_float():
        whole = (column.fill_nan(None) % 1 == 0).all()
        column = column.fill_nan(None).cast(pl.Int64, strict=False) if whole else column
    texts = column.cast(pl.String, strict=False).fill_null("").str.strip_chars()
    return np.array(texts.to_list(), np.str_)


def known_fields(ads: AdTable, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Those of the fields `names` of training that a table of new ads tells too. What is missing is
    missing: such ads are at the level of all."""
    columns = {name.removesuffix(_AS_NUMBER) for name in names}
    dates = {name.removesuffix(one) for name in names for one in _CLOCK if name.endswith(one)}
    made = fields_of(ads.frame, sorted(columns & {*ads.frame.columns}))
    for name in sorted(dates & {*ads.frame.columns}):
        clock = clock_of(read_times(ads.frame, name), every=True)
        made |= {f"{name} {part}": one for part, one in clock.items()}
    for name in names:
        # Of a few rows numbers may look like categories, and categories like numbers.
        bare = name.removesuffix(_AS_NUMBER)
        if name not in made and bare in ads.frame.columns:
            read = _texts if bare == name else _numbers
            made[name] = read(ads.frame[bare])[:, None]
    return {name: made[name] for name in names if name in made}


def clock_of(times: Floats, *, every: bool = False) -> dict[str, NDArray[Any]]:
    """Fields of times in days: the weekday, and the hour where times have any (or `every`). Of
    numbers in another unit there is none."""
    known = np.isfinite(times) & (times > _DAYS[0]) & (times < _DAYS[1])
    day = np.where(known, np.floor(np.nan_to_num(times)), 0)
    made: dict[str, NDArray[Any]] = {}
    if every or len(np.unique(day[known])) > _FEW_DAYS:
        names = np.array([str(int(one)) for one in day % 7])
        made["weekday"] = np.where(known, names, "")[:, None]
    hour = np.floor((np.nan_to_num(times) - day) * 24 + 1e-6).astype(np.int64)
    if every or len(np.unique(hour[known])) > 1:
        names = np.array([str(one) for one in hour])
        made["hour"] = np.where(known, names, "")[:, None]
    return made


def read_times(frame: pl.DataFrame, name: str) -> Floats:
    """float64 [N], days since 1970 or in the column's own unit; NaN for what cannot be read. A
    month without a year goes with the column of its day, where there is one."""
    column = frame[name]
    if column.dtype.is_temporal():
        return _floats(column.cast(pl.Datetime("us")).to_physical()) / 86_400e6
    days = _floats(column) if column.dtype.is_numeric() else _numbers(column)
    if np.isfinite(days).any():
        most = float(np.nanmax(days))
        for least, unit in ((1e14, 86_400e6), (1e11, 86_400e3), (1e9, 86_400.0)):
            if most > least:
                return days / unit
        if 19_000_000 < most < 21_000_000:  # 20161231
            texts = column.cast(pl.Float64, strict=False).cast(pl.Int64).cast(pl.String)
            return _parsed(texts)
        return days
    texts = column.cast(pl.String).str.strip_chars()
    short = np.array([_MONTHS.get((one or "").lower()[:3], np.nan) for one in texts.to_list()])
    if (
        np.isfinite(short).sum() > len(short) / 2
        and texts.str.len_chars().fill_null(0).to_numpy().max() < 10
    ):
        by_bare = {one.lower(): one for one in frame.columns}
        day = _numbers(frame[by_bare["day"]]) if "day" in by_bare else np.zeros(len(short))
        return np.asarray(31 * short + day)
    return _parsed(texts)


def _parsed(texts: pl.Series) -> Floats:
    """Days of texts, by the format that reads most of them. Of a day and a month in numbers the
    larger tells which is which; where none does, the month comes first between slashes."""
    best = np.full(len(texts), np.nan)
    counted = format_of(texts.unique().drop_nulls().to_list())
    counted = counted[::-1] if any("/" in one for one in counted) else counted
    for form in (*counted, *_FORMATS):
        dtype = pl.Datetime("us") if "%H" in form or "%I" in form else pl.Date
        read = texts.str.strptime(dtype, form, strict=False, exact=False)
        found = _floats(read.cast(pl.Datetime("us")).to_physical()) / 86_400e6
        found[(found < _DAYS[0]) | (found > _DAYS[1])] = np.nan
        if np.isfinite(found).sum() > np.isfinite(best).sum():
            best = found
    return best


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
    if columns.score:
        found |= {"impressions": "", "clicks": ""}
    for name, theirs in found.items():
        found[name] = theirs and find_column(theirs, names, f"its {name}", file=ads.name)
    date = columns.date
    if date is None:
        free = [name for name in ads.frame.columns if name not in found.values()]
        date = next(iter(table_specs("fields")["field"].guesses("date", free)), "")
    elif date:
        date = find_column(date, names, "its date", file=ads.name)
    return replace(columns, **found, date=date)


def _check_apart(columns: OutcomeColumns, ads: AdTable) -> None:
    """Raise SchemaError for a column that is both a part of the ad and what became of it."""
    check_names(_inputs_of(ads.columns), file=ads.name)
    for name in (getattr(columns, one) for one in _OUTCOMES):
        if name and name in ads.columns.told:
            raise SchemaError(
                f"column {name!r} is read as a part of the ad and cannot be read as its outcome, "
                "test, week or image id too",
                file=ads.name,
                column=name,
                hint="say which columns hold the ad: OutcomeColumns(ads=AdColumns(title=...))",
            )


def _notes(
    rows: int,
    columns: OutcomeColumns,
    groups: Sequence[str | None],
    shown: NDArray[np.int64],
    tests: NDArray[np.int64],
) -> tuple[str, ...]:
    notes = []
    if len(shown) < rows:
        why = "have no score" if columns.score else "were never shown"
        notes.append(f"{rows - len(shown):,} creatives that {why} are left out")
    if columns.date:
        notes.append(f"{columns.date} is taken as when they ran")
    if columns.score:
        return tuple(notes)
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
    alone = outcomes.scores is not None
    tests = [test if test >= 0 and not alone else None for test in outcomes.tests.tolist()]
    titles = [record.title.strip() or None for record in outcomes.records]
    ledes = [lede if len(lede) >= LEAST_CHARACTERS else None for lede in outcomes.ledes]
    images = [image or None for image in outcomes.images]
    return components((tests, titles, ledes, images))


def components(links: Iterable[Sequence[Hashable | None]]) -> Whole:
    """int64 [N]: connected components of N rows, numbered from 0 by first appearance.

    links: of each kind of link N keys; rows of the same key are connected, None connects nothing.
    """
    codes = []
    for keys in links:
        place: dict[Hashable, int] = {None: -1}
        codes.append(np.array([place.setdefault(key, len(place) - 1) for key in keys], np.int64))
    label = np.arange(len(codes[0]))
    while True:
        before = label.copy()
        for code in codes:
            there = code >= 0
            least = np.full(int(code.max(initial=-1)) + 1, len(label))
            np.minimum.at(least, code[there], label[there])
            label[there] = least[code[there]]
        if (label == before).all():
            # Each is the first row of its component.
            return np.unique(label, return_inverse=True)[1].astype(np.int64)


def story_folds(stories: Whole, folds: int, *, seed: int = 0) -> Whole:
    """int64 [N]: the fold, from 0, in which each row is held out; a story is in one fold whole.

    Stories are shuffled by `seed`, then dealt from the largest on, each to the fold that has the
    fewest rows, so that folds are balanced. Raises ConfigError for more folds than stories.
    """
    check_positive_integer(folds, "folds")
    several = len(np.unique(stories))
    if folds < 2 or folds > several:
        raise ConfigError(
            f"{several} stories cannot be parted into {folds} folds",
            where="folds",
            hint="take from 2 folds to as many as there are stories",
        )
    return dealt(stories, folds, seed=seed)
