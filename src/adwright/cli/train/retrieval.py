"""adwright train cascade, two-tower and hcn."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adwright.cli.recommenders import opened_task, show_report
from adwright.cli.shared import (
    allowed_to_replace,
    show_table,
)
from adwright.cli.verbs import verb
from adwright.core.config import Count, Ge, Natural

if TYPE_CHECKING:
    from adwright.training.retrieval.run import RetrieverRun


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    verb(app, "cascade")(cascade)
    verb(app, "two-tower")(two_tower)
    verb(app, "hcn")(hcn)


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
    from adwright.training.run_settings import require_free, require_writable

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
