from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from pymoo.core.population import Population

from adwright.creative.editor.search.operators import (
    NearNeutral,
    OnGrid,
    PlanProblem,
    RandomPairs,
    RankSelected,
    StepMutation,
    rank_chances,
)
from adwright.creative.editor.search.settings import GeneticSettings
from tests.support.creative.searches import ColourJudge, colour_fitness

RNG = np.random.default_rng(2)


@pytest.mark.parametrize("init", [0.02, 0.25])
def test_the_first_plans_lie_as_near_as_they_say(init: float) -> None:
    problem = PlanProblem(colour_fitness())
    drawn = NearNeutral(GeneticSettings(init=init)).do(problem, 400, random_state=RNG).get("X")
    fitness = problem.fitness
    away = np.abs(drawn - fitness.neutral) / (fitness.high - fitness.low)
    assert not away[0].any()
    assert away.max() <= init + 0.5 / 300 + 1e-9
    assert away.max() > 0.9 * init
    assert np.median(away[1:]) == pytest.approx(init / 2, rel=0.2)


@pytest.mark.parametrize(("mutated", "many"), [(0.01, 1), (0.5, 2), (1.0, 4)])
def test_so_many_values_move_and_so_far(mutated: float, many: int) -> None:
    problem = PlanProblem(colour_fitness())
    still = np.zeros((300, 4))
    settings = GeneticSettings(mutated=mutated, mutation=0.05)
    made = StepMutation(settings).do(problem, Population.new("X", still), random_state=RNG).get("X")
    moved = made != 0
    assert (moved.sum(1) == many).all()
    assert moved.any(0).all()
    shares = np.abs(made) / (problem.xu - problem.xl)
    assert 0.045 < shares.max() <= 0.05


def test_repair_puts_plans_on_the_grid() -> None:
    problem = PlanProblem(colour_fitness())
    drawn = RNG.uniform(problem.xl, problem.xu, (5, 4))
    made = OnGrid().do(problem, Population.new("X", drawn)).get("X")
    np.testing.assert_array_equal(made, problem.fitness.on_grid(drawn))


def test_the_problem_minimises_minus_the_values() -> None:
    fitness = colour_fitness(ColourJudge(10), ColourJudge(250))
    vectors = fitness.on_grid(RNG.uniform(-0.4, 0.4, (6, 4)))
    problem = PlanProblem(fitness)
    np.testing.assert_allclose(problem.evaluate(vectors), -fitness.values(vectors))
    np.testing.assert_array_equal(problem.seen[0][0], vectors)
    weights = np.array([0.3, 0.7])
    summed = PlanProblem(fitness, weights).evaluate(vectors)
    np.testing.assert_allclose(summed[:, 0], -fitness.values(vectors) @ weights)
    refused = colour_fitness(allowed=lambda plan: False)
    assert np.isfinite(PlanProblem(refused).evaluate(vectors)).all()


def test_pairs_are_of_different_plans() -> None:
    pop = Population.new("X", np.arange(5.0)[:, None])
    pairs = RandomPairs().do(None, pop, 200, 2, to_pop=False, random_state=RNG)
    assert (pairs[:, 0] != pairs[:, 1]).all()
    assert set(pairs.ravel()) == set(range(5))


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
