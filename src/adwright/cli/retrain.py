"""adwright retrain."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adwright.cli.serve import need_service
from adwright.cli.shared import show_table
from adwright.cli.verbs import verb
from adwright.core.config import Ge, Le
from adwright.core.errors import ConfigError, DataError

if TYPE_CHECKING:
    import polars as pl


def register(app: typer.Typer) -> None:
    """Add the verb."""
    verb(app, "retrain", panel="Recommend")(retrain)


def retrain(
    model: Path,
    *,
    served: list[str],
    out: Path,
    log: str | None = None,
    tenant: str | None = None,
    publish: bool = False,
    margin: Annotated[float, Ge(0), Le(1)] = 0.02,
    anyway: str | None = None,
    models: Path = Path("models"),
    offline: bool = False,
    dry_run: bool = False,
) -> None:
    """Train a model again, as it was trained, on its log and on what the service wrote since.

    The new model is held up to the one that decides for --tenant, or else to the old one, on what
    neither was fitted on. With --publish it takes its place if it is shown to be no worse: where
    too few people say so, nothing is published, and the answer says how many more would tell. A
    feed that looks broken, such as with events from the future or one item that floods it,
    is refused. What was published is undone by `adwright publish --back --tenant NAME`.

    Options:
        model: Folder of the model, or of the run that made it.
        served: What the service wrote: a folder that events were compacted into, a file of
            events, or the URL of a store; may be repeated.
        out: New folder for the run and its model.
        log: The old log; by default the one the model was trained on.
        tenant: Whose events of a store; and for whom --publish is.
        publish: Publish the new model, if it is shown to be no worse than the old.
        margin: No worse is a lead whose lower end, over people, lies above minus this share of
            what the old model reaches.
        anyway (REASON): Publish whatever the comparison and the feed say; the reason is written
            down.
        models: Folder of the models, for --publish.
    """
    from adwright.core.atomic import atomic_write_text
    from adwright.core.clock import SystemClock
    from adwright.data.sources.log import open_log
    from adwright.delivery.joined_log import join_logs
    from adwright.delivery.retraining.retrain import retrain as train_again
    from adwright.delivery.training_log import model_folder, training_log

    if (publish and tenant is None) or (anyway is not None and not publish):
        raise ConfigError(
            "a model is published for a tenant",
            where="--publish" if publish else "--anyway",
            hint="name it with --tenant, and pass --publish",
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
    joined = join_logs(open_log(source, offline=offline), written, SystemClock().now())
    for sentence in joined.sentences():
        typer.echo(sentence)
    if joined.faults and publish and anyway is None:
        raise DataError(
            "what the service wrote looks broken: nothing was trained, and nothing is published",
            file=", ".join(served),
            hint="mend the feed; --anyway REASON publishes nevertheless",
        )
    decides = None if tenant is None else _deciding(models, tenant)
    if decides is not None:
        typer.echo(f"The old model is {decides}, which decides for {tenant}")
    if dry_run:
        typer.echo(f"Would train {folder} again in {out}")
        return
    found = train_again(folder, joined, out, against=decides, margin=margin)
    if found.comparison is not None:
        show_table(found.comparison.header(), found.comparison.rows(), title=found.measured)
    typer.echo(found.verdict())
    typer.echo(f"Saved in {found.model}")
    version = ""
    if not publish or tenant is None:
        typer.echo(f"To publish it: adwright publish {found.model} --tenant {tenant or 'NAME'}")
    elif found.publishable or anyway is not None:
        why = found.verdict() if anyway is None else f"anyway, as {anyway}: {found.verdict()}"
        version = _publish(found.model, models, tenant, out / "log", why)
    else:
        typer.echo("Not published")
    gate = {
        "decision": found.decision,
        "verdict": found.verdict(),
        "old": str(decides or folder),
        "margin": margin,
        "faults": list(joined.faults),
        "anyway": anyway,
        "published": version,
    }
    atomic_write_text(out / "gate.json", json.dumps(gate, indent=1) + "\n")


def _deciding(models: Path, tenant: str) -> Path | None:
    """The version that decides for a tenant; None where none does."""
    if not (models / tenant).is_dir():
        return None
    need_service()
    from adwright.service.registry.registry import inventory

    current = next((one.current for one in inventory(models) if one.tenant == tenant), "")
    return models / tenant / current if current else None


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


def _publish(model: Path, models: Path, tenant: str, log: Path, why: str) -> str:
    from adwright.core.artifacts import load_artifact
    from adwright.service.registry.publishing import ALONE, publish_model

    alone = load_artifact(model).kind in ALONE
    done = publish_model(model, models, tenant, log=log if alone else None, why=why)
    for note in done.notes:
        typer.echo(note)
    typer.echo(f"{done.version} decides for {done.tenant}")
    if done.before:
        at = "" if models.resolve() == Path("models").resolve() else f" --models {models}"
        typer.echo(f"To go back: adwright publish --back --tenant {tenant}{at}")
    return done.version
