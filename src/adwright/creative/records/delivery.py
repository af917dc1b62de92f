"""How ads did: the delivery record, a row for each ad, creative and day or week.

    record = open_delivery(Path("record"))
    record.days.group_by("creative_id").agg(pl.col("impressions", "clicks").sum())
    print(record.summary().text())

A creative runs in many ads, and an ad may rotate several creatives; who was where and when stands
in `DeliveryRecord.links`. Days are those of the account's own time zone, as platforms count them.

What became of an export, and what a delivery record holds, for a person to read.

Whatever an import changes, leaves out or doubts is one of these: a `Repair` with its count and the
first places, a warning, or a sentence about what was taken for what.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Literal, get_args

import polars as pl
import pyarrow as pa

from adwright.core.atomic import atomic_folder, atomic_write_text
from adwright.core.config import from_jsonable, to_jsonable
from adwright.core.errors import FileUnreadableError, SchemaError
from adwright.creative.records.cells import LARGEST_COUNT, check_links, check_rows, links_of
from adwright.data.creatives import CREATIVES, creatives_table, from_table
from adwright.data.schema import (
    Check,
    Locate,
    TableInMemory,
    as_polars,
    check_columns,
    from_arrow,
    in_file,
    is_category,
    text_checks,
)
from adwright.data.sources.bounds import USUAL_BOUNDS, ReadBounds, reading
from adwright.data.sources.frames import as_frame
from adwright.data.sources.tables import write_table

_log = logging.getLogger("adwright")

#: Places that a repair names.
_NAMED = 3
_SHOWN = 60


@dataclass(frozen=True)
class Repair:
    """what: what was done, and what it means. count: rows, cells or whatever `what` speaks of.
    first: the first of them, such as "row 17: 'Total'" (rows count from 0, without a header)."""

    what: str
    count: int
    first: tuple[str, ...] = ()

    def __str__(self) -> str:
        """The repair in one line."""
        places = f" ({'; '.join(self.first)}{'; ...' if self.count > len(self.first) else ''})"
        return f"{self.count:,} {self.what}{places if self.first else ''}"


@dataclass(frozen=True)
class DeliveryNotes:
    """source: of the export, and file. said: what was taken for what. repairs: what was changed or
    left out. warnings: what was accepted and may be wrong. columns_left: columns of the file that
    the record does not keep."""

    source: str = ""
    file: str = ""
    said: tuple[str, ...] = ()
    repairs: tuple[Repair, ...] = ()
    warnings: tuple[str, ...] = ()
    columns_left: tuple[str, ...] = ()


@dataclass(frozen=True)
class DeliverySummary:
    """What a delivery record holds.

    first, last: the first and the last day, both inclusive; None of an empty record. weeks: rows
    that cover seven days. spend, conversion_value: currency (empty where none is said) -> sum.
    conversions: None where no row says any, as clicks.
    """

    rows: int
    weeks: int
    first: date | None
    last: date | None
    accounts: int
    campaigns: int
    ads: int
    creatives: int
    impressions: int
    clicks: int | None
    conversions: float | None
    spend: Mapping[str, float]
    conversion_value: Mapping[str, float]
    notes: DeliveryNotes = field(default_factory=DeliveryNotes)

    def facts(self) -> dict[str, str]:
        """The counts in words: name -> value."""
        span = "none" if self.first is None or self.last is None else f"{self.first} to {self.last}"
        weeks = f", {self.weeks:,} of them weeks" if self.weeks else ""
        facts = {
            "source": self.notes.source or "table",
            "rows": f"{self.rows:,}{weeks}",
            "days": span,
            "accounts": f"{self.accounts:,}",
            "campaigns": f"{self.campaigns:,}",
            "ads": f"{self.ads:,}",
            "creatives": f"{self.creatives:,}",
            "impressions": f"{self.impressions:,}",
            "clicks": "unknown" if self.clicks is None else f"{self.clicks:,}",
            "conversions": "unknown" if self.conversions is None else f"{self.conversions:,.6g}",
            "spend": _money(self.spend),
            "conversion value": _money(self.conversion_value),
        }
        if self.notes.columns_left:
            facts["columns left out"] = ", ".join(one[:60] for one in self.notes.columns_left[:20])
        return facts

    def sentences(self) -> list[str]:
        """What was taken for what, each repair, each warning: a line each."""
        notes = self.notes
        repairs = (f"Repaired: {one}" for one in notes.repairs)
        return [*notes.said, *repairs, *(f"Warning: {one}" for one in notes.warnings)]

    def text(self) -> str:
        """All of it as plain text, a line each."""
        facts = self.facts()
        width = max(map(len, facts))
        return "\n".join(
            [*(f"{name:<{width}}  {value}" for name, value in facts.items()), *self.sentences()]
        )


class NoteTaker:
    """Notes while they are taken: said, repairs and odd are lists to add to."""

    def __init__(self, said: Sequence[str] = (), repairs: Sequence[Repair] = ()) -> None:
        self.said, self.repairs, self.odd = list(said), list(repairs), list[str]()

    def repair(
        self, what: str, locate: Locate, bad: pl.Series, values: pl.Series | None = None
    ) -> None:
        """Report the rows where `bad` is true, if any, with their place in the file and value."""
        at = bad.fill_null(value=False).arg_true()
        if len(at):
            shown = None if values is None else values[at[:_NAMED]].to_list()
            self.repairs.append(repair_of(what, [locate(row)[1] for row in at.to_list()], shown))

    def taken(self, source: str, file: str, left: Sequence[str]) -> DeliveryNotes:
        """The notes; left: columns that are not kept."""
        said, repairs, odd = tuple(self.said), tuple(self.repairs), tuple(self.odd)
        return DeliveryNotes(source, file, said, repairs, odd, tuple(left))


def summarise_days(days: pl.DataFrame, notes: DeliveryNotes) -> DeliverySummary:
    """Count what `days`, a table of DELIVERY, holds."""
    end = pl.col("day") + pl.duration(days=pl.col("period_days") - 1)
    row = days.select(
        rows=pl.len(),
        weeks=(pl.col("period_days") == 7).sum(),
        first=pl.col("day").min(),
        last=end.max(),
        **{
            name: pl.col(column).drop_nulls().n_unique()
            for name, column in (
                ("accounts", "account_id"),
                ("campaigns", "campaign_id"),
                ("ads", "ad_id"),
                ("creatives", "creative_id"),
            )
        },
        impressions=pl.col("impressions").sum(),
        **{
            name: pl.when(pl.col(name).is_not_null().any()).then(pl.col(name).sum())
            for name in ("clicks", "conversions")
        },
    ).row(0, named=True)

    def money(name: str) -> dict[str, float]:
        code = pl.col("currency").cast(pl.String).fill_null("").alias("code")
        there = days.filter(pl.col(name).is_not_null())
        sums = there.group_by(code).agg(pl.col(name).sum()).sort("code")
        return {code: float(amount) for code, amount in sums.iter_rows()}

    return DeliverySummary(
        **row, spend=money("spend"), conversion_value=money("conversion_value"), notes=notes
    )


def repair_of(what: str, rows: Sequence[int], values: Sequence[object] | None = None) -> Repair:
    """A repair of these rows of the file, of which the first are named with their values."""
    shown = rows[:_NAMED]
    if values is None:
        first = tuple(f"row {row}" for row in shown)
    else:
        some = list(values[:_NAMED])
        first = tuple(
            f"row {row}: {value!r:.{_SHOWN}}" for row, value in zip(shown, some, strict=True)
        )
    return Repair(what, len(rows), first)


def say(notes: DeliveryNotes) -> None:
    """Tell the logger "adwright" what became of an export: repairs and doubts as warnings."""
    for sentence in notes.said:
        _log.info("%s", sentence)
    if notes.columns_left:
        _log.info("left out: the columns %s", ", ".join(notes.columns_left[:20]))
    for repair in notes.repairs:
        _log.warning("repaired: %s", repair)
    for sentence in notes.warnings:
        _log.warning("%s", sentence)


def _money(sums: Mapping[str, float]) -> str:
    if not sums:
        return "unknown"
    return ", ".join(f"{amount:,.2f} {code or 'of no currency'}" for code, amount in sums.items())


#: Why an ad stands still: somebody or a rule stopped it, its budget or its flight is over, the
#: account is closed, or the platform refused it.
StopCause = Literal["operator", "automatic", "budget", "flight", "account", "refused"]

_CATEGORY = pa.dictionary(pa.uint32(), pa.string())
#: Columns that part the delivery of an ad on one day: where it was shown, and to whom.
SEGMENTS = (
    *("platform", "placement", "device", "country", "region", "age", "gender", "audience"),
    *("objective", "format"),
)
DELIVERY = pa.schema(
    [
        pa.field("creative_id", pa.string(), nullable=False),
        pa.field("ad_id", pa.string(), nullable=False),
        pa.field("ad_group_id", pa.string()),
        pa.field("campaign_id", pa.string()),
        pa.field("account_id", pa.string()),
        *(pa.field(name, _CATEGORY) for name in ("ad_name", "ad_group_name", "campaign_name")),
        pa.field("day", pa.date32(), nullable=False),  # the first one of the period
        pa.field("period_days", pa.int32(), nullable=False),  # 1, or 7 for a week
        pa.field("time_zone", _CATEGORY),  # whose days these are; null where it is not said
        pa.field("impressions", pa.int64(), nullable=False),
        pa.field("clicks", pa.int64()),
        pa.field("spend", pa.float64()),  # in units of `currency`
        pa.field("currency", _CATEGORY),  # ISO 4217, such as EUR
        pa.field("conversions", pa.float64()),  # shares of one, where they are attributed so
        pa.field("conversion_value", pa.float64()),  # in units of `currency`
        pa.field("reach", pa.int64()),  # people who saw it in the period
        pa.field("frequency", pa.float64()),
        *(pa.field(name, _CATEGORY) for name in SEGMENTS),
        pa.field("starts", pa.date32()),  # of the flight, both inclusive
        pa.field("ends", pa.date32()),
        pa.field("status", _CATEGORY),  # as the platform calls it, when the export was made
        pa.field("stop_cause", _CATEGORY),  # one of StopCause
    ]
)
#: What no two rows share.
KEY = ("account_id", "ad_group_id", "ad_id", "creative_id", *SEGMENTS, "day")

_COUNTS = ("impressions", "clicks", "reach")
_AMOUNTS = ("spend", "conversions", "frequency")
_BAD, _ROW = "__bad", "__row"
_TYPES: Mapping[pa.DataType, pl.DataType] = {
    pa.string(): pl.String(),
    _CATEGORY: pl.Categorical(),
    pa.date32(): pl.Date(),
    pa.int32(): pl.Int32(),
    pa.int64(): pl.Int64(),
    pa.float64(): pl.Float64(),
}


@dataclass(frozen=True)
class DeliveryRecord:
    """days: the columns of DELIVERY. links: which creative was in which ad, and when, in the
    columns of LINKS. creatives: what is known of them, in the columns of CREATIVES. notes: what
    became of the export that it was made of."""

    days: pl.DataFrame
    links: pl.DataFrame
    creatives: pl.DataFrame
    notes: DeliveryNotes = field(default_factory=DeliveryNotes)

    @classmethod
    def checked(
        cls,
        days: TableInMemory,
        *,
        links: TableInMemory | None = None,
        creatives: TableInMemory | None = None,
        notes: DeliveryNotes | None = None,
        today: date | None = None,
        file: str = "",
    ) -> DeliveryRecord:
        """Check the tables. links: None for those that follow from the days. creatives: None for
        the ids alone; those that it lacks are added so. Raises as `check_delivery`, `check_links`
        and `from_table`."""
        kept = check_delivery(days, file=file, today=today)
        known = creatives_table(() if creatives is None else from_table(creatives))
        there = None if links is None else check_links(links)
        return cls.of(kept, links=there, creatives=from_arrow(known), notes=notes)

    @classmethod
    def of(
        cls,
        days: pl.DataFrame,
        *,
        links: pl.DataFrame | None = None,
        creatives: pl.DataFrame | None = None,
        notes: DeliveryNotes | None = None,
    ) -> DeliveryRecord:
        """As `checked`, of tables that are checked already."""
        known = from_arrow(CREATIVES.empty_table()) if creatives is None else creatives
        ids = days.select(pl.col("creative_id").unique(maintain_order=True))
        missing = ids.join(known, on="creative_id", how="anti", maintain_order="left")
        if missing.height:
            known = pl.concat([known, missing], how="diagonal")
            known = known.with_columns(pl.col("checks_passed").fill_null([]))
        there = links_of(days) if links is None else links
        return cls(days, there, known.select(CREATIVES.names), notes or DeliveryNotes())

    def summary(self) -> DeliverySummary:
        """Counts, spend by currency, repairs and warnings."""
        return summarise_days(self.days, self.notes)

    def to_arrow(self) -> pa.Table:
        """The days as an Arrow table of DELIVERY."""
        return self.days.to_arrow().cast(DELIVERY)

    def __repr__(self) -> str:
        """What it is of."""
        return f"<DeliveryRecord of {self.days.height:,} rows>"


def check_delivery(
    table: TableInMemory, *, file: str = "", locate: Locate | None = None, today: date | None = None
) -> pl.DataFrame:
    """The table in the columns, order and types of DELIVERY, after checking every row.

    file: name shown in errors; locate: the file and row of each row, where that is not its place.
    today: days after it are refused; None for no such bound. Columns that may be null may be
    absent.

    Raises SchemaError for a missing, unknown or wrongly typed column, ValueInvalidError for: an
    absent id or day; a period other than 1 or 7 days; a count or amount that is negative or not
    finite; clicks above impressions; a currency that is no code of three letters, or two in one
    campaign; two time zones in one account; a stop cause that is none; a day in the future or
    outside of the flight; two rows of one `KEY`, or whose periods overlap. Each names the file,
    the first row (from 0), the column and the value.
    """
    frame = as_polars(table)
    where = locate or in_file(file)
    types = dict(frame.schema)
    check_columns(types, DELIVERY, file)
    ids = pa.schema([one for one in DELIVERY if one.type == pa.string()])
    hint = "fill in the id, or leave out the row"
    check_rows(frame, [replace(one, hint=hint) for one in text_checks(types, ids)], where)
    kept = _conformed(frame, file, where)
    check_rows(kept, _row_checks(today), where)
    for check in _group_checks(kept):
        bad = kept.select(check.bad.alias(_BAD)).to_series()
        check_rows(kept, [replace(check, bad=pl.lit(bad))], where)
    _check_overlap(kept, where)
    return kept


def save_delivery(folder: str | Path, record: DeliveryRecord, *, overwrite: bool = False) -> None:
    """Write a record to a folder, whole or not at all: days, links and creatives as Parquet, and
    summary.json with the notes. Raises ResourceError where the folder exists (without `overwrite`)
    or the disk is full."""
    with atomic_folder(folder, overwrite=overwrite) as new:
        write_table(new / "days.parquet", record.days)
        write_table(new / "links.parquet", record.links)
        write_table(new / "creatives.parquet", record.creatives)
        text = json.dumps(to_jsonable(record.notes), indent=1, ensure_ascii=False)
        atomic_write_text(new / "summary.json", text)


def open_delivery(folder: str | Path, *, bounds: ReadBounds = USUAL_BOUNDS) -> DeliveryRecord:
    """The record of a folder that `save_delivery` wrote, checked again; raises as
    `DeliveryRecord.checked`, and FileUnreadableError for what is absent or damaged."""
    place = Path(folder)
    if not (place / "days.parquet").is_file():
        raise FileUnreadableError(
            "there is no delivery record here",
            file=str(folder),
            hint="pass a folder that save_delivery wrote, or read the export with import_delivery",
        )

    def table(name: str) -> pl.DataFrame:
        path = place / f"{name}.parquet"
        lazy = as_frame(path, whole=True, bounds=bounds).frame
        return reading(path, lazy.collect)

    notes = place / "summary.json"
    try:
        said = json.loads(notes.read_text("utf-8")) if notes.is_file() else {}
    except (OSError, ValueError) as error:
        raise FileUnreadableError(
            f"the notes of the record are damaged: {error}", file=str(notes), hint="remove the file"
        ) from error
    return DeliveryRecord.checked(
        table("days"),
        links=table("links"),
        creatives=table("creatives"),
        notes=from_jsonable(DeliveryNotes, said, source=str(notes)),
        file=str(place / "days.parquet"),
    )


def _conformed(frame: pl.DataFrame, file: str, locate: Locate) -> pl.DataFrame:
    columns, large = [], []
    for one in DELIVERY:
        target = _TYPES[one.type]
        dtype = frame.schema.get(one.name)
        if dtype is None or dtype == pl.Null:
            columns.append(pl.lit(None, target).alias(one.name))
            continue
        if not _fits(dtype, one.type):
            raise SchemaError(
                f"{one.name} must be of type {target}, not {dtype}",
                file=file,
                column=one.name,
                hint=f"cast the column to {target}",
            )
        cell = pl.col(one.name)
        if one.type == _CATEGORY and not is_category(dtype):
            cell = cell.cast(pl.String)
        if target.is_integer():
            most = LARGEST_COUNT if target == pl.Int64 else 2**31 - 1
            above = cell.cast(pl.Float64).abs() > most
            large.append(Check(one.name, above, f"{one.name} is too large", "correct it"))
        columns.append(cell.cast(target))
    check_rows(frame, large, locate)
    return frame.select(columns)


def _fits(dtype: pl.DataType, wanted: pa.DataType) -> bool:
    if wanted == pa.date32():
        return dtype == pl.Date
    if wanted == pa.float64():
        return dtype.is_numeric()
    if wanted in (pa.int32(), pa.int64()):
        return dtype.is_integer()
    return dtype == pl.String or is_category(dtype) or dtype.is_integer()


def _row_checks(today: date | None) -> list[Check]:
    last = pl.col("day") + pl.duration(days=pl.col("period_days") - 1)
    shown = pl.col("impressions") > 0
    causes = get_args(StopCause)
    checks = [
        *(
            Check(name, pl.col(name).is_null(), f"{name} must not be empty", "fill it in")
            for name in ("day", "impressions")
        ),
        *(
            Check(name, ~pl.col(name).is_finite(), f"{name} must be finite", "leave it empty")
            for name in ("spend", "conversions", "conversion_value", "frequency")
        ),
        Check(
            "period_days",
            pl.col("period_days").is_null() | ~pl.col("period_days").is_in([1, 7]),
            "a row covers one day or seven",
            "export by day or by week",
        ),
        *(
            Check(
                name,
                pl.col(name) < 0,
                f"{name} must not be negative",
                "a correction of the same ad and day is added up with --repeats sum; take another "
                "one from the day that it corrects",
            )
            for name in (*_COUNTS, *_AMOUNTS)
        ),
        Check(
            "clicks",
            pl.col("clicks") > pl.col("impressions"),
            "clicks must not be above impressions",
            "see whether columns were exchanged; where the platform counts late clicks or several "
            "of one person, import with --excess-clicks cap",
        ),
        Check(
            "currency",
            ~pl.col("currency").cast(pl.String).str.contains(r"^[A-Z]{3}$"),
            "a currency is a code of three capital letters",
            "write it as EUR or USD",
        ),
        Check(
            "stop_cause",
            ~pl.col("stop_cause").cast(pl.String).is_in(list(causes)),
            "this is no cause of a stop",
            f"use one of {', '.join(causes)}, or leave it empty",
        ),
        Check(
            "day",
            shown & ((pl.col("day") < pl.col("starts")) | (last > pl.col("ends"))),
            "the ad was shown outside of its flight (columns starts and ends)",
            "correct the dates of the flight, or leave their columns out",
        ),
    ]
    if today is not None:
        late = pl.col("day") > today
        hint = "correct the date, or leave out what has not happened"
        shown = pl.col("day").cast(pl.String)
        checks.append(Check("day", late, f"the day is after {today}", hint, shown=shown))
    return checks


def _group_checks(days: pl.DataFrame) -> list[Check]:
    """Rules about rows that belong together; each names the first row that breaks it."""

    def differs(column: str, group: pl.Expr) -> pl.Expr:
        first = pl.col(column).drop_nulls().first().over(group)
        return (pl.col(column) != first).fill_null(value=False)

    campaign = pl.coalesce("campaign_id", "ad_id")
    repeated = ~pl.struct(pl.col(name).to_physical() for name in KEY).is_first_distinct()
    return [
        Check(
            "day",
            repeated,
            "two rows are of one ad, creative and day",
            "name the columns that tell them apart, or take repeats='sum' where they are parts",
            shown=pl.format("{} of ad {}", "day", "ad_id"),
        ),
        Check(
            "currency",
            differs("currency", campaign),
            "the currency changes within a campaign",
            "export each currency by itself, or convert the amounts",
        ),
        Check(
            "time_zone",
            differs("time_zone", pl.col("account_id").fill_null("")),
            "one account has two time zones",
            "export by account, each with the time zone that it had",
        ),
    ]


def _check_overlap(days: pl.DataFrame, locate: Locate) -> None:
    """Raise ValueInvalidError for the first row whose period begins within another of its ad."""
    if not (days["period_days"] > 1).any():
        return
    group = [name for name in KEY if name != "day"]
    end = pl.col("day") + pl.duration(days=pl.col("period_days"))
    rows = (
        days.with_row_index(_ROW)
        .sort(*group, "day")
        .filter(pl.col("day") < end.shift(1).over(group))[_ROW]
    )
    bad = pl.int_range(pl.len()).is_in(rows.implode())
    what = "the period begins within another one of the same ad"
    check = Check("day", bad, what, "export by day or by week, not both, and each week once")
    check_rows(days, [check], locate)
