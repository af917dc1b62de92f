from __future__ import annotations

import numpy as np
import pytest

from adwright.core.errors import ConfigError
from adwright.creative.editor.edits.plan import EditPlan
from adwright.creative.editor.edits.tones import Exposure
from adwright.creative.editor.search.fitness import FitnessSettings, PlanFitness
from adwright.creative.editor.search.random_search import random_search
from tests.support.creative.searches import PICTURE, ColourJudge, colour_fitness


def test_it_judges_so_many_and_keeps_the_best() -> None:
    judge = ColourJudge(150)
    found = random_search(colour_fitness(judge), calls=50, seed=3, batch=20)
    assert judge.seen == [1, 20, 20, 9]
    assert found.calls == 50
    assert found.gain > 0
    again = random_search(colour_fitness(judge), calls=50, seed=3, batch=20)
    np.testing.assert_array_equal(found.vector, again.vector)
    other = random_search(colour_fitness(judge), calls=50, seed=4)
    assert not np.array_equal(found.vector, other.vector)


def test_reach_bounds_what_is_drawn() -> None:
    fitness = colour_fitness()
    found = random_search(fitness, calls=60, seed=0, reach=0.05)
    assert (np.abs(found.vector) <= 0.06 * (fitness.high - fitness.low)).all()
    wide = random_search(colour_fitness(), calls=60, seed=0)
    assert (np.abs(wide.vector) > 0.06 * (fitness.high - fitness.low)).any()


def test_few_plans_end_it() -> None:
    fitness = PlanFitness(
        EditPlan((Exposure(),)),
        PICTURE,
        judges=(ColourJudge(),),
        settings=FitnessSettings(steps=4),
    )
    assert random_search(fitness, calls=100, seed=0).calls == 5


def test_wrong_budgets_are_refused() -> None:
    with pytest.raises(ConfigError, match="unedited"):
        random_search(colour_fitness(), calls=1, seed=0)
    for wrong in ({"reach": 0.0}, {"reach": 2.0}, {"batch": 0}):
        with pytest.raises(ConfigError, match="reach"):
            random_search(colour_fitness(), calls=9, seed=0, **wrong)
