"""A store in a file, with two tenants."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from adwright.campaigns.store.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty store of the tenants acme and umbrella."""
    with Store.open(f"sqlite:///{tmp_path}/store.db") as opened:
        for tenant in ("acme", "umbrella"):
            opened.create_tenant(tenant)
        yield opened
