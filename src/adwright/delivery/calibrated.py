"""Scores of what is served, read as chances: the probability that an item is taken if it is shown.

Orders of different kinds have scores of different units: sums of similarities, counts, products of
vectors. `fit_calibration` asks a recommender what it would have answered to visits whose outcome is
known and which its training did not see, in each of the stages in which it may answer, and learns
what place and score were worth (`ListCalibrator`). Saved with the model it turns every answer into
probabilities, in the same order.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from adwright.core.clock import Clock, SystemClock
from adwright.core.errors import DataError
from adwright.delivery.decision import Candidates, Deadline, Request
from adwright.models.calibration import ListCalibrator, fit_list_calibrator

if TYPE_CHECKING:
    from adwright.data.tasks.next_basket import NextBasket
    from adwright.delivery.stages.histories import Histories

#: Of each stage in which a model answers; empty where it is not calibrated.
Calibration = Mapping[str, ListCalibrator]
#: Visits that are asked.
VISITS = 1_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TOGETHER = 64


class _Answers(Protocol):
    """What answers requests: a cascade, a rule."""

    def recommend_many(
        self, requests: Sequence[Request], deadline: Deadline | None
    ) -> Sequence[Candidates]: ...


def calibrated(
    item_ids: tuple[str, ...],
    score: NDArray[np.float64],
    stage: str,
    calibration: Calibration,
    *,
    probability: bool = False,
) -> Candidates:
    """Candidates, best first, whose scores are probabilities where the stage is calibrated.

    probability: whether the scores are, where it is not.
    """
    known = calibration.get(stage)
    if known is None:
        return Candidates(item_ids, score, probability, stage)
    return Candidates(item_ids, known(score), True, stage)


def answers_by_stage(
    recommender: _Answers,
    requests: Sequence[Request],
    *,
    few: int | None = None,
    clock: Clock | None = None,
) -> Iterator[list[Candidates]]:
    """What a recommender answers with all the time there is, then in the stages for which it lacks
    it, the coarse order and popularity. few: so many requests for each of these; None for all."""
    forms: list[tuple[_Answers, Deadline | None]] = [(recommender, None)]
    if getattr(recommender, "fine", None) is not None:
        hurried = copy.copy(recommender)
        hurried.fine = None  # type: ignore[attr-defined]
        forms.append((hurried, None))
    forms.append((recommender, Deadline.after(0, clock or SystemClock())))
    for number, (asked, deadline) in enumerate(forms):
        some = requests[: few if number else None]
        answers: list[Candidates] = []
        for start in range(0, len(some), _TOGETHER):
            answers += asked.recommend_many(some[start : start + _TOGETHER], deadline)
        yield answers


def fit_calibration(
    recommender: _Answers, requests: Sequence[Request], taken: Sequence[Collection[str]]
) -> dict[str, ListCalibrator]:
    """What the scores of a recommender's stages are worth, for visits that it was not fitted on.

    taken: ids of what each visit took. A stage in which nothing of it is offered stays without.
    """
    found: dict[str, ListCalibrator] = {}
    for answers in answers_by_stage(recommender, requests):
        hits = [
            np.array([item_id in mine for item_id in answer.item_ids], np.bool_)
            for answer, mine in zip(answers, map(frozenset, taken), strict=True)
        ]
        for stage in sorted({answer.stage for answer in answers} - found.keys()):
            mine = [n for n, answer in enumerate(answers) if answer.stage == stage]
            try:
                found[stage] = fit_list_calibrator(
                    [answers[n].score for n in mine], [hits[n] for n in mine]
                )
            except DataError:
                continue
    return found


def fit_to_visits(
    recommender: _Answers, task: NextBasket, *, seed: int = 0
) -> dict[str, ListCalibrator]:
    """As `fit_calibration`, for validation visits of a task; all that a visit took counts, also
    what the recommender does not offer again."""
    from adwright.delivery.stages.histories import visit_requests

    visits = np.random.default_rng(seed).permutation(task.visits("valid"))[:VISITS]
    ids = ("", *task.items.ids)
    bounds = zip(task.target_offsets[visits], task.target_offsets[visits + 1], strict=True)
    taken = [{ids[code] for code in task.targets[a:b].tolist()} for a, b in bounds]
    return fit_calibration(recommender, visit_requests(task, visits), taken)


def fit_to_histories(recommender: _Answers, histories: Histories) -> dict[str, ListCalibrator]:
    """As `fit_calibration`, for the latest visits of a log, each its user's last: no training that
    kept the end of the log, or of each history, for its test has seen them."""
    requests, taken = latest_visits(histories, VISITS)
    return fit_calibration(recommender, requests, taken)


def latest_visits(
    histories: Histories, most: int, *, after: bool = False
) -> tuple[list[Request], list[set[str]]]:
    """The last visits of at most so many users, those that came last of all, and what each took.

    A visit is what a user did at one instant. after: the requests stand just after them.
    """
    users, item, time, length = histories.arrays()
    ends = np.cumsum(length)
    have = np.flatnonzero(length > 0)
    ids = ("", *histories.items.ids)
    requests, taken = [], []
    for user in have[np.argsort(-time[ends[have] - 1], kind="stable")][:most].tolist():
        own = slice(int(ends[user] - length[user]), int(ends[user]))
        at = int(time[own][-1])
        moment = EPOCH + timedelta(microseconds=at + after)
        requests.append(Request(f"visit-{user}", users[user], moment))
        taken.append({ids[code] for code in item[own][time[own] == at].tolist() if code})
    return requests, taken
