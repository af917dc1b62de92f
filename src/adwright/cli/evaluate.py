"""adwright evaluate, of a model and of a policy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from adwright.cli import ranker
from adwright.cli.serve import events_of_log, need_service
from adwright.cli.shared import allowed_to_replace, show_facts, show_table
from adwright.cli.verbs import DefaultGroup, verb
from adwright.core.config import Gt, Lt, Natural, Positive
from adwright.core.errors import ConfigError

if TYPE_CHECKING:
    from datetime import datetime

    import polars as pl

    from adwright.data.schema import EventKind
    from adwright.delivery.policy.value import PolicyTarget, PolicyValue, PolicyValueConfig

app = typer.Typer(
    cls=DefaultGroup,
    help="Say how good a model is, or a policy: of a model where no other is named.",
    rich_markup_mode="markdown",
)
verb(app, "model")(ranker.evaluate)


@verb(app, "policy")
def policy(
    new: Path,
    *,
    log: str,
    model: Path | None = None,
    tenant: str | None = None,
    response: str = "click",
    also_seen: bool = False,
    fewest: Positive = 100.0,
    confidence: Annotated[float, Gt(0), Lt(1)] = 0.95,
    seed: Natural = 0,
    as_json: bool = False,
    out: Path | None = None,
    offline: bool = False,
    force: bool = False,
) -> None:
    """Say what a policy would have earned, from a log that another one wrote.

    The log must say with which chance each place was filled, as what `adwright serve` writes does,
    or a column that is imported as propensity. A model is asked again about every request that came
    after what it was fitted on. Where too few requests count, or the new policy does what this log
    never did, the answer is that the log cannot tell, and how many requests would.

    Options:
        new: The new policy: a TOML file of settings as serving.toml, with --model; a model, or
            the version MODELS/TENANT/VERSION with the policy of its tenant; or the log that it
            wrote elsewhere, which shows its items at one place a request.
        log: A log as `adwright data import` keeps it, a file of events, or the URL of a store.
        model: Of a TOML file: the model that orders the items; by default the one that decides
            where the file lies.
        tenant: Whose events of a store.
        response: Kind of event that counts, joined to what was shown by request and item.
        also_seen: Also ask about requests that the model may have been fitted on, which flatters
            it.
        fewest: Requests that have to count for a verdict, as good as the policy's own.
        confidence: Of the intervals.
        as_json (--json): Print JSON.
        out: Also write the report as JSON here.
    """
    from adwright.core.atomic import atomic_write_text
    from adwright.core.config import to_jsonable
    from adwright.delivery.policy.value import PolicyValueConfig, logged_slates, value_from_log

    if out is not None:
        allowed_to_replace(out, force=force)
    config = PolicyValueConfig(
        response=cast("EventKind", response), fewest=fewest, confidence=confidence, seed=seed
    )
    events = events_of_log(log, tenant, offline=offline)
    target, since, notes = _target(new, model, events, config, offline=offline)
    since = None if also_seen else since
    slates = logged_slates(events, response=response, since=since)
    if since is not None:
        notes.append(f"requests from {since:%Y-%m-%d %H:%M} UTC on, which the model has not seen")
    found = value_from_log(slates, target, name=str(new), config=config, notes=notes)
    text = json.dumps(
        {**to_jsonable(found), "tells": found.tells, "verdict": found.verdict()}, indent=1
    )
    if as_json:
        typer.echo(text)
    else:
        show_value(found)
    if out is not None:
        atomic_write_text(out, text + "\n")


def show_value(found: PolicyValue) -> None:
    """Print the verdict, the estimates, and how far log and policy are apart."""
    for note in found.notes:
        typer.echo(note)
    typer.echo(found.verdict())
    show_table(
        ("estimator", f"{found.response}s a request"),
        found.rows(),
        title=f"{found.confidence:.0%} intervals",
    )
    show_facts(found.facts())


def _target(
    new: Path, model: Path | None, events: pl.DataFrame, config: PolicyValueConfig, *, offline: bool
) -> tuple[PolicyTarget, datetime | None, list[str]]:
    """The new policy, from when on it has seen nothing of the log, and what is to be known."""
    from adwright.core.config import load_toml
    from adwright.core.errors import ArtifactError
    from adwright.delivery.policy.settings import PolicySettings
    from adwright.delivery.policy.value import LogTarget, logged_slates
    from adwright.delivery.training_log import model_folder

    settings = None
    if new.suffix == ".toml":
        settings = load_toml(new, PolicySettings)
        folder = _beside(new) if model is None else model
    elif model is not None:
        raise ConfigError("two models are named", where=f"{new}, --model {model}", hint="name one")
    else:
        folder = new
    try:
        folder = model_folder(folder)
    except ArtifactError:
        if settings is not None:
            raise
        slates = logged_slates(
            events_of_log(str(new), None, offline=offline), response=config.response
        )
        written = LogTarget.of(slates)
        said = "the chances that it says" if written.exact else "the shares in which it shows items"
        return written, None, [f"The policy of {new}: {said}, by position"]
    need_service()
    from adwright.service.registry.publishing import (
        asked_about,
        first_unseen,
        load_deployed,
        load_settings,
    )

    settings = load_settings(folder) if settings is None else settings
    deployed = load_deployed(folder, settings=settings)
    notes = [f"{deployed.policy.policy_id} on {folder} ({deployed.kind})"]
    if settings.caps or settings.pacing is not None or settings.evidence is not None:
        notes.append("caps, budgets and evidence are left out: they follow from what was shown")
    return asked_about(deployed, events), first_unseen(folder), notes


def _beside(settings: Path) -> Path:
    """The version that decides for the tenant in whose folder the settings lie."""
    try:
        version = (settings.parent / "current").read_text("utf-8").strip()
    except (OSError, ValueError) as error:
        raise ConfigError(
            "a policy chooses among what a model offers",
            where=str(settings),
            hint="name the model with --model",
        ) from error
    return settings.parent / version
