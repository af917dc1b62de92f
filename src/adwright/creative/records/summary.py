"""What became of an export, and what a delivery record holds, for a person to read.

Whatever an import changes, leaves out or doubts is one of these: a `Repair` with its count and the
first places, a warning, or a sentence about what was taken for what.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

import polars as pl

from adwright.data.checks import Locate

__all__ = [
    "DeliveryNotes",
    "DeliverySummary",
    "NoteTaker",
    "Repair",
    "repair_of",
    "say",
    "summarise_days",
]

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
    money = days.group_by(pl.col("currency").cast(pl.String).fill_null("")).agg(
        *(pl.col(name).sum() for name in ("spend", "conversion_value")),
        *(
            pl.col(name).is_not_null().any().alias(f"has {name}")
            for name in ("spend", "conversion_value")
        ),
    )
    spend, value = (
        {
            str(one["currency"]): float(one[name])
            for one in money.sort("currency").iter_rows(named=True)
            if one[f"has {name}"]
        }
        for name in ("spend", "conversion_value")
    )
    return DeliverySummary(**row, spend=spend, conversion_value=value, notes=notes)


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
