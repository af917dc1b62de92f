"""adwright serve, publish and key."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from adwright.cli.shared import show_table
from adwright.core.config import Count, Ge, Le
from adwright.core.errors import ConfigError, DataError, MissingExtraError

if TYPE_CHECKING:
    import polars as pl

    from adwright.campaigns.store.keys import Key
    from adwright.campaigns.store.store import Store
    from adwright.data.schema import EventKind
    from adwright.service.config import ServiceConfig
    from adwright.service.registry.deployed import Deployed


_STORE = "sqlite:///adwright.db"
_MODELS = Path("models")


def serve(
    config: Path | None = None,
    *,
    store: str = _STORE,
    models: Path = _MODELS,
    host: str = "127.0.0.1",
    port: Annotated[int, Ge(0), Le(65535)] = 8000,
    ray: bool = False,
    replicas: Count = 2,
) -> None:
    """Serve decisions over HTTP until it is interrupted.

    Each call carries the key of a tenant in X-API-Key; /openapi.json describes them all. The
    models of --models can be exchanged while it runs, see `adwright publish`.

    Options:
        config: Settings of the service in TOML; without, the defaults.
        models: Folder of the models: MODELS/TENANT/VERSION.
        ray: Serve from replicas on a Ray cluster, RAY_ADDRESS or own.
        replicas: Replicas, with --ray.
    """
    need_service()
    # Read by the libraries of a model when they are loaded: threads of one decision would only
    # take the processor from others.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    settings = _settings(config)
    if models.exists() and not models.is_dir():
        raise ConfigError(
            "the folder of the models is a file", where=str(models), hint="name a folder: --models"
        )
    if ray:
        _serve_on_ray(settings, store, models, host, port, replicas)
    else:
        _serve_here(settings, store, models, host, port)


def publish(
    model: Path | None = None,
    *,
    models: Path = _MODELS,
    tenant: str | None = None,
    version: str | None = None,
    log: str | None = None,
    histories: bool = True,
    back: bool = False,
    no_worse_on: str | None = None,
    response: str = "click",
    margin: Annotated[float, Ge(0), Le(1)] = 0.02,
    anyway: str | None = None,
    offline: bool = False,
) -> None:
    """Let a model decide for a tenant, after it was loaded and asked as the service does it.

    With --tenant the model is copied to MODELS/TENANT/VERSION; DIN, two towers, HCN, HSTU and
    SASRec get the histories of their log, a cascade and item-item have them. --back goes back to
    the version that decided before, given again to the one before that. Running services load it
    within a second; one that cannot be loaded is refused, and the old one goes on. GET /v1/models
    and /readyz say so. With --no-worse-on LOG it decides only if that log, which what decides now
    has written, tells by propensities that it earns no less; what cannot be told is not published.
    `adwright retrain --publish` does the same by what users did next.

    Options:
        model: Folder of a model or of the run that made it; or, without --tenant, of a version
            that lies in MODELS/TENANT/VERSION already.
        models: Folder of the models: MODELS/TENANT/VERSION.
        tenant: For whom the model is copied and decides.
        version: Its name there; by default the next of v1, v2.
        log: Log of the histories that a single model is asked with; by default the one it was
            trained on.
        histories: Publish what users did until now, too.
        back: Instead let the version decide that did before, of --tenant.
        no_worse_on: A log with propensities, or the URL of the store, of --tenant.
        response: Kind of event that counts there.
        margin: No worse is a lead whose lower end lies above minus this share of what the log
            earned.
        anyway (REASON): Publish whatever that log says; the reason is written down.
    """
    need_service()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from adwright.service.registry.publishing import go_back, publish_model, publish_version

    if back:
        if tenant is None or model is not None:
            raise ConfigError(
                "--back goes back to the version that decided for a tenant before",
                where="--tenant" if tenant is None else str(model),
                hint="adwright publish --back --tenant NAME",
            )
        done = go_back(models, tenant)
        typer.echo(f"{done.version} decides for {done.tenant} again, in place of {done.before}")
        return
    if model is None:
        raise ConfigError("name what to publish", where="MODEL", hint="or pass --back")
    if anyway is not None and no_worse_on is None:
        raise ConfigError(
            "nothing is asked that could say no", where="--anyway", hint="leave it out"
        )
    if tenant is None:
        if version is not None or log is not None:
            raise ConfigError(
                "a version that lies there already is published as it is",
                where="--version" if version is not None else "--log",
                hint="name a tenant with --tenant to copy the model",
            )
        tenant_of = model.resolve().parent.name
        gate = _no_worse(no_worse_on, model, tenant_of, response, margin, anyway)
        done = publish_version(model, gate=gate)
    else:
        done = publish_model(
            model,
            models,
            tenant,
            version=version,
            log=log,
            histories=histories,
            offline=offline,
            gate=_no_worse(no_worse_on, model, tenant, response, margin, anyway),
        )
    for note in done.notes:
        typer.echo(note)
    before = f", as {done.before} did until now" if done.before not in ("", done.version) else ""
    typer.echo(f"{done.version} decides for {done.tenant}{before}")
    if before:
        root = done.folder.parent.parent
        at = "" if root.resolve() == _MODELS.resolve() else f" --models {root}"
        typer.echo(f"To go back: adwright publish --back --tenant {done.tenant}{at}")


def _no_worse(
    log: str | None,
    model: Path,
    tenant: str,
    response: str,
    margin: float,
    anyway: str | None,
) -> Callable[[Deployed], str]:
    """Lets a model decide where a log tells that it earns no less; why it does, in words. Leaves
    with exit code 1 where the log does not."""

    def gate(deployed: Deployed) -> str:
        if log is None:
            return ""
        from adwright.delivery.policy.value import PolicyValueConfig, logged_slates, value_from_log
        from adwright.delivery.training_log import model_folder
        from adwright.service.registry.publishing import asked_about, first_unseen

        events, since = events_of_log(log, tenant, offline=False), first_unseen(model_folder(model))
        slates = logged_slates(events, response=response, since=since)
        found = value_from_log(
            slates,
            asked_about(deployed, events),
            name="the new model",
            config=PolicyValueConfig(response=cast("EventKind", response)),
        )
        typer.echo(found.verdict())
        if anyway is not None:
            return f"anyway, as {anyway}: {found.verdict()}"
        if not found.no_worse(margin):
            typer.echo(f"Not published: the lead is not shown to lie above {-margin:.1%}")
            raise typer.Exit(1)
        return found.verdict()

    return gate


def key(
    tenant: str,
    *,
    store: str = _STORE,
    revoke: str | None = None,
    show: bool = False,
    scope: list[str] | None = None,
    two_keys: bool | None = None,
) -> None:
    """Make a key for a tenant. It is shown here and never again.

    Options:
        tenant: Name of the tenant; made where it is new.
        revoke: Instead take this key, or its id, out of use.
        show (--list): Instead list its keys: ids, dates and scopes.
        scope: What the key opens: events, decide, read, stops, creatives, agent:ask, agent:confirm,
            admin; may be repeated. By default what the pages of a shop need: events and decide.
        two_keys (--two-keys/--one-key): Instead say whether a change by the agent needs another
            key's yes than that of the key which asked for it.
    """
    need_service()
    from adwright.campaigns.store.keys import WEB_SHOP
    from adwright.campaigns.store.store import Store

    making = revoke is None and not show and two_keys is None
    if scope is not None and not making:
        raise ConfigError(
            "a key gets its scopes when it is made", where="--scope", hint="make another key"
        )
    with Store.open(store, create=making) as opened:
        if opened.is_new:
            typer.echo(f"made a new store: {opened.url}", err=True)
        if show:
            show_keys(opened.keys(tenant), tenant)
        elif two_keys is not None:
            opened.want_two_keys(tenant, two_keys)
            said = "another key than asked" if two_keys else "any key of the scope agent:confirm"
            typer.echo(f"a change by the agent of {tenant} is confirmed with {said}")
        elif revoke is None:
            typer.echo(opened.create_key(tenant, scope or WEB_SHOP))
        elif opened.revoke_key(tenant, revoke):
            typer.echo("revoked; running services believe it for some seconds more")
        else:
            typer.echo(f"{tenant} has no such key in use", err=True)
            raise typer.Exit(1)


def show_keys(keys: Sequence[Key], tenant: str) -> None:
    """Print the ids, dates and scopes of keys; their secrets are nowhere."""
    if not keys:
        typer.echo(f"{tenant} has no key: `adwright key {tenant}` makes one")
        return
    rows = [
        (
            one.key_id,
            f"{one.created:%Y-%m-%d %H:%M} UTC",
            "in use" if one.revoked is None else f"revoked {one.revoked:%Y-%m-%d %H:%M} UTC",
            "all: made before scopes" if one.scopes is None else ", ".join(one.scopes),
        )
        for one in keys
    ]
    show_table(("key id", "made", "state", "scopes"), rows, title=f"Keys of {tenant}")


def _serve_here(settings: ServiceConfig, store: str, models: Path, host: str, port: int) -> None:
    from adwright.campaigns.store.store import Store
    from adwright.service.app import create_app
    from adwright.service.registry.publishing import served_models
    from adwright.web.server import listen, serve

    limit = settings.store_seconds
    with Store.open(store, seconds=limit) as opened, listen(host, port) as door:
        _tell(opened, models)
        app = create_app(settings, opened, served_models(models, opened, settings.poll_seconds))
        typer.echo(f"serving on http://{host}:{door.getsockname()[1]}")
        serve(app, door)


def _tell(opened: Store, models: Path) -> None:
    """Say what is served from, and what is missing, before it starts."""
    from adwright.service.registry.registry import inventory

    found, tenants = inventory(models), opened.tenants()
    if opened.is_new:
        typer.echo(f"made a new store: {opened.url}", err=True)
    else:
        typer.echo(f"store: {opened.url}, {len(tenants)} tenants", err=True)
    if not models.is_dir():
        typer.echo(
            f"there is no folder {models} yet: `adwright publish RUN --models {models} --tenant "
            "NAME` makes it, and this service then loads it",
            err=True,
        )
    elif not found:
        typer.echo(f"the folder {models} holds no tenant yet", err=True)
    for one in found:
        typer.echo(one.line(), err=True)
        if not any(key.revoked is None for key in opened.keys(one.tenant)):
            typer.echo(
                f"{one.tenant} has no key, so nobody can call: `adwright key {one.tenant} "
                f"--store {opened.url}` makes one",
                err=True,
            )
    for name in sorted(set(tenants) - {one.tenant for one in found}):
        typer.echo(f"{name} has no model in {models}", err=True)


def _serve_on_ray(
    settings: ServiceConfig, store: str, models: Path, host: str, port: int, replicas: int
) -> None:
    from adwright.campaigns.store.store import Store
    from adwright.service.on_ray import connected, deploy
    from adwright.web.server import wait_for_signal

    with Store.open(store) as opened:
        _tell(opened, models)
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


def need_service() -> None:
    """Raise MissingExtraError where a package of the extra `service` is missing."""
    for name in ("fastapi", "sqlalchemy", "alembic", "prometheus_client", "uvicorn"):
        if find_spec(name) is None:
            raise MissingExtraError("the HTTP service", "service")


# --------------------------------------------------------------------------------------------------
# adwright retrain.


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
    written = [written_events(one, tenant) for one in served]
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


def events_of_log(log: str, tenant: str | None, *, offline: bool) -> pl.DataFrame:
    """The events of a store, of an imported log or of a file, in EVENT_SCHEMA."""
    if "://" in log:
        return written_events(log, tenant)
    from adwright.data.sources.log import open_log

    return open_log(log, offline=offline, tell=False).events.collect(engine="streaming")


def written_events(source: str, tenant: str | None) -> pl.DataFrame:
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
