"""adwright train din, evaluate, score, explain and export."""

from __future__ import annotations

import json
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from adwright.cli.shared import (
    agree_to_journey,
    allowed_to_replace,
    config_or_log,
    require_ray_options,
    show_facts,
    show_table,
)
from adwright.core.config import Count, Ge, Le, Natural
from adwright.core.errors import ConfigError

if TYPE_CHECKING:
    from adwright.data.tasks.own.next_item import NextItem
    from adwright.delivery.funnel.measure import FunnelReport
    from adwright.metrics.reports.report import RankingComparison
    from adwright.training.ranking.run import RunResult


# --------------------------------------------------------------------------------------------------
# What the verbs of recommenders share: the task of a log, and the table of what was measured.


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
    if said := report.calibration_text():
        typer.echo(said)
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


def train(
    config: Path | None = None,
    *,
    task: Path | None = None,
    out: Path | None = None,
    seed: Natural | None = None,
    epochs: Count | None = None,
    negative_rate: Annotated[float, Ge(0), Le(1)] | None = None,
    base: bool | None = None,
    search: Natural = 0,
    ray_workers: Natural = 0,
    retries: Natural = 0,
    log_to: Literal["tensorboard", "mlflow"] | None = None,
    resume: bool = False,
    stop_now: bool = False,
    force: bool = False,
    dry_run: bool = False,
) -> None:
    """Train, calibrate and measure a ranker, and save it; the word `din` may be left out.

    Training rows fit the weights, validation rows stop the training and calibrate, test rows
    are looked at once. An option given here wins over the run file. A run that was killed
    continues with --resume and ends with the same bits; --stop-now closes it instead. With
    --ray-workers the processes of Ray divide each batch, on the cluster of RAY_ADDRESS or on this
    machine; it needs the extra `ray`.

    Options:
        config ([LOG|CONFIG]): A log or a task, as --task takes it, or a run file in TOML.
        task: Folder of a task or of an imported log, the file that would be imported, or a
            public log by name: complete-journey, movielens, open-bandit.
        out: Folder for the run and its ranker.
        seed: The same seed gives the same ranker.
        epochs: Passes over the data, at most; with --resume, also more.
        negative_rate: Share of the label-0 rows that is kept.
        base: Also train the base model: to compare with, and because the mean of both is saved
            where validation rows do not say that one alone is better.
        search: Trainings of a search for better settings on validation rows.
    """
    from adwright.core.config import load_toml, read_toml, to_jsonable, with_overrides
    from adwright.training.dry_run import plan_ranking
    from adwright.training.loop.trainee import trackers
    from adwright.training.on_ray import fit_on_ray
    from adwright.training.ranking.config import RunConfig, task_config
    from adwright.training.ranking.run import run

    require_ray_options(ray_workers, retries)
    config, task = config_or_log(config, task, option="--task")
    asked = RunConfig() if config is None else load_toml(config, RunConfig)
    stream = with_overrides(asked.fit.stream, {"negative_rate": negative_rate})
    changes = {
        "task": None if task is None else task_config(task),
        "fit": with_overrides(asked.fit, {"epochs": epochs, "stream": stream}),
        "out": out,
        "seed": seed,
        "base": base,
    }
    asked = with_overrides(asked, changes)
    callbacks = trackers([log_to] if log_to else [], asked.out)
    if dry_run:
        plan = plan_ranking(asked, resume=resume or stop_now, overwrite=force)
        typer.echo(json.dumps(to_jsonable(asked), indent=1))
        show_facts(plan, err=True)
        return
    # An empty run file names nothing either.
    if task is None and (config is None or not read_toml(config)):
        work = "a download of 31 MB, and some five minutes of two cores"
        agree_to_journey("train din", work, option="--task")
    replacing = allowed_to_replace(asked.out / "ranker", force=force)
    on_ray = partial(fit_on_ray, workers=ray_workers, retries=retries, callbacks=callbacks)
    result = run(
        asked,
        resume=resume,
        stop_now=stop_now,
        overwrite=replacing or force,
        fit_with=on_ray if ray_workers else None,
        callbacks=callbacks,
        tell=_tell_default,
        search=search,
    )
    _show(result)


def _show(result: RunResult) -> None:
    """Print what was searched and measured, and where it is."""
    if result.search is not None:
        show_table(result.search.header(), result.search.rows(), title="Search")
    comparison, title = result.comparison, "Test rows; 95% intervals over users"
    typer.echo(comparison.verdict())
    show_table(comparison.header(), comparison.rows(), title=title)
    typer.echo(f"Saved in {result.folder / 'ranker'} as {result.artifact[:16]}")


