from __future__ import annotations

import numpy as np
import pytest

from adwright.core.errors import ConfigError
from adwright.creative.editor.search.settings import Archive, GeneticSettings, require_calls


def test_calls_are_those_of_all_generations() -> None:
    assert GeneticSettings().calls == 30 + 5 * 20
    assert GeneticSettings(population=12, generations=2, parents=4).calls == 12 + 2 * 8


def test_the_coded_widths_are_of_a_range_of_three() -> None:
    coded = GeneticSettings.as_coded()
    assert 3 * coded.init == pytest.approx(0.1)
    assert 3 * coded.mutation == pytest.approx(0.01)


@pytest.mark.parametrize(
    "wrong",
    [
        {"parents": 1},
        {"parents": 30},
        {"population": 0},
        {"generations": 0},
        {"mutated": 0.0},
        {"init": 1.5},
        {"mutation": float("nan")},
    ],
)
def test_wrong_settings_are_refused(wrong: dict[str, float]) -> None:
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


def test_a_budget_of_one_call_is_refused() -> None:
    with pytest.raises(ConfigError, match="unedited"):
        require_calls(1)
    require_calls(2)
