"""The group of `adwright train`, whose first verb may be left out."""

from __future__ import annotations

import typer

from adwright.cli import ranker
from adwright.cli.default_group import DefaultGroup
from adwright.cli.train import item_item, popularity, retrieval, sequences
from adwright.cli.verbs import verb

__all__ = ["app"]

app = typer.Typer(
    cls=DefaultGroup,
    help="Train a model, measure it and save it: DIN, the ranker, where no other is named.",
    rich_markup_mode="markdown",
)
verb(app, "din")(ranker.train)
sequences.register(app)
popularity.register(app)
item_item.register(app)
retrieval.register(app)
