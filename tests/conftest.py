"""Fixtures that the tests of every floor may ask for."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from adwright.core.clock import FixedClock
from tests.support.halves import pytest_make_collect_report  # noqa: F401 - a hook of pytest
from tests.support.quick import (  # noqa: F401 - hooks of pytest
    pytest_addoption,
    pytest_collection_modifyitems,
    pytest_configure,
    pytest_ignore_collect,
    pytest_sessionfinish,
    pytest_terminal_summary,
    pytest_testnodedown,
)
from tests.support.store.postgres import ABSENT, Postgres, programs, running

# A busy machine is no failure: examples have no time limit of their own.
settings.register_profile("adwright", deadline=None)
settings.load_profile("adwright")

# What was started in the background ignores Ctrl-C, which tests send to themselves.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Until all tests are collected nothing becomes garbage, and looking for it takes seconds.
gc.disable()

ROOT = Path(__file__).resolve().parent.parent


def pytest_collection_finish() -> None:
    """What was imported stays; only what tests make is looked through from here on, and by the
    ten thousand: parsing, tracing and compiling make far more than they drop."""
    gc.freeze()
    gc.set_threshold(20_000, 10, 10)
    gc.enable()


@pytest.fixture(scope="session", autouse=True)
def no_pictures() -> Iterator[None]:
    """No run draws its curves, which takes half a second each; tests about them do."""
    training = sys.modules.get("adwright.training.loop.run_folder")
    with pytest.MonkeyPatch.context() as patch:
        # Where no test that was collected can train, nothing has to be imported for that.
        if training is not None:
            patch.setattr(training.RunFolder, "draw", lambda *_: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def no_flushes() -> Iterator[None]:
    """Nothing waits for the disk: what a process wrote outlives its death without, and no test cuts
    the power. Tests about flushes put their own in its place."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture
def root() -> Path:
    """The top folder of the repository."""
    return ROOT


@pytest.fixture
def clock() -> FixedClock:
    """A clock that stands still at the start of 2024 until it is advanced."""
    return FixedClock()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of further data sets; skips the test where ADWRIGHT_DATA is not set."""
    folder = os.environ.get("ADWRIGHT_DATA")
    if not folder:
        pytest.skip("ADWRIGHT_DATA is not set: it names the folder with the further data sets")
    return Path(folder)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server for all tests of this process; skips where there is none."""
    found = programs()
    if found is None:
        pytest.skip(ABSENT)
    with running(found) as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty database, once in each kind that the store can be kept in."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'store.db'}"
    server: Postgres = request.getfixturevalue("postgres")
    return server.new_database()
