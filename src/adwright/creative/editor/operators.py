"""The operators of the genetic searches, for pymoo, and a plan's fitness as its problem.

    PlanProblem(fitness)        # minimises minus the values
    FirstPlans()                # the first generation
    StepMutation()              # of an exact share of the values
    RankSelected(...)           # AdSEE's generations: parents by rank, kept, and their offspring

All draw from the generator that pymoo hands on, which is seeded by the search; nothing else is
drawn from, and numpy's global generator stays as it is.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from pymoo.algorithms.base.genetic import GeneticAlgorithm
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.core.mutation import Mutation
from pymoo.core.population import Population
from pymoo.core.problem import Problem
from pymoo.core.repair import Repair
from pymoo.core.sampling import Sampling
from pymoo.core.selection import Selection
from pymoo.operators.crossover.ux import UniformCrossover

from adwright.creative.editor.fitness import Floats, GeneticSettings, PlanFitness

#: The share of a plan's values that are mutated, and how far at most, as a share of their range.
MUTATED, MUTATION = 0.2, 0.25
#: In place of infinity, which sorting by domination does not take.
_WORST = 1e12


class PlanProblem(Problem):  # type: ignore[misc]
    """A fitness as pymoo's problem: K variables, one objective a judge, or its weighted sum.

    weights: float [J], of a sum of the judges' values; None keeps them apart. seen: all vectors
    that were asked for, with their values, in order.
    """

    def __init__(self, fitness: PlanFitness, weights: Floats | None = None) -> None:
        many = len(fitness.judges) if weights is None else 1
        super().__init__(n_var=len(fitness.low), n_obj=many, xl=fitness.low, xu=fitness.high)
        self.fitness, self.weights = fitness, weights
        self.seen: list[tuple[Floats, Floats]] = []

    def _evaluate(self, x: Floats, out: dict[str, Any], *_: object, **__: object) -> None:
        values = self.fitness.values(x)
        self.seen.append((np.array(x), values))
        told = np.where(np.isfinite(values), values, -_WORST)
        out["F"] = -told if self.weights is None else -(told @ self.weights)[:, None]


class FirstPlans(Sampling):  # type: ignore[misc]
    """No edit, and plans evenly drawn within the bounds."""

    def _do(
        self, problem: PlanProblem, n_samples: int, *_: object, random_state: Any, **__: object
    ) -> Floats:
        fitness = problem.fitness
        size = n_samples, len(fitness.low)
        made = fitness.on_grid(random_state.uniform(fitness.low, fitness.high, size))
        made[0] = fitness.neutral
        return made


class StepMutation(Mutation):  # type: ignore[misc]
    """Of each plan exactly round(MUTATED K) values, at least one, move by an amount that is evenly
    drawn up to MUTATION of their range, and are cut at the bounds."""

    def _do(self, problem: Any, x: Floats, *_: object, random_state: Any, **__: object) -> Floats:
        many = max(1, round(MUTATED * x.shape[1]))
        which = random_state.random(x.shape).argsort(1) < many
        reach = MUTATION * (problem.xu - problem.xl)
        moved = x + which * random_state.uniform(-1, 1, x.shape) * reach
        return np.asarray(np.clip(moved, problem.xl, problem.xu))


class OnGrid(Repair):  # type: ignore[misc]
    """Plans are put on the grid of the fitness."""

    def _do(self, problem: PlanProblem, x: Floats, **_: object) -> Floats:
        return problem.fitness.on_grid(x)


class RandomPairs(Selection):  # type: ignore[misc]
    """Pairs of different plans, evenly drawn: which plans may be parents was decided before."""

    def _do(
        self,
        _: object,
        pop: Population,
        n_select: int,
        n_parents: int,
        *__: object,
        random_state: Any,
        **___: object,
    ) -> Any:
        pairs = [random_state.permutation(len(pop))[:n_parents] for _ in range(n_select)]
        return np.array(pairs)


class RankSelected(GeneticAlgorithm):  # type: ignore[misc]
    """AdSEE's generations. From the plans, `parents` are drawn by rank, without repeats (our
    choice); they stay, and population - parents offspring of pairs of them join."""

    pop: Any

    def __init__(self, settings: GeneticSettings) -> None:
        self.settings = settings
        super().__init__(
            pop_size=settings.population,
            n_offsprings=settings.population - settings.parents,
            sampling=FirstPlans(),
            selection=RandomPairs(),
            crossover=UniformCrossover(prob=1.0),
            mutation=StepMutation(),
            repair=OnGrid(),
        )

    def _infill(self) -> Any:
        order = np.argsort(-self.pop.get("F")[:, 0], kind="stable")
        chances = rank_chances(len(self.pop))
        many = min(self.settings.parents, len(self.pop))
        chosen = self.random_state.choice(order, many, replace=False, p=chances)
        self.pop = self.pop[np.sort(chosen)]
        return super()._infill()

    def _advance(self, infills: Any = None, **_: object) -> None:
        self.pop = Population.merge(self.pop, infills)


def by_domination(settings: GeneticSettings) -> NSGA2:
    """pymoo's NSGA-II with the operators of this module."""
    return NSGA2(
        pop_size=settings.population,
        sampling=FirstPlans(),
        crossover=UniformCrossover(prob=1.0),
        mutation=StepMutation(),
        repair=OnGrid(),
    )


def rank_chances(count: int) -> Floats:
    """float64 [N]: of plans from the worst to the best, r / sum of all r, with r = 1 to N."""
    return np.arange(1, count + 1) / math.comb(count + 1, 2)
