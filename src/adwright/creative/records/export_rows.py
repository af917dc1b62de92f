"""The rows of an export in the columns of a delivery record: ids, days, numbers, currencies, words.

What is no row of an ad (totals, headers within the table, rows that come twice) is left out first,
and reported; then each column is read as `export_keys` and `cells` do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Literal

import polars as pl

from adwright.core.config import settings
from adwright.core.errors import ConfigError, FileUnreadableError, SchemaError
from adwright.creative.records.cells import (
    LARGEST_COUNT,
    bare,
    by_distinct,
    check_rows,
    find_decimal,
    is_absent,
    read_number,
)
from adwright.creative.records.creative import SLOTS
from adwright.creative.records.delivery import SEGMENTS, NoteTaker, Repair
from adwright.creative.records.export_columns import NamedExport, status_cause
from adwright.creative.records.export_file import ExportTable
from adwright.creative.records.export_keys import read_day, read_id
from adwright.data.checks import Check
from adwright.data.columns import is_category

__all__ = ["DeliveryOptions", "is_zone", "only_rows", "read_rows"]

_IDS = ("creative_id", "ad_id", "ad_group_id", "campaign_id", "account_id")
_COUNTS = ("impressions", "clicks", "reach")
_NUMBERS = (*_COUNTS, "spend", "micros", "conversions", "conversion_value", "frequency")
_TEXTS = ("ad_name", "ad_group_name", "campaign_name", "time_zone", *SEGMENTS, "status")
#: How the row of totals begins, which some exports have.
_TOTAL = r"(?i)^(?:grand |sub ?)?totals?\b|^results from \d|^(?:gesamt|insgesamt|summe)\b"
_HIDDEN = "[\u00a0\u2007\u2009\u202f\u200b\u200e\u200f\u2060\ufeff]"
_NO_END = ("ongoing", "no end date", "open ended")
_LISTED = 8
_SAID = "__said"


@settings
class DeliveryOptions:
    """What an export does not say itself.

    columns: ours -> theirs, for columns of other names. date_format: of dates that are text, as
    strftime has it ("%d/%m/%Y"); empty for what leaves no doubt. time_zone: of the account whose
    days these are, such as "Europe/Paris". currency: code of the amounts, such as EUR, where the
    export names none. decimal: sign before the decimals; empty for what leaves no doubt.
    gaps: days without a row, between the first and the last of an ad, are days without delivery
    ("zero": platforms leave them out), or an error ("refuse"). repeats: rows of one ad and day are
    an error, or parts that are added up ("sum"). excess_clicks: clicks above impressions are an
    error, or as many as these ("cap").
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    date_format: str = ""
    time_zone: str = ""
    currency: str = ""
    decimal: Literal["", ".", ","] = ""
    gaps: Literal["zero", "refuse"] = "zero"
    repeats: Literal["refuse", "sum"] = "refuse"
    excess_clicks: Literal["refuse", "cap"] = "refuse"

    def __post_init__(self) -> None:
        if self.currency and not (len(self.currency) == 3 and self.currency.isupper()):
            raise ConfigError(
                f"{self.currency!r} is no code of a currency",
                where="currency",
                hint="write three capital letters, such as EUR",
            )
        if self.time_zone and not is_zone(self.time_zone):
            raise ConfigError(
                f"the time zone {self.time_zone[:60]!r} is unknown",
                where="time_zone",
                hint='name one like "Europe/Paris" or "UTC"',
            )


def only_rows(table: ExportTable, columns: Mapping[str, str]) -> tuple[ExportTable, pl.DataFrame]:
    """The table without totals, headers within, and rows that are equal to an earlier one; and the
    totals. columns: ours -> theirs."""
    frame = table.frame
    day = columns.get("day") or columns["week"]
    key = [columns["ad_id"], day]
    no_id, no_day = (_says_nothing(frame, name) for name in key)
    told = ("ad_name", "ad_group_id", "ad_group_name", "campaign_id", "campaign_name")
    others = [columns[name] for name in told if name in columns]
    no_name = pl.lit(value=bool(others))
    for name in others:
        no_name = no_name & _says_nothing(frame, name)
    totals = frame.select(total=no_id & (no_day | no_name))["total"]
    left = frame.filter(totals)
    table = table.without(totals, "rows of totals left out", frame[columns["impressions"]])
    frame = table.frame
    again = frame.select(
        pl.all_horizontal(bare(_as_text(frame, name)) == bare(pl.lit(name)) for name in key)
    ).to_series()
    table = table.without(again, "headers within the table left out")
    frame = table.frame
    plain = [n for n, dtype in frame.schema.items() if not dtype.is_nested()]
    twice = ~frame.select(pl.struct(plain).is_first_distinct()).to_series()
    table = table.without(
        twice,
        "rows equal to an earlier one left out",
        frame.select(_as_text(frame, day)).to_series(),
    )
    if not table.frame.height:
        raise FileUnreadableError(
            "the table has totals and no rows of ads",
            file=table.name,
            hint="break the report down by ad and by day, and export again",
        )
    return table, left


