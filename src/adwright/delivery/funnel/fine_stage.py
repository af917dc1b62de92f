"""Whether the fine stage of a cascade of three stages serves: it is measured before, as the stages
of a funnel are.

Both orders, that of the coarse stage and that of the fine one, answer the same validation visits.
The rule of `choice` decides: the fine stage is left out unless it is ahead by more than a standard
error, since it asks one network more.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from adwright.data.tasks.next_basket import NextBasket
from adwright.delivery.cascade.deployment import Deployment
from adwright.delivery.cascade.judging import ranks_in
from adwright.delivery.funnel.bench import some_visits, targets_of
from adwright.delivery.funnel.choice import TriedOrder, chosen
from adwright.delivery.funnel.mixture import ScoreMixture
from adwright.delivery.stages.histories import visit_requests
from adwright.metrics.bootstrap import Interval
from adwright.metrics.ranking import ndcg_per_user, recall_per_user
from adwright.metrics.reports.comparison import compare_rankings
from adwright.metrics.reports.report import EvaluationProtocol

__all__ = ["MeasuredFine", "measured_fine"]

Ints = NDArray[np.int64]
_K, _TOGETHER = 10, 32
_log = logging.getLogger("adwright")


@dataclass(frozen=True, eq=False)
class MeasuredFine:
    """deployment: with its fine stage, or without it. ahead: the NDCG@10 of the fine order less
    that of the coarse one, with its 95% interval over users; None where nothing was measured.
    why: what was decided, in a sentence."""

    deployment: Deployment
    ahead: Interval | None
    why: str


def measured_fine(
    built: Deployment, task: NextBasket, *, most: int = 200, draws: int = 500, seed: int = 0
) -> MeasuredFine:
    """Leave the fine stage of `built` out unless validation visits of `task` speak for it.

    most: visits that are asked, drawn by `seed`. Without a fine stage, or a visit to ask, nothing
    is changed; the latter is warned of. Nothing is saved: `Deployment.save` does that.
    """
    if built.fine is None:
        return MeasuredFine(built, None, "there is no fine stage")
    unseen = built.config.unseen
    visits = some_visits(task, task.visits("valid"), most, unseen=unseen, seed=seed)
    if not len(visits):
        why = "the fine stage serves unmeasured: there is no validation visit"
        _log.warning("%s", why)
        return MeasuredFine(built, None, why)
    user, targets = task.visit_user[visits], targets_of(task, visits, unseen=unseen)
    coarse = replace(built, fine=None)
    ranks = {
        name: ranks_in(_answers(one, task, visits), targets)
        for name, one in (("fine", built), ("coarse", coarse))
    }
    orders = {
        name: TriedOrder(
            name,
            ScoreMixture.of("hcn"),
            ScoreMixture.of("fine") if name == "fine" else None,
            models=2 if name == "fine" else 1,
            gain=ndcg_per_user(one, _K),
            recall=recall_per_user(one, built.config.coarse),
        )
        for name, one in ranks.items()
    }
    serves = chosen(list(orders.values()), user) is orders["fine"]
    ahead = compare_rankings(
        ranks,
        user,
        subject="fine",
        protocol=EvaluationProtocol(split="validation visits"),
        data_hash=task.data_hash,
        seed=seed,
        draws=draws,
    ).differences["coarse"][f"ndcg@{_K}"]
    done = "serves" if serves else "is left out"
    why = (
        f"the fine stage {done}: on {len(visits):,} validation visits its NDCG@{_K} is "
        f"{orders['fine'].gain.mean():.4f}, that of the coarse order "
        f"{orders['coarse'].gain.mean():.4f} (ahead by {ahead.text('+.4f')})"
    )
    return MeasuredFine(built if serves else coarse, ahead, why)


def _answers(built: Deployment, task: NextBasket, visits: Ints) -> list[Ints]:
    """Item codes that each of the visits is answered with, best first."""
    cascade, found = built.cascade(), []
    for start in range(0, len(visits), _TOGETHER):
        requests = visit_requests(task, visits[start : start + _TOGETHER])
        for answer in cascade.recommend_many(requests):
            found.append(task.items.rows(pa.array(answer.item_ids, pa.string())))
    return found
