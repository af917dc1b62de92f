"""Small lives, and a model of them."""

from __future__ import annotations

import pytest

from adwright.creative.lifetime.hazards.fitted import FittedLifetime
from tests.support.data.small_life_log import SmallLives, small_model


@pytest.fixture(scope="session")
def drawn_lives() -> SmallLives:
    """300 lives of 20 weeks."""
    return SmallLives()


@pytest.fixture(scope="session")
def drawn_model(drawn_lives: SmallLives) -> FittedLifetime:
    """Trained on the weeks before the 15th."""
    return small_model(drawn_lives)
