"""adwright demo."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adwright.cli.shared import Offline, Seed, console, show_table

if TYPE_CHECKING:
    from adwright.training.demo import DemoResult

__all__ = ["demo", "register", "show"]


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("demo")(demo)


def demo(
    households: Annotated[
        float,
        typer.Option(
            "--households",
            min=0.001,
            max=1.0,
            help="Share of the 2,469 households; less is faster.",
        ),
    ] = 1.0,
    epochs: Annotated[int, typer.Option("--epochs", min=1, help="Passes over the data.")] = 1,
    negative_rate: Annotated[
        float,
        typer.Option(
            "--negative-rate",
            min=0.001,
            max=1.0,
            help="Share of the impressions without a response that training keeps; undone "
            "afterwards, so that probabilities stay true.",
        ),
    ] = 0.05,
    max_history: Annotated[
        int,
        typer.Option("--max-history", min=0, help="Most recent purchases to look at; 0 for all."),
    ] = 0,
    seed: Seed = 0,
    offline: Offline = False,
    out: Annotated[Path, typer.Option("--out", help="Folder for the ranker and the page.")] = Path(
        "runs/demo"
    ),
) -> None:
    """Train a ranker on a year of real promotions, and show what it would show to whom.

    Builds the response task of Complete Journey (downloaded once, 31 MB), trains the base model
    and the Deep Interest Network, measures them beside popularity, personal frequency and a
    logistic model of both, and names ten promoted products for each of three households, with
    the past purchases that activated them.
    """
    from adwright.training.demo import DemoConfig
    from adwright.training.demo import demo as run_demo

    config = DemoConfig(
        households=households,
        epochs=epochs,
        negative_rate=negative_rate,
        max_history=max_history,
        seed=seed,
        offline=offline,
        out=out,
    )
    show(run_demo(config))


def show(found: DemoResult) -> None:
    """Print the table of the demonstration, its households, and where to read on."""
    comparison = found.result.comparison
    show_table(
        comparison.header(),
        comparison.rows(),
        title="Test weeks, every impression; 95% intervals over households",
    )
    for household in found.households:
        typer.echo(
            f"\nHousehold {household.user_id} on {household.time:%d %B %Y}: "
            f"{household.candidates} promoted products at its shelves, {household.taken} taken; "
            f"{household.history:,} purchases before."
        )
        rows = [
            (
                shown.name,
                f"{shown.probability:.1%}",
                "yes" if shown.taken else "",
                "\n".join(f"{past.name} ×{past.count}" for past in shown.because),
            )
            for shown in household.shown
        ]
        show_table(("it would show", "probability", "taken", "activated by past purchases"), rows)
    seconds = sum(found.result.stages.values())
    console().print(f"\nDone in {seconds:.0f} s. The page to read: {found.page}", highlight=False)
    console().print(f"The ranker, to score with: {found.result.folder / 'ranker'}", highlight=False)
