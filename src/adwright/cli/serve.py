"""adwright serve, publish and key."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adwright.core.errors import ArtifactError, MissingExtraError

if TYPE_CHECKING:
    from adwright.service.config import ServiceConfig

__all__ = ["key", "publish", "register", "serve"]

StoreUrl = Annotated[
    str,
    typer.Option("--store", help="sqlite:///PATH or postgresql://USER@HOST/DATABASE."),
]
Models = Annotated[
    Path, typer.Option("--models", help="Folder of the models: MODELS/TENANT/VERSION.")
]
_STORE = "sqlite:///adwright.db"
_MODELS = Path("models")


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    app.command("serve")(serve)
    app.command("publish")(publish)
    app.command("key")(key)


def serve(
    config: Annotated[
        Path | None, typer.Argument(help="Settings of the service in TOML; without, the defaults.")
    ] = None,
    store: StoreUrl = _STORE,
    models: Models = _MODELS,
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Port; 0 takes a free one.")
    ] = 8000,
    ray: Annotated[
        bool,
        typer.Option("--ray", help="Serve from replicas on a Ray cluster, RAY_ADDRESS or own."),
    ] = False,
    replicas: Annotated[int, typer.Option("--replicas", min=1, help="Replicas, with --ray.")] = 2,
) -> None:
    """Serve decisions over HTTP until it is interrupted.

    Each call carries the key of a tenant in X-API-Key; /openapi.json describes them all. The
    models of --models can be exchanged while it runs, see `adwright publish`.
    """
    _need_service()
    # Read by the libraries of a model when they are loaded: threads of one decision would only
    # take the processor from others.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    settings = _settings(config)
    if ray:
        _serve_on_ray(settings, store, models, host, port, replicas)
    else:
        _serve_here(settings, store, models, host, port)


def publish(
    version: Annotated[Path, typer.Argument(help="Folder of the version: MODELS/TENANT/VERSION.")],
) -> None:
    """Let a version of a model decide for its tenant.

    Running services load it within a second; one that cannot be loaded is refused, and the old
    one goes on. GET /v1/models and /readyz say so.
    """
    _need_service()
    from adwright.service.registry.registry import publish as write_pointer

    version = version.resolve()
    if not version.is_dir():
        raise ArtifactError(
            "there is no such version",
            where=str(version),
            hint="name a folder MODELS/TENANT/VERSION that holds an artifact",
        )
    tenant = version.parent
    write_pointer(tenant.parent, tenant.name, version.name)
    typer.echo(f"{version.name} decides for {tenant.name}")


def key(
    tenant: Annotated[str, typer.Argument(help="Name of the tenant; made where it is new.")],
    store: StoreUrl = _STORE,
    revoke: Annotated[
        str | None, typer.Option("--revoke", help="Instead take this key, or its id, out of use.")
    ] = None,
) -> None:
    """Make a key for a tenant. It is shown here and never again."""
    _need_service()
    from adwright.campaigns.store.store import Store

    with Store.open(store) as opened:
        if revoke is None:
            typer.echo(opened.create_key(tenant))
        elif opened.revoke_key(tenant, revoke):
            typer.echo("revoked; running services believe it for some seconds more")
        else:
            typer.echo(f"{tenant} has no such key in use", err=True)
            raise typer.Exit(1)


def _serve_here(settings: ServiceConfig, store: str, models: Path, host: str, port: int) -> None:
    from adwright.campaigns.store.store import Store
    from adwright.core.clock import SystemClock
    from adwright.service.app import create_app
    from adwright.service.registry.loading import load_deployed, stored_events
    from adwright.service.registry.registry import FolderModels
    from adwright.web.server import listen, serve

    limit = settings.store_seconds
    with Store.open(store, seconds=limit) as opened, listen(host, port) as door:
        stored, seconds = stored_events(opened), settings.poll_seconds
        folder = FolderModels(models, load_deployed, SystemClock(), stored=stored, seconds=seconds)
        app = create_app(settings, opened, folder)
        typer.echo(f"serving on http://{host}:{door.getsockname()[1]}")
        serve(app, door)


def _serve_on_ray(
    settings: ServiceConfig, store: str, models: Path, host: str, port: int, replicas: int
) -> None:
    from adwright.service.on_ray import connected, deploy
    from adwright.web.server import wait_for_signal

    with connected(cpus=max(replicas, os.cpu_count() or 1)):
        port = deploy(
            settings, store_url=store, models=models, replicas=replicas, host=host, port=port
        )
        typer.echo(f"serving on http://{host}:{port} from {replicas} replicas")
        wait_for_signal()


def _settings(config: Path | None) -> ServiceConfig:
    from adwright.core.config import load_toml
    from adwright.service.config import ServiceConfig

    return ServiceConfig() if config is None else load_toml(config, ServiceConfig)


def _need_service() -> None:
    for name in ("fastapi", "sqlalchemy", "alembic", "prometheus_client", "uvicorn"):
        if find_spec(name) is None:
            raise MissingExtraError("the HTTP service", "service")
