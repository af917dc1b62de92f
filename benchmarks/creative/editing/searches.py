"""Searches of edits of drawn ads: what each gained by the judge, by a second one, and in truth."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from adwright.creative.editor.edit_kinds import Contrast, Crop, Exposure, Saturation, Temperature
from adwright.creative.editor.edit_plan import EditPlan
from adwright.creative.editor.fitness import (
    EditedBatch,
    FineNoise,
    Floats,
    GeneticSettings,
    LatentCloud,
    PictureJudge,
    Pixels,
    PlanFitness,
    SearchOutcome,
    Weighted,
    squeezed,
)
from adwright.creative.editor.job_files import EditJob, decide
from adwright.creative.editor.searches import (
    FoundEdit,
    edit_at,
    genetic_search,
    gradient_ascent,
    pareto_search,
    random_search,
)
from benchmarks.creative.editing.cells import Rows
from benchmarks.creative.editing.drawn import DrawnTask, grid_of
from benchmarks.creative.editing.fronts import hypervolume, reference_point, weighted_sums

#: Edits without a face: 8 numbers.
PLAN = EditPlan((Exposure(), Contrast(), Saturation(), Temperature(), Crop()))
#: Of every search.
CALLS = GeneticSettings().calls
NOISE, CLOUD = 0.1, 0.05

#: Name of each search to whether it has penalties and the lower bound, and how it is done.
METHODS: Mapping[str, tuple[bool, Callable[..., SearchOutcome]]] = {
    "genetic": (True, genetic_search),
    "genetic, no penalties": (False, genetic_search),
    "random": (True, partial(random_search, calls=CALLS)),
    "ascent": (True, lambda fitness, seed: gradient_ascent(fitness, calls=CALLS)),
}


@dataclass(frozen=True, eq=False)
class CloudDistance:
    """A penalty: how much further the edited picture lies from the pictures that the judge learned
    from, as `LatentCloud.distance` of the means of a grid."""

    cloud: LatentCloud
    name: str = "cloud_distance"

    @classmethod
    def of_pictures(cls, pictures: Pixels) -> CloudDistance:
        """Of those of a training."""
        return cls(LatentCloud.of(grid_of(pictures)))

    def of(self, batch: EditedBatch) -> Floats:
        """float64 [N]."""
        seen = grid_of(np.concatenate([batch.original[None], batch.pictures]))
        far = self.cloud.distance(seen[:, None])
        return np.asarray(np.maximum(far[1:] - far[0], 0))


def edit_rows(task: DrawnTask) -> Rows:
    """A row a held-out ad and search: before and after by each judge and in truth."""
    far = CloudDistance.of_pictures(task.ads.pictures[: task.count // 2])
    rows: Rows = []
    for row in task.held_rows:
        for name, (penalised, search) in METHODS.items():
            fitness = drawn_fitness(task, row, (task.first,), far, penalised=penalised)
            start = time.process_time()
            go = partial(search, seed=task.seed)
            found = edit_at(fitness, go(fitness), second=task.second)
            seconds = time.process_time() - start
            rows.append(
                {"ad": row, "method": name, "cpu_seconds": seconds, **_told(task, row, found)}
            )
    return rows


def front_rows(task: DrawnTask) -> Rows:
    """A row an ad: the fronts of NSGA-II and of weighted sums, by three judges, at equal calls."""
    judges = (task.first, *task.others())
    far = CloudDistance.of_pictures(task.ads.pictures[: task.count // 2])
    settings = GeneticSettings(generations=9)
    rows: Rows = []
    for row in list(task.held_rows)[: task.held // 3]:
        fitness = drawn_fitness(task, row, judges, far, penalised=True)
        front = pareto_search(fitness, seed=task.seed, settings=settings)
        # A fitness of its own: what the first search asked would cost the second nothing.
        other = drawn_fitness(task, row, judges, far, penalised=True)
        sums = weighted_sums(other, seed=task.seed, calls=front.calls)
        at = reference_point(front, sums)
        scales = np.maximum(np.vstack([front.values, sums.values]).max(0) - at, 1e-12)
        rows.append(
            {
                "ad": row,
                "points": len(front),
                "points_sums": len(sums),
                "better_for_all": int((front.values >= front.unedited).all(1).sum()),
                "better_for_all_sums": int((sums.values >= sums.unedited).all(1).sum()),
                "hypervolume": hypervolume(front.values, at, scales=scales),
                "hypervolume_sums": hypervolume(sums.values, at, scales=scales),
                "calls": front.calls,
                "calls_sums": sums.calls,
            }
        )
    return rows


def speed_rows(task: DrawnTask, repeats: int = 7) -> Rows:
    """CPU-seconds of the 30 x 5 pictures of a search, batched and one by one, on one ad."""
    far = CloudDistance.of_pictures(task.ads.pictures[: task.count // 2])
    row = task.held_rows[0]
    rows: Rows = []
    for at in range(repeats + 1):
        seconds = {}
        for name, many in (("batched", 30), ("single", 1)):
            fitness = drawn_fitness(task, row, (task.first,), far, penalised=True)
            rng = np.random.default_rng(at)
            vectors = rng.uniform(fitness.low, fitness.high, (150, len(fitness.low)))
            start = time.process_time()
            for first in range(0, len(vectors), many):
                fitness.scores(vectors[first : first + many])
            seconds[name] = time.process_time() - start
        if at:  # the first one warms up
            rows.append(seconds)
    return rows


def drawn_fitness(
    task: DrawnTask,
    row: int,
    judges: tuple[PictureJudge, ...],
    far: CloudDistance,
    *,
    penalised: bool,
) -> PlanFitness:
    """Of one ad. Values are shares of what each judge says of it unedited."""
    picture = task.ads.pictures[row]
    scales = tuple(float(judge.judge(picture[None])[0]) for judge in judges)
    penalties = (Weighted(FineNoise(), NOISE), Weighted(far, CLOUD)) if penalised else ()
    return PlanFitness(
        PLAN,
        picture,
        judges=judges,
        penalties=penalties,
        bound="lower" if penalised else "mean",
        scales=scales,
    )


def _told(task: DrawnTask, row: int, found: FoundEdit) -> dict[str, float | int | bool]:
    batch = np.stack([found.original, _back(found)])
    truth = task.truth(row).judge(batch)
    second = found.second
    return {
        "calls": found.calls,
        "score_gain": found.score_gain,
        "predicted": found.first.relative,
        "predicted_low": (found.first.low or 0.0) / found.first.before,
        "second": float("nan") if second is None else second.relative,
        "truth": float(truth[1] / truth[0] - 1),
        "changed": found.changed,
        "kept": decide(found, EditJob())[0],
        "kept_alone": bool((found.first.low or 0.0) > 0),
    }


def _back(found: FoundEdit) -> Pixels:
    """The edited picture at the size of the original, as judges see it."""
    return squeezed(found.done.picture, found.original.shape[:2])
