"""The fitness of a plan's values: the picture is edited, looked at again, and judged.

    fitness = PlanFitness(plan, picture, context, judges=(judge,), penalties=(Weighted(p, 0.1),))
    fitness.scores(vectors)           # float64 [N] of vectors float64 [N, K]
    fitness.calls, fitness.batches    # pictures that were judged, and in how many calls

For each of J judges

    value_j(v) = bound_j(edited(v)) / scale_j - sum_i weight_i penalty_i(edited(v))

with the lower bound of a judge that has one (`bound="mean"` takes its answer). Judges see the
edited picture itself, encoded anew; AdSEE moves the latents alone and keeps the old image
embedding, so what an edit does to the picture does not count there. A population is one call of
each judge. Equal vectors are judged once, also across searches that share the fitness. Vectors lie
on a grid through the neutral values, `steps` steps across the range of each knob: 300 are AdSEE's
.01 of a direction, whose range is 3.

`allowed` is asked before anything is edited: values that it refuses score minus infinity, and no
judge sees them. `guarded` makes it of a guard.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal, Protocol

import numpy as np

from adwright.core.config import Count, settings
from adwright.core.errors import ConfigError, DataError
from adwright.creative.editor.edits.context import EditContext
from adwright.creative.editor.edits.plan import EditPlan
from adwright.creative.editor.guards.guard import EditGuard, EditRequest
from adwright.creative.editor.search.picture_judge import (
    BoundedJudge,
    Floats,
    PictureJudge,
    Pixels,
    SlopedJudge,
    checked_answers,
)
from adwright.creative.editor.search.population import EditedBatch, edited_batch

__all__ = ["EditPenalty", "FitnessSettings", "PlanFitness", "Weighted", "guarded"]

#: What a derivative costs, in calls: a backward pass takes about twice a forward one.
_SLOPE_CALLS = 3


class EditPenalty(Protocol):
    """Says how bad an edit is, whatever it gains; 0 for no edit."""

    @property
    def name(self) -> str:
        """Of what it measures."""
        ...

    def of(self, batch: EditedBatch, /) -> Floats:
        """float [N], 0 and more."""
        ...


@dataclass(frozen=True, eq=False)
class Weighted:
    """A penalty and what one unit of it costs, in the scaled unit of the judges."""

    penalty: EditPenalty
    weight: float

    def __post_init__(self) -> None:
        if not 0 <= self.weight < np.inf:
            raise ConfigError(f"the weight {self.weight} is none", where="Weighted", hint=">= 0")


@settings
class FitnessSettings:
    """bound: of judges that have both. steps: of the grid. size: height and width of what is
    judged, the picture's by default. scales: of each judge, see the module; 1 by default."""

    bound: Literal["lower", "mean"] = "lower"
    steps: Count = 300
    size: tuple[int, int] | None = None
    scales: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if any(not 0 < scale < np.inf for scale in self.scales):
            raise ConfigError("a scale is not above 0", where="FitnessSettings.scales")
        if self.size is not None and min(self.size) < 1:
            raise ConfigError(f"size {self.size}", where="FitnessSettings.size", hint=">= 1")


