from __future__ import annotations

import numpy as np
import pytest

from adwright.core.errors import ConfigError
from adwright.creative.editor.search.ascent import gradient_ascent
from tests.support.creative.searches import ColourJudge, SlopedColour, colour_fitness


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


def test_rate_and_width_count() -> None:
    far = gradient_ascent(colour_fitness(), calls=10, rate=0.5)
    near = gradient_ascent(colour_fitness(), calls=10, rate=0.02)
    assert np.abs(far.vector).max() > 2 * np.abs(near.vector).max()
    wide = gradient_ascent(colour_fitness(), calls=10, width=0.4)
    assert not np.array_equal(wide.vector, gradient_ascent(colour_fitness(), calls=10).vector)


def test_a_plateau_and_a_refusal_end_it() -> None:
    class Flat(ColourJudge):
        def judge(self, pictures: np.ndarray) -> np.ndarray:
            return np.zeros(len(pictures))

    assert gradient_ascent(colour_fitness(Flat()), calls=50).calls == 5
    still = colour_fitness(allowed=lambda plan: not np.any(plan.values()))
    assert gradient_ascent(still, calls=50).gain == 0


def test_wrong_settings_are_refused() -> None:
    for wrong in ({"calls": 1}, {"calls": 9, "rate": 0.0}, {"calls": 9, "width": 0.7}):
        with pytest.raises(ConfigError):
            gradient_ascent(colour_fitness(), **wrong)
