from __future__ import annotations

import sys

import numpy as np
import pytest

from adwright.core.errors import ConfigError, MissingExtraError
from adwright.creative.editor.search.genetic import genetic_search, search_parts
from adwright.creative.editor.search.settings import GeneticSettings
from tests.support.creative.searches import ColourJudge, colour_fitness


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
    # AdSEE's widths as coded: what lies far cannot be reached in five generations.
    coded = genetic_search(colour_fitness(), seed=0, settings=GeneticSettings.as_coded())
    assert coded.score < genetic_search(colour_fitness(), seed=0).score
    fitness = colour_fitness()
    assert (np.abs(coded.vector) <= 0.06 * (fitness.high - fitness.low)).all()


def test_what_is_refused_is_never_found() -> None:
    fitness = colour_fitness(allowed=lambda plan: plan.values()[0] <= 0)
    assert genetic_search(fitness, seed=0).vector[0] <= 0
    nothing = colour_fitness(allowed=lambda plan: not np.any(plan.values()))
    assert genetic_search(nothing, seed=0).gain == 0


def test_it_needs_one_judge_and_pymoo(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="no single score"):
        genetic_search(colour_fitness(ColourJudge(), ColourJudge()), seed=0)
    import adwright.creative.editor.search as room

    name = "adwright.creative.editor.search.operators"
    monkeypatch.delattr(room, "operators", raising=False)
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtraError, match="creative"):
        search_parts()
