"""What a bound on texts costs and buys: rank gain against eps against NDCG.

    points = bound_curve(lists, epsilons(lists))
    write_curve(points, "curve", chosen=0.5)       # choose on some catalogues, publish on others

A list is the products of one request with the score of the facts, the score of the text, and a
grade of how good each product is. With a small eps no text gets far, and what texts truly say about
relevance is lost with it; with a large one the ranking is the unbounded one. Grades come from
judgements, or from the order that an undefended ranker gives texts that are known to be honest:
NDCG is then agreement with it, which `bound_curve` cannot know and a report has to say.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from adwright.audit.certificate.certificate import (
    BoundedScores,
    Floats,
    checked_scores,
    rank_bounds,
)
from adwright.core.atomic import atomic_write_text
from adwright.core.errors import DataError, ValueInvalidError
from adwright.metrics.ranking import graded_ndcg_per_query
from adwright.metrics.reports.charts import to_svg

#: How many bounds a curve tries beside 0 and none.
_STEPS = 15
#: Places of a list that NDCG looks at.
_DEPTH = 10


@dataclass(frozen=True, eq=False)
class GradedList:
    """The products of one request. facts: a [C], texts: t [C] before any clipping, grades: [C] from
    0 on. Raises ValueInvalidError for unequal lengths and numbers that are none."""

    facts: Floats
    texts: Floats
    grades: Floats

    def __post_init__(self) -> None:
        sizes = set()
        for name in ("facts", "texts", "grades"):
            values = checked_scores(getattr(self, name), name)
            object.__setattr__(self, name, values)
            sizes.add(len(values))
        if len(sizes) > 1 or (self.grades < 0).any():
            raise ValueInvalidError(
                "a list needs as many facts, texts and grades, and grades from 0 on",
                column="grades",
                hint="give one of each a product",
            )


@dataclass(frozen=True)
class BoundPoint:
    """One bound. mean_gain, most_gain: ranks that a text can win at most, over all products.
    mean_loss: ranks that the texts of all others can take. ndcg: mean over lists, and loss_percent:
    what of it is lost against no bound."""

    eps: float
    mean_gain: float
    most_gain: int
    mean_loss: float
    ndcg: float
    loss_percent: float


def epsilons(lists: Sequence[GradedList]) -> tuple[float, ...]:
    """Bounds worth trying: 0, and quantiles of what |t| is, the largest included, which is no bound
    for the texts as they are. Raises DataError without a list."""
    _require_lists(lists)
    size = np.abs(np.concatenate([one.texts for one in lists]))
    return tuple(np.unique([0.0, *np.quantile(size, np.linspace(0, 1, _STEPS))]).tolist())


def bound_curve(lists: Sequence[GradedList], eps: Sequence[float]) -> tuple[BoundPoint, ...]:
    """A point for each bound, in the order given.

    NDCG@10 has the grades as gains; products of equal score stand in the order of their
    rows. A list without a grade above 0 counts for the gains and not for NDCG.
    Raises DataError where there is no list, or none with a grade; ConfigError for a bound below 0.
    """
    _require_lists(lists)
    unbounded = _ndcg(lists, np.inf)
    found = []
    for one in eps:
        bounds = [rank_bounds(BoundedScores(some.facts, some.texts, one)) for some in lists]
        gain = np.concatenate([each.gain for each in bounds])
        loss = np.concatenate([each.loss for each in bounds])
        ndcg = _ndcg(lists, one)
        lost = 100 * (1 - ndcg / unbounded) if unbounded > 0 else 0.0
        point = BoundPoint(
            float(one), float(gain.mean()), int(gain.max()), float(loss.mean()), ndcg, lost
        )
        found.append(point)
    return tuple(found)


def _ndcg(lists: Sequence[GradedList], eps: float) -> float:
    """Mean NDCG of the lists that have a grade above 0."""
    graded = [one for one in lists if (one.grades > 0).any()]
    if not graded:
        raise DataError("no list has a grade above 0", column="grades", hint="grade some products")
    longest = max(_DEPTH, *(len(one.facts) for one in graded))
    top = np.full((len(graded), longest), -1, np.int64)
    for row, one in enumerate(graded):
        scores = one.facts + np.clip(one.texts, -eps, eps)
        top[row, : len(scores)] = np.argsort(-scores, kind="stable")
    offsets = np.cumsum([0, *(len(one.facts) for one in graded)])
    items = np.concatenate([np.arange(len(one.facts)) for one in graded])
    grades = np.concatenate([one.grades for one in graded])
    found = graded_ndcg_per_query(top, offsets, items, grades, k=_DEPTH, gain="linear")
    return float(found.mean())


def _require_lists(lists: Sequence[GradedList]) -> None:
    if not lists or not any(len(one.facts) for one in lists):
        raise DataError("there is no list of products", hint="give the products of a request")


# --------------------------------------------------------------------------------------------------
# A curve of bounds as a picture and a table.
#
# page = curve_table(points, chosen=eps)          # text for a terminal
# svg = curve_picture(points, chosen=eps)         # for a report
# write_curve(points, "curve", chosen=eps)        # curve/curve.svg and curve/curve.json

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
