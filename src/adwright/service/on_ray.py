"""The same app in replicas on a Ray cluster, behind the proxies of Ray Serve.

    with connected():
        deploy(ServiceConfig(), store_url="postgresql://...", models="/shared/models", replicas=2)

Every replica opens the same store and watches the same folder of models, so all of them must
reach both: PostgreSQL and a shared folder on a cluster of several machines. Nothing else is
shared. A replica that dies loses nothing that it acknowledged, since that is in the store; Ray
starts another. Who answers does not matter: a decision depends on the model, the seed, the tenant
and the request, and one that was made is answered from the store by every replica. What a user
does is known at once to the model of the replica that took it, and to the others when they load
their next model.
"""

from __future__ import annotations

import json
import os
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from adwright.campaigns.store.store import Store
from adwright.core.clock import SystemClock
from adwright.core.environment import environment
from adwright.core.errors import ConfigError, MissingExtraError, ResourceError
from adwright.service.app import create_app
from adwright.service.config import ServiceConfig
from adwright.service.registry.publishing import load_deployed, served_models
from adwright.service.registry.registry import Load
from adwright.web.server import listen

if TYPE_CHECKING:
    from fastapi import FastAPI

#: Of the application on the cluster.
NAME = "adwright"
#: Nothing large is passed between processes.
_OBJECT_STORE_BYTES = 100 * 2**20
#: Nothing is sent anywhere; workers import nothing for accelerators that they do not use.
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # A proxy that is not up within 5 s is killed, and on a busy machine it takes longer.
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",
}
_DRAIN_SECONDS = 20
_ANSWERS = 20
_ROUTE_SECONDS = 180


def deploy(
    config: ServiceConfig,
    *,
    store_url: str,
    models: str | Path,
    load: Load = load_deployed,
    replicas: int = 2,
    cpus: float = 1.0,
    host: str = "127.0.0.1",
    port: int = 8000,
) -> int:
    """Start the service on the cluster that this process is connected to, or change it there;
    returns the port.

    store_url, models: the store and the folder of models, which all nodes reach. load: builds
    the model of a version; it is sent to the replicas. replicas: at least 1; they are spread
    over the nodes. cpus: that Ray reserves for each. host, port: where the proxy of each node
    listens; its first start decides. Port 0 takes one that is free on this node.

    Returns when all replicas are ready; they serve on until `ray.serve.shutdown()` or the end
    of the cluster. Raises ConfigError for settings out of range, MissingExtraError without Ray
    Serve, RuntimeError of Ray's where a replica cannot start, ResourceError where the proxy of
    this node does not find them.
    """
    if replicas < 1 or cpus < 0:
        raise ConfigError(
            "replicas must be at least 1 and cpus not negative",
            where=f"replicas {replicas}, cpus {cpus:g}",
        )
    try:
        from ray import serve
    except ImportError as error:
        raise MissingExtraError("serving on Ray", "ray") from error
    # Ray Serve would listen on the port 0 of each proxy, which nobody can name.
    port = port or _free_port(host)
    options = serve.config.HTTPOptions(host=host, port=port, keep_alive_timeout_s=30)
    # It waits 60 s for its proxies, which is not enough where a machine is busy; whether they know
    # the way is seen below.
    with suppress(TimeoutError):
        serve.start(proxy_location="EveryNode", http_options=options)
    deployed = serve.deployment(
        name=NAME,
        num_replicas=replicas,
        ray_actor_options={"num_cpus": cpus},
        # More than the app lets in: it is the app that sheds, with a proper answer.
        max_ongoing_requests=2 * config.max_in_flight,
        graceful_shutdown_timeout_s=_DRAIN_SECONDS + config.drain_seconds,
        health_check_period_s=2,
        health_check_timeout_s=10,
    )(serve.ingress(_builder(config, store_url, Path(models).resolve(), load))())
    serve.run(deployed.bind(), name=NAME, route_prefix="/")
    _wait_for_route(NAME, host, port)
    return port


def _free_port(host: str) -> int:
    with listen(host, 0) as door:
        port: int = door.getsockname()[1]
        return port


def _wait_for_route(name: str, host: str, port: int) -> None:
    """Until the proxy of this node knows the way to the replicas, which it learns a moment later
    than they are ready; until then it answers 404.

    Nodes of one machine share the port, and a connection goes to any of their proxies: so many
    answers in a row have to know it that none of them is left out.
    Raises ResourceError where one does not learn it.
    """
    clock = SystemClock()
    end = clock.monotonic() + _ROUTE_SECONDS
    url = f"http://{host}:{port}/-/routes"
    in_a_row = 0
    while clock.monotonic() < end:
        try:
            with urllib.request.urlopen(url, timeout=2) as answer:
                known = name in json.load(answer).values()
        except (OSError, ValueError):
            known = False
        in_a_row = in_a_row + 1 if known else 0
        if in_a_row == _ANSWERS:
            return
        if not known:
            time.sleep(0.05)
    raise ResourceError(
        "the proxy of Ray Serve does not know the service",
        where=url,
        hint="look at the logs of Ray Serve, and at what else listens on this port",
    )


def _builder(
    config: ServiceConfig, store_url: str, models: Path, load: Load
) -> Callable[[], FastAPI]:
    """The function that each replica calls to make its app; made here, it travels by value."""

    def build() -> FastAPI:
        from ray import serve

        replica = serve.get_replica_context().replica_id.unique_id
        store = Store.open(store_url, seconds=config.store_seconds)
        folder = served_models(models, store, config.poll_seconds, load)
        return create_app(replace(config, replica=replica), store, folder)

    return build


@contextmanager
def connected(*, cpus: int | None = None) -> Iterator[None]:
    """Connected to Ray: as it is, to RAY_ADDRESS, or to a cluster of this machine alone.

    cpus: of the cluster of this machine; all of them where it is None. That cluster, and what
    was deployed on it, ends with the block; another one stays as it is.
    Raises MissingExtraError where Ray is not installed.
    """
    try:
        import ray
        from ray import serve
    except ImportError as error:
        raise MissingExtraError("serving on Ray", "ray") from error
    if ray.is_initialized():
        yield
        return
    with environment(ENVIRONMENT):
        if "RAY_ADDRESS" in os.environ:
            ray.init()
        else:
            # Without "local" Ray would join whatever cluster runs on this machine.
            ray.init(
                address="local",
                num_cpus=cpus,
                include_dashboard=False,
                object_store_memory=_OBJECT_STORE_BYTES,
            )
        try:
            yield
        finally:
            if "RAY_ADDRESS" not in os.environ:
                serve.shutdown()  # type: ignore[no-untyped-call]
            ray.shutdown()
