"""Programs on a Ray cluster: the core in one replica of Ray Serve, its engines as actors.

    def make():
        engines = {f"e{at}": RayEngine(build, cpus=4) for at in range(8)}
        return EngineRoom(engines, text.count), {"smollm2": text}

    with connected():
        deploy_programs(ProgramServiceConfig(keep_folder=Path("/shared/kept")), make)

One core decides, so that it knows of all calls; the proxy of every node leads to it. Its programs
are in `keep_folder`, which every node reaches: where the core or its node dies, Ray starts another,
which goes on with them. Its engines end with it, and are made again with the next one. An engine
whose node dies is made again wherever there is room, and its calls run on the others meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from adwright.core.errors import ConfigError
from adwright.service.on_ray import deploy_app
from adwright.service.programs.config import ProgramServiceConfig
from adwright.service.programs.engine_room import EngineRoom
from adwright.service.programs.texts import ServedText

if TYPE_CHECKING:
    from fastapi import FastAPI

__all__ = ["NAME", "MakeRoom", "deploy_programs"]

#: Of the application on the cluster.
NAME = "adwright-programs"
#: Makes the engines, not yet open, and what is known of their models' texts, the default first.
MakeRoom = Callable[[], tuple[EngineRoom, Mapping[str, ServedText]]]
_DRAIN_SECONDS = 20.0


def deploy_programs(
    config: ProgramServiceConfig,
    make: MakeRoom,
    *,
    cpus: float = 1.0,
    host: str = "127.0.0.1",
    port: int = 8002,
) -> int:
    """Start the service on the cluster that this process is connected to, or change it there;
    returns the port.

    make: is called in the replica. cpus: that Ray reserves for the core; engines say themselves
    what they need. host, port: as for `on_ray.deploy`.
    Returns when the engines are open. Raises as `on_ray.deploy`.
    """
    if cpus < 0:
        raise ConfigError("cpus must not be negative", where=f"cpus {cpus:g}")
    return deploy_app(
        _builder(config, make),
        name=NAME,
        replicas=1,
        cpus=cpus,
        # More than the app lets in: it is the app that sheds, with a proper answer.
        most_requests=2 * config.max_in_flight,
        drain_seconds=_DRAIN_SECONDS + config.drain_seconds,
        host=host,
        port=port,
    )


def _builder(config: ProgramServiceConfig, make: MakeRoom) -> Callable[[], FastAPI]:
    """The function that the replica calls to make its app; made here, it travels by value."""

    def build() -> FastAPI:
        from adwright.service.programs.app import create_programs_app
        from adwright.service.programs.measures import EngineMeasures

        room, texts = make()
        measures = [EngineMeasures(room)]
        return create_programs_app(
            config, room, texts, ready=room.asked, beside=room, measures=measures
        )

    return build
