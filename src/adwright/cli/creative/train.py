"""The group of `adwright creative train`."""

from __future__ import annotations

import typer

from adwright.cli.creative.clicks import clicks
from adwright.cli.creative.recall import recall
from adwright.cli.creative.writer import writer
from adwright.cli.verbs import verb

app = typer.Typer(
    help=(
        "Learn from ads whose clicks or whose recall was counted.\n\n"
        "Each leaves a run's folder that `score` and `explain` take as --model."
    ),
    no_args_is_help=True,
)
verb(app, "clicks")(clicks)
verb(app, "memorability", once="recall", was={"--of": "--trials"})(recall)
verb(app, "seed", once="writer", was={"--of": "--trials"})(writer)
