"""The verbs of `adwright train`."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from adwright.cli import ranker
from adwright.cli.recommenders import opened_task, show_report
from adwright.cli.shared import (
    agree_to_journey,
    allowed_to_replace,
    config_or_log,
    show_facts,
    show_table,
)
from adwright.cli.verbs import DefaultGroup, verb
from adwright.core.config import Count, Ge, Le, Natural

if TYPE_CHECKING:
    from adwright.training.retrieval.run import RetrieverRun


# --------------------------------------------------------------------------------------------------
# adwright train item-item.


def item_item(
    log: str,
    *,
    out: Path = Path("runs/item-item"),
    seed: Natural = 0,
    offline: bool = False,
    force: bool = False,
    dry_run: bool = False,
) -> None:
    """Count which items are taken near each other, measure it and save it: a model in seconds.

    What a user took lately is looked up, and what is usually taken with it is recommended. Nothing
    is trained but a few settings, which are searched on validation. The model can be published and
    served at once, and is the rule that any network should beat first.

    Options:
        log: An imported log, the file that would be imported, a folder with sequences.txt, or a
            public log by name: complete-journey, movielens, open-bandit.
        out: Folder for the report and the model.
    """
    from adwright.data.history_kinds import again_in_words
    from adwright.data.schema import ACTION_KINDS
    from adwright.delivery.counted import train_item_item
    from adwright.delivery.training_log import open_history
    from adwright.training.dry_run import check_out
    from adwright.training.sequential.runfile import sequence_data

    data = sequence_data(opened_task(log, offline=offline))
    if dry_run:
        check_out(out, "model", (), resume=False, overwrite=force)
        sequences = data.sequences
        show_facts(
            {
                "users": f"{len(sequences):,}",
                "items": f"{sequences.items:,}",
                "events": f"{len(sequences.item):,}",
                "items come again": "yes" if data.allow_repeats else "no",
                "model": str(out / "model"),
            }
        )
        return
    replacing = allowed_to_replace(out / "model", force=force)
    known = open_history(log, ACTION_KINDS, offline=offline, tell=False).events
    result = train_item_item(
        data, out, log=log, events=known, seed=seed, overwrite=replacing or force
    )
    for line in again_in_words(result.again):
        typer.echo(f"Learned: {line}")
    comparison = result.comparison
    typer.echo(comparison.verdict())
    show_table(comparison.header(), comparison.rows(), title="Test; 95% intervals over users")
    typer.echo(f"Saved in {result.folder / 'model'} as {result.id[:16]}")
    typer.echo(f"Next: adwright publish {result.folder / 'model'} --models models --tenant shop")


# --------------------------------------------------------------------------------------------------
# adwright train popularity.


def popularity(
    log: str,
    *,
    out: Path = Path("runs/popularity"),
    seed: Natural = 0,
    offline: bool = False,
    force: bool = False,
    dry_run: bool = False,
) -> None:
    """Count what is taken most, of all time or lately, measure it and save it: the same order for
    everybody, in seconds.

    Whether events of long ago count less is chosen on validation. The model can be published and
    served at once, for who is new and for who wants a first answer before any model is trained.

    Options:
        log: An imported log, the file that would be imported, a folder with sequences.txt, or a
            public log by name: complete-journey, movielens, open-bandit.
        out: Folder for the report and the model.
    """
    from adwright.delivery.counted import train_popularity

    found = opened_task(log, offline=offline)
    task = found.task
    if dry_run:
        show_facts(
            {
                "users": f"{len(task.users):,}",
                "items": f"{len(task.items.ids):,}",
                "events": f"{len(task.item):,}",
                "model": str(out / "model"),
            }
        )
        return
    replacing = allowed_to_replace(out / "model", force=force)
    result = train_popularity(
        task,
        out,
        repeats=found.choices.repeats,
        log=log,
        seed=seed,
        overwrite=replacing or force,
    )
    typer.echo(f"Default: {result.why}")
    comparison = result.comparison
    typer.echo(comparison.verdict())
    show_table(comparison.header(), comparison.rows(), title="Test; 95% intervals over users")
    typer.echo(f"Saved in {result.folder / 'model'} as {result.id[:16]}")
    typer.echo(f"Next: adwright publish {result.folder / 'model'} --models models --tenant shop")


def cascade(
    log: str,
    *,
    out: Path = Path("runs/cascade"),
    minutes: Annotated[float, Ge(0)] = 5.0,
    seed: Natural = 0,
    offline: bool = False,
    resume: bool = False,
    force: bool = False,
    dry_run: bool = False,
) -> None:
    """Train a cascade on a log, measure it and save it: what serves is what validation favours.

    Item-item and popularity are counted, and models are trained as far as --minutes go. Every rule,
    every model alone and mixtures of them are tried on validation visits, and the order that serves
    is the best of them, the one with fewer models where they are alike. The test is asked once, and
    what serves is then fitted again to all events. A run that was killed continues with --resume,
    as does one that is given more --minutes.

    Options:
        log: An imported log, the file that would be imported, a folder with sequences.txt, or a
            public log by name: complete-journey, movielens, open-bandit.
        out: Folder for the run.
        minutes: Of the training thread's work on the processor; waiting does not count.
    """
    from adwright.core.clock import SystemClock
    from adwright.data.history_kinds import again_in_words
    from adwright.data.schema import ACTION_KINDS
    from adwright.delivery.funnel.build import FunnelConfig, build_funnel, plan_funnel
    from adwright.delivery.training_log import open_history
    from adwright.training.search import require_free, require_writable

    found, began = opened_task(log, offline=offline), SystemClock().monotonic()
    config = FunnelConfig(minutes=minutes, seed=seed)
    if dry_run:
        if not (resume or force):
            require_free(out / "config.json", "a build")
        require_writable(out)
        for sentence in plan_funnel(config):
            typer.echo(f"Plan: {sentence}")
        typer.echo(f"Would write {out}")
        return
    if resume and not (out / "config.json").exists():
        typer.echo(f"{out} holds no run yet: a new one begins")
        resume = False
    replacing = not resume and allowed_to_replace(out / "config.json", force=force)
    result = build_funnel(
        found.task,
        out,
        config,
        repeats=found.choices.repeats,
        log=log,
        events=open_history(log, ACTION_KINDS, offline=offline, tell=False).events,
        resume=resume,
        overwrite=replacing,
        tell=typer.echo,
    )
    known = result.funnel.histories
    for line in again_in_words(known.again or {} if known is not None else {}):
        typer.echo(f"Learned: {line}")
    typer.echo("")
    show_report(result.report)
    saved, taken = out / "deployment", sum(result.seconds.values()) / 60
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
    out: Path = Path("runs/two-tower"),
    epochs: Count | None = None,
    search: Natural = 0,
    second_task: Annotated[float, Ge(0)] | None = None,
    seed: Natural = 0,
    offline: bool = False,
    resume: bool = False,
    force: bool = False,
    dry_run: bool = False,
) -> None:
    """Train two towers to find what users take next, measure them beside the rules, and save them.

    A query is a user's history; items are embedded by what is known of them, so that new items can
    be found. Settings follow from the log and are printed. A run that was killed continues with
    --resume.

    Options:
        log: An imported log, the file that would be imported, a folder with sequences.txt, or a
            public log by name: complete-journey, movielens, open-bandit.
        out: Folder for the run.
        epochs: Passes over the data, at most; else as the data say.
        search: Trials of better settings on validation.
        second_task: Weight of the self-supervised task on items, 0 for none; else what
            validation favours, where labels are few.
    """
    from adwright.training.retrieval.run import RetrieverRun

    asked = RetrieverRun(
        model="two-tower",
        epochs=epochs,
        search=search,
        second_task=second_task,
        seed=seed,
        out=out,
        log=log,
    )
    _retriever(asked, offline, resume, force, dry_run)


def hcn(
    log: str,
    *,
    out: Path = Path("runs/hcn"),
    epochs: Count | None = None,
    search: Natural = 0,
    seed: Natural = 0,
    offline: bool = False,
    resume: bool = False,
    force: bool = False,
    dry_run: bool = False,
) -> None:
    """Train HCN, which keeps several interests of each user, in the same way as two-tower.

    Options:
        log: An imported log, the file that would be imported, a folder with sequences.txt, or a
            public log by name: complete-journey, movielens, open-bandit.
        out: Folder for the run.
        epochs: Passes over the data, at most; else as the data say.
        search: Trials of better settings on validation.
    """
    from adwright.training.retrieval.run import RetrieverRun

    asked = RetrieverRun(model="hcn", epochs=epochs, search=search, seed=seed, out=out, log=log)
    _retriever(asked, offline, resume, force, dry_run)


def _retriever(
    asked: RetrieverRun, offline: bool, resume: bool, force: bool, dry_run: bool
) -> None:
    from adwright.training.dry_run import check_out
    from adwright.training.retrieval.run import run_retriever, settings_of

    found, out = opened_task(asked.log, offline=offline), asked.out
    if dry_run:
        check_out(out, "model", [out / "run"], resume=resume, overwrite=force)
        for sentence in settings_of(asked, found.task):
            typer.echo(f"Default: {sentence}")
        typer.echo(f"Would write {out}")
        return
    replacing = allowed_to_replace(out / "model", force=force)
    result = run_retriever(
        asked,
        found.task,
        repeats=found.choices.repeats,
        resume=resume,
        overwrite=replacing or force,
        tell=lambda sentence: typer.echo(f"Default: {sentence}"),
    )
    if result.search is not None:
        show_table(result.search.header(), result.search.rows(), title="Search")
    comparison = result.comparison
    typer.echo(comparison.verdict())
    show_table(comparison.header(), comparison.rows(), title="Test; 95% intervals over users")
    if (fitted := result.artifact.fitted) is not None:
        typer.echo(f"Fitted to {fitted.text()}: what came later has chosen and measured it")
    typer.echo(f"Saved in {result.folder / 'model'} as {result.id[:16]}")
    typer.echo(f"Next: adwright publish {result.folder / 'model'} --models models --tenant shop")


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
    if result.search is not None:
        show_table(result.search.header(), result.search.rows(), title="Search")
    typer.echo((comparison := result.comparison).verdict())
    show_table(comparison.header(), comparison.rows(), title="Test; 95% intervals over users")
    if (fitted := result.artifact.fitted) is not None:
        typer.echo(f"Fitted to {fitted.text()}: what came later has chosen and measured it")
    typer.echo(f"Saved in {result.folder / 'model'} as {result.id[:16]}")


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