def _tell_default(sentence: str) -> None:
    typer.echo(f"Default: {sentence}")


def evaluate(
    model: Path,
    *,
    task: Path | None = None,
    log: str | None = None,
    split: Literal["valid", "test"] = "test",
    draws: Count = 500,
    seed: Natural = 0,
    out: Path | None = None,
    force: bool = False,
) -> None:
    """Say how good a saved model is, with intervals over users, by what it was not fitted on.

    A ranker is measured on the rows of a task, by default that of its run. Of what recommends (a
    cascade, two towers, HCN, HSTU, SASRec, item-item, popularity) the report of its run is shown,
    which was made before the model was fitted to all events. With --log LOG it is measured on what
    that log holds after the last event that the model knows, beside the simple rules as they were
    then; items that it does not know are misses. What it has seen is refused.

    Options:
        model: Folder of a saved model, or of its run.
        task: Of a ranker: the task, as train takes it; by default the one of its run.
        log: Of what recommends: a log that has gone on since, as train takes it; by default
            what its run measured is shown.
        split: Which rows to measure.
        draws: Draws of the bootstrap.
        out: Also write the report as JSON here.
    """
    from adwright.core.artifacts import load_artifact
    from adwright.core.atomic import atomic_write_text
    from adwright.core.errors import ConfigError
    from adwright.delivery.training_log import model_folder
    from adwright.training.ranking.config import open_task, task_config, task_of_run
    from adwright.training.ranking.ranker import KIND, Ranker
    from adwright.training.ranking.run import measure

    if task is not None and log is not None:
        hint = "pass --task for a ranker, --log for a cascade, retriever or sequence model"
        raise ConfigError("name one of them", where="--task, --log", hint=hint)
    if out is not None:
        allowed_to_replace(out, force=force)
    folder = model_folder(model)
    if task is not None or (log is None and load_artifact(folder).kind == KIND):
        ranker = Ranker.load(folder)
        asked = task_of_run(folder.resolve().parent) if task is None else task_config(task)
        opened = open_task(asked)
        if task is None:
            typer.echo(f"Default: {split} rows of {opened.folder}, the task of its run")
        report = measure(ranker, opened, split=split, draws=draws, seed=seed)
        typer.echo(report.table())
        text = report.to_json()
    else:
        text = evaluate_recommender(model, log, split=split, draws=draws, seed=seed)
    if out is not None:
        atomic_write_text(out, text)


def score(
    ranker: Path,
    rows: Path,
    *,
    events: Path,
    out: Path,
    items: Path | None = None,
    chunk: Count = 100_000,
    force: bool = False,
    dry_run: bool = False,
) -> None:
    """Score a file of any length, in the order of its rows.

    Writes user_id, request_id, time, item_id and label as far as they are there, the calibrated
    probability, and known_item: false where the catalogue lacks the item, which is then scored
    by its context alone, unless --items tells its features. Popularity that the rows do not say is
    counted from the events, of earlier days. Memory follows --chunk and the histories of its users.

    Options:
        ranker: Folder of a saved ranker, for example runs/demo/ranker.
        rows: Rows to score: Parquet or CSV with user_id, item_id, time and the features.
        events: The histories: Parquet or CSV with user_id, item_id and time, or an imported
            log. Where there is a column kind, events of the kinds that the ranker's histories
            are made of count.
        out: Parquet file for the scores.
        items: Table of items: new ones are scored by their features.
        chunk: Rows held in memory at once.
    """
    from adwright.training.ranking.frames import needed_columns
    from adwright.training.ranking.ranker import Ranker
    from adwright.training.ranking.scoring import counts_popularity, score_file

    loaded = Ranker.load(ranker)
    if dry_run:
        counted = {"popularity"} if counts_popularity(loaded, ()) else set()
        needed = [name for name in needed_columns(loaded.spec) if name not in counted]
        typer.echo(f"The rows need the columns: {', '.join(needed)}, time")
        return
    replacing = allowed_to_replace(out, force=force)
    n = score_file(loaded, rows, events, out, items=items, chunk=chunk, overwrite=replacing)
    typer.echo(f"{n:,} rows scored into {out}")


