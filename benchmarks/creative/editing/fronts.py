"""Fronts beside sums of weights at equal calls, and the hypervolume of both."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from adwright.core.errors import ConfigError, DataError
from adwright.creative.editor.fitness import Floats, GeneticSettings, PlanFitness, require_calls
from adwright.creative.editor.searches import EditFront, front_of, require_several, search_parts


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
    require_several(fitness)
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
    return front_of("weighted sums", fitness, seen, unedited, fitness.calls - start)


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


def _scales(values: Floats, unedited: Floats) -> Floats:
    """float [J]: the mean absolute change of each value; 1 where there is none."""
    finite = values[np.isfinite(values).all(1)]
    change = np.abs(finite - unedited).mean(0) if len(finite) else np.zeros(len(unedited))
    return np.where(change > 0, change, 1.0)
