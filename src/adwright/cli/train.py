"""The verbs of `adwright train`."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from adwright.cli import ranker
from adwright.cli.ranker import opened_task, show_report
from adwright.cli.shared import (
    Making,
    Training,
    agree_to_journey,
    allowed_to_replace,
    config_or_log,
    show_facts,
    show_table,
)
from adwright.cli.verbs import DefaultGroup, verb
from adwright.core.config import Count, Ge, Le, Natural

# --------------------------------------------------------------------------------------------------
# adwright train item-item.


def item_item(
    log: str,
    *,
    go: Making = Making(Path("runs/item-item")),
) -> None:
    """Count which items are taken near each other, measure it and save it: a model in seconds.

    What a user took lately is looked up, and what is usually taken with it is recommended. Nothing
    is trained but a few settings, which are searched on validation. The model can be published and
    served at once, and is the rule that any network should beat first.

    Options:
        out: Folder for the report and the model.
    """
    from adwright.data.history_kinds import again_in_words
    from adwright.data.schema import ACTION_KINDS
    from adwright.delivery.counted import train_item_item
    from adwright.delivery.training_log import open_history
    from adwright.training.dry_run import check_out
    from adwright.training.sequential.runfile import sequence_data

    data = sequence_data(opened_task(log, offline=go.offline))
    if go.dry_run:
        check_out(go.out, "model", (), resume=False, overwrite=go.force)
        sequences = data.sequences
        show_facts(
            {
                "users": f"{len(sequences):,}",
                "items": f"{sequences.items:,}",
                "events": f"{len(sequences.item):,}",
                "items come again": "yes" if data.allow_repeats else "no",
                "model": str(go.out / "model"),
            }
        )
        return
    replacing = go.may_replace("model")
    known = open_history(log, ACTION_KINDS, offline=go.offline, tell=False).events
    result = train_item_item(
        data, go.out, log=log, events=known, seed=go.seed, overwrite=replacing or go.force
    )
    for line in again_in_words(result.again):
        typer.echo(f"Learned: {line}")
    _show(result, counted=True)


# --------------------------------------------------------------------------------------------------
# adwright train popularity.


def popularity(
    log: str,
    *,
    go: Making = Making(Path("runs/popularity")),
) -> None:
    """Count what is taken most, of all time or lately, measure it and save it: the same order for
    everybody, in seconds.

    Whether events of long ago count less is chosen on validation. The model can be published and
    served at once, for who is new and for who wants a first answer before any model is trained.

    Options:
        out: Folder for the report and the model.
    """
    from adwright.delivery.counted import train_popularity

    found = opened_task(log, offline=go.offline)
    task = found.task
    if go.dry_run:
        show_facts(
            {
                "users": f"{len(task.users):,}",
                "items": f"{len(task.items.ids):,}",
                "events": f"{len(task.item):,}",
                "model": str(go.out / "model"),
            }
        )
        return
    replacing = go.may_replace("model")
    result = train_popularity(
        task,
        go.out,
        repeats=found.choices.repeats,
        log=log,
        seed=go.seed,
        overwrite=replacing or go.force,
    )
    typer.echo(f"Default: {result.why}")
    _show(result, counted=True)


def cascade(
    log: str,
    *,
    minutes: Annotated[float, Ge(0)] = 5.0,
    go: Training = Training(Path("runs/cascade")),
) -> None:
    """Train a cascade on a log, measure it and save it: what serves is what validation favours.

    Item-item and popularity are counted, and models are trained as far as --minutes go. Every rule,
    every model alone and mixtures of them are tried on validation visits, and the order that serves
    is the best of them, the one with fewer models where they are alike. The test is asked once, and
    what serves is then fitted again to all events. A run that was killed continues with --resume,
    as does one that is given more --minutes.

    Options:
        minutes: Of the training thread's work on the processor; waiting does not count.
    """
    from adwright.core.clock import ProcessorClock, SystemClock
    from adwright.data.history_kinds import again_in_words
    from adwright.data.schema import ACTION_KINDS
    from adwright.delivery.funnel.build import FunnelConfig, build_funnel, plan_funnel
    from adwright.delivery.training_log import open_history

    started, began = ProcessorClock().monotonic(), SystemClock().monotonic()
    found = opened_task(log, offline=go.offline)
    config = FunnelConfig(minutes=minutes, seed=go.seed)
    if go.dry_run:
        go.check("config.json", "a build")
        for sentence in plan_funnel(config):
            typer.echo(f"Plan: {sentence}")
        typer.echo(f"Would write {go.out}")
        return
    if go.resume and not (go.out / "config.json").exists():
        typer.echo(f"{go.out} holds no run yet: a new one begins")
        go = replace(go, resume=False)
    replacing = go.may_replace("config.json")
    result = build_funnel(
        found.task,
        go.out,
        config,
        repeats=found.choices.repeats,
        log=log,
        events=open_history(log, ACTION_KINDS, offline=go.offline, tell=False).events,
        resume=go.resume,
        overwrite=replacing,
        began=started,
        tell=typer.echo,
    )
    known = result.funnel.histories
    for line in again_in_words(known.again or {} if known is not None else {}):
        typer.echo(f"Learned: {line}")
    typer.echo("")
    show_report(result.report)
    saved, taken = go.out / "deployment", (ProcessorClock().monotonic() - started) / 60
    waited = (SystemClock().monotonic() - began) / 60
    typer.echo(
        f"Saved in {saved} as {result.funnel.artifact_id[:16]}, after {taken:.1f} minutes of the "
        f"processor, {waited:.1f} by the clock"
    )
    typer.echo(f"Next: adwright publish {saved} --models models --tenant shop")
    typer.echo("      adwright serve --models models")


def two_tower(
    log: str,
    *,
    epochs: Count | None = None,
    search: Natural = 0,
    second_task: Annotated[float, Ge(0)] | None = None,
    go: Training = Training(Path("runs/two-tower")),
) -> None:
    """Train two towers to find what users take next, measure them beside the rules, and save them.

    A query is a user's history; items are embedded by what is known of them, so that new items can
    be found. Settings follow from the log and are printed. A run that was killed continues with
    --resume.

    Options:
        epochs: Passes over the data, at most; else as the data say.
        search: Trials of better settings on validation.
        second_task: Weight of the self-supervised task on items, 0 for none; else what
            validation favours, where labels are few.
    """
    _retriever("two-tower", log, go, epochs, search, second_task)


def hcn(
    log: str,
    *,
    epochs: Count | None = None,
    search: Natural = 0,
    go: Training = Training(Path("runs/hcn")),
) -> None:
    """Train HCN, which keeps several interests of each user, in the same way as two-tower.

    Options:
        epochs: Passes over the data, at most; else as the data say.
        search: Trials of better settings on validation.
    """
    _retriever("hcn", log, go, epochs, search)


def _retriever(
    model: Literal["two-tower", "hcn"],
    log: str,
    go: Training,
    epochs: int | None,
    search: int,
    second_task: float | None = None,
) -> None:
    from adwright.training.dry_run import check_out
    from adwright.training.retrieval.run import RetrieverRun, run_retriever, settings_of

    asked = RetrieverRun(
        model=model,
        epochs=epochs,
        search=search,
        second_task=second_task,
        seed=go.seed,
        out=go.out,
        log=log,
    )
    found = opened_task(log, offline=go.offline)
    if go.dry_run:
        check_out(go.out, "model", [go.out / "run"], resume=go.resume, overwrite=go.force)
        for sentence in settings_of(asked, found.task):
            typer.echo(f"Default: {sentence}")
        typer.echo(f"Would write {go.out}")
        return
    replacing = allowed_to_replace(go.out / "model", force=go.force)
    result = run_retriever(
        asked,
        found.task,
        repeats=found.choices.repeats,
        resume=go.resume,
        overwrite=replacing or go.force,
        tell=lambda sentence: typer.echo(f"Default: {sentence}"),
    )
    _show(result)


def _show(result: Any, *, counted: bool = False, publishable: bool = True) -> None:
    """Print what was searched, measured and saved. counted: it was not trained by steps."""
    comparison, saved = result.comparison, result.folder / "model"
    if not counted and result.search is not None:
        show_table(result.search.header(), result.search.rows(), title="Search")
    typer.echo(comparison.verdict())
    show_table(comparison.header(), comparison.rows(), title="Test; 95% intervals over users")
    if not counted and (fitted := result.artifact.fitted) is not None:
        typer.echo(f"Fitted to {fitted.text()}: what came later has chosen and measured it")
    typer.echo(f"Saved in {saved} as {result.id[:16]}")
    if publishable:
        typer.echo(f"Next: adwright publish {saved} --models models --tenant shop")


# --------------------------------------------------------------------------------------------------
# adwright train sequence, and its names hstu and sasrec.

#: Help of the names that say the model.
HSTU = """Train HSTU to predict what a user takes next, measure it and save it.