def explain(
    ranker: Path,
    item: str,
    *,
    user: str,
    events: Path,
    k: Count = 5,
) -> None:
    """Name the past purchases that activated an ad for a user.

    The weight of a purchase is its activation times how often it was bought: what the network
    looked at, which is not a cause.

    Options:
        ranker: Folder of a saved ranker, for example runs/demo/ranker.
        item: item_id of the ad.
        user: user_id of the user.
        events: The histories: Parquet or CSV with user_id, item_id and time, or an imported
            log. Where there is a column kind, events of the kinds that the ranker's histories
            are made of count.
        k: Past purchases to name.
    """
    from adwright.training.ranking.ranker import Ranker
    from adwright.training.ranking.scoring import events_of

    loaded = Ranker.load(ranker)
    mine = events_of(events, user, kinds=loaded.history_kinds)
    found = loaded.explain(mine, item, k=k)
    (name,) = loaded.names([item])
    rows = [
        (name, f"{count}", f"{activation:+.4f}", f"{weight:+.4f}")
        for name, count, activation, weight in found.select(
            "name", "count", "activation", "weight"
        ).iter_rows()
    ]
    show_table(("past purchase", "times", "activation", "weight"), rows, title=f"{name} for {user}")


def export(
    model: Path,
    *,
    out: Path,
    force: bool = False,
) -> None:
    """Export a model to ONNX, after comparing what it says with what the file says.

    A ranker becomes a scorer for one user and any number of ads: the file takes the codes of
    the ads, the codes and counts of the history, and the features of the rows, and gives logits
    and calibrated probabilities. A sequential model becomes a network over padded histories, with
    the vectors of its items beside it. It needs the extra `export` to be written, and only an
    ONNX runtime to be used.

    Options:
        model: Folder of a saved ranker or sequential model, for example runs/demo/ranker.
        out: Folder for the exported model.
    """
    from adwright.training.sequential.artifact import export_saved

    replacing = allowed_to_replace(out, force=force)
    file, difference = export_saved(model, out, overwrite=replacing)
    show_facts({"written": str(file), "largest difference": f"{difference:.1e}"})


# --------------------------------------------------------------------------------------------------
# adwright recommend.


def recommend(
    model: Path,
    *,
    out: Path,
    users: str = "all",
    events: str | None = None,
    k: Count = 10,
    unseen: bool | None = None,
    at: str | None = None,
    chunk: Count = 20_000,
    ray_workers: Natural = 0,
    offline: bool = False,
    resume: bool = False,
    force: bool = False,
    dry_run: bool = False,
) -> None:
    """Write the best items of the whole catalogue for everybody, by any model that can be served.

    A run that was cut off goes on with --resume after the last part that it wrote. With
    --ray-workers the processes of Ray share the parts, on the cluster of RAY_ADDRESS or on this
    machine; it needs the extra `ray`.

    Options:
        model: Folder of a model, or of the run that made it.
        out: Parquet file: user_id, rank, item_id, score.
        users: File of users (a column user_id, or one id a line), or all: everybody with an
            event.
        events: Log of what they did; by default what the model was saved with, or trained on.
        k: Items for each.
        unseen (--unseen/--repeats): Leave out all that is in a user's history, or nothing of
            it; by default what events took off the list, by kind, as the log shows.
        at: The moment that is asked about, in UTC; by default after the last event.
        chunk: Users of one part, which is kept once done.
        ray_workers: Processes of Ray that share it; 0 for none.
    """
    from adwright.delivery.recommend.models import Wanted, open_model
    from adwright.delivery.recommend.run import read_users, recommend_file

    wanted = Wanted(
        users=None if users == "all" else read_users(users),
        log=events,
        at=None if at is None else _moment(at),
        unseen=unseen,
        offline=offline,
    )
    if dry_run:
        opened = open_model(model, wanted)
        typer.echo(
            f"{opened.kind} of {len(opened.top.items.ids):,} items, {len(opened.people):,} users "
            f"with {len(opened.people.item):,} events from {opened.source}; "
            f"{_had(opened.unseen)}. Would write {out}"
        )
        return
    replacing = allowed_to_replace(out, force=force)
    found = recommend_file(
        model,
        out,
        wanted,
        k=k,
        chunk=chunk,
        resume=resume,
        overwrite=replacing or force,
        ray_workers=ray_workers,
    )
    typer.echo(
        f"{found.rows:,} rows for {found.users:,} users written to {out}, by {found.kind} and "
        f"{found.source}; {_had(found.unseen)}"
    )
    if found.stopped:
        typer.echo(f"{found.stopped:,} items are left out: the log says that they are stopped")
    if found.unknown:
        typer.echo(f"{found.unknown:,} of the users have no event there: they get what is popular")


def _had(unseen: bool) -> str:
    return "what a user had is left out" if unseen else "what a user had may come again"


def _moment(text: str) -> datetime:
    from datetime import UTC

    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(
            "a moment is written as 2026-05-31T18:30:00", where=f"--at {text}", hint="in UTC"
        ) from error
    return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
