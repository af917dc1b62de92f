"""The page of an audit: one HTML file without scripts or outside references.

Names and texts of sellers are data here as everywhere: jinja2 escapes them, and characters that are
not seen are written out, so that no text can change the report that is about it.
"""

from __future__ import annotations

from pathlib import Path

from adwright.audit.report.audit_report import AuditReport, GateVerdict, TierMeasures, visible
from adwright.audit.report.trials import AUDIT_MARK
from adwright.core.atomic import atomic_write_text
from adwright.metrics.bootstrap import Interval
from adwright.metrics.reports.charts import interval_chart, to_svg
from adwright.metrics.reports.report import page_environment

_TEXT, _NAME = 400, 80
_HEADER = (
    *("tier", "net over all runs", "net of the best run", "advantage", "disadvantage"),
    *("first before", "first after", "places others lost", "texts"),
)
_PRODUCTS = (
    *("product", "net", "best run", "advantage", "disadvantage", "first before", "first after"),
    *("mean rank before", "after", "places others lost", "text of the best run"),
)


def write_report(
    report: AuditReport, folder: str | Path, *, verdict: GateVerdict | None = None
) -> tuple[Path, ...]:
    """Write report.json, report.csv and report.html, each whole or not at all; returns their paths.
    Raises ResourceError where the disk is full or the folder cannot be written."""
    root = Path(folder)
    made = {
        "report.json": report.to_json(),
        "report.csv": report.to_csv(),
        "report.html": audit_page(report, verdict=verdict),
    }
    for name, text in made.items():
        atomic_write_text(root / name, text)
    return tuple(root / name for name in made)


def audit_page(report: AuditReport, *, verdict: GateVerdict | None = None) -> str:
    """The page as text. verdict: of a gate, shown at its top."""
    ordered = sorted(report.tiers, key=lambda one: one.control)
    points = {visible(one.tier, _NAME): _scaled(one.net) for one in report.tiers}
    chart = interval_chart(
        points, title="Net advantage of a text", x_title="percentage points", reference=0
    )
    values = {
        "title": f"Visibility audit of {visible(report.catalogue, _NAME)}",
        "mark": AUDIT_MARK,
        "sentences": report.sentences(),
        "verdict": verdict,
        "facts": _facts(report),
        "chart": to_svg(chart),
        "header": _HEADER,
        "rows": [_row(one) for one in report.tiers],
        "also": {
            visible(rule): [_row(one) for one in tiers] for rule, tiers in report.also.items()
        },
        "product_header": _PRODUCTS,
        "tiers": [(visible(one.tier), _product_rows(one)) for one in ordered],
    }
    return page_environment(__package__ or "").get_template("audit.html").render(values)


def _facts(report: AuditReport) -> dict[str, str]:
    cost = report.cost
    notes = ", ".join(f"{visible(note)}: {count}" for note, count in report.notes.items())
    return {
        "target": visible(report.target),
        "catalogue": f"{visible(report.catalogue, _NAME)}, {report.products} products",
        "catalogue, SHA-256": report.catalogue_hash,
        "request": visible(report.request, _TEXT),
        "orders": f"{report.orders}, seed {report.seed}",
        "calls of the model": f"{cost.calls:,}",
        "tokens": f"{cost.tokens_in:,} read, {cost.tokens_out:,} written",
        "CPU-seconds of this process": f"{cost.cpu_seconds:,.0f}",
        "notes on answers": notes or "none",
        "intervals": f"{report.confidence:.0%}, over products and orders",
    }


def _row(one: TierMeasures) -> tuple[str, ...]:
    return (
        visible(one.tier, _NAME),
        _scaled(one.net).text(".1f"),
        "" if one.best is None else _scaled(one.best).text(".1f"),
        _scaled(one.advantage).text(".1f"),
        _scaled(one.disadvantage).text(".1f"),
        _scaled(one.first_before).text(".0f"),
        _scaled(one.first_after).text(".0f"),
        one.harm.text(".2f"),
        str(one.runs),
    )


def _product_rows(tier: TierMeasures) -> list[tuple[str, ...]]:
    return [
        (
            visible(one.product, _NAME),
            _scaled(one.net).text(".1f"),
            "" if one.best is None else f"{100 * one.best:.1f}",
            f"{100 * one.advantage:.1f}",
            f"{100 * one.disadvantage:.1f}",
            f"{100 * one.first_before:.0f}",
            f"{100 * one.first_after:.0f}",
            f"{one.rank_before:.1f}",
            f"{one.rank_after:.1f}",
            f"{one.harm:.2f}",
            visible(one.text, _TEXT),
        )
        for one in tier.products
    ]


def _scaled(one: Interval) -> Interval:
    return Interval(100 * one.value, 100 * one.low, 100 * one.high)
