"""adwright experiment start, read, back and stop."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from adwright.cli.serve import events_of_log, need_service
from adwright.cli.shared import allowed_to_replace, show_table
from adwright.cli.verbs import verb
from adwright.core.config import Ge, Gt, Lt, Positive
from adwright.core.errors import ConfigError

if TYPE_CHECKING:
    import polars as pl

    from adwright.data.schema import EventKind
    from adwright.delivery.experiment_reading import ExperimentReading
    from adwright.delivery.experiments import ExperimentSettings

app = typer.Typer(
    help=(
        "Run models and policies side by side, on users who are dealt to them by chance.\n\n"
        "The arms stand below [experiment] in MODELS/TENANT/serving.toml, see "
        "docs/experiments.md; a running service follows within a second."
    ),
    no_args_is_help=True,
)
_MODELS = Path("models")


@verb(app, "start")
def start(
    *,
    tenant: str,
    log: list[str],
    models: Path = _MODELS,
    response: str = "click",
    effect: Positive = 0.05,
    confidence: Annotated[float, Ge(0.5), Lt(1)] = 0.95,
    power: Annotated[float, Gt(0.5), Lt(1)] = 0.8,
    offline: bool = False,
    dry_run: bool = False,
) -> None:
    """Say how long the experiment of serving.toml would take, and begin it.

    From what users did before, as the log has it: how many come, what they take and how far they
    differ. What is planned is written down with the start, so that nobody chooses it afterwards.

    Options:
        tenant: Whose experiment.
        log: What users did before: a log, or the URL of a store; may be repeated.
        models: Folder of the models: MODELS/TENANT/serving.toml.
        response: Kind of event that counts, a user.
        effect: Share of what a user takes that is to be seen, as 0.05.
        confidence: Of the interval, which may be looked at at any time.
        power: Chance that the effect shows.
    """
    need_service()
    from adwright.delivery.experiment_reading import plan_experiment, plan_lines
    from adwright.delivery.experiments import ExperimentPlan
    from adwright.service.registry.experiments import start_experiment

    settings = _settings(models / tenant)
    plan = ExperimentPlan(
        response=cast("EventKind", response), effect=effect, confidence=confidence, power=power
    )
    first, *others = settings.shown
    if others:
        shares = (first.share, min(one.share for one in others))
        plan = plan_experiment(_events(log, tenant, offline=offline), plan, shares)
        for line in plan_lines(plan):
            typer.echo(line)
    if dry_run:
        typer.echo(f"Would start {settings.name} for {tenant}")
        return
    _require_loadable(models / tenant, settings)
    start_experiment(models / tenant, settings, plan)
    typer.echo(f"{settings.name} runs for {tenant}: {', '.join(one.name for one in settings.arms)}")


@verb(app, "read")
def read(
    *,
    tenant: str,
    log: list[str],
    models: Path = _MODELS,
    segment: str = "",
    by_value: bool = False,
    enforce: bool = False,
    as_json: bool = False,
    out: Path | None = None,
    offline: bool = False,
    force: bool = False,
) -> None:
    """Say what the arms of a running experiment earn beside the first one.

    Intervals are always valid: look as often as you like, and stop when you like. What users did in
    the four weeks before the start is taken off (CUPED), as far as the log holds it. Nothing is to
    be believed where users of an arm were lost, which the sample ratio tells.

    Options:
        tenant: Whose experiment.
        log: What users did: a log, or the URL of the store that the service writes; may be
            repeated, for what was before and what has been since.
        models: Folder of the models.
        segment: A key of the context of requests: read it by its values as well.
        by_value: Sum the values of responses in place of counting them.
        enforce: Take the canary back where it fails, as the service does by itself.
        as_json (--json): Print JSON.
        out: Also write the report as JSON here.
    """
    need_service()
    from adwright.core.atomic import atomic_write_text
    from adwright.core.clock import SystemClock
    from adwright.core.config import to_jsonable
    from adwright.delivery.experiment_reading import canary_fails, read_experiment
    from adwright.service.registry.experiments import require_running, take_back

    if out is not None:
        allowed_to_replace(out, force=force)
    running = require_running(models / tenant)
    found = read_experiment(
        _events(log, tenant, offline=offline),
        running,
        now=SystemClock().now(),
        segment=segment,
        by_value=by_value,
    )
    text = json.dumps({**to_jsonable(found), "verdicts": found.lines()}, indent=1)
    if as_json:
        typer.echo(text)
    else:
        _show(found)
    if out is not None:
        atomic_write_text(out, text + "\n")
    canary = running.settings.canary
    why = canary_fails(found, running)
    if why and canary is not None:
        typer.echo(f"The canary fails: {why}", err=as_json)
        if enforce:
            take_back(models / tenant, canary.arm, why)
            typer.echo(f"{canary.arm} was taken back", err=as_json)


@verb(app, "back")
def back(arm: str, *, tenant: str, models: Path = _MODELS, why: str = "by hand") -> None:
    """Take an arm back: its users meet the first one, and the experiment goes on.

    Options:
        arm: Its name.
        tenant: Whose experiment.
        models: Folder of the models.
        why: Is written down.
    """
    need_service()
    from adwright.service.registry.experiments import take_back

    take_back(models / tenant, arm, why)
    typer.echo(f"{arm} was taken back")


@verb(app, "stop")
def stop(*, tenant: str, models: Path = _MODELS, why: str = "") -> None:
    """End the experiment that runs: everybody meets what decides without it.

    Options:
        tenant: Whose experiment.
        models: Folder of the models.
        why: Is written down.
    """
    need_service()
    from adwright.service.registry.experiments import stop_experiment

    was = stop_experiment(models / tenant, why)
    typer.echo(f"{was.settings.name} has ended; it ran since {was.started:%Y-%m-%d %H:%M} UTC")


def _show(found: ExperimentReading) -> None:
    from adwright.delivery.experiment_reading import reading_facts

    for line in found.lines():
        typer.echo(line)
    rows = reading_facts(found)
    show_table(list(rows[0]), [list(row.values()) for row in rows], unbroken=True)
    for arm in found.arms:
        guards = [
            (one.name, one.difference.text("+.4f"), "worse" if one.worse else "")
            for one in arm.guardrails
        ]
        show_table(("a user", "difference (99%)", ""), guards, title=f"guardrails of {arm.name}")
        if arm.segments:
            segments = [(name, one.text("+.4f")) for name, one in arm.segments.items()]
            about = f"{found.response}s a user"
            show_table(("segment", about), segments, title=f"{arm.name} by segment, one look each")


def _settings(folder: Path) -> ExperimentSettings:
    from adwright.core.config import load_toml
    from adwright.delivery.policy.settings import PolicySettings

    path = folder / "serving.toml"
    found = load_toml(path, PolicySettings).experiment if path.is_file() else None
    if found is None:
        raise ConfigError(
            "there is no experiment to start",
            where=str(path),
            hint="write [experiment] with its arms into it",
        )
    return found


def _require_loadable(folder: Path, settings: ExperimentSettings) -> None:
    """Load the model of each arm as the service will; raises as it does."""
    from datetime import UTC, datetime

    from adwright.core.clock import SystemClock
    from adwright.delivery.experiments import ExperimentPlan, RunningExperiment
    from adwright.service.registry.deployed import probe
    from adwright.service.registry.publishing import load_deployed
    from adwright.service.registry.registry import inventory

    found = (one.current for one in inventory(folder.parent) if one.tenant == folder.name)
    current = next(found, "")
    if not current:
        raise ConfigError(
            "no model decides for the tenant yet", where=str(folder), hint="publish one"
        )
    clock = SystemClock()
    running = RunningExperiment(settings, datetime.now(UTC), ExperimentPlan())
    probe(load_deployed(folder / current, clock=clock, running=running), clock)


def _events(logs: list[str], tenant: str, *, offline: bool) -> pl.DataFrame:
    import polars as pl

    found = [events_of_log(one, tenant, offline=offline) for one in logs]
    return pl.concat(found).unique("event_id", keep="first", maintain_order=True)
