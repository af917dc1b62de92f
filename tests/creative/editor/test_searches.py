from __future__ import annotations

import sys
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymoo.core.population import Population

from adwright.core.errors import ConfigError, DataError, MissingExtraError
from adwright.creative.editor.edit_kinds import (
    BackgroundBlur,
    Crop,
    EditContext,
    Exposure,
    FaceMove,
)
from adwright.creative.editor.edit_plan import EditPlan, TextOverlay
from adwright.creative.editor.fitness import (
    STEPS,
    Archive,
    GeneticSettings,
    PlanFitness,
    applied_to_all,
    edited_batch,
    squeezed,
)
from adwright.creative.editor.operators import (
    MUTATION,
    FirstPlans,
    PlanProblem,
    RankSelected,
    StepMutation,
    rank_chances,
)
from adwright.creative.editor.searches import (
    genetic_search,
    gradient_ascent,
    pareto_search,
    random_search,
    search_parts,
    unbeaten_rows,
)
from tests.support.creative.edited_pictures import ShadeMover, scene, scene_context
from tests.support.creative.searches import PICTURE, ColourJudge, SlopedColour, colour_fitness


def test_it_climbs_by_differences_and_by_slopes() -> None:
    plain = gradient_ascent(colour_fitness(ColourJudge(150)), calls=60)
    sloped = gradient_ascent(colour_fitness(SlopedColour(150)), calls=60)
    assert plain.score > 0.999
    assert sloped.score > 0.999
    assert max(plain.calls, sloped.calls) <= 60
    # Slopes cost 3 calls at each point, differences one a knob.
    few = [
        gradient_ascent(colour_fitness(kind(150)), calls=8).history
        for kind in (ColourJudge, SlopedColour)
    ]
    assert few[0][0][0] == 5
    assert few[1][0][0] == 7


def test_it_stays_within_bounds_and_calls() -> None:
    fitness = colour_fitness(ColourJudge(255))
    for calls in (2, 6, 7, 23):
        found = gradient_ascent(colour_fitness(ColourJudge(255)), calls=calls)
        assert found.calls <= calls
    assert (found.vector <= fitness.high).all()
    assert (found.vector >= fitness.low).all()
    assert found.gain > 0


def test_a_plateau_and_a_refusal_end_it() -> None:
    class Flat(ColourJudge):
        def judge(self, pictures: np.ndarray) -> np.ndarray:
            return np.zeros(len(pictures))

    assert gradient_ascent(colour_fitness(Flat()), calls=50).calls == 5
    still = colour_fitness(allowed=lambda plan: not np.any(plan.values()))
    assert gradient_ascent(still, calls=50).gain == 0


def test_it_finds_what_the_judge_likes_in_few_batches() -> None:
    judge = ColourJudge(150)
    fitness = colour_fitness(judge)
    found = genetic_search(fitness, seed=1)
    assert found.score > 0.99 > found.unedited
    assert found.score == fitness.scores(found.vector[None])[0]
    assert found.calls <= GeneticSettings().calls
    # No edit, the first generation less it, and five more.
    assert judge.seen == [1, 29, 20, 20, 20, 20, 20]
    assert found.calls == found.history[-1][0] == 130
    best = [score for _, score in found.history]
    assert best == sorted(best)


def test_the_same_seed_finds_the_same_whatever_numpy_was_seeded_with() -> None:
    np.random.seed(1)  # noqa: NPY002
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    first = genetic_search(colour_fitness(), seed=7)
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002
    np.random.seed(2)  # noqa: NPY002
    second = genetic_search(colour_fitness(), seed=7)
    np.testing.assert_array_equal(first.vector, second.vector)
    assert first.history == second.history
    other = genetic_search(colour_fitness(), seed=8)
    assert not np.array_equal(first.vector, other.vector)


def test_settings_count() -> None:
    small = GeneticSettings(population=6, generations=2, parents=2)
    assert genetic_search(colour_fitness(), seed=0, settings=small).calls == small.calls


