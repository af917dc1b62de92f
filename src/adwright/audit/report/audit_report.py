"""The report of an audit: its measures, and all that is needed to read them; JSON and CSV.

    report = make_report(table, target.name, catalogue, seed=0)
    report.to_json(); report.to_csv(); report.sentences()

A report names the model: what moves a small one says little of a large one. Names and texts in it
are what strangers wrote: JSON escapes them, a cell that a spreadsheet would take for a formula has
an apostrophe before it, and characters that are not seen are written out.
"""

from __future__ import annotations

import csv
import io
import json
import unicodedata
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from adwright.audit.catalogue.catalogue import ShopCatalogue
from adwright.audit.report.measures import (
    ProductMeasures,
    TierMeasures,
    measure_tier,
    tiers_of,
)
from adwright.audit.report.texts import AUDIT_MARK
from adwright.audit.report.trials import RankTable
from adwright.audit.targets.target import RankingCost
from adwright.core.errors import ArtifactError
from adwright.metrics.bootstrap import Interval

#: The note of a report whose products are too few for fresh orders, with how many were not.
CHOSEN_ON = "orders that texts were chosen on"
_FORMAT = 1
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_COLUMNS = (
    *("tier", "product", "runs", "net", "net_low", "net_high", "advantage", "disadvantage", "best"),
    *("harm", "first_before", "first_after", "rank_before", "rank_after", "text"),
)


@dataclass(frozen=True)
class AuditReport:
    """What an audit found.

    target: names the model and how it ranks. catalogue, catalogue_hash: what was ranked. products,
    orders, texts: numbers. seed: of orders and intervals. cost: of all rankings. notes: of the
    target's answers, by how often. also: the tiers by other rules of the target.
    """

    target: str
    catalogue: str
    catalogue_hash: str
    request: str
    products: int
    orders: int
    texts: int
    seed: int
    tiers: tuple[TierMeasures, ...]
    cost: RankingCost
    notes: Mapping[str, int]
    also: Mapping[str, tuple[TierMeasures, ...]]
    confidence: float = 0.95

    def sentences(self) -> list[str]:
        """What a reader needs first."""
        fresh = "that it was not chosen on"
        if CHOSEN_ON in self.notes:
            fresh = f"of which {self.notes[CHOSEN_ON]} are those that texts were chosen on"
        found = [
            f"Ranked by {visible(self.target)}. A finding of one model says little of another.",
            f"{self.texts} texts, each in {self.orders} orders of {self.products} products "
            f"{fresh}, beside the same orders without it.",
        ]
        for one in self.tiers:
            found.append(
                f"{visible(one.tier)}: net {_points(one.net)} points over all runs; in first place "
                f"{one.first_before.value:.0%} before, {one.first_after.value:.0%} after."
            )
        return found

    def to_json(self) -> str:
        """JSON text in ASCII; `from_json` gives back an equal report."""
        value = {"format": _FORMAT, "audit": AUDIT_MARK, **asdict(self)}
        return json.dumps(value, indent=2, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> AuditReport:
        """The report of a JSON text. Raises ArtifactError where it is none."""
        try:
            value = json.loads(text)
            if value.pop("format") != _FORMAT:
                raise ValueError("another format number")
            value.pop("audit")
            value["tiers"] = tuple(map(_tier, value["tiers"]))
            value["also"] = {
                rule: tuple(map(_tier, tiers)) for rule, tiers in value["also"].items()
            }
            value["cost"] = RankingCost(**value["cost"])
            return cls(**value)
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
            raise ArtifactError(
                f"the text is no report of an audit: {type(error).__name__}: {error}"[:200],
                hint="write it with `adwright audit run` of this version",
            ) from error

    def to_csv(self) -> str:
        """A row per tier and product, with a header; shares from 0 to 1."""
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(_COLUMNS)
        for tier in self.tiers:
            for one in tier.products:
                writer.writerow([cell(value) for value in _values(tier.tier, one)])
        return stream.getvalue()


def make_report(
    table: RankTable,
    target: str,
    catalogue: ShopCatalogue,
    *,
    seed: int = 0,
    request: str = "",
    draws: int = 1000,
    confidence: float = 0.95,
) -> AuditReport:
    """Measure all tiers of a table. seed: of the orders, and of the draws of intervals."""

    def measured(one: RankTable) -> tuple[TierMeasures, ...]:
        return tuple(
            measure_tier(one, tier, seed=seed, draws=draws, confidence=confidence)
            for tier in tiers_of(one)
        )

    return AuditReport(
        target,
        catalogue.name,
        replace(catalogue, own=True).digest(),
        request or catalogue.request,
        len(catalogue),
        len(table.clean),
        len(table.texts),
        seed,
        measured(table),
        table.clean_cost + table.attacked_cost,
        dict(table.notes),
        {rule: measured(one) for rule, one in table.also.items()},
        confidence,
    )


def visible(text: str, most: int = 0) -> str:
    """The text with characters that are not seen, or that turn its direction, written out. most:
    characters at most, 0 for all."""
    shown = "".join(
        one
        if one == " " or unicodedata.category(one)[0] not in "CZ"
        else one.encode("unicode_escape").decode()
        for one in text
    )
    return shown if not most or len(shown) <= most else shown[: most - 3] + "..."


def cell(value: object) -> object:
    """A cell for a spreadsheet: numbers as they are, texts visible and never a formula."""
    if value is None:
        return ""
    if not isinstance(value, str):
        return value
    shown = visible(value)
    return f"'{shown}" if value.startswith(_FORMULA) or shown.startswith(_FORMULA) else shown


def _values(tier: str, one: ProductMeasures) -> list[object]:
    numbers = (one.net.value, one.net.low, one.net.high, one.advantage, one.disadvantage, one.best)
    further = (one.harm, one.first_before, one.first_after, one.rank_before, one.rank_after)
    rounded = [None if value is None else round(value, 6) for value in (*numbers, *further)]
    return [tier, one.product, one.runs, *rounded, one.text]


def _points(one: Interval) -> str:
    value, low, high = 100 * one.value, 100 * one.low, 100 * one.high
    return f"{value:.1f} ({low:.1f} to {high:.1f})"


def _tier(value: dict[str, Any]) -> TierMeasures:
    fields = dict(value)
    fields["products"] = tuple(_product(one) for one in fields["products"])
    return TierMeasures(**_with_intervals(fields, TierMeasures))


def _product(value: dict[str, Any]) -> ProductMeasures:
    return ProductMeasures(**_with_intervals(dict(value), ProductMeasures))


def _with_intervals(fields: dict[str, Any], kind: type[object]) -> dict[str, Any]:
    for name, value in fields.items():
        if isinstance(value, dict):
            fields[name] = Interval(**{key: float(one) for key, one in value.items()})
    return fields