def read_rows(
    table: ExportTable, named: NamedExport, options: DeliveryOptions, notes: NoteTaker
) -> pl.DataFrame:
    """The rows in the columns of DELIVERY that the export has, and those of the texts (SLOTS).

    Raises ValueInvalidError for the first cell that cannot be read, or could be read two ways;
    SchemaError for a column of another type. What is changed or doubted goes to `notes`.
    """
    return _Reader(table, named, options, notes).read()


class _Reader:
    """An export on its way: its rows, what names them, and what is to be said."""

    def __init__(
        self, table: ExportTable, named: NamedExport, options: DeliveryOptions, notes: NoteTaker
    ) -> None:
        self.table, self.named, self.options, self.notes = table, named, options, notes
        self.frame, self.locate = table.frame, table.locate

    def read(self) -> pl.DataFrame:
        """The rows in the columns of DELIVERY that the export has, and those of the texts."""
        made: dict[str, pl.Expr] = {}
        self._say_hidden()
        columns = self.named.columns
        for ours in _IDS:
            if ours in columns:
                found = read_id(self.frame, columns[ours], self.locate)
                made[ours] = found.value
                self.notes.repairs += found.repairs
                self.notes.odd += found.odd
        made |= self._days()
        made |= self._numbers()
        for ours in (*_TEXTS, *SLOTS):
            if ours in columns:
                made[ours] = self._text(columns[ours])
        self._check_present(made)
        frame = self.frame.select(value.alias(name) for name, value in made.items())
        if self.options.time_zone and "time_zone" not in columns:
            frame = frame.with_columns(time_zone=pl.lit(self.options.time_zone))
        return self._with_causes(frame)

    def _check_present(self, made: Mapping[str, pl.Expr]) -> None:
        """Raise ValueInvalidError for a row without an ad, a day or impressions."""
        columns = self.named.columns
        checks = [
            Check(
                columns.get(ours) or columns["week"],
                made[ours].is_null(),
                f"{ours} must not be empty",
                "fill it in, or delete the row where it is none of an ad",
            )
            for ours in ("ad_id", "day", "impressions")
        ]
        check_rows(self.frame, checks, self.locate)

    def _say_hidden(self) -> None:
        """Report blanks that do not look like such, in names of columns, ids and days."""
        names = [n for n in self.frame.columns if pl.Series([n]).str.contains(_HIDDEN)[0]]
        if names:
            shown = tuple(f"{name!r:.60}" for name in names[:3])
            self.notes.repairs.append(
                Repair("names of columns freed of hidden blanks", len(names), shown)
            )
        for ours in (*_IDS, "day", "week"):
            theirs = self.named.columns.get(ours, "")
            if theirs and self.frame.schema[theirs] == pl.String:
                bad = self.frame[theirs].str.contains(_HIDDEN).fill_null(value=False)
                self._repair(f"cells of {theirs} freed of hidden blanks", bad, theirs)

    def _days(self) -> dict[str, pl.Expr]:
        """The day, its period, and the flight."""
        columns, made = self.named.columns, {}
        weekly = "day" not in columns
        theirs = columns["week"] if weekly else columns["day"]
        wanted = self.options.date_format
        day = read_day(self.frame, theirs, self.locate, date_format=wanted)
        self.notes.said += day.said
        made["day"] = day.value
        made["period_days"] = pl.lit(7 if weekly else 1, pl.Int32)
        if "period_end" in columns:
            end = read_day(self.frame, columns["period_end"], self.locate, date_format=wanted)
            length = (end.value - day.value).dt.total_days() + 1
            made["period_days"] = length.cast(pl.Int32).fill_null(1)
        for ours in ("starts", "ends"):
            if ours in columns:
                name = columns[ours]
                if self.frame.schema[name] == pl.String:
                    clock = r"[ T]\d?\d:\d\d.*$"
                    cell = bare(pl.col(name)).str.replace(clock, "")
                    endless = cell.str.to_lowercase().is_in(_NO_END)
                    self.frame = self.frame.with_columns(pl.when(~endless).then(cell).alias(name))
                made[ours] = read_day(self.frame, name, self.locate, date_format=wanted).value
        return made

    def _numbers(self) -> dict[str, pl.Expr]:
        """Counts and amounts, and the currency of these."""
        columns = {o: t for o, t in self.named.columns.items() if o in _NUMBERS}
        text = {o: t for o, t in columns.items() if self.frame.schema[t] == pl.String}
        whole = [t for o, t in text.items() if o in (*_COUNTS, "micros")]
        decimal = self.options.decimal
        if not decimal:
            decimal, why = find_decimal(
                self.frame,
                list(text.values()),
                whole,
                self.locate,
                separator_comma=self.table.decimal_comma,
            )
            self.notes.said += [why] if why else []
        made: dict[str, pl.Expr] = {}
        codes: list[pl.Series] = []
        for ours, theirs in columns.items():
            if ours in text:
                is_whole = theirs in whole
                found = read_number(self.frame, theirs, decimal, self.locate, whole=is_whole)
                made[ours] = pl.lit(found.value)
                if found.empty:
                    self.notes.said.append(
                        f"{theirs}: {found.empty:,} cells hold nothing, which is not read as zero"
                    )
                what = f"cells of {theirs} that say less or more than a number kept as unknown"
                self._repair(what, found.below, theirs)
                if ours in ("spend", "conversion_value"):
                    codes.append(found.currency)
                    known = self.named.currency or self.options.currency
                    if found.vague and not known and "currency" not in self.named.columns:
                        self.notes.odd.append(
                            f"{theirs}: {found.vague[0]} is a sign of many currencies"
                        )
            else:
                made[ours] = self._typed(ours, theirs)
        if "micros" in made:
            made["spend"] = made.pop("micros") / 1_000_000
        for ours in _COUNTS:
            if ours in made:
                made[ours] = made[ours].cast(pl.Int64)
        return made | self._currency(codes)

    def _typed(self, ours: str, theirs: str) -> pl.Expr:
        dtype, cell = self.frame.schema[theirs], pl.col(theirs)
        if not (dtype.is_numeric() or dtype == pl.Null):
            raise SchemaError(
                f"{theirs} must be a number or text, not {dtype}",
                file=self.table.name,
                column=theirs,
                hint="cast the column to numbers",
            )
        value = cell.cast(pl.Float64).fill_nan(None)
        if dtype.is_float():
            holes = self.frame[theirs].is_nan().fill_null(value=False)
            self._repair(f"cells of {theirs} that are NaN kept as unknown", holes)
        checks = [
            Check(theirs, value.is_infinite(), f"{theirs} must be finite", "correct the cell")
        ]
        if ours in _COUNTS:
            part = value.is_finite() & (value != value.floor())
            part = part | (value.abs() > LARGEST_COUNT)
            checks.append(
                Check(theirs, part, f"{theirs} must be a whole number", "correct the cell")
            )
        check_rows(self.frame, checks, self.locate)
        return value

    def _currency(self, codes: Sequence[pl.Series]) -> dict[str, pl.Expr]:
        """The one code that option, heading, column and cells say; two are an error."""
        theirs = self.named.columns.get("currency")
        says: list[pl.Expr] = []
        if theirs is not None:
            says.append(self._text(theirs).str.to_uppercase())
        says += [pl.lit(one) for one in (self.named.currency, self.options.currency) if one]
        says += [pl.lit(one) for one in codes if one.is_not_null().any()]
        if len(says) < 2:
            return {"currency": says[0]} if says else {}
        said = pl.concat_list(one.cast(pl.String) for one in says).list.drop_nulls().list.unique()
        cells = self.frame.with_columns(said.list.sort().alias(_SAID))
        check = Check(
            theirs or self.named.columns.get("spend", self.named.columns.get("micros", _SAID)),
            pl.col(_SAID).list.len() > 1,
            "two currencies are named for one row",
            "correct the column, the heading or currency=",
            shown=pl.col(_SAID).list.join(" and "),
        )
        check_rows(cells, [check], self.locate)
        return {"currency": pl.lit(cells[_SAID].list.first())}

    def _text(self, theirs: str) -> pl.Expr:
        cells = self.frame.select(_as_text(self.frame, theirs)).to_series()
        return pl.lit(by_distinct(cells, lambda one: pl.when(~is_absent(one)).then(bare(one))))

    def _with_causes(self, frame: pl.DataFrame) -> pl.DataFrame:
        if "status" not in frame.columns:
            return frame
        words = frame["status"].drop_nulls().unique().sort().to_list()
        causes = {one: cause for one in words if (cause := status_cause(one))}
        shown = ", ".join(f"{one[:40]}={causes.get(one) or 'no stop'}" for one in words[:_LISTED])
        self.notes.said.append(f"status is read as a cause of a stop: {shown}")
        known = pl.col("status").replace_strict(causes, default=None, return_dtype=pl.String)
        return frame.with_columns(stop_cause=known)

    def _repair(self, what: str, bad: pl.Series, column: str = "") -> None:
        self.notes.repair(what, self.locate, bad, self.frame[column] if column else None)


def is_zone(name: str) -> bool:
    """Whether a time zone of this name is known."""
    try:
        pl.Series([], dtype=pl.Datetime("us", name))
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
        return False
    return True


def _as_text(frame: pl.DataFrame, name: str) -> pl.Expr:
    dtype = frame.schema[name]
    if dtype == pl.String or is_category(dtype) or dtype.is_numeric() or dtype.is_temporal():
        return pl.col(name).cast(pl.String)
    raise SchemaError(
        f"{name} must be text, not {dtype}", column=name, hint="write the column as text"
    )


def _says_nothing(frame: pl.DataFrame, name: str) -> pl.Expr:
    """Whether a cell holds nothing, or the word for a total."""
    text = _as_text(frame, name)
    return is_absent(text) | bare(text).str.contains(_TOTAL)
