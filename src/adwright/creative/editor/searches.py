"""Random search: plans evenly drawn, as many as another search was given calls.

    found = random_search(fitness, calls=130, seed=0)

What a genetic search must beat at equal calls before it is worth anything.

Gradient ascent on a plan's values: by finite differences, or by the judge's own derivative.

    found = gradient_ascent(fitness, calls=130)

Values are measured in ranges of their knobs, u = (v - low) / (high - low). At each point the
gradient g costs K calls by differences of width h, or 3 where the judge offers slopes. Then the
points u + r g / max|g| are judged together, for r = rate, rate / 2, rate / 4, cut at the bounds.
The best is taken; where none is better, rate is divided by 8. It ends at the number of calls, or
where rate is below one step of the grid. A start that lies on a plateau ends there: that is what it
is compared for.

The genetic search of AdSEE, by pymoo: seeded, batched, with operators that do what they say.

    found = genetic_search(fitness, seed=0)
    found.vector, found.gain, found.calls

The first generation is no edit and plans near it. In each generation, parents are drawn with a
chance proportional to their rank and stay; pairs of them are crossed, each value from either with
chance 1/2; a fifth of an offspring's values, at least one, is mutated. Plans that are there already
are not made again. Best is the best of all that were seen.

Edits for several judges at once: NSGA-II and its front.

    front = pareto_search(fitness, seed=0)              # of click rate, expected life, memorability

A plan is on the front where no other one that was seen is as good for every judge and better for
one. The front is that of all that the search saw, and the operators are those of `genetic`. NSGA-II
is pymoo's (Deb et al. 2002); its NSGA-III forgets the seed in one comparison, so it is not used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adwright.core.errors import ConfigError, needing
from adwright.creative.editor.fitness import (
    Archive,
    Floats,
    GeneticSettings,
    PlanFitness,
    SearchOutcome,
    require_calls,
)

#: Draws that repeat, of a plan with few values, before the search ends early.
#: Plans that are judged together.
_TOGETHER = 30
_FRUITLESS = 20


def random_search(fitness: PlanFitness, *, calls: int, seed: int) -> SearchOutcome:
    """No edit, and plans evenly drawn from all that the bounds allow, until so many pictures were
    judged.

    What was judged before is not drawn again, so there are fewer calls where there are fewer plans.
    Raises ConfigError for fewer than 2 calls, and a fitness with several judges.
    """
    require_calls(calls)
    rng, start = np.random.default_rng(seed), fitness.calls
    archive = Archive(fitness.neutral, float(fitness.scores(fitness.neutral[None])[0]))
    fruitless = 0
    # Asking about no edit may have cost nothing, where it was known; it counts as one all the same.
    left = calls - 1
    while left > 0 and fruitless < _FRUITLESS:
        size = (min(_TOGETHER, left), len(fitness.low))
        drawn = np.unique(fitness.on_grid(rng.uniform(fitness.low, fitness.high, size)), axis=0)
        new = drawn[[fitness.unjudged(one[None]) > 0 for one in drawn]]
        if not len(new):
            fruitless += 1
            continue
        archive.take(new, fitness.scores(new), fitness.calls - start)
        left, fruitless = left - len(new), 0
    return archive.outcome("random", fitness.calls - start)


#: Of the first step and of differences, as shares of each knob's range.
_RATE, _WIDTH = 0.25, 0.05
_SHARES = np.array([1.0, 0.5, 0.25])


def gradient_ascent(fitness: PlanFitness, *, calls: int) -> SearchOutcome:
    """Climb from no edit; nothing is drawn, so it always finds the same.

    Raises ConfigError for fewer than 2 calls, and for a fitness with several judges.
    """
    require_calls(calls)
    start, span = fitness.calls, fitness.high - fitness.low
    archive = Archive(fitness.neutral, float(fitness.scores(fitness.neutral[None])[0]))
    end = start + calls
    point, here, rate = archive.vector, archive.score, _RATE
    least = 1 / fitness.settings.steps
    while rate >= least and fitness.calls < end:
        gradient = _gradient(fitness, point, here, end - fitness.calls, archive, start)
        if gradient is None or not np.abs(gradient).max() > 0:
            break
        ahead = gradient / np.abs(gradient).max()
        ahead[((point >= fitness.high) & (ahead > 0)) | ((point <= fitness.low) & (ahead < 0))] = 0
        points = fitness.on_grid(point + rate * _SHARES[:, None] * ahead * span)
        # As many of them, in their order, as the calls that are left allow.
        while len(points) and fitness.unjudged(points) > end - fitness.calls:
            points = points[:-1]
        if not len(points):
            break
        scores = fitness.scores(points)
        archive.take(points, scores, fitness.calls - start)
        best = int(np.argmax(scores))
        if scores[best] > here:
            point, here = points[best], float(scores[best])
        else:
            rate /= 8
    return archive.outcome("ascent", fitness.calls - start)


def _gradient(
    fitness: PlanFitness,
    point: Floats,
    here: float,
    left: int,
    archive: Archive,
    start: int,
) -> Floats | None:
    """float [K], the score's derivative by u; None where there are too few calls left."""
    span = fitness.high - fitness.low
    steps = np.where(point + _WIDTH * span <= fitness.high, _WIDTH, -_WIDTH) * span
    if left >= 3:
        found = fitness.slopes(point, steps)
        if found is not None:
            return np.asarray(found * span)
    near = fitness.on_grid(point + np.diag(steps))
    if fitness.unjudged(near) > left:
        return None
    scores = fitness.scores(near)
    archive.take(near, scores, fitness.calls - start)
    moved = (near - point).diagonal()
    # A knob whose step the grid rounds away, or whose neighbour is refused, stays.
    usable = (moved != 0) & np.isfinite(scores)
    made = np.zeros(len(point))
    made[usable] = (scores - here)[usable] / moved[usable] * span[usable]
    return made


