"""What was found of descriptions, as a table, a JSON file and a picture.

Whatever is simulated says so, in every form. Each number stands with its interval and with how
many queries, users or pairs it is of.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from adwright.authoring.describe.clicks import ClickResult
from adwright.authoring.describe.review import PairReview
from adwright.authoring.describe.search import DescriptionSearch
from adwright.authoring.describe.simulated_clicks import SimulatedClicks
from adwright.metrics.bootstrap import Interval
from adwright.metrics.text.agreement import Agreement

_FORMAT = 1
_SHOWN = 5  # echoes that the text names
_NAMES = {
    "title": "titles alone",
    "original": "original",
    "written": "written",
    "both": "original + written",
}
_PARTS = {
    "unseen": "queries the writer had not seen",
    "cold": "cold products, queries not seen",
    "seen": "queries the writer had seen: no evidence",
}


@dataclass(frozen=True)
class DescriptionReport:
    """All that was judged; what was not is None or empty.

    settings: of the run, for the file. said: what was left out or passed over, in sentences.
    """

    search: DescriptionSearch | None = None
    clicks: ClickResult | None = None
    simulated: tuple[SimulatedClicks, ...] = ()
    review: PairReview | None = None
    settings: Mapping[str, Any] | None = None
    said: tuple[str, ...] = ()

    def text(self) -> str:
        """Tables in plain text, one a way of judging."""
        parts = []
        if self.search is not None:
            parts.append(_search_text(self.search))
        if self.clicks is not None:
            parts.append(_click_text(self.clicks))
        parts += [_simulated_text(one) for one in self.simulated]
        if self.review is not None:
            parts.append(_review_text(self.review))
        if self.said:
            parts.append("\n".join(f"note: {one}" for one in self.said))
        return "\n\n".join(parts)

    def to_json(self) -> str:
        """All figures as JSON, with their settings."""
        told: dict[str, Any] = {"format": _FORMAT, "settings": dict(self.settings or {})}
        if self.search is not None:
            values = asdict(self.search)
            del values["grades"]
            told["search"] = values
        if self.clicks is not None:
            told["clicks"] = asdict(self.clicks)
        if self.simulated:
            told["simulated_clicks"] = [asdict(one) for one in self.simulated]
        if self.review is not None:
            told["review"] = asdict(self.review)
        told["said"] = list(self.said)
        return json.dumps(told, indent=1, allow_nan=False, ensure_ascii=False) + "\n"

    def svg(self) -> str:
        """The leads as a picture: of search where that was judged, else of clicks or wins."""
        from adwright.metrics.reports.charts import interval_chart, to_svg

        values, title, axis, reference = self._drawn()
        return to_svg(interval_chart(values, title=title, x_title=axis, reference=reference))

    def _drawn(self) -> tuple[dict[str, Interval], str, str, float]:
        if self.search is not None:
            leads = {
                f"{_NAMES[row.index]}, {row.part}, {row.ranker.split(' ')[0]}": row.lead
                for row in self.search.rows
                if row.lead is not None and row.part != "seen"
            }
            title = "Is a product found better by its description?"
            return dict(leads), title, f"NDCG@{self.search.k} above the original descriptions", 0.0
        if self.clicks is not None:
            rates = {one.arm: one.rate for one in self.clicks.arms}
            return rates, "Click rate if it were shown always", "click rate, off-policy", 0.0
        if self.review is not None:
            title = "Share of comparisons won"
            return dict(self.review.wins), title, "share won, a tie counts one half", 0.5
        return {}, "Nothing was judged", "", 0.0


def _search_text(found: DescriptionSearch) -> str:
    lines = []
    for ranker, part in dict.fromkeys((row.ranker, row.part) for row in found.rows):
        rows = [row for row in found.rows if (row.ranker, row.part) == (ranker, part)]
        cells = [(f"NDCG@{found.k}", "value", "above original")]
        for row in rows:
            lead = "" if row.lead is None else row.lead.text("+.4f")
            cells.append((_NAMES[row.index], row.ndcg.text(), lead))
        lines += [f"{ranker}: {_PARTS[part]} ({rows[0].queries:,})", *_aligned(cells), ""]
    echoes = [one for seed in found.echoes for one in seed]
    lines.append(
        f"{found.products:,} products, {found.cold:,} of them cold; written descriptions: "
        + ", ".join(f"{number:,}" for number in found.written)
    )
    if echoes:
        lines.append(f"{len(echoes):,} descriptions echo a query:")
        lines += [
            f"  {one.product}: {one.query!r} by {', '.join(one.words)}" for one in echoes[:_SHOWN]
        ]
    for number, what in (
        (found.unanswered, "queries that no product answers are left out"),
        (found.unknown, "judgements are of products or queries that there are not"),
    ):
        if number:
            lines.append(f"{number:,} {what}")
    return "\n".join(lines)


def _click_text(found: ClickResult) -> str:
    cells = [("shown always", "click rate, off-policy", "logged", "impressions", "effective")]
    cells += [
        (
            one.arm,
            one.rate.text(),
            f"{one.logged:.4f}",
            f"{one.impressions:,}",
            f"{one.weights.effective:,.0f}",
        )
        for one in found.arms
    ]
    first, second = (one.arm for one in found.arms)
    told = "SIMULATED " if found.simulated else ""
    head = f"{told}Clicks, by {found.estimator}, {found.users:,} users"
    lead = f"{second} above {first}: {found.lead.text('+.4f')}"
    return "\n".join([head, *_aligned(cells), lead, *(f"warning: {w}" for w in found.warnings)])


def _simulated_text(found: SimulatedClicks) -> str:
    cells = [("index", "clicks a search", "above original")]
    for index, clicks in found.clicks.items():
        lead = found.leads.get(index)
        cells.append((_NAMES[index], clicks.text(), "" if lead is None else lead.text("+.4f")))
    head = f"SIMULATED clicks by a position-based model, {found.ranker}; no person clicked"
    return "\n".join([head, *_aligned(cells)])


def _review_text(found: PairReview) -> str:
    head = (
        f"Blind review: {found.judgements:,} judgements of {found.pairs:,} pairs by "
        f"{found.raters:,} raters; ties {found.ties:.0%}"
    )
    wins = [found.wins[source].text(".3f") for source in found.sources]
    cells = [
        ["", *found.sources, f"{found.sources[1]} above", "alpha ordinal", "interval"],
        ["comparisons won", *wins, "", "", ""],
    ]
    for one in found.rubric:
        means = [one.means[source].text(".2f") for source in found.sources]
        alphas = [_alpha(one.ordinal), _alpha(one.interval)]
        cells.append([one.name, *means, one.lead.text("+.2f"), *alphas])
    lines = [head, *_aligned(cells), f"alpha of the choices (nominal): {_alpha(found.choice)}"]
    if found.left is not None:
        lines.append(f"left text chosen: {found.left.text('.3f')}, one half without a habit")
    return "\n".join(lines)


def _alpha(found: Agreement | None) -> str:
    return "one rater a pair" if found is None else found.text()


def _aligned(cells: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[at]) for row in cells) for at in range(len(cells[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]
