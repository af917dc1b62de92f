"""The rows of an export in the columns of a delivery record: ids, days, numbers, currencies, words.

What is no row of an ad (totals, headers within the table, rows that come twice) is left out first,
and reported; then each column is read as `export_keys` and `cells` do.

Read the ids and the days of an export, and refuse those that a spreadsheet has changed.

An id of a platform has 15 to 19 digits. A spreadsheet keeps 15 of them, and shows 1.20E+17: then
the others are lost, and no repair brings them back. 03/04/2026 is two days; which one is said by
the other rows, or by a person.

What the columns of an export are called, and which platform it is of.

    name_export(["Day", "Ad ID", "Impr.", "Cost", "Currency code"]).source     # "google"

Known are the English names that Meta Ads Manager, Google Ads and TikTok Ads Manager print in their
reports, and the fields of their interfaces: Meta's insights, Google's query language (also as its
clients write it, adGroupAd.ad.id) and TikTok's integrated reports. Signs, blanks and capitals do
not count. Of several names of one column the first that is there is taken: clicks are those on the
link where a platform tells them from all clicks.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import field
from functools import cache
from typing import Literal, NamedTuple

import polars as pl

from adwright.core.config import name_hint, settings
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
from adwright.creative.records.delivery import SEGMENTS, NoteTaker, Repair, repair_of
from adwright.creative.records.export_file import ExportTable
from adwright.data.creatives import SLOTS
from adwright.data.ids import LONGEST_ID, PRINTABLE
from adwright.data.schema import NOT_IDS, Check, Locate, is_category, raise_at
from adwright.data.sources.csvfile import format_of
from adwright.data.table_door import CURRENCY, TableSpec, bare_name, listed, synonyms, table_specs

#: Digits that a spreadsheet, and whole numbers that a float keeps.
_KEPT, _WHOLE = 15, 2**53
#: So rarely would so many ids end in zeros by chance.
_CHANCE = 0.01
_ERA = 1900
_MADE = "__made"
_LOST = "export again and open the file without a spreadsheet, or format the column as text first"
#: Dates that name their month or begin with the year; as the platforms write them.
_FORMATS = (
    *("%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%Y%m%d", "%b %d, %Y", "%B %d, %Y"),
    *("%a, %b %d, %Y", "%A, %B %d, %Y", "%d %b %Y", "%d %B %Y", "%d-%b-%Y", "%d-%b-%y"),
)
_HOURS = r"\d[ T]\d?\d:\d\d"
_MIDNIGHT = r"[ T]00:00(?::00(?:\.0+)?)?(?:Z|[+-]\d\d:?\d\d)?$"


class IdColumn(NamedTuple):
    """value: the id as text, null where there is none. repairs: what was changed. odd: what may be
    wrong."""

    value: pl.Expr
    repairs: tuple[Repair, ...] = ()
    odd: tuple[str, ...] = ()


class DayColumn(NamedTuple):
    """value: the date, null where there is none. said: how it was read."""

    value: pl.Expr
    said: tuple[str, ...] = ()


def read_id(frame: pl.DataFrame, column: str, locate: Locate) -> IdColumn:
    """How to read the ids of `column`: text without blanks, quotes of a spreadsheet and ".0".

    Raises ValueInvalidError for an id whose digits are lost: one with an exponent, one beyond what
    a float holds, and ids that all end in zeros where a spreadsheet cuts them off. SchemaError
    for a column of another type.
    """
    dtype = frame.schema[column]
    if dtype.is_float():
        return _of_floats(frame, column, locate)
    if not (dtype == pl.String or dtype.is_integer() or dtype in (pl.Categorical, pl.Null)):
        raise SchemaError(
            f"{column} must be text or a whole number, not {dtype}",
            file=locate(0)[0],
            column=column,
            hint="cast the column to text",
        )
    texts = frame[column].cast(pl.String)
    text = by_distinct(texts, bare)
    unwrapped = by_distinct(
        text, lambda one: one.str.replace(r'^="([^"]*)"$', "${1}").str.replace(r"^'(\d+)$", "${1}")
    )
    whole = by_distinct(unwrapped, lambda one: one.str.replace(r"^(\d{1,15})\.0+$", "${1}"))
    shown = frame.select(column).with_columns(whole.alias(_MADE))
    exponent = Check(
        column,
        pl.col(_MADE).str.contains(r"^\d([.,]\d+)?[eE]\+?\d+$"),
        f"{column} was shortened by a spreadsheet, its last digits are lost",
        _LOST,
    )
    cut = Check(
        column,
        pl.col(_MADE).str.contains(r"^\d{16,}[.,]0+$"),
        f"{column} went through a float, which does not hold its last digits",
        _LOST,
    )
    check_rows(shown, [exponent, cut], locate)
    value = by_distinct(whole, lambda one: pl.when(~is_absent(one)).then(one))
    shown = frame.select(column).with_columns(value.alias(_MADE))
    ids = pl.col(_MADE)
    bad = (ids.str.len_chars() > LONGEST_ID) | ~ids.str.contains(PRINTABLE) | ids.is_in(NOT_IDS)
    what = f"{column} has a control character, more than {LONGEST_ID} characters or a word for none"
    check_rows(shown, [Check(column, bad, what, "correct the id")], locate)
    odd = _check_zeros(shown, column, locate)
    repairs = []
    for what, after, before in (
        (f"cells of {column} freed of a spreadsheet's quotes", unwrapped, text),
        (f"ids of {column} freed of the .0 of a float", whole, unwrapped),
    ):
        at = (after != before).fill_null(value=False).arg_true().to_list()
        if at:
            first = [frame.item(row, column) for row in at[:3]]
            repairs.append(repair_of(what, [locate(row)[1] for row in at], first))
    return IdColumn(pl.lit(value), tuple(repairs), odd)


def read_day(
    frame: pl.DataFrame, column: str, locate: Locate, *, date_format: str = ""
) -> DayColumn:
    """How to read the dates of `column`: dates, timestamps at midnight or text.

    date_format: of text, as strftime has it ("%d/%m/%Y"); empty for what the cells leave no doubt
    about. Raises ValueInvalidError for the first cell that is no date, or could be two.
    """
    dtype, cell = frame.schema[column], pl.col(column)
    if dtype in (pl.Date, pl.Null):
        return DayColumn(cell.cast(pl.Date))
    if isinstance(dtype, pl.Datetime):
        _check_midnight(frame, column, cell.dt.time() != pl.time(0, 0, 0), locate)
        return DayColumn(cell.dt.date())
    if dtype != pl.String and not dtype.is_integer():
        raise SchemaError(
            f"{column} must be a date or text, not {dtype}",
            file=locate(0)[0],
            column=column,
            hint="write dates as 2026-01-31",
        )
    cells = frame[column].cast(pl.String)
    given = by_distinct(cells, lambda one: pl.when(~is_absent(one)).then(bare(one)))
    known = given.unique().drop_nulls()
    if not date_format:
        if known.str.contains(_HOURS).any():
            hours = pl.lit(given.str.contains(_HOURS) & ~given.str.contains(_MIDNIGHT))
            _check_midnight(frame, column, hours, locate)
        known = known.str.replace(_MIDNIGHT, "").unique()
    chosen = date_format or _format_of(known)

    def read(one: pl.Expr) -> pl.Expr:
        plain = one if date_format else one.str.replace(_MIDNIGHT, "")
        return _date(plain, chosen) if chosen else pl.lit(None, pl.Date)

    value = by_distinct(given, read)
    bad = given.is_not_null() & value.is_null()
    at = bad.arg_true()
    if len(at):
        what = f"{column} cannot be read as a date"
        what += f" of the format {chosen!r}, as others are" if chosen and not date_format else ""
        wrong = given[int(at[0])]
        formats = format_of([one for one in known.to_list() if format_of([one])] or [wrong])
        hint = "write dates as 2026-01-31, or name their format: date_format='%d.%m.%Y'"
        if len(formats) > 1:
            hint = f"say which is the day: date_format={' or '.join(map(repr, formats))}"
        elif wrong.isdigit() and len(wrong) == 5:
            hint = "a spreadsheet's number of a day: format the column as a date, and export again"
        check = Check(column, pl.lit(bad), what, hint)
        raise_at(frame.lazy(), check, int(at[0]), len(at), locate)
    plainly = chosen in ("", "%Y-%m-%d") or bool(date_format)
    return DayColumn(pl.lit(value), () if plainly else (f"{column}: dates are read as {chosen}",))


def _of_floats(frame: pl.DataFrame, column: str, locate: Locate) -> IdColumn:
    cell = pl.col(column).fill_nan(None)
    check = Check(
        column,
        (cell.abs() >= _WHOLE) | (cell != cell.floor()),
        f"{column} went through a float, which does not hold its last digits",
        _LOST,
    )
    check_rows(frame, [check], locate)
    count = int(frame[column].is_not_nan().sum())
    repair = Repair(f"ids of {column} freed of the .0 of a float", count)
    return IdColumn(cell.cast(pl.Int64).cast(pl.String), (repair,) if count else ())


def _check_zeros(frame: pl.DataFrame, column: str, locate: Locate) -> tuple[str, ...]:
    """Refuse ids that end in zeros from the 16th digit on, where that is no chance.

    Of n ids, of which one of d digits does so with a chance of 10**(15 - d), `expected` do; that
    `found` or more do has a chance of at most (e * expected / found) ** found (Chernoff's bound).
    """
    value, ids = pl.col(_MADE), frame[_MADE].unique().drop_nulls()
    long = ids.filter(ids.str.contains(rf"^\d{{{_KEPT + 1},}}$"))
    if not len(long):
        return ()
    zeros = long.str.contains(rf"^\d{{{_KEPT}}}0+$")
    found = int(zeros.sum())
    if not found:
        return ()
    expected = float((10.0 ** -(long.str.len_chars().cast(pl.Float64) - _KEPT)).sum())
    if expected < found and found * math.log(math.e * expected / found) < math.log(_CHANCE):
        check = Check(
            column,
            value.str.contains(rf"^\d{{{_KEPT + 1},}}$")
            & value.str.contains(rf"^\d{{{_KEPT}}}0+$"),
            f"{found:,} of {len(long):,} ids end in zeros from the 16th digit on: a spreadsheet "
            "has cut off what it does not hold",
            _LOST,
        )
        check_rows(frame, [check], locate)
    return (f"{column}: {found:,} of {len(long):,} ids end in zeros from the 16th digit on",)


def _check_midnight(frame: pl.DataFrame, column: str, hours: pl.Expr, locate: Locate) -> None:
    check = Check(
        column, hours, f"{column} has hours, where a day is needed", "export by day, not by hour"
    )
    check_rows(frame, [check], locate)


def _format_of(known: pl.Series) -> str:
    """The format that all these dates have, or the most of them; empty where two are possible."""
    if not len(known):
        return _FORMATS[0]
    cell = pl.col(known.name)
    tried = known.to_frame().select(_date(cell, one).count().alias(one) for one in _FORMATS)
    counts = tried.row(0, named=True)
    best = max(counts, key=lambda one: counts[one])
    if counts[best]:
        return best
    formats = format_of(known.to_list())
    return formats[0] if len(formats) == 1 else ""


def _date(text: pl.Expr, date_format: str) -> pl.Expr:
    """The date, where it is of this era: %Y reads the year 26, too."""
    found = text.str.to_date(date_format, strict=False)
    return pl.when(found.dt.year() >= _ERA).then(found)


def platforms() -> tuple[str, ...]:
    """Whose exports are known by their columns: the tables of data/synonyms/exports.toml. "table"
    stands for columns named as ours."""
    return (*table_specs("exports"), "table")


_GAQL = ("metrics", "segments", "adgroupad", "customer")
#: What a person without a header is asked for.
_FIRST = ("ad_id", "day", "impressions")


class NamedExport(NamedTuple):
    """source: the platform. columns: ours -> theirs. currency: that the heading of spend says, or
    nothing. said: what was taken by its name. left: columns that are not kept."""

    source: str
    columns: dict[str, str]
    currency: str
    said: tuple[str, ...]
    left: tuple[str, ...]


def known_names(names: Sequence[str], also: Sequence[str] = ()) -> int:
    """How many of `names` an export may have; `also`: those that somebody named."""
    known = {bare_name(one) for usual in _any_platform().synonyms.values() for one in usual}
    return len({bare_name(name) for name in names} & (known | set(map(bare_name, also))))


def name_export(
    names: Sequence[str],
    source: str | None = None,
    given: Mapping[str, str] | None = None,
    *,
    file: str = "",
    first_line: str = "",
) -> NamedExport:
    """Which column of an export is which of ours.

    source: None for the platform that the names tell of. given: ours -> theirs, which win.
    Raises ConfigError for a column that a record has not, SchemaError where the platform cannot be
    told, two columns read alike, a column that is given is not there, or a needed one is missing.
    """
    given = dict(given or {})
    _any_platform().check_fields(given)
    plain: dict[str, str] = {}
    for name in names:
        bare = bare_name(name)
        if bare in plain and known_names([bare]):
            raise SchemaError(
                f"two columns read alike: {plain[bare]!r} and {name!r}",
                file=file,
                column=name,
                hint="rename one, or export without it",
            )
        plain.setdefault(bare, name)
    source = source or _source_of(names, given, file, first_line)
    if source not in platforms():
        hint = name_hint(source, platforms())
        raise ConfigError(f"there is no platform {source!r}", where="source", hint=hint)
    spec = _any_platform() if source == "table" else table_specs("exports")[source]
    in_full = "spend" in given or set(spec.guesses("spend", names)) - set(given.values())
    told = {"micros": ""} | given if in_full else given
    columns, said = spec.name(names, told, file=file)
    dated = "day" in columns or "week" in columns
    by_day = "" if dated else " (break the report down by day)"
    spec.require(
        columns,
        names,
        needed=[*(() if dated else ("day",)), *spec.needed],
        file=file,
        also=f", or add it to the export of {source}{by_day}",
    )
    if "day" in columns and "week" in columns and "week" not in given:
        del columns["week"]
    # The end of a period tells its length where the day is that of its beginning.
    begins = bare_name(columns.get("day", "")) in ("datestart", "reportingstarts")
    if "period_end" in columns and "period_end" not in given and not begins:
        del columns["period_end"]
    heading = CURRENCY.search(columns.get("spend", ""))
    left = tuple(name for name in names if name not in columns.values())
    return NamedExport(source, columns, heading[1] if heading else "", said, left)


def status_cause(status: str) -> str:
    """The StopCause that a platform's word for a status means; empty where the ad may run, or the
    word says nothing of it.

    >>> status_cause("Paused"), status_cause("ADGROUP_STATUS_BUDGET_EXCEED"), status_cause("On")
    ('operator', 'budget', '')
    """
    bare, causes = bare_name(status), synonyms("exports")["causes"]
    return next((cause for cause, words in causes.items() if re.search(words, bare)), "")


@cache
def _any_platform() -> TableSpec:
    """A table with columns named as ours, or as any platform has them."""
    specs = table_specs("exports").values()
    fields = dict.fromkeys(field for spec in specs for field in spec.synonyms)
    usual = {}
    for ours in fields:
        names = [one for spec in specs for one in spec.synonyms.get(ours, ())]
        usual[ours] = tuple(dict.fromkeys((bare_name(ours), *names)))
    return TableSpec("a delivery record", usual, next(iter(specs)).needed)


def _source_of(names: Sequence[str], given: Mapping[str, str], file: str, first_line: str) -> str:
    bare = {bare_name(name) for name in names}
    counts = {
        name: sum(sign in bare for sign in spec.signs)
        for name, spec in table_specs("exports").items()
    }
    counts["google"] += sum(name.startswith(_GAQL) for name in bare)
    best = max(counts, key=lambda name: counts[name])
    alike = [name for name in counts if counts[name] == counts[best]]
    if counts[best] and len(alike) == 1:
        return best
    known = known_names(names)
    if given or (not counts[best] and known > 1):
        return "table"
    if not known and first_line:
        _any_platform().require({}, names, needed=_FIRST, file=file, first_line=first_line)
    raise SchemaError(
        "the columns do not tell which platform the export is of",
        file=file,
        hint=f"say source, one of {', '.join(platforms())}; the table has {listed(names)}",
    )


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


class RowReader:
    """An export on its way: its rows, what names them, and what is to be said, in `notes`.

    Raises ValueInvalidError for the first cell that cannot be read, or could be read two ways;
    SchemaError for a column of another type.
    """

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
        frame = self.frame.select(value.alias(name) for name, value in made.items())
        if self.options.time_zone and "time_zone" not in columns:
            frame = frame.with_columns(time_zone=pl.lit(self.options.time_zone))
        return self._with_causes(frame)

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
