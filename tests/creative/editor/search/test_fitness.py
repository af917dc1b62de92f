from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adwright.core.errors import ConfigError, DataError
from adwright.creative.editor.edits.face_moves import FaceMove
from adwright.creative.editor.edits.plan import EditPlan
from adwright.creative.editor.edits.tones import Exposure, Saturation, Temperature
from adwright.creative.editor.guards.guard import EditGuard, EditRequest
from adwright.creative.editor.guards.locks import DirectionRules
from adwright.creative.editor.search.fitness import (
    FitnessSettings,
    PlanFitness,
    Weighted,
    guarded,
)
from adwright.creative.editor.search.picture_judge import EnsembleJudge
from adwright.creative.editor.search.population import EditedBatch
from tests.support.creative.edited_pictures import LOCKED, scene, scene_context
from tests.support.creative.searches import ColourJudge, SlopedColour

PLAN = EditPlan((Exposure(), Temperature()))
PICTURE = scene()[::8, ::8].copy()


@dataclass
class Strength:
    name: str = "strength"
    scale: float = 1.0

    def of(self, batch: EditedBatch) -> np.ndarray:
        return np.array([self.scale * np.abs(plan.values()).sum() for plan in batch.plans])


def fitness(judge: object = None, **told: object) -> PlanFitness:
    return PlanFitness(PLAN, PICTURE, judges=(judge or ColourJudge(),), **told)


def test_the_edited_picture_is_judged_less_penalties() -> None:
    judge = EnsembleJudge("c", (ColourJudge(220), ColourJudge(120)), k=2)
    vector = np.array([0.5, -0.4])
    picture = PLAN.with_values(vector).apply(PICTURE).picture[None]
    lower, mean = float(judge.lower(picture)[0]), float(judge.judge(picture)[0])
    assert fitness(judge).scores(vector[None])[0] == pytest.approx(lower)
    assert fitness(judge, settings=FitnessSettings("mean")).scores(vector[None])[
        0
    ] == pytest.approx(mean)
    one = Weighted(Strength(), 0.25)
    told = FitnessSettings(scales=(4.0,))
    found = fitness(judge, penalties=(one, one), settings=told).scores(vector[None])
    assert found[0] == pytest.approx(lower / 4 - 2 * 0.25 * 0.9)


def test_a_population_is_one_call_and_equals_are_judged_once() -> None:
    judge = ColourJudge()
    found = fitness(judge)
    vectors = np.array([[0.1, 0.2], [0.3, 0.0], [0.1, 0.2], [0.1 + 1e-5, 0.2]])
    assert found.unjudged(vectors) == 2
    scores = found.scores(vectors)
    assert judge.seen == [2]
    assert (found.calls, found.batches) == (2, 1)
    assert scores[0] == scores[2] == scores[3] != scores[1]
    found.scores(np.array([[0.3, -0.0], [0.7, 0.7]]))
    assert judge.seen == [2, 1]
    assert found.calls == 3


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-3, 3), min_size=2, max_size=2), st.integers(1, 400))
def test_vectors_lie_on_a_grid_through_neutral(vector: list[float], steps: int) -> None:
    found = fitness(settings=FitnessSettings(steps=steps))
    once = found.on_grid(np.array([vector]))
    np.testing.assert_array_equal(found.on_grid(once), once)
    assert (once >= found.low).all()
    assert (once <= found.high).all()
    inside = np.clip(vector, found.low, found.high)
    assert (np.abs(once[0] - inside) <= 2 / steps + 1e-12).all()
    np.testing.assert_array_equal(found.on_grid(found.neutral[None])[0], found.neutral)


def test_size_is_of_what_is_judged() -> None:
    shapes = []

    class Looking(ColourJudge):
        def judge(self, pictures: np.ndarray) -> np.ndarray:
            shapes.append(pictures.shape)
            return super().judge(pictures)

    fitness(Looking(), settings=FitnessSettings(size=(5, 6))).scores(np.zeros((1, 2)))
    assert shapes == [(1, 5, 6, 3)]


def test_slopes_are_those_of_finite_differences() -> None:
    told = {"penalties": (Weighted(Strength(scale=0.1), 1.0),)}
    found = fitness(SlopedColour(250), **told)
    vector, steps = np.array([0.2, 0.3]), np.array([0.1, -0.1])
    slopes = found.slopes(vector, steps)
    assert found.calls == 3
    base = found.scores(vector[None])[0]
    other = [(found.scores((vector + row)[None])[0] - base) for row in np.diag(steps)]
    assert slopes is not None
    np.testing.assert_allclose(slopes, other / steps, rtol=0.2)
    assert fitness().slopes(vector, steps) is None


def test_several_judges_give_several_values() -> None:
    both = PlanFitness(PLAN, PICTURE, judges=(ColourJudge(10), ColourJudge(250, 2)))
    values = both.values(np.array([[0.0, 0.0], [0.9, 0.0]]))
    assert values.shape == (2, 2)
    assert values[1, 0] < values[0, 0]
    assert values[1, 1] > values[0, 1]
    assert both.calls == 2
    with pytest.raises(ConfigError, match="no single score"):
        both.scores(np.zeros((1, 2)))


def test_what_the_guard_refuses_no_judge_sees() -> None:
    context, judge = scene_context(), ColourJudge()
    plan = EditPlan((Saturation(), FaceMove.neutral(("smile",), 1)))
    request = EditRequest(scene(), plan, context)
    allowed = guarded(
        EditGuard(DirectionRules((), LOCKED, ("ethnicity",))),
        request,
        datetime(2026, 1, 1, tzinfo=UTC),
    )
    found = PlanFitness(plan, scene(), context, judges=(judge,), allowed=allowed)
    scores = found.scores(np.array([[0.2, 0.0], [0.2, 0.5]]))
    assert np.isfinite(scores[0])
    assert scores[1] == -np.inf
    assert judge.seen == [1]
    assert found.calls == 1


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match="nothing to search"):
        PlanFitness(EditPlan(), PICTURE, judges=(ColourJudge(),))
    with pytest.raises(ConfigError, match="scales"):
        fitness(settings=FitnessSettings(scales=(1.0, 2.0)))
    for wrong in ({"scales": (0.0,)}, {"size": (0, 3)}, {"steps": 0}, {"bound": "upper"}):
        with pytest.raises(ConfigError):
            FitnessSettings(**wrong)
    with pytest.raises(ConfigError, match="weight"):
        Weighted(Strength(), -1)
    for vectors in (np.zeros((1, 3)), np.zeros(2), np.full((1, 2), np.nan)):
        with pytest.raises(DataError, match="vectors"):
            fitness().scores(vectors)
    broken = Weighted(Strength(scale=float("nan")), 1.0)
    with pytest.raises(DataError, match="penalty 'strength'"):
        fitness(penalties=(broken,)).scores(np.ones((1, 2)))
