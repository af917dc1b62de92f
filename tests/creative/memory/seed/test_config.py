from __future__ import annotations

from typing import Any

import pytest

from adwright.core.errors import ConfigError
from adwright.creative.memory.seed.config import SeedBudget, SeedConfig


def test_calls_are_made_as_asked_for() -> None:
    found = SeedConfig(temperature=0.7, top_p=0.8, tokens=9).generation(5)
    assert (found.temperature, found.top_p, found.max_tokens, found.seed) == (0.7, 0.8, 9, 5)


@pytest.mark.parametrize(
    "wrong",
    [
        *({name: 0} for name in ("rounds", "samples", "measured", "patience", "batch", "draws")),
        *({name: -1} for name in ("briefs", "pool_most", "rows", "watch_most", "held_most")),
        {"keep": 1.5},
        {"pool": -0.1},
        {"temperature": 0.0},
        {"top_p": 0.0},
        {"watch": 0.6, "held": 0.5},
        {"rounds": "3"},
    ],
)
def test_numbers_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        SeedConfig(**wrong)


def test_budgets_are_not_negative() -> None:
    for wrong in ({"minutes": -1.0}, {"tokens": -1}):
        with pytest.raises(ConfigError, match="budget"):
            SeedBudget(**wrong)
