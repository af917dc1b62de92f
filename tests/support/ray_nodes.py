"""A cluster of Ray with two nodes on this machine, for tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from adwright.service.on_ray import ENVIRONMENT

__all__ = ["two_nodes"]


@contextmanager
def two_nodes(monkeypatch: pytest.MonkeyPatch, *, cpus: int = 1) -> Iterator[tuple[Any, Any]]:
    """The cluster, which this process is connected to, and the node that is not its head. cpus: of
    each."""
    ray = pytest.importorskip("ray")
    serve = pytest.importorskip("ray.serve")
    from ray.cluster_utils import Cluster

    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    # A node that is gone is noticed within seconds; one that is slow has its time.
    monkeypatch.setenv("RAY_health_check_period_ms", "1000")
    monkeypatch.setenv("RAY_health_check_timeout_ms", "20000")
    node = {"num_cpus": cpus, "object_store_memory": 100 * 2**20}
    made = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    try:
        other = made.add_node(**node)
        ray.init(address=made.address, log_to_driver=False, logging_level="ERROR")
        yield made, other
    finally:
        serve.shutdown()
        ray.shutdown()
        made.shutdown()
