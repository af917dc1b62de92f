"""adwright author: texts for a catalogue, from its table to the table with new texts in it."""

from __future__ import annotations

import typer

from adwright.cli.author.edit import edit, undo
from adwright.cli.author.export import diff, export
from adwright.cli.author.status import status
from adwright.cli.author.write import write

__all__ = ["app"]

app = typer.Typer(
    help="Write ads and descriptions for a catalogue, review them, and put them into the shop's "
    "table.\n\n"
    "`write` asks a model, checks and mends; `review` or `edit` decide; `export` writes the table.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

for verb in (write, status, edit, undo, diff, export):
    app.command(verb.__name__)(verb)
