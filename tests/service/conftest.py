"""A store in a file, with two tenants; and a cluster of Ray for those who serve on it."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from adwright.campaigns.store.store import Store
from tests.support.ray_nodes import free_port, nodes


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """An empty store of the tenants acme and umbrella."""
    with Store.open(f"sqlite:///{tmp_path}/store.db") as opened:
        for tenant in ("acme", "umbrella"):
            opened.create_tenant(tenant)
        yield opened


@pytest.fixture(scope="package")
def proxies() -> Iterator[int]:
    """The port of Ray Serve on two nodes of one CPU each: to start them takes as long as a test."""
    with ExitStack() as both, pytest.MonkeyPatch.context() as patch:
        both.enter_context(nodes(patch))
        yield free_port()
        # Ray leaves sockets to the interpreter; the test that is told may be any of the package.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            both.close()
            gc.collect()


@pytest.fixture
def serve_port(proxies: int) -> Iterator[int]:
    """The same port, with nothing deployed behind it: neither before the test nor after it."""
    from ray import serve

    yield proxies
    for name in serve.status().applications:
        serve.delete(name)
