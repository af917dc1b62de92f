"""What is measured of a model of a task: the C of each term, and how far its curves are off."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from adwright.creative.lifetime.spell_table import SpellTable
from adwright.creative.lifetime.survival_curves import LifeCurves
from adwright.metrics.bootstrap import MethodInterval, two_level_difference, two_level_ratio
from adwright.metrics.survival import Concordance, harrell_c
from benchmarks.lifetime._calibration import brier_scores, d_calibration

Term = Literal["short", "long", "overall"]
TERMS: tuple[Term, ...] = ("short", "long", "overall")
Floats = NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class Measured:
    """One training (or a rule): by term, C and each product's part in it [O]. brier: integrated
    over the weeks of the curve; d_worst: of D-calibration, the farthest share of ten; None
    without a curve."""

    c: dict[Term, float]
    won: dict[Term, NDArray[np.float64]]
    compared: dict[Term, NDArray[np.float64]]
    brier: float | None = None
    d_worst: float | None = None

    def row(self) -> dict[str, Any]:
        """For the table."""
        found: dict[str, Any] = {f"c_{term}": value for term, value in self.c.items()}
        more = {"brier": self.brier, "d_calibration_worst": self.d_worst}
        return found | {name: value for name, value in more.items() if value is not None}


def of_curves(
    curves: LifeCurves, test: SpellTable, border: float, weights: Floats | None = None
) -> Measured:
    """Harrell's C of each term and of all.

    border: age at which the short term ends, the same for all that is compared. short: all spells,
    pairs whose first end came by then, ordered by the curve up to there. long: spells that lived
    on, ordered by the rest of their curve. overall: all spells, whole curve. weights:
    multiplicities; then nothing is said of the curve.
    """
    later = replace(curves, entry=np.maximum(curves.entry, np.float32(border)))
    risks = curves.risk(until=border), later.risk(), curves.risk()
    found = _measured(risks, test, border, weights)
    if weights is not None:
        return found
    first = float(test.entry.min())
    last = float(np.floor(min(curves.edges[-1], test.time.max() - 1)))
    weeks = np.arange(first, last + 1, dtype=np.float32)
    survival = curves.at(weeks)
    since = test.time - test.entry
    scores = brier_scores(since, test.ended, survival[:, 1:], weeks[1:] - first)
    row, place = np.arange(len(test)), np.minimum(since, last - first).astype(int)
    worst = d_calibration(
        test.ended & (test.time <= last),
        survival[row, place],
        before=survival[row, np.maximum(place - 1, 0)],
    ).worst
    return Measured(found.c, found.won, found.compared, scores.integrated, worst)


def of_risk(risk: Floats, test: SpellTable, border: float) -> Measured:
    """Likewise of what has one risk for all terms."""
    return _measured((risk, risk, risk), test, border, None)


def _measured(
    risks: tuple[Floats, Floats, Floats], test: SpellTable, border: float, weights: Floats | None
) -> Measured:
    on = np.flatnonzero(test.time > border)
    late = np.maximum(test.entry, np.float32(border))[on]
    kept = None if weights is None else weights[on]
    found = {
        "short": harrell_c(
            test.time,
            test.ended,
            risks[0],
            entry=test.entry,
            weights=weights,
            until=border,
            of="spells",
        ),
        "long": harrell_c(
            test.time[on],
            test.ended[on],
            risks[1][on],
            entry=late,
            weights=kept,
            of=f"spells that lived beyond {border:g}",
        ),
        "overall": harrell_c(
            test.time, test.ended, risks[2], entry=test.entry, weights=weights, of="spells"
        ),
    }
    sums = {term: _by_product(found[term], test, on) for term in TERMS}
    return Measured(
        {term: found[term].value for term in TERMS},
        {term: sums[term][0] for term in TERMS},
        {term: sums[term][1] for term in TERMS},
    )


def _by_product(
    found: Concordance, test: SpellTable, on: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """[O] of the products of the test; nothing for whoever is in no pair."""
    owners = np.unique(test.owner)
    rows = np.arange(len(test)) if len(found.won) == len(test) else on
    won, compared = np.zeros((2, len(owners)))
    at = np.searchsorted(owners, np.unique(test.owner[rows]))
    won[at], compared[at] = owner_sums(found, test.owner[rows])
    return won, compared


def owner_sums(
    found: Concordance, owner: NDArray[np.generic]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(numerators [O], denominators [O]) for intervals over owners, owners ascending.

    owner: [N], whom each unit belongs to. With them `two_level_ratio` gives the C-index, and its
    interval to first order: a resample that takes owner o m_o times has sum over o, p of
    m_o m_p c_op concordant pairs, which is linear in m up to second order, sum over o of
    m_o won_o - won (Hajek's projection of a U-statistic). The constant is shared among owners,
    since the m_o add up to their number.
    """
    who, place = np.unique(owner, return_inverse=True)
    won, compared = (
        np.bincount(place, each, len(who)).astype(np.float64) - total / len(who)
        for each, total in (
            (found.won, found.concordant + found.tied / 2),
            (found.compared, found.pairs),
        )
    )
    return won, compared


def interval(found: Sequence[Measured], term: Term) -> MethodInterval:
    """Of the C, over seeds and products."""
    won, compared = (np.stack([getattr(m, name)[term] for m in found]) for name in _SUMS)
    return two_level_ratio(won, compared, np.random.default_rng(0))


def difference(a: Sequence[Measured], b: Sequence[Measured], term: Term) -> MethodInterval:
    """Of a's C less b's, on the same products."""
    sums = [np.stack([getattr(m, name)[term] for m in found]) for found in (a, b) for name in _SUMS]
    return two_level_difference(
        sums[0], sums[2], sums[1], np.random.default_rng(0), denominators_b=sums[3]
    )


_SUMS = "won", "compared"
