"""Make a delivery record of what an ad platform exports by day or by week.

    record = import_delivery("ads-january.csv")        # Meta, Google or TikTok, by its columns
    print(record.summary().text())
    save_delivery("january", record)

A file that can be read two ways is refused, with the row and what to do. What is put right or left
out is counted in the notes of the record, with the first rows: totals, rows that come twice, blank
rows, marks of spreadsheets. Nothing is dropped in silence.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import polars as pl

from adwright.core.clock import Clock, SystemClock
from adwright.creative.records.cells import assign_creatives, check_links, check_rows
from adwright.creative.records.delivery import (
    KEY,
    DeliveryRecord,
    NoteTaker,
    Repair,
    check_delivery,
    say,
)
from adwright.creative.records.export_file import read_export
from adwright.creative.records.export_rows import (
    DeliveryOptions,
    RowReader,
    is_zone,
    known_names,
    name_export,
    only_rows,
    read_day,
)
from adwright.data.creatives import SLOTS, Creative, creatives_table
from adwright.data.schema import Check, Locate, from_arrow, in_file
from adwright.data.sources.bounds import USUAL_BOUNDS, ReadBounds, reading
from adwright.data.sources.frames import Tabular, as_frame

_ADDED = ("impressions", "clicks", "spend", "conversions", "conversion_value")
_PEOPLE = ("reach", "frequency")
_ROW, _ID = "__row", "__id"
_LISTED = 8


def import_delivery(
    path: Tabular,
    *,
    source: str | None = None,
    options: DeliveryOptions | None = None,
    links: Tabular | None = None,
    clock: Clock | None = None,
    bounds: ReadBounds = USUAL_BOUNDS,
    tell: bool = True,
) -> DeliveryRecord:
    """The delivery record of an export: CSV of any kind, JSON lines, Parquet, or a table in memory.

    source: the platform; None for what its columns tell, "table" for columns named as ours.
    links: which creative was in which ad and when, in the columns of LINKS, for an export by ad.
    Without it and a column of creatives, ads with one text have one creative, and an ad without a
    text is a creative of its own. clock: days after its today are refused. tell: what became of
    the export, to the logger "adwright"; it is in `record.notes`, too.

    Raises FileUnreadableError, SchemaError and ValueInvalidError naming the file, the row (from 0,
    without a header), the column and the value, as `read_export`, `name_export` and
    `check_delivery`.
    """
    options = options or DeliveryOptions()
    theirs = tuple(options.columns.values())
    table = read_export(path, lambda names: known_names(names, theirs), bounds=bounds)
    named = name_export(
        table.frame.columns, source, options.columns, file=table.name, first_line=table.first_line
    )
    table, totals = only_rows(table, named.columns)
    parted = ("the fields are parted by semicolons",) if table.decimal_comma else ()
    notes = NoteTaker((*parted, *named.said), table.repairs)
    days = RowReader(table, named, options, notes).read()
    days, creatives = _with_creatives(days, notes)
    locate = table.locate
    if links is not None:
        days = assign_creatives(days, _read_links(links, bounds), locate)
    if options.excess_clicks == "cap" and "clicks" in days.columns:
        over = days["clicks"] > days["impressions"]
        notes.repair("clicks above impressions set to these", locate, over, days["clicks"])
        capped = pl.min_horizontal("clicks", "impressions")
        days = days.with_columns(clicks=pl.when(pl.col("clicks").is_not_null()).then(capped))
    if options.repeats == "sum":
        days, locate = _summed(days, locate, notes)
    # Where it is tomorrow already, the day ahead of UTC is today.
    today = (clock or SystemClock()).now().date() + timedelta(days=1)
    kept = check_delivery(days, file=table.name, locate=locate, today=today)
    _look_for_gaps(kept, locate, notes, refuse=options.gaps == "refuse")
    _doubt(kept, notes)
    _compare_totals(kept, totals, named.columns["impressions"], notes)
    taken = notes.taken(named.source, table.name, named.left)
    if tell:
        say(taken)
    used = creatives.join(kept, on="creative_id", how="semi", maintain_order="left")
    return DeliveryRecord.of(kept, creatives=used, notes=taken)


def _with_creatives(frame: pl.DataFrame, notes: NoteTaker) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rows with their creative_id and without texts; and the table of the creatives."""
    slots = [slot for slot in SLOTS if slot in frame.columns]
    own = "creative_id" in frame.columns
    if not own:
        told = f"creatives are told apart by {', '.join(slots)}"
        notes.said.append(told if slots else "no column tells creatives apart: each ad is one")
        frame = frame.with_columns(creative_id=pl.lit(None, pl.String))
    # Without an id and a text, an ad is a creative of its own.
    silent = pl.all_horizontal(pl.lit(value=True), *(pl.col(slot).is_null() for slot in slots))
    made_of = pl.when(pl.col("creative_id").is_null() & silent).then("ad_id")
    frame = frame.with_columns(creative_id=made_of.otherwise("creative_id"))
    key = ["creative_id", *slots]
    texts = frame.select(key).unique(maintain_order=True)
    several = texts.filter(
        pl.col("creative_id").is_duplicated() & pl.col("creative_id").is_not_null()
    )
    if several.height:
        notes.odd.append(
            f"{several['creative_id'].n_unique():,} creatives have several texts, of which the "
            f"first is kept; such is {several.item(0, 'creative_id')!r:.60}"
        )
    made = [
        Creative(**{name: cell or "" for name, cell in row.items()})  # type: ignore[arg-type]
        for row in texts.iter_rows(named=True)
    ]
    ids = pl.Series(_ID, [one.creative_id for one in made], pl.String)
    kept = frame.join(
        texts.with_columns(ids), on=key, how="left", nulls_equal=True, maintain_order="left"
    )
    first: dict[str, Creative] = {}
    for one in made:
        first.setdefault(one.creative_id, one)
    return (
        kept.with_columns(creative_id=_ID).drop(_ID, *slots),
        from_arrow(creatives_table(first.values())),
    )


