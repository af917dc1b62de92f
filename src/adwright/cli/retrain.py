"""adwright retrain."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adwright.cli.serve import need_service
from adwright.cli.shared import DryRun, Offline, show_table
from adwright.core.errors import ConfigError

if TYPE_CHECKING:
    import polars as pl

__all__ = ["register", "retrain"]


Served = Annotated[
    list[str],
    typer.Option(
        "--served",
        help="What the service wrote: a folder that events were compacted into, a file of events, "
        "or the URL of a store; may be repeated.",
    ),
]
OldLog = Annotated[
    str | None,
    typer.Option("--log", help="The old log; by default the one the model was trained on."),
]
Tenant = Annotated[
    str | None,
    typer.Option("--tenant", help="Whose events of a store; and for whom --publish is."),
]
Publish = Annotated[
    bool, typer.Option("--publish", help="Publish the new model, unless it is worse than the old.")
]


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("retrain")(retrain)


def retrain(
    model: Annotated[Path, typer.Argument(help="Folder of the model, or of the run that made it.")],
    served: Served,
    out: Annotated[Path, typer.Option("--out", help="New folder for the run and its model.")],
    log: OldLog = None,
    tenant: Tenant = None,
    publish: Publish = False,
    models: Annotated[
        Path, typer.Option("--models", help="Folder of the models, for --publish.")
    ] = Path("models"),
    offline: Offline = False,
    dry_run: DryRun = False,
) -> None:
    """Train a model again, as it was trained, on its log and on what the service wrote since.

    The new and the old model are then asked about the newest part, and the table says which is
    better. Nothing is published, but with --publish a model that is not worse.
    """
    from adwright.data.sources.log import open_log
    from adwright.delivery.joined_log import join_logs
    from adwright.delivery.retraining.retrain import retrain as train_again
    from adwright.delivery.training_log import model_folder, training_log

    if publish and tenant is None:
        raise ConfigError(
            "a model is published for a tenant", where="--publish", hint="name it with --tenant"
        )
    folder = model_folder(model)
    source = log or training_log(folder)
    if source is None:
        raise ConfigError(
            "the log that the model was trained on is not known",
            where=str(folder),
            hint="name it with --log",
        )
    written = [_written(one, tenant) for one in served]
    joined = join_logs(open_log(source, offline=offline), written)
    for sentence in joined.sentences():
        typer.echo(sentence)
    if dry_run:
        typer.echo(f"Would train {folder} again in {out}")
        return
    found = train_again(folder, joined, out)
    show_table(found.comparison.header(), found.comparison.rows(), title=found.measured)
    typer.echo(found.verdict())
    typer.echo(f"Saved in {found.model}")
    if not publish or tenant is None:
        typer.echo(f"To publish it: adwright publish {found.model} --tenant {tenant or 'NAME'}")
    elif found.is_worse:
        typer.echo("Not published")
    else:
        _publish(found.model, models, tenant, out / "log")


def _written(source: str, tenant: str | None) -> pl.DataFrame:
    """The events of a store, a folder or a file, in EVENT_SCHEMA."""
    if "://" not in source:
        from adwright.data.sources.tables import read_events

        return read_events(Path(source)).collect(engine="streaming")
    need_service()
    if tenant is None:
        raise ConfigError(
            "a store holds the events of several tenants", where=source, hint="name one: --tenant"
        )
    from adwright.campaigns.store.store import Store

    with Store.open(source, create=False) as store:
        if tenant not in store.tenants():
            raise ConfigError(
                "the store has no such tenant",
                where=f"{tenant} in {store.url}",
                hint=f"it has {', '.join(store.tenants()) or 'none'}",
            )
        return store.events(tenant)


def _publish(model: Path, models: Path, tenant: str, log: Path) -> None:
    need_service()
    from adwright.core.artifacts import load_artifact
    from adwright.service.registry.cascades import ALONE
    from adwright.service.registry.publishing import publish_model

    alone = load_artifact(model).kind in ALONE
    done = publish_model(model, models, tenant, log=log if alone else None)
    for note in done.notes:
        typer.echo(note)
    typer.echo(f"{done.version} decides for {done.tenant}")
