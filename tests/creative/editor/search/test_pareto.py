from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adwright.core.errors import ConfigError, DataError
from adwright.creative.editor.search.fitness import PlanFitness
from adwright.creative.editor.search.pareto import (
    hypervolume,
    pareto_search,
    reference_point,
    unbeaten_rows,
    weighted_sums,
)
from adwright.creative.editor.search.settings import GeneticSettings
from tests.support.creative.searches import ColourJudge, colour_fitness

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


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(-2, 5), st.integers(-2, 5)), min_size=1, max_size=6))
def test_hypervolume_is_the_count_of_unit_squares(rows: list[tuple[int, int]]) -> None:
    squares = {(x, y) for a, b in rows for x in range(a) for y in range(b)}
    values, at = np.array(rows, float), np.zeros(2)
    assert hypervolume(values, at) == pytest.approx(len(squares))
    half = hypervolume(values, at, scales=np.array([2.0, 1.0]))
    assert half == pytest.approx(len(squares) / 2)


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
    best = fitness.values(front.best_for("blue")[None])[0, 1]
    assert best == front.values[:, 1].max()
    for vector in front.better_for_all():
        assert (fitness.values(vector[None])[0] >= front.unedited).all()
    with pytest.raises(ConfigError, match="no judge is named"):
        front.best_for("life")


def test_sums_keep_to_their_calls_and_are_compared_from_one_point() -> None:
    front = pareto_search(both(), seed=0, settings=SMALL)
    fitness = both()
    sums = weighted_sums(fitness, seed=0, calls=front.calls, settings=SMALL)
    assert sums.calls <= front.calls
    assert sums.calls > 0.6 * front.calls
    at = reference_point(front, sums)
    seen = np.vstack([front.values, sums.values])
    assert (at < seen.min(0)).all()
    assert (reference_point(front, sums, margin=0.5) < at).all()
    assert hypervolume(front.values, at) > 0
    assert hypervolume(sums.values, at) > 0
    alone = weighted_sums(both(), seed=0, calls=48, weights=[(1.0, 0.0)], settings=SMALL)
    other = weighted_sums(both(), seed=0, calls=48, weights=[(0.0, 1.0)], settings=SMALL)
    assert alone.values[:, 0].max() >= other.values[:, 0].max()
    assert other.values[:, 1].max() >= alone.values[:, 1].max()


def test_wrong_searches_are_refused() -> None:
    for one in (colour_fitness(), colour_fitness(ColourJudge(), ColourJudge())):
        with pytest.raises(ConfigError, match="no front"):
            pareto_search(one, seed=0)
    with pytest.raises(ConfigError, match="calls for 3 sums"):
        weighted_sums(both(), seed=0, calls=20, settings=SMALL)
    for weights in ([(1.0,)], [(0.0, 0.0)], [(-1.0, 1.0)]):
        with pytest.raises(ConfigError, match="weights"):
            weighted_sums(both(), seed=0, calls=90, weights=weights, settings=SMALL)
    with pytest.raises(DataError, match="front"):
        reference_point()
    with pytest.raises(DataError, match="shape"):
        hypervolume(np.zeros((2, 2)), np.zeros(3))