def test_what_is_refused_is_never_found() -> None:
    fitness = colour_fitness(allowed=lambda plan: plan.values()[0] <= 0)
    assert genetic_search(fitness, seed=0).vector[0] <= 0
    nothing = colour_fitness(allowed=lambda plan: not np.any(plan.values()))
    assert genetic_search(nothing, seed=0).gain == 0


def test_it_needs_one_judge_and_pymoo(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="no single score"):
        genetic_search(colour_fitness(ColourJudge(), ColourJudge()), seed=0)
    import adwright.creative.editor as room

    name = "adwright.creative.editor.operators"
    monkeypatch.delattr(room, "operators", raising=False)
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtraError, match="creative"):
        search_parts()


RNG = np.random.default_rng(2)


def test_the_first_plans_fill_the_bounds_and_begin_with_no_edit() -> None:
    problem = PlanProblem(colour_fitness())
    drawn = FirstPlans().do(problem, 400, random_state=RNG).get("X")
    fitness = problem.fitness
    shares = (drawn - fitness.low) / (fitness.high - fitness.low)
    np.testing.assert_array_equal(drawn[0], fitness.neutral)
    np.testing.assert_allclose(shares.mean(0), 0.5, atol=0.06)
    assert shares.min() < 0.02
    assert shares.max() > 0.98


def test_so_many_values_move_and_so_far() -> None:
    problem = PlanProblem(colour_fitness())
    still = np.zeros((300, 4))
    made = StepMutation().do(problem, Population.new("X", still), random_state=RNG).get("X")
    moved = made != 0
    assert (moved.sum(1) == 1).all()
    assert moved.any(0).all()
    shares = np.abs(made) / (problem.xu - problem.xl)
    assert 0.9 * MUTATION < shares.max() <= MUTATION


def test_parents_are_drawn_by_rank_and_stay() -> None:
    np.testing.assert_allclose(rank_chances(4), [0.1, 0.2, 0.3, 0.4])
    settings = GeneticSettings(population=8, parents=2)
    drawn: Counter[int] = Counter()
    for seed in range(80):
        algorithm = RankSelected(settings)
        algorithm.setup(PlanProblem(colour_fitness()), seed=seed)
        algorithm.next()
        order = np.sort(algorithm.pop.get("F")[:, 0])
        made = algorithm.ask()
        parents = algorithm.pop.get("F")[:, 0]
        assert (len(made), len(parents)) == (6, 2)
        drawn.update(np.searchsorted(order, parents).tolist())
    # Of what is minimised, 0 is the best.
    assert drawn[0] > 2 * drawn[7]
    assert drawn[7] > 0


SMALL = GeneticSettings(population=12, generations=4, parents=4)


def both() -> PlanFitness:
    return colour_fitness(ColourJudge(60, 0, "dark"), ColourJudge(200, 2, "blue"))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=12))
def test_unbeaten_rows_are_those_of_the_definition(rows: list[tuple[int, int]]) -> None:
    found = unbeaten_rows(np.array(rows, float)).tolist()
    expected = [
        at
        for at, (a, b) in enumerate(rows)
        if not any(x >= a and y >= b and (x, y) != (a, b) for x, y in rows)
        and (a, b) not in rows[:at]
    ]
    assert found == expected


def test_nsga_finds_a_front_that_nothing_beats() -> None:
    fitness = both()
    front = pareto_search(fitness, seed=0, settings=SMALL)
    assert front.names == ("dark", "blue")
    assert front.calls <= 12 * 5
    assert len(front) > 3
    assert unbeaten_rows(front.values).tolist() == list(range(len(front)))
    np.testing.assert_allclose(fitness.values(front.vectors), front.values)
    again = pareto_search(both(), seed=0, settings=SMALL)
    np.testing.assert_array_equal(again.vectors, front.vectors)
    assert not np.array_equal(pareto_search(both(), seed=1, settings=SMALL).vectors, front.vectors)


def test_wrong_searches_are_refused() -> None:
    for one in (colour_fitness(), colour_fitness(ColourJudge(), ColourJudge())):
        with pytest.raises(ConfigError, match="no front"):
            pareto_search(one, seed=0)


