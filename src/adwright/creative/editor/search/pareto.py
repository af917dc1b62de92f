"""Edits for several judges at once: NSGA-II, its front, its hypervolume, and weighted sums.

    front = pareto_search(fitness, seed=0)              # of click rate, expected life, memorability
    sums = weighted_sums(fitness, seed=0, calls=front.calls)
    at = reference_point(front, sums)
    hypervolume(front.values, at) / hypervolume(sums.values, at)

A plan is on the front where no other one that was seen is as good for every judge and better for
one. Both searches keep the front of all that they saw, and use the operators of `genetic`; what
differs is what survives. NSGA-II is pymoo's (Deb et al. 2002); its NSGA-III forgets the seed in one
comparison, so it is not used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adwright.core.errors import ConfigError, DataError
from adwright.creative.editor.search.fitness import PlanFitness
from adwright.creative.editor.search.genetic import search_parts
from adwright.creative.editor.search.picture_judge import Floats
from adwright.creative.editor.search.settings import GeneticSettings, require_calls

__all__ = [
    "EditFront",
    "hypervolume",
    "pareto_search",
    "reference_point",
    "unbeaten_rows",
    "weighted_sums",
]


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

    def better_for_all(self) -> Floats:
        """float [M, K]: those that no judge likes less than no edit."""
        return np.asarray(self.vectors[(self.values >= self.unedited).all(1)])

    def best_for(self, name: str) -> Floats:
        """float [K]: what one judge likes best. Raises ConfigError for a name that is none."""
        if name not in self.names:
            raise ConfigError(f"no judge is named {name!r}", where="name", hint=f"{self.names}")
        return np.asarray(self.vectors[int(self.values[:, self.names.index(name)].argmax())])


def pareto_search(
    fitness: PlanFitness, *, seed: int, settings: GeneticSettings | None = None
) -> EditFront:
    """NSGA-II over the fitness's judges, two or more. The same seed finds the same.

    settings: `parents` is not used: of plans and as many offspring, the best `population` survive.
    Pictures judged: population (generations + 1) at most. Raises ConfigError for a single judge,
    MissingExtraError without pymoo.
    """
    settings = settings or GeneticSettings()
    _require_several(fitness)
    parts, start = search_parts(), fitness.calls
    unedited = fitness.values(fitness.neutral[None])
    problem = parts.PlanProblem(fitness)
    algorithm = parts.by_domination(settings)
    algorithm.setup(problem, termination=("n_gen", settings.generations + 1), seed=seed)
    algorithm.run()
    return _front("nsga2", fitness, problem.seen, unedited, fitness.calls - start)


def weighted_sums(
    fitness: PlanFitness,
    *,
    seed: int,
    calls: int,
    weights: Sequence[Sequence[float]] | None = None,
    settings: GeneticSettings | None = None,
) -> EditFront:
    """One genetic search for each weighted sum of the values, within so many calls together.

    weights: of each sum, J numbers; by default each judge alone and all alike. A value is divided
    by the mean absolute change that the first plans make to it, so that weights of judges of
    different units are comparable (our choice). Each sum gets an equal share of the calls, as
    generations of `settings` cut short. Raises ConfigError where a share is less than one
    generation.
    """
    _require_several(fitness)
    require_calls(calls)
    settings = settings or GeneticSettings()
    many = len(fitness.judges)
    rows = np.vstack([np.eye(many), np.full(many, 1 / many)]) if weights is None else weights
    told = np.asarray(rows, np.float64)
    if told.ndim != 2 or told.shape[1] != many or (told < 0).any() or not told.any(1).all():
        raise ConfigError(
            f"weights of shape {told.shape}", where="weights", hint=f"rows of {many}, 0 and more"
        )
    share = calls // len(told)
    if share < settings.population:
        raise ConfigError(
            f"{calls} calls for {len(told)} sums of {settings.population} plans",
            where="calls",
            hint=f"{len(told) * settings.population} or more",
        )
    parts, start = search_parts(), fitness.calls
    unedited, seen, scales = fitness.values(fitness.neutral[None]), [], None
    for at, row in enumerate(told):
        end = start + (at + 1) * share
        problem = parts.PlanProblem(fitness, row if scales is None else row / scales)
        algorithm = parts.RankSelected(settings)
        algorithm.setup(problem, termination=("n_gen", 10 * calls), seed=seed + at)
        offspring = settings.population - settings.parents
        while algorithm.n_gen is None or fitness.calls + offspring <= end:
            before = fitness.calls
            algorithm.next()
            if scales is None:
                scales = _scales(problem.seen[0][1], unedited[0])
                problem.weights = row / scales
                algorithm.evaluator.eval(problem, algorithm.pop, skip_already_evaluated=False)
            if not algorithm.has_next() or fitness.calls == before:
                break
        seen += problem.seen
    return _front("weighted sums", fitness, seen, unedited, fitness.calls - start)


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


def reference_point(*fronts: EditFront, margin: float = 0.05) -> Floats:
    """float [J]: below the worst values of all fronts, and of no edit, by a share of their range.

    Fronts are compared from one point: another changes which is larger. Raises DataError for no
    front and for fronts of other judges.
    """
    if not fronts or len({front.names for front in fronts}) > 1:
        raise DataError("there is no front, or they are of other judges", hint="pass some")
    seen = np.vstack([*(front.values for front in fronts), *(one.unedited for one in fronts)])
    low, high = seen.min(0), seen.max(0)
    return np.asarray(low - margin * np.maximum(high - low, 1e-12))


def hypervolume(values: Floats, reference: Floats, *, scales: Floats | None = None) -> float:
    """The volume of what values [N, J] beat and the reference point [J] does not reach.

    scales: float [J], divides each axis. By pymoo. Raises DataError for other shapes.
    """
    search_parts()
    from pymoo.indicators.hv import HV

    found, at = np.asarray(values, np.float64), np.asarray(reference, np.float64)
    if found.ndim != 2 or at.shape != found.shape[1:]:
        raise DataError(f"values of shape {found.shape}, reference {at.shape}", hint="[N, J], [J]")
    unit = np.ones(len(at)) if scales is None else np.asarray(scales, np.float64)
    above = found[(found > at).all(1)]
    if not len(above):
        return 0.0
    return float(HV(ref_point=-at / unit)(-above / unit))


def _front(
    method: str,
    fitness: PlanFitness,
    seen: Sequence[tuple[Floats, Floats]],
    unedited: Floats,
    calls: int,
) -> EditFront:
    vectors = np.vstack([fitness.neutral[None], *(one for one, _ in seen)])
    values = np.vstack([unedited, *(one for _, one in seen)])
    best = unbeaten_rows(values)
    names = tuple(judge.name for judge in fitness.judges)
    return EditFront(method, names, vectors[best], values[best], unedited[0], calls)


def _scales(values: Floats, unedited: Floats) -> Floats:
    """float [J]: the mean absolute change of each value; 1 where there is none."""
    finite = values[np.isfinite(values).all(1)]
    change = np.abs(finite - unedited).mean(0) if len(finite) else np.zeros(len(unedited))
    return np.where(change > 0, change, 1.0)


def _require_several(fitness: PlanFitness) -> None:
    names = [judge.name for judge in fitness.judges]
    if len(names) < 2 or len(set(names)) < len(names):
        raise ConfigError(
            f"judges {names} have no front", where="judges", hint="two or more, of different names"
        )