On Complete Journey it takes some ten minutes on two cores: weeks 1-44 train, weeks 45-48 stop
the training, and the baskets of weeks 49-53 are asked once, beside popularity and personal
frequency. Data of your own are split as for every verb: by time, or by the last visit of each
user where the times say too little; which, is said. An option given here wins over the run
file. A run that was killed continues with --resume and ends with the same bits; --stop-now
closes it instead. Attention is faster with the extra `fast`."""
SASREC = """Train SASRec, the Transformer that HSTU is compared with, in the same way.

Data, measures and time are those of `adwright train hstu`."""


def sequence(
    config: Path | None = None,
    *,
    model: str | None = None,
    events: Path | None = None,
    out: Path | None = None,
    seed: Natural | None = None,
    epochs: Count | None = None,
    households: Annotated[float, Ge(0), Le(1)] | None = None,
    max_length: Count | None = None,
    blocks: Count | None = None,
    width: Count | None = None,
    search: Natural = 0,
    log_to: Literal["tensorboard", "mlflow"] | None = None,
    resume: bool = False,
    stop_now: bool = False,
    force: bool = False,
    dry_run: bool = False,
) -> None:
    """Train a sequence model to predict what a user takes next, measure it and save it.

    Data, measures and time are those of `adwright train hstu`, which is this verb with --model
    hstu.

    Options:
        config ([LOG|CONFIG]): A log, as --events takes it, or a run file in TOML.
        model: hstu or sasrec; by default the run file's, or hstu.
        events: Data of your own: Parquet or CSV with user_id, item_id and time, an imported
            log, or a folder with sequences.txt. Where there is a column kind, clicks and
            purchases count. Or a public log by name: complete-journey, movielens, open-bandit.
        out: Folder for the run and its model.
        seed: The same seed gives the same model.
        epochs: Passes over the data, at most; with --resume, also more.
        households: Share of Complete Journey's, for a quick run.
        max_length: Latest events that the model reads.
        blocks: Layers.
        width: Width of the vectors, a multiple of the heads.
        search: Trainings of a search for better settings.
    """
    from adwright.core.config import read_toml, to_jsonable
    from adwright.training.dry_run import plan_sequence
    from adwright.training.loop.trainee import trackers
    from adwright.training.sequential.run import run_sequence
    from adwright.training.sequential.runfile import names_journey, read_run, with_options

    config, events = config_or_log(config, events, option="--events")
    named = config is not None and bool(read_toml(config))
    named |= events is not None or households is not None
    asked = with_options(
        read_run(config, model, own=events is not None and not names_journey(events)),
        events=events,
        households=households,
        epochs=epochs,
        max_length=max_length,
        blocks=blocks,
        width=width,
        seed=seed,
        out=out,
    )
    callbacks = trackers([log_to] if log_to else [], asked.out)
    if dry_run:
        plan = plan_sequence(asked, resume=resume or stop_now, overwrite=force)
        typer.echo(json.dumps(to_jsonable(asked), indent=1))
        show_facts(plan, err=True)
        return
    if not named:
        work = "a download of 31 MB, and some ten minutes of two cores"
        agree_to_journey(f"train {asked.model.kind}", work, option="--events")
    result = run_sequence(
        asked,
        resume=resume,
        stop_now=stop_now,
        overwrite=allowed_to_replace(asked.out / "model", force=force) or force,
        callbacks=callbacks,
        search=search,
        tell=lambda sentence: typer.echo(f"Default: {sentence}"),
    )
    _show(result, publishable=False)


def one_model(model: str) -> Callable[..., None]:
    """`sequence` without --model: the verb of one model."""

    @wraps(sequence)
    def _verb(**given: Any) -> None:
        sequence(model=model, **given)

    signature = inspect.signature(sequence, eval_str=True)
    kept = [one for one in signature.parameters.values() if one.name != "model"]
    _verb.__signature__ = signature.replace(parameters=kept)  # type: ignore[attr-defined]
    return _verb


# --------------------------------------------------------------------------------------------------
# The group of `adwright train`, whose first verb may be left out.

app = typer.Typer(
    cls=DefaultGroup,
    help="Train a model, measure it and save it: DIN, the ranker, where no other is named.",
    rich_markup_mode="markdown",
)
verb(app, "din")(ranker.train)
verb(app, "sequence")(sequence)
verb(app, "hstu", text=HSTU)(one_model("hstu"))
verb(app, "sasrec", text=SASREC)(one_model("sasrec"))
verb(app, "popularity")(popularity)
verb(app, "item-item")(item_item)
verb(app, "cascade")(cascade)
verb(app, "two-tower")(two_tower)
verb(app, "hcn")(hcn)
