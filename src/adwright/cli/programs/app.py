"""adwright programs: serve, run and explain."""

from __future__ import annotations

import typer

from adwright.cli.programs.run import explain, run
from adwright.cli.programs.serve import serve
from adwright.cli.verbs import verb

app = typer.Typer(
    help=(
        "Programs of language-model calls that form a graph, run as one.\n\n"
        "A program is a JSON file: calls with templates, whose outputs are variables that other "
        "calls read. Begin with `adwright programs explain creative-team`, which shows the one "
        "that comes along, and `adwright programs run creative-team`."
    ),
    no_args_is_help=True,
    rich_markup_mode="markdown",
)
verb(app, "serve")(serve)
verb(app, "run")(run)
verb(app, "explain")(explain)
