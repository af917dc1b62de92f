"""Distillation targets for the coarse ranker: the fine one's scores of what the sources find.

Only some of the visits are scored, and of each only some candidates: the fine ranker's time is the
cost.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from adwright.core.errors import ConfigError
from adwright.core.progress import progress
from adwright.data.tasks.next_basket import NextBasket
from adwright.delivery.cascade.cascade import Cascade
from adwright.delivery.stages.histories import visit_requests
from adwright.delivery.stages.protocols import Shortlist
from adwright.delivery.stages.request_batch import RequestBatch
from adwright.training.retrieval.fit import DistillationTargets

__all__ = ["distil"]

_TOGETHER = 16
#: Probabilities nearer to 0 or 1 than this count as this near.
_LEAST = 1e-9


def distil(
    cascade: Cascade, task: NextBasket, *, visits: int, items: int, seed: int = 0
) -> DistillationTargets:
    """The fine stage's logits of up to `items` candidates, of `visits` training visits of `task`.

    cascade: its sources find the candidates; its coarse stage is not asked. Visits of people
    without a past are left out.
    Raises ConfigError where there is no fine stage, or it gives no probabilities.
    """
    if cascade.fine is None or not cascade.fine.probability:
        raise ConfigError(
            "distillation takes a fine stage's probabilities",
            where="no fine stage" if cascade.fine is None else type(cascade.fine).__name__,
        )
    rng = np.random.default_rng(seed)
    known = task.visits("train")
    known = known[task.visit_end[known] > task.user_offsets[task.visit_user[known]]]
    chosen = np.sort(rng.permutation(known)[:visits])
    lists: list[NDArray[np.int64]] = []
    scores: list[NDArray[np.float64]] = []
    with progress(len(chosen), "distil", "visits") as bar:
        for start in range(0, len(chosen), _TOGETHER):
            some = chosen[start : start + _TOGETHER]
            batch = cascade.histories.batch(visit_requests(task, some))
            short = _some_of(cascade, batch, items, rng)
            lists += short.lists()
            scores.append(cascade.fine.score(batch, short))
            bar.advance(len(some))
    p = np.clip(np.concatenate([np.zeros(0), *scores]), _LEAST, 1 - _LEAST)
    short = Shortlist.of(lists)
    return DistillationTargets(
        chosen, short.offsets, short.codes, np.log(p / (1 - p)).astype(np.float32)
    )


def _some_of(
    cascade: Cascade, batch: RequestBatch, items: int, rng: np.random.Generator
) -> Shortlist:
    """At most `items` a person: half of them what the person had most often, which the fine
    ranker tends to put first, the others at random from all that the sources find."""
    found = cascade.retrieve(batch).lists()
    own = [found[n][:0] for n in range(len(batch))]
    if cascade.past is not None and items > 1:
        own = cascade.past.find(batch, items // 2).lists()
    lists = []
    for mine, codes in zip(own, found, strict=True):
        others = rng.permutation(np.setdiff1d(codes, mine))
        lists.append(np.concatenate([mine, others[: items - len(mine)]]))
    return Shortlist.of(lists)
