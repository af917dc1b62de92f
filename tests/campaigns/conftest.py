"""A store of each kind that the tests share, and a new tenant for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from adwright.campaigns.store.store import Store
from tests.support.store.postgres import Postgres


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def store(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Store]:
    """A store; each test has its own tenant in it, so that tests also disturb each other if
    anything crosses tenants."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path_factory.mktemp('store') / 'store.db'}"
    else:
        server: Postgres = request.getfixturevalue("postgres")
        url = server.new_database()
    with Store.open(url) as opened:
        yield opened


@pytest.fixture
def tenant(store: Store, request: pytest.FixtureRequest) -> str:
    """A tenant that nobody else uses."""
    name = f"{request.node.nodeid[-80:]}"
    store.create_tenant(name)
    return name
