"""What the verbs of recommenders share: the task of a log, and the table of what was measured."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from adwright.cli.shared import show_table
from adwright.core.errors import ConfigError

if TYPE_CHECKING:
    from adwright.data.tasks.own.next_item import NextItem
    from adwright.delivery.funnel.measure import FunnelReport
    from adwright.metrics.reports.report import RankingComparison


def evaluate_recommender(
    model: Path, log: str | None, *, split: str, draws: int, seed: int, offline: bool = False
) -> str:
    """Print how good a saved cascade, retriever, sequence model or rule is; returns it as JSON.

    Without a log, what its run measured before the model was fitted to all events. With the log
    that it was trained on, the visits that its training held out, where it left them out; with
    another, what happened after the last event that it was fitted on.
    """
    from adwright.core.artifacts import load_artifact
    from adwright.data.tasks.own.next_item import open_next_item
    from adwright.delivery.funnel.evaluate import EVALUATED, evaluate_model
    from adwright.delivery.retraining.newer import evaluate_newer
    from adwright.delivery.served import KIND
    from adwright.delivery.training_log import model_folder

    folder = model_folder(model)
    if log is None:
        return _show_run(folder)
    artifact = load_artifact(folder)
    artifact = artifact.part("model") if artifact.kind == KIND else artifact
    found = open_next_item(log, offline=offline)
    if artifact.data_hash == found.task.data_hash or artifact.kind not in EVALUATED:
        for line in found.choices.lines():
            typer.echo(f"Default: {line}")
        report = evaluate_model(
            folder,
            found.task,
            repeats=found.choices.repeats,
            split="valid" if split == "valid" else "test",
            draws=draws,
            seed=seed,
        )
        show_report(report)
        return report.to_json()
    if split == "valid":
        raise ConfigError(
            "only what the model's own run held out validates",
            where="--split valid",
            hint="leave it out: what came after the model is measured",
        )
    newer = evaluate_newer(folder, log, draws=draws, seed=seed, offline=offline)
    for note in newer.notes:
        typer.echo(note)
    _show_comparison(newer.comparison, newer.asked)
    return newer.comparison.to_json()


def _show_run(folder: Path) -> str:
    """Print the report of the run that made a model; returns it."""
    from adwright.core.errors import ArtifactError
    from adwright.delivery.funnel.measure import FunnelReport
    from adwright.delivery.training_log import training_log
    from adwright.metrics.reports.report import RankingComparison

    path = folder.resolve().parent / "report.json"
    try:
        text = path.read_text("utf-8")
    except (OSError, ValueError) as error:
        raise ConfigError(
            "there is no report of the run that made this model",
            where=str(path),
            hint="name the run; or measure the model on what came after it, with --log LOG, or on "
            "a task with --task",
        ) from error
    log = training_log(folder)
    typer.echo(
        f"What the run measured on what it had held out{f' of {log}' if log else ''}, before "
        "anything was fitted to that; --log measures on a log that has gone on since"
    )
    try:
        show_report(FunnelReport.from_json(text))
    except ArtifactError:
        _show_comparison(RankingComparison.from_json(text), "the test")
    return text


def _show_comparison(found: RankingComparison, asked: str) -> None:
    typer.echo(found.verdict())
    show_table(found.header(), found.rows(), title=f"{asked}; 95% intervals over users")


def show_report(report: FunnelReport) -> None:
    """Print the first line and the table of a report."""
    typer.echo(report.first)
    title = (
        f"{report.split}: {report.visits:,} visits of {report.users:,} users; 95% intervals over "
        "users"
    )
    show_table(report.header(), report.rows(), title=title)


def opened_task(log: str, *, offline: bool) -> NextItem:
    """The task of a log; what was decided for it is printed."""
    from adwright.data.tasks.own.next_item import open_next_item

    found = open_next_item(log, offline=offline)
    for line in found.choices.lines():
        typer.echo(f"Default: {line}")
    return found
