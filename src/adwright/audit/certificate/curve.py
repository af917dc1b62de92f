"""What a bound on texts costs and buys: rank gain against eps against NDCG, and the choice of eps.

    points = bound_curve(lists, epsilons(lists))
    eps = choose_eps(points, most_loss=0.02)          # on the tuning catalogues
    points_elsewhere = bound_curve(held_out, (eps,))  # what is published

A list is the products of one request with the score of the facts, the score of the text, and a
grade of how good each product is. With a small eps no text gets far, and what texts truly say about
relevance is lost with it; with a large one the ranking is the unbounded one. Grades come from
judgements, or from the order that an undefended ranker gives texts that are known to be honest:
NDCG is then agreement with it, which `bound_curve` cannot know and a report has to say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from adwright.audit.certificate.bounds import rank_bounds
from adwright.audit.certificate.scores import BoundedScores, checked_scores, require_eps
from adwright.core.config import require_count
from adwright.core.errors import ConfigError, DataError, ValueInvalidError
from adwright.metrics.ranking import graded_ndcg_per_query

Floats = npt.NDArray[np.float64]

#: How many bounds a curve tries beside 0 and none.
_STEPS = 15


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


def bound_curve(
    lists: Sequence[GradedList], eps: Sequence[float], *, k: int = 10
) -> tuple[BoundPoint, ...]:
    """A point for each bound, in the order given.

    k: of NDCG@k, with the grades as gains; products of equal score stand in the order of their
    rows. A list without a grade above 0 counts for the gains and not for NDCG.
    Raises DataError where there is no list, or none with a grade; ConfigError for a bound below 0.
    """
    _require_lists(lists)
    require_count("k", k)
    for one in eps:
        require_eps(one)
    unbounded = _ndcg(lists, np.inf, k)
    found = []
    for one in eps:
        bounds = [rank_bounds(BoundedScores(some.facts, some.texts, one)) for some in lists]
        gain = np.concatenate([each.gain for each in bounds])
        loss = np.concatenate([each.loss for each in bounds])
        ndcg = _ndcg(lists, one, k)
        lost = 100 * (1 - ndcg / unbounded) if unbounded > 0 else 0.0
        point = BoundPoint(
            float(one), float(gain.mean()), int(gain.max()), float(loss.mean()), ndcg, lost
        )
        found.append(point)
    return tuple(found)


def choose_eps(points: Sequence[BoundPoint], *, most_loss: float = 0.02) -> float:
    """The smallest eps that loses at most the share `most_loss` of NDCG.

    Choose on catalogues for tuning, publish on others. Raises DataError where none does: try larger
    bounds; ConfigError where `most_loss` is no share.
    """
    if not 0 <= most_loss <= 1:
        raise ConfigError("most_loss is a share", where=f"most_loss {most_loss!r}", hint="0 to 1")
    good = [one.eps for one in points if one.loss_percent <= 100 * most_loss + 1e-9]
    if not good:
        raise DataError(
            f"every bound loses more than {most_loss:.1%} of NDCG",
            column="eps",
            hint="try larger bounds, or accept a larger loss",
        )
    return min(good)


def _ndcg(lists: Sequence[GradedList], eps: float, k: int) -> float:
    """Mean NDCG@k of the lists that have a grade above 0."""
    graded = [one for one in lists if (one.grades > 0).any()]
    if not graded:
        raise DataError("no list has a grade above 0", column="grades", hint="grade some products")
    longest = max(k, *(len(one.facts) for one in graded))
    top = np.full((len(graded), longest), -1, np.int64)
    for row, one in enumerate(graded):
        scores = one.facts + np.clip(one.texts, -eps, eps)
        top[row, : len(scores)] = np.argsort(-scores, kind="stable")
    offsets = np.cumsum([0, *(len(one.facts) for one in graded)])
    items = np.concatenate([np.arange(len(one.facts)) for one in graded])
    grades = np.concatenate([one.grades for one in graded])
    found = graded_ndcg_per_query(top, offsets, items, grades, k=k, gain="linear")
    return float(found.mean())


def _require_lists(lists: Sequence[GradedList]) -> None:
    if not lists or not any(len(one.facts) for one in lists):
        raise DataError("there is no list of products", hint="give the products of a request")
