"""adwright author: texts for a catalogue, from its table to the table with new texts in it."""

from __future__ import annotations

import typer

from adwright.cli.author.bench import bench, codes
from adwright.cli.author.review import diff, edit, export, preferences, review, status, undo
from adwright.cli.author.write import data, describe, tune, write
from adwright.cli.verbs import verb

app = typer.Typer(
    help="Write ads and descriptions for a catalogue, review them, and put them into the shop's "
    "table.\n\n"
    "`write` asks a model, checks and mends; `review` or `edit` decide; `export` writes the table. "
    "`data` and `tune` make a model of your own for it.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

verb(app, "write", by_place="out", was={"--attributes": "--columns attributes=,"})(write)
verb(app, "bench")(bench)
verb(app, "codes")(codes)
for one in (status, review, edit, undo, diff):
    verb(app, one.__name__)(one)
verb(app, "export", by_place="out")(export)
verb(app, "preferences", by_place="out")(preferences)
verb(
    app,
    "evaluate",
    once="describe",
    was={"--seen": "--training-queries"},
    gone=dict.fromkeys(
        ("--arms", "--simulate-clicks"),
        "clicks of a log with propensities: adwright evaluate, see its help",
    ),
)(describe)
verb(
    app,
    "data",
    by_place="out",
    was={"--attribute-columns": "--columns attributes=,"},
    gone=dict.fromkeys(
        (
            *("--folder", "--pricerunner", "--intention", "--title-attributes", "--abt-buy"),
            *("--walmart-amazon", "--complete-journey", "--phrasings"),
        ),
        "rows are made of a table of products: --catalogue FILE",
    ),
)(data)
verb(app, "tune")(tune)
