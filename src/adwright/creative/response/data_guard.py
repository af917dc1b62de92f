"""Refuse inputs that say how an ad did: a label among the features makes any score look brilliant.

    check_inputs(frame, ["headline", "significance"], impressions, clicks, tests)      # raises

Three ways of being a label are looked for:

- by name: `ctr`, `winner`, `first_place`, `clicks` and the like;
- by measurement within tests: where a column differs within at least 20 tests, and picks the best
  of a test in more of them than max(60%, chance + 40% of what is left), at two standard errors.
  The best texts can do stands far below: of 2,607 tests of headlines, 31% where chance is 23%;
- by measurement over all rows: its ranks agree with those of the click rate, the clicks or the
  impressions by more than .9 (Spearman).

Both thresholds are our choice. A number is measured as it is; a text by the first three numbers in
it, and by what other tests had where it stood (means of the other four fifths of the tests), which
finds words such as "won". Where a column is half empty, only the tests in which it differs count.

Read the counts, weeks and groups of a table of creatives, each cell checked.

    counts = read_counts(table, ("impressions", "clicks"))     # Int64, none missing
    read_weeks(table, "test_week", now)                        # 201446, or 2014-11-14

Counts may be whole numbers, floats that are whole (as pandas makes of them) or text of any locale.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from adwright.core.errors import SchemaError
from adwright.creative.records.cells import LARGEST_COUNT, check_rows, find_decimal, read_number
from adwright.data.schema import Check, Locate, is_category
from adwright.data.sources.csvfile import time_column
from adwright.metrics.rank_correlation import spearman
from adwright.metrics.within_tests import best_of_test

Floats = NDArray[np.float64]

#: Words of a name that tell an outcome.
_WORDS = frozenset(
    (
        *("ctr", "cvr", "cpc", "cpm", "cpa", "roas", "clicks", "impressions", "views", "reach"),
        *("conversions", "conversion", "purchases", "revenue", "spend", "significance", "winner"),
        *("winning", "won", "lift", "uplift", "pvalue", "clickrate", "clickthroughrate"),
    )
)
_PHRASES = ("first_place", "click_rate", "click_through", "p_value", "best_of", "label", "outcome")
_LEAST_TESTS, _SHARE, _LEFT, _ERRORS = 20, 0.6, 0.4, 2.0
_ALIKE, _LEAST_ROWS, _FOLDS = 0.9, 30, 5
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
    clicks: NDArray[np.int64],
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
    value; NaN for a value that only one fifth of the tests has."""
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
        known = own & (number[codes] > 0)
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


def read_weeks(table: CountedTable, column: str, now: datetime) -> NDArray[np.int64]:
    """int64 [N] that grows with time: whole numbers as they are, a date as its ISO year and week,
    2014-11-14 as 201446.

    Raises ValueInvalidError for the first cell that is missing or cannot be read, or is a date
    more than a day after `now`.
    """
    frame, dtype = table.frame, table.frame.schema[column]
    cell = pl.col(column)
    empty = cell.is_null() | (cell == "" if dtype == pl.String else pl.lit(value=False))
    hint = "fill it in, or name no column of weeks"
    check_rows(frame, [Check(column, empty, f"{column} must not be empty", hint)], table.locate)
    if dtype == pl.Null:  # nothing else can be in it, so there are no rows
        return np.empty(0, np.int64)
    number = cell.str.strip_chars().cast(pl.Int64, strict=False) if dtype == pl.String else cell
    if dtype == pl.String and not frame.select(number.is_null().any()).item():
        return np.asarray(frame.select(number).to_series().to_numpy(), np.int64)
    if dtype.is_numeric():
        what = f"{column} must be a whole number, such as 201446"
        value = cell.cast(pl.Float64)
        bad = (value != value.round()) | ~value.is_finite()
        hint = "number the weeks so that later ones are larger"
        check_rows(frame, [Check(column, bad, what, hint)], table.locate)
        return np.asarray(frame[column].cast(pl.Int64).to_numpy(), np.int64)
    moment = time_column(frame.lazy(), column, table.locate).value
    late = moment > now + timedelta(days=1)
    hint = "correct it, or leave out what has not happened"
    what = f"{column} is after now, {now:%Y-%m-%d}"
    check_rows(frame, [Check(column, late, what, hint)], table.locate)
    week = moment.dt.iso_year().cast(pl.Int64) * 100 + moment.dt.week().cast(pl.Int64)
    return np.asarray(frame.select(week).to_series().to_numpy(), np.int64)


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
