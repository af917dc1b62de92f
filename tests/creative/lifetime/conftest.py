"""The small invented Complete Journey."""

from __future__ import annotations

import pytest

from adwright.data.sources.complete_journey import CompleteJourney
from tests.support.data.small_journey import transactions, write_journey


@pytest.fixture(scope="session")
def small_journey(tmp_path_factory: pytest.TempPathFactory) -> CompleteJourney:
    """Its 14 products in three stores."""
    return write_journey(tmp_path_factory.mktemp("journey") / "data", transactions())