PLAN = EditPlan(
    (
        Exposure(),
        FaceMove.neutral(("smile", "gaze"), 2),
        BackgroundBlur(),
        Crop(),
        TextOverlay("Fresh today"),
    )
)


class CountingMover(ShadeMover):
    def moved(self, crops: np.ndarray, amounts: np.ndarray) -> np.ndarray:
        SEEN.append(len(crops))
        return super().moved(crops, amounts)


SEEN: list[int] = []


def vectors(count: int) -> np.ndarray:
    low, high = PLAN.bounds().T
    shares = np.random.default_rng(3).random((count, len(low)))
    made = low + shares * (high - low)
    made[0] = PLAN.neutral()
    return made


def test_a_population_is_what_the_plans_make_one_by_one() -> None:
    picture, context = scene(), replace(scene_context(), mover=CountingMover())
    SEEN.clear()
    batch = edited_batch(PLAN, vectors(6), picture, context)
    assert SEEN == [10]
    assert len(batch) == 6
    for plan, done, seen in zip(batch.plans, batch.done, batch.pictures, strict=True):
        alone = plan.apply(picture, context)
        np.testing.assert_array_equal(done.picture, alone.picture)
        assert done.skipped == alone.skipped
        assert done.context.places == alone.context.places
        np.testing.assert_array_equal(seen, squeezed(alone.picture, picture.shape[:2]))
    np.testing.assert_array_equal(picture, scene())


def test_what_is_judged_has_the_size_of_the_original() -> None:
    assert (
        squeezed(np.full((4, 4, 3), 7, np.uint8), (9, 9)).tolist() == np.full((9, 9, 3), 7).tolist()
    )
    assert edited_batch(PLAN, vectors(2)[:0], scene()).pictures.shape[0] == 0


def test_other_plans_and_pictures_are_refused() -> None:
    with pytest.raises(DataError, match="different edits"):
        applied_to_all([PLAN, EditPlan((Exposure(),))], scene(), EditContext())
    with pytest.raises(DataError, match="shape"):
        applied_to_all([PLAN], scene()[:50], scene_context())


def test_it_judges_so_many_and_keeps_the_best() -> None:
    judge = ColourJudge(150)
    found = random_search(colour_fitness(judge), calls=50, seed=3)
    assert judge.seen == [1, 30, 19]
    assert found.calls == 50
    assert found.gain > 0
    again = random_search(colour_fitness(judge), calls=50, seed=3)
    np.testing.assert_array_equal(found.vector, again.vector)
    other = random_search(colour_fitness(judge), calls=50, seed=4)
    assert not np.array_equal(found.vector, other.vector)


def test_few_plans_end_it() -> None:
    fitness = PlanFitness(EditPlan((Exposure(),)), PICTURE, judges=(ColourJudge(),))
    assert 200 < random_search(fitness, calls=3000, seed=0).calls <= STEPS + 1


def test_wrong_budgets_are_refused() -> None:
    with pytest.raises(ConfigError, match="unedited"):
        random_search(colour_fitness(), calls=1, seed=0)
    with pytest.raises(ConfigError, match="unedited"):
        gradient_ascent(colour_fitness(), calls=1)


@pytest.mark.parametrize(
    "wrong", [{"parents": 1}, {"parents": 30}, {"population": 0}, {"generations": 0}]
)
def test_wrong_settings_are_refused_settings(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        GeneticSettings(**wrong)


def test_the_archive_keeps_the_best_and_the_first_of_equals() -> None:
    archive = Archive(np.zeros(1), 1.0)
    archive.take(np.array([[1.0], [2.0]]), np.array([1.0, -np.inf]), 2)
    assert archive.outcome("m", 2).gain == 0
    archive.take(np.array([[3.0], [4.0], [5.0]]), np.array([1.5, 3.0, 3.0]), 5)
    found = archive.outcome("m", 5)
    assert (found.vector[0], found.score, found.unedited, found.gain) == (4.0, 3.0, 1.0, 2.0)
    assert found.history == ((2, 1.0), (5, 3.0))
