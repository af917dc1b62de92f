"""The coarse order, blended with how often this user had this very item.

A user's vector and an item's are made apart, so their product says how near they are and not
that one is the other's weekly milk; where things repeat that is most of what the fine ranker
goes by. Four features of the pair are added up,

    s = a v + b log(1 + frequency) + c log(1 + recent) + d [had before]

v the product of the vectors, the counts those of `data.personal`. The weights are fitted to the
fine ranker's logits y on the items that the sources find, by least squares within each user
(only differences between the items of one user matter) in which an item weighs as much as the
fine ranker's probability that it is taken: the top has to be right.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adwright.core.errors import ValueInvalidError
from adwright.delivery.stages.protocols import CallCost, Scorer, Shortlist
from adwright.delivery.stages.request_batch import RequestBatch

__all__ = ["Blend", "BlendedScorer", "fit_blend"]

Floats = NDArray[np.float64]
#: Probabilities nearer to 0 or 1 than this count as this near.
_LEAST = 1e-6
_TOGETHER = 16


@dataclass(frozen=True)
class Blend:
    """a, b, c and d of the module's formula."""

    vector: float = 1.0
    frequency: float = 0.0
    recent: float = 0.0
    had: float = 0.0


class BlendedScorer:
    """A Scorer that adds the counts of the user's own past to another one's scores."""

    probability = False

    def __init__(self, vectors: Scorer, blend: Blend) -> None:
        self.vectors, self.blend = vectors, blend

    def score(self, batch: RequestBatch, items: Shortlist) -> Floats:
        """s of each item: [C]."""
        score: Floats = _parts(self.vectors, batch, items) @ np.array(astuple(self.blend))
        return score

    def cost(self, batch: RequestBatch, items: Shortlist) -> CallCost:
        """That of the other scorer, and a sort of the history."""
        return self.vectors.cost(batch, items) + CallCost(
            8.0 * len(items.codes), 8.0 * (len(batch.item) + len(items.codes))
        )


def fit_blend(vectors: Scorer, fine: Scorer, batch: RequestBatch, items: Shortlist) -> Blend:
    """The weights under which `vectors` comes nearest to `fine` on these users and items.

    fine: its scores must be probabilities. Raises ValueInvalidError where they are not, or
    where no user has two items to compare.
    """
    if not fine.probability:
        raise ValueInvalidError(
            "a blend is fitted to probabilities", hint="pass the fine stage, not a coarse one"
        )
    if not (np.diff(items.offsets) > 1).any():
        raise ValueInvalidError(
            "nobody has two items to compare", hint="fit on users with a history"
        )
    p = np.clip(_piecewise(fine, batch, items), _LEAST, 1 - _LEAST)
    weight = np.sqrt(p)[:, None]
    parts = _within(_parts(vectors, batch, items), p, items)
    logit = _within(np.log(p / (1 - p))[:, None], p, items)
    found, *_ = np.linalg.lstsq(weight * parts, weight * logit, rcond=None)
    return Blend(*(float(x) for x in found[:, 0]))


def _piecewise(scorer: Scorer, batch: RequestBatch, items: Shortlist) -> Floats:
    """Score some users at a time: hundreds of items each would take much memory."""
    starts = range(0, len(batch), _TOGETHER)
    pieces = [range(a, min(a + _TOGETHER, len(batch))) for a in starts]
    return np.concatenate([scorer.score(batch.some(n), items.some(n)) for n in pieces])


def _parts(vectors: Scorer, batch: RequestBatch, items: Shortlist) -> Floats:
    """The four features of each item [C, 4]."""
    counts = batch.counts(items.owner, items.codes)
    columns: list[NDArray[Any]] = [
        vectors.score(batch, items),
        np.log1p(counts.frequency),
        np.log1p(counts.recent),
        counts.frequency > 0,
    ]
    return np.stack([column.astype(np.float64) for column in columns], 1)


def _within(values: Floats, weight: Floats, items: Shortlist) -> Floats:
    """Values [C, F] less their weighted mean over the items of the same user."""
    owner, users = items.owner, len(items)
    total = np.bincount(owner, weight, minlength=users)
    sums = [np.bincount(owner, weight * column, minlength=users) for column in values.T]
    means = np.stack(sums, 1) / np.maximum(total, _LEAST)[:, None]
    centred: Floats = values - means[owner]
    return centred
