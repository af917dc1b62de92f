"""The group of `adwright creative`."""

from __future__ import annotations

import typer

from adwright.cli.creative.describe import describe

__all__ = ["app"]

app = typer.Typer(
    help=(
        "Will an ad be clicked, will it be remembered, and what of it says so?\n\n"
        "`describe` writes down what ads say and show. `train` learns from ads whose clicks or "
        "recall were counted, `score` answers for new ones, with intervals, and `explain` shows "
        "on a page what moved each answer. `improve` writes ads that are remembered better."
    ),
    no_args_is_help=True,
)
app.command("describe")(describe)