def genetic_search(
    fitness: PlanFitness, *, seed: int, settings: GeneticSettings | None = None
) -> SearchOutcome:
    """Search the fitness's plan. The same seed finds the same.

    Raises ConfigError where the fitness has several judges, MissingExtraError without pymoo, and as
    the judges do.
    """
    settings = settings or GeneticSettings()
    parts, start = search_parts(), fitness.calls
    archive = Archive(fitness.neutral, float(fitness.scores(fitness.neutral[None])[0]))
    problem = parts.PlanProblem(fitness)
    algorithm = parts.RankSelected(settings)
    # The first generation is one of pymoo's, too.
    algorithm.setup(problem, termination=("n_gen", settings.generations + 1), seed=seed)
    while algorithm.has_next():
        algorithm.next()
        for vectors, values in problem.seen:
            archive.take(vectors, values[:, 0], fitness.calls - start)
        problem.seen.clear()
    return archive.outcome("genetic", fitness.calls - start)


def search_parts() -> Any:
    """The module of operators. Raises MissingExtraError without pymoo."""
    with needing("genetic searches of edits", "creative"):
        from adwright.creative.editor import operators
    return operators


@dataclass(frozen=True, eq=False)
class EditFront:
    """What no other plan beats. names: of J judges. vectors: float [N, K]. values: float [N, J],
    as the fitness gives them, higher is better. unedited: float [J], of no edit. method: of the
    search. calls: pictures that it judged."""

    method: str
    names: tuple[str, ...]
    vectors: Floats
    values: Floats
    unedited: Floats
    calls: int

    def __len__(self) -> int:
        """N."""
        return len(self.vectors)


def pareto_search(
    fitness: PlanFitness, *, seed: int, settings: GeneticSettings | None = None
) -> EditFront:
    """NSGA-II over the fitness's judges, two or more. The same seed finds the same.

    settings: `parents` is not used: of plans and as many offspring, the best `population` survive.
    Pictures judged: population (generations + 1) at most. Raises ConfigError for a single judge,
    MissingExtraError without pymoo.
    """
    settings = settings or GeneticSettings()
    require_several(fitness)
    parts, start = search_parts(), fitness.calls
    unedited = fitness.values(fitness.neutral[None])
    problem = parts.PlanProblem(fitness)
    algorithm = parts.by_domination(settings)
    algorithm.setup(problem, termination=("n_gen", settings.generations + 1), seed=seed)
    algorithm.run()
    return front_of("nsga2", fitness, problem.seen, unedited, fitness.calls - start)


def unbeaten_rows(values: Floats) -> NDArray[np.int64]:
    """int [M]: rows of values [N, J] that no other row beats, of equal rows the first. Rows that
    are not finite are none."""
    found, taken = [], set()
    for at, row in enumerate(values):
        if not np.isfinite(row).all() or row.tobytes() in taken:
            continue
        if not ((values >= row).all(1) & (values > row).any(1)).any():
            found.append(at)
            taken.add(row.tobytes())
    return np.array(found, np.int64)


def front_of(
    method: str,
    fitness: PlanFitness,
    seen: Sequence[tuple[Floats, Floats]],
    unedited: Floats,
    calls: int,
) -> EditFront:
    """The front of all plans that were seen, no edit among them."""
    vectors = np.vstack([fitness.neutral[None], *(one for one, _ in seen)])
    values = np.vstack([unedited, *(one for _, one in seen)])
    best = unbeaten_rows(values)
    names = tuple(judge.name for judge in fitness.judges)
    return EditFront(method, names, vectors[best], values[best], unedited[0], calls)


def require_several(fitness: PlanFitness) -> None:
    """Raise ConfigError for judges that have no front."""
    names = [judge.name for judge in fitness.judges]
    if len(names) < 2 or len(set(names)) < len(names):
        raise ConfigError(
            f"judges {names} have no front", where="judges", hint="two or more, of different names"
        )
