"""The small invented task, and the response task of a hundredth of the households."""

from __future__ import annotations

import pytest

from adwright.data.sources.complete_journey import CompleteJourney
from adwright.data.tasks.response import ResponseConfig, build_response_task
from adwright.data.tasks.task import Task
from tests.support.data.small_log import Tables, make_tables, write


@pytest.fixture(scope="session")
def tables() -> Tables:
    """The invented tables."""
    return make_tables()


@pytest.fixture(scope="session")
def small_task(tables: Tables, tmp_path_factory: pytest.TempPathFactory) -> Task:
    """Their task, in several row groups."""
    return write(tmp_path_factory.mktemp("small") / "task", tables)


@pytest.fixture(scope="session")
def real_journey() -> CompleteJourney:
    """Complete Journey."""
    return CompleteJourney.open()


@pytest.fixture(scope="session")
def response_task(real_journey: CompleteJourney, tmp_path_factory: pytest.TempPathFactory) -> Task:
    """The response task of one household in a hundred."""
    config = ResponseConfig(households=0.01)
    return build_response_task(real_journey, tmp_path_factory.mktemp("response"), config)
