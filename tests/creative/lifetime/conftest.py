"""The small invented Complete Journey, and its spells."""

from __future__ import annotations

import pytest

from adwright.creative.lifetime.spell_table import SpellTable
from adwright.creative.lifetime.survival_curves import FittedLifetime
from adwright.data.sources.complete_journey import CompleteJourney
from tests.support.data.small_journey import reached, transactions, write_journey
from tests.support.data.small_life_log import SmallLives, small_model


@pytest.fixture(scope="session")
def small_journey(tmp_path_factory: pytest.TempPathFactory) -> CompleteJourney:
    """Its 14 products in three stores."""
    return write_journey(tmp_path_factory.mktemp("journey") / "data", transactions())


@pytest.fixture(scope="session")
def small_spells(small_journey: CompleteJourney) -> SpellTable:
    """Its spells of the stores, at their first week."""
    return reached(small_journey)


@pytest.fixture(scope="session")
def drawn_lives() -> SmallLives:
    """300 lives of 20 weeks."""
    return SmallLives()


@pytest.fixture(scope="session")
def drawn_model(drawn_lives: SmallLives) -> FittedLifetime:
    """Trained on the weeks before the 15th."""
    return small_model(drawn_lives)
