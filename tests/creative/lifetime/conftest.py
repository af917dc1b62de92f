"""The small invented Complete Journey, and its spells."""

from __future__ import annotations

import pytest

from adwright.creative.lifetime.spell_table import SpellTable
from adwright.creative.lifetime.spells import spells_of
from adwright.data.sources.complete_journey import CompleteJourney
from tests.support.data.small_journey import transactions, write_journey


@pytest.fixture(scope="session")
def small_journey(tmp_path_factory: pytest.TempPathFactory) -> CompleteJourney:
    """Its 14 products in three stores."""
    return write_journey(tmp_path_factory.mktemp("journey") / "data", transactions())


@pytest.fixture(scope="session")
def small_spells(small_journey: CompleteJourney) -> SpellTable:
    """Its spells of the stores, at their first week."""
    return spells_of(small_journey)