def _read_links(links: Tabular, bounds: ReadBounds) -> pl.DataFrame:
    """Links of a file or a table, with dates that are text read."""
    given = as_frame(links, whole=True, bounds=bounds)
    frame = reading(Path(given.name), given.frame.collect)
    text = [n for n in ("first_day", "last_day") if frame.schema.get(n) == pl.String]
    dates = [read_day(frame, name, in_file(given.name)).value.alias(name) for name in text]
    return check_links(frame.with_columns(dates), file=given.name)


def _summed(
    days: pl.DataFrame, locate: Locate, notes: NoteTaker
) -> tuple[pl.DataFrame, Callable[[int], tuple[str, int]]]:
    """The rows with those of one key added up; and what names the first row of each."""
    key = [name for name in KEY if name in days.columns]
    rest = [name for name in days.columns if name not in (*key, *_ADDED, *_PEOPLE)]
    numbered = days.with_row_index(_ROW)
    summed = numbered.group_by(key, maintain_order=True).agg(
        pl.col(_ROW).first(),
        # A sum of nothing but nulls is unknown, not zero.
        *(
            pl.when(pl.col(name).is_not_null().any()).then(pl.col(name).sum()).alias(name)
            for name in _ADDED
            if name in days.columns
        ),
        # People of two parts may be the same ones.
        *(
            pl.when(pl.len() == 1).then(pl.col(name).first()).alias(name)
            for name in _PEOPLE
            if name in days.columns
        ),
        pl.col(rest).first(),
    )
    rows = summed[_ROW].to_list()
    added = ~numbered[_ROW].is_in(rows)
    notes.repair("rows added to another one of their ad and day", locate, added)
    return summed.select(days.columns), lambda row: locate(rows[row] if row < len(rows) else row)


def _look_for_gaps(days: pl.DataFrame, locate: Locate, notes: NoteTaker, *, refuse: bool) -> None:
    """Report, or refuse, days without a row between the first and the last of an ad."""
    day, ad = pl.col("day"), ["account_id", "ad_group_id", "ad_id"]
    end = day + pl.duration(days="period_days")
    found = (
        days.with_row_index(_ROW)
        .unique([*ad, "day"], keep="first", maintain_order=True)
        .sort(*ad, "day", maintain_order=True)
        .with_columns(since=end.shift(1).over(ad))
        .filter(day > pl.col("since"))
        .with_columns(missing=(day - pl.col("since")).dt.total_days())
        .sort(_ROW)
    )
    if not found.height:
        return
    if refuse:
        check = Check(
            "day",
            pl.int_range(pl.len()).is_in(found[_ROW].implode()),
            "days are missing before this one of the ad",
            "export all days, or import with gaps='zero' where they had no delivery",
            shown=pl.format("{} of ad {}", "day", "ad_id"),
        )
        check_rows(days, [check], locate)
    places = found.head(3).select("ad_id", "since", "missing").iter_rows()
    first = tuple(f"ad {one}: {missing} from {since} on" for one, since, missing in places)
    what = "days missing within the life of an ad read as days without delivery"
    notes.repairs.append(Repair(what, int(found["missing"].sum()), first))


def _doubt(days: pl.DataFrame, notes: NoteTaker) -> None:
    """Warn of what may be wrong in the rows as a whole."""
    first, last = days["day"].min(), days["day"].max()
    if (days["period_days"] == 1).all() and isinstance(first, date) and isinstance(last, date):
        span = pl.date_range(first, last, eager=True)
        lost = span.filter(~span.is_in(days["day"].unique().implode()))
        if len(lost):
            notes.odd.append(
                f"{len(lost):,} days have no row of any ad, the first is {lost[0]}: was the export "
                "made in parts?"
            )
    zones = days["time_zone"].drop_nulls().cast(pl.String).unique().sort().to_list()
    if len(zones) > 1:
        notes.odd.append(
            f"accounts have different time zones ({', '.join(zones[:_LISTED])}): their days are "
            "not the same hours"
        )
    for zone in zones:
        if not is_zone(zone):
            notes.odd.append(f"the time zone {zone[:60]!r} is not known; it is kept as it is")
    unsaid = int((days["spend"].is_not_null() & days["currency"].is_null()).sum())
    if unsaid:
        notes.odd.append(f"{unsaid:,} rows name no currency of their spend (say currency='EUR')")
    nothing = days["impressions"] == 0
    for odd, what in (
        (
            days["conversion_value"] < 0,
            "have a conversion value below 0, which is kept: goods that "
            "came back lower what the ad is worth",
        ),
        (nothing & (days["spend"] > 0), "cost something and have no impression"),
    ):
        if number := int(odd.sum()):
            notes.odd.append(f"{number:,} rows {what}")
    wide = int((days["reach"] > days["impressions"]).sum())
    if wide:
        notes.odd.append(f"{wide:,} rows reach more people than they have impressions")


def _compare_totals(
    days: pl.DataFrame, totals: pl.DataFrame, theirs: str, notes: NoteTaker
) -> None:
    """Warn where the one row of totals tells other impressions than the rows sum to."""
    if totals.height != 1:
        return
    cell = str(totals.item(0, theirs) or "")
    told = "".join(sign for sign in cell if sign.isdigit())
    summed = int(days["impressions"].sum())
    if told and int(told) != summed:
        notes.odd.append(
            f"the row of totals tells {int(told):,} impressions, the rows have {summed:,}: rows "
            "may be missing"
        )
