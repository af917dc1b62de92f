"""A cluster of Ray on this machine, for tests: its workers are forks, see `forks`."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from adwright.service.on_ray import ENVIRONMENT
from tests.support.forks import ray_worker


def free_port() -> int:
    """A port of this machine that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def nodes(
    monkeypatch: pytest.MonkeyPatch, number: int = 2, *, cpus: int = 1
) -> Iterator[tuple[Any, Any]]:
    """A cluster, which this process is connected to, and the last of its nodes, which is not its
    head where there are several. cpus: of each."""
    ray = pytest.importorskip("ray")
    serve = pytest.importorskip("ray.serve")
    from ray.cluster_utils import Cluster

    # A node that is gone is noticed within seconds; one that is slow has its time.
    health = {"RAY_health_check_period_ms": "1000", "RAY_health_check_timeout_ms": "20000"}
    # Workers of Ray give way to all other processes, which are other tests here.
    for name, value in {**ENVIRONMENT, **health, "RAY_worker_niceness": "0"}.items():
        monkeypatch.setenv(name, value)
    node = {"num_cpus": cpus, "object_store_memory": 100 * 2**20, "worker_path": ray_worker()}
    # Ray itself adds no node here, and nobody reads its logs: two processes fewer.
    alone = {"include_dashboard": False, "no_monitor": True, "include_log_monitor": False}
    made = Cluster(initialize_head=True, head_node_args={**node, **alone})
    try:
        last = made.head_node
        for _ in range(number - 1):
            last = made.add_node(**node)
        ray.init(address=made.address, log_to_driver=False, logging_level="ERROR")
        yield made, last
    finally:
        serve.shutdown()
        ray.shutdown()
        made.shutdown()
