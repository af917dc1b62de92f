"""The search of one ad's plan, by the method that a job names.

    searched = search_plan(small, plan, judges, job)
    searched.found.plan, searched.front

Values are divided by what each judge says of the unedited picture, so a score is a share of it and
the weights of penalties mean the same for every judge. `pareto` searches all objectives at once; of
its front the plan is taken that the first judge likes best among those that no judge likes less
than no edit.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from adwright.creative.editor.edits.plan import EditPlan
from adwright.creative.editor.job.ad_judges import Unlikeness
from adwright.creative.editor.job.asked_judges import JudgesOfAd
from adwright.creative.editor.job.settings import EditJob
from adwright.creative.editor.job.shrunk import ShrunkPicture
from adwright.creative.editor.search.ascent import gradient_ascent
from adwright.creative.editor.search.fitness import FitnessSettings, PlanFitness, Weighted
from adwright.creative.editor.search.genetic import genetic_search
from adwright.creative.editor.search.pareto import EditFront, pareto_search
from adwright.creative.editor.search.penalties import FineNoise
from adwright.creative.editor.search.picture_judge import PictureJudge, checked_answers
from adwright.creative.editor.search.random_search import random_search
from adwright.creative.editor.search.result import FoundEdit, edit_at
from adwright.creative.editor.search.settings import SearchOutcome

__all__ = ["Searched", "search_plan"]


@dataclass(frozen=True, eq=False)
class Searched:
    """found: on the copy that was searched. front: of pareto."""

    found: FoundEdit
    front: EditFront | None = None


def search_plan(
    small: ShrunkPicture,
    plan: EditPlan,
    judges: JudgesOfAd,
    job: EditJob,
    further: Sequence[Weighted] = (),
    allowed: Callable[[EditPlan], bool] | None = None,
    *,
    cpu: Callable[[], float] = time.process_time,
) -> Searched:
    """Search a plan's values on a picture. further: penalties beside those of the job. allowed: as
    of `PlanFitness`. Raises as the search."""
    penalties = (
        Weighted(FineNoise(), job.noise),
        Weighted(Unlikeness(judges.searched), job.unlike),
        *further,
    )

    def fitness(some: Sequence[PictureJudge]) -> PlanFitness:
        settings = FitnessSettings(scales=tuple(_scale(judge, small) for judge in some))
        return PlanFitness(
            plan,
            small.picture,
            small.context,
            judges=some,
            penalties=penalties,
            settings=settings,
            allowed=allowed,
        )

    start = cpu()
    front, used = None, fitness(judges.objectives[:1])
    if job.method == "pareto":
        whole = fitness(judges.objectives)
        front = pareto_search(whole, seed=job.seed, settings=job.genetic())
        outcome, batches = _chosen(front), whole.batches
    else:
        outcome = _one_objective(used, job)
        batches = used.batches
    return Searched(edit_at(used, outcome, batches=batches, cpu_seconds=cpu() - start), front)


def _one_objective(fitness: PlanFitness, job: EditJob) -> SearchOutcome:
    if job.method == "random":
        return random_search(fitness, calls=job.calls, seed=job.seed)
    if job.method == "ascent":
        return gradient_ascent(fitness, calls=job.calls)
    return genetic_search(fitness, seed=job.seed, settings=job.genetic())


def _chosen(front: EditFront) -> SearchOutcome:
    """Of the front the plan that the job takes; no edit is at least as good as itself, so there is
    one where nothing on the front is better for all."""
    good = (front.values >= front.unedited).all(1)
    first = np.where(good, front.values[:, 0], -np.inf)
    at = int(np.argmax(first))
    return SearchOutcome(
        "pareto", front.vectors[at], float(front.values[at, 0]), float(front.unedited[0]),
        front.calls,
    )  # fmt: skip


def _scale(judge: PictureJudge, small: ShrunkPicture) -> float:
    """What the judge says of the unedited picture, without its sign; 1 where that is nothing."""
    size = abs(float(checked_answers(judge, small.picture[None])[0]))
    return size if size > 1e-12 else 1.0
