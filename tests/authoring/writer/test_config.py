from __future__ import annotations

from typing import Any

import pytest

from adwright.authoring.writer.config import WriteBudget, WriteConfig, WriterPrices
from adwright.core.errors import ConfigError


def test_prices_are_for_a_million_tokens() -> None:
    prices = WriterPrices(prompt=2.0, answer=8.0, cached=0.5)
    assert prices.of(1_000_000, 400_000, 500_000) == pytest.approx(1.2 + 0.2 + 4.0)
    assert WriterPrices(prompt=2.0).of(1_000_000, 400_000, 5) == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"slots": ()}, "slots are named"),
        ({"slots": ("headline", "headline")}, "each once"),
        ({"slots": ("nothing",)}, "no slot"),
        ({"slots": ("category",)}, "needs a closed list"),
        ({"labels": ("a",)}, "no slot takes them"),
        ({"variants": 0}, "variants is 1 or more"),
        ({"batch": 0}, "batch is 1 or more"),
        ({"attempts": 0}, "attempts is 1"),
        ({"sample": -1}, "sample is 0"),
        ({"temperature": -1.0}, "temperature must not be negative"),
        ({"variants": 2, "variety": 0.0}, "needs variety"),
        ({"budget": WriteBudget(money=1.0)}, "needs prices"),
        ({"instructions": (("title", "x"),)}, "no slot of the job"),
        ({"seed": "1"}, "seed"),
    ],
)
def test_what_makes_no_job_is_refused(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        WriteConfig(**({"slots": ("headline",)} | fields))


def test_budgets_and_prices_are_not_below_zero() -> None:
    with pytest.raises(ConfigError, match="budget"):
        WriteBudget(tokens=-1)
    with pytest.raises(ConfigError, match="prices"):
        WriterPrices(prompt=-1.0)
