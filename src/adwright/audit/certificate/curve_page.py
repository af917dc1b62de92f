"""A curve of bounds as a picture and a table.

page = curve_table(points, chosen=eps)          # text for a terminal
svg = curve_picture(points, chosen=eps)         # for a report
write_curve(points, "curve", chosen=eps)        # curve/curve.svg and curve/curve.json
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from adwright.audit.certificate.curve import BoundPoint
from adwright.core.atomic import atomic_write_text
from adwright.core.errors import DataError
from adwright.metrics.reports.charts import to_svg

_HEADER = ("eps", "mean gain", "most gain", "mean loss", "NDCG", "lost %")


def curve_table(points: Sequence[BoundPoint], *, chosen: float | None = None) -> str:
    """A line a bound; the chosen one has a star."""
    rows = [_HEADER]
    rows += [
        (
            f"{one.eps:.4g}{'*' if one.eps == chosen else ''}",
            f"{one.mean_gain:.2f}",
            str(one.most_gain),
            f"{one.mean_loss:.2f}",
            f"{one.ndcg:.4f}",
            f"{one.loss_percent:.2f}",
        )
        for one in points
    ]
    widths = [max(len(row[at]) for row in rows) for at in range(len(_HEADER))]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    )


def curve_picture(points: Sequence[BoundPoint], *, chosen: float | None = None) -> str:
    """SVG: mean rank gain down, NDCG across, a point a bound with its eps; the chosen one filled.
    Raises DataError without a point."""
    import altair as alt

    if not points:
        raise DataError("there is no point to draw", hint="give at least one bound")
    rows = [
        {
            "eps": f"{one.eps:.3g}",
            "gain": one.mean_gain,
            "ndcg": one.ndcg,
            "bound": one.eps,
            "kind": "chosen" if one.eps == chosen else "tried",
        }
        for one in points
    ]
    base = alt.Chart(alt.InlineData(values=rows)).encode(
        x=alt.X("gain:Q", title="Ranks that a text can win at most (mean over products)"),
        y=alt.Y("ndcg:Q", title="NDCG with honest texts", scale=alt.Scale(zero=False)),
    )
    line = base.mark_line(strokeDash=[5, 4], color="#8a8a8a").encode(order="bound:Q")
    colours = alt.Scale(domain=["tried", "chosen"], range=["#0072B2", "#D55E00"])
    dots = base.mark_circle(size=80, opacity=1).encode(
        color=alt.Color("kind:N", scale=colours, legend=alt.Legend(title=None, orient="top"))
    )
    names = base.mark_text(align="left", dx=8, dy=4, fontSize=10).encode(text="eps:N")
    title = alt.Title("What a bound on texts costs and buys", subtitle="a point a bound eps")
    chart = alt.layer(line, dots, names).properties(width=560, height=360, title=title)
    return to_svg(chart)


def write_curve(
    points: Sequence[BoundPoint], folder: str | Path, *, chosen: float | None = None
) -> Path:
    """Write curve.svg and curve.json into `folder`, each whole or not at all; returns it."""
    folder = Path(folder)
    atomic_write_text(folder / "curve.svg", curve_picture(points, chosen=chosen))
    found = {"chosen": chosen, "points": [asdict(one) for one in points]}
    atomic_write_text(folder / "curve.json", json.dumps(found, indent=1, allow_nan=False) + "\n")
    return folder