class PlanFitness:
    """See the module. calls: pictures judged so far, counted once however many judges there are.

    Raises ConfigError for a plan without a knob, for no judge, and for other than one scale a
    judge; DataError where the context belongs to another picture.
    """

    def __init__(
        self,
        plan: EditPlan,
        picture: Pixels,
        context: EditContext | None = None,
        *,
        judges: Sequence[PictureJudge],
        penalties: Sequence[Weighted] = (),
        settings: FitnessSettings | None = None,
        allowed: Callable[[EditPlan], bool] | None = None,
    ) -> None:
        settings = settings or FitnessSettings()
        if not plan.knobs() or not judges:
            raise ConfigError(
                "there is nothing to search", where="PlanFitness", hint="an edit and a judge"
            )
        if settings.scales and len(settings.scales) != len(judges):
            raise ConfigError(
                f"{len(settings.scales)} scales for {len(judges)} judges", where="scales"
            )
        self.plan, self.picture, self.context = plan, picture, context or EditContext()
        self.context.require_size_of(picture)
        self.judges, self.penalties = tuple(judges), tuple(penalties)
        self.settings, self._allowed = settings, allowed
        self.calls, self.batches = 0, 0
        self.low, self.high = plan.bounds().T
        self.neutral = plan.neutral()
        self._step = (self.high - self.low) / settings.steps
        self._scales = np.array(settings.scales or (1.0,) * len(judges))
        self._known: dict[bytes, Floats] = {}

    def on_grid(self, vectors: Floats) -> Floats:
        """float64 [N, K]: the nearest vectors of the grid; both bounds are on it too."""
        inside = np.clip(np.asarray(vectors, float), self.low, self.high)
        away = np.rint((inside - self.neutral) / self._step)
        made = np.clip(self.neutral + away * self._step, self.low, self.high)
        ends = (inside == self.low) | (inside == self.high)
        # Adding 0 makes a negative zero one that equals the other.
        return np.asarray(np.where(ends, inside, made) + 0.0)

    def batch(self, vectors: Floats) -> EditedBatch:
        """The edited pictures of vectors [N, K]; no judge is asked."""
        return edited_batch(self.plan, vectors, self.picture, self.context, size=self.settings.size)

    def values(self, vectors: Floats) -> Floats:
        """float64 [N, J] of vectors [N, K], which are first put on the grid.

        Raises DataError for another shape, and where a judge or penalty answers no finite number.
        """
        asked = self._rows(vectors)
        keys = [row.tobytes() for row in asked]
        new: dict[bytes, int] = {}
        for at, key in enumerate(keys):
            if key not in self._known and key not in new:
                new[key] = at
        free = [at for key, at in new.items() if self._is_allowed(key, asked[at])]
        if free:
            self._judge(asked[free])
        return np.stack([self._known[key] for key in keys])

    def scores(self, vectors: Floats) -> Floats:
        """float64 [N]: as `values`, of the only judge. Raises ConfigError where there are more."""
        if len(self.judges) != 1:
            raise ConfigError(
                f"{len(self.judges)} judges give no single score", where="PlanFitness"
            )
        return np.asarray(self.values(vectors)[:, 0])

    def unjudged(self, vectors: Floats) -> int:
        """How many calls `values` of these vectors would take, those refused included."""
        keys = {row.tobytes() for row in self._rows(vectors)}
        return sum(key not in self._known for key in keys)

    def slopes(self, vector: Floats, steps: Floats) -> Floats | None:
        """float64 [K]: the score's derivative by each knob, by the chain rule; None where the
        judge offers no slopes.

            d score / d v_k = sum over pixels (d judge / d x) (x(v + h_k) - x(v)) / h_k
                              - the same difference of the penalties

        x is edited anew for each knob, which takes no call of the judge. steps: float [K], the h_k,
        signed so that v + h_k is within bounds. Counts 3 calls.
        """
        judge = self.judges[0]
        if len(self.judges) != 1 or not isinstance(judge, SlopedJudge):
            return None
        points = np.concatenate([vector[None], vector + np.diag(steps)])
        batch = self.batch(np.clip(points, self.low, self.high))
        _, by_pixel = judge.slopes(batch.pictures[:1])
        self.calls += _SLOPE_CALLS
        self.batches += 1
        seen = batch.pictures.astype(np.float64)
        change = np.tensordot(seen[1:] - seen[:1], by_pixel[0], axes=3) / self._scales[0]
        lost = self.penalty_of(batch)
        return np.asarray((change - (lost[1:] - lost[0])) / steps)

    def penalty_of(self, batch: EditedBatch) -> Floats:
        """float64 [N]: the weighted sum of all penalties. Raises DataError for one that is no
        finite number."""
        total = np.zeros(len(batch))
        for one in self.penalties:
            found = np.asarray(one.penalty.of(batch), np.float64)
            if found.shape != total.shape or not np.isfinite(found).all():
                raise DataError(
                    f"the penalty {one.penalty.name!r} gave no finite number for each edit"
                )
            total += one.weight * found
        return total

    def _judge(self, vectors: Floats) -> None:
        batch = self.batch(vectors)
        lost = self.penalty_of(batch)
        found = np.stack([self._bound(judge, batch.pictures) for judge in self.judges], 1)
        self.calls += len(vectors)
        self.batches += 1
        values = found / self._scales - lost[:, None]
        for row, value in zip(vectors, values, strict=True):
            self._known[row.tobytes()] = value

    def _bound(self, judge: PictureJudge, pictures: Pixels) -> Floats:
        if self.settings.bound == "lower" and isinstance(judge, BoundedJudge):
            return np.asarray(judge.lower(pictures), np.float64)
        return checked_answers(judge, pictures)

    def _rows(self, vectors: Floats) -> Floats:
        rows = np.asarray(vectors, np.float64)
        if rows.ndim != 2 or rows.shape[1] != len(self.neutral) or not np.isfinite(rows).all():
            raise DataError(
                f"vectors have shape {rows.shape}, or a value that is no number",
                hint=f"pass numbers [N, {len(self.neutral)}]",
            )
        return self.on_grid(rows)

    def _is_allowed(self, key: bytes, vector: Floats) -> bool:
        if self._allowed is None or self._allowed(self.plan.with_values(vector)):
            return True
        self._known[key] = np.full(len(self.judges), -np.inf)
        return False


def guarded(guard: EditGuard, request: EditRequest, now: datetime) -> Callable[[EditPlan], bool]:
    """What the guard says of a plan before it is done, for `allowed`; the log stays as it is.

    Drift is measured on the edited picture: the guard asks for it once more when the edit is made.
    """

    def allowed(plan: EditPlan) -> bool:
        """Whether the guard would let it pass."""
        return guard.verdict(replace(request, plan=plan), now).allowed

    return allowed
