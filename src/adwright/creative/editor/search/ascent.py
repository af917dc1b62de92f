"""Gradient ascent on a plan's values: by finite differences, or by the judge's own derivative.

    found = gradient_ascent(fitness, calls=130)

Values are measured in ranges of their knobs, u = (v - low) / (high - low). At each point the
gradient g costs K calls by differences of width h, or 3 where the judge offers slopes. Then the
points u + r g / max|g| are judged together, for r = rate, rate / 2, rate / 4, cut at the bounds.
The best is taken; where none is better, rate is divided by 8. It ends at the number of calls, or
where rate is below one step of the grid. A start that lies on a plateau ends there: that is what it
is compared for.
"""

from __future__ import annotations

import numpy as np

from adwright.core.errors import ConfigError
from adwright.creative.editor.search.fitness import PlanFitness
from adwright.creative.editor.search.picture_judge import Floats
from adwright.creative.editor.search.settings import Archive, SearchOutcome, require_calls

__all__ = ["gradient_ascent"]

_SHARES = np.array([1.0, 0.5, 0.25])


def gradient_ascent(
    fitness: PlanFitness, *, calls: int, rate: float = 0.25, width: float = 0.05
) -> SearchOutcome:
    """Climb from no edit; nothing is drawn, so it always finds the same.

    rate: of the first step, width: of differences, both as shares of each knob's range. Raises
    ConfigError for fewer than 2 calls, for others than 0 < rate, width <= .5, and for a fitness
    with several judges.
    """
    require_calls(calls)
    if not 0 < rate <= 0.5 or not 0 < width <= 0.5:
        raise ConfigError(
            f"rate {rate}, width {width}", where="gradient_ascent", hint="above 0, up to .5"
        )
    start, span = fitness.calls, fitness.high - fitness.low
    archive = Archive(fitness.neutral, float(fitness.scores(fitness.neutral[None])[0]))
    end = start + calls
    point, here = archive.vector, archive.score
    least = 1 / fitness.settings.steps
    while rate >= least and fitness.calls < end:
        gradient = _gradient(fitness, point, here, width, end - fitness.calls, archive, start)
        if gradient is None or not np.abs(gradient).max() > 0:
            break
        ahead = gradient / np.abs(gradient).max()
        ahead[((point >= fitness.high) & (ahead > 0)) | ((point <= fitness.low) & (ahead < 0))] = 0
        points = fitness.on_grid(point + rate * _SHARES[:, None] * ahead * span)
        points = _affordable(fitness, points, end - fitness.calls)
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
    width: float,
    left: int,
    archive: Archive,
    start: int,
) -> Floats | None:
    """float [K], the score's derivative by u; None where there are too few calls left."""
    span = fitness.high - fitness.low
    steps = np.where(point + width * span <= fitness.high, width, -width) * span
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


def _affordable(fitness: PlanFitness, points: Floats, left: int) -> Floats:
    """As many of the points, in their order, as the calls that are left allow."""
    while len(points) and fitness.unjudged(points) > left:
        points = points[:-1]
    return points
