"""adwright author export and diff."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adwright.cli.author.options import JobFolder
from adwright.cli.shared import Force, allowed_to_replace, show_table

if TYPE_CHECKING:
    from adwright.authoring.writer.exporting import ExportWhich

__all__ = ["diff", "export"]

_SHOWN = 20

_All = Annotated[
    bool, typer.Option("--all", help="Drafts that wait for a decision, too; never rejected ones.")
]
_Products = Annotated[
    Path | None,
    typer.Option("--products", help="The table, where it is no longer where the job found it."),
]


def diff(
    folder: JobFolder,
    every: _All = False,
    products: _Products = None,
    limit: Annotated[int, typer.Option("--limit", min=0, help="Show so many; 0 for all.")] = 50,
) -> None:
    """Say what an export would change in the table, cell by cell. Nothing is written."""
    from adwright.authoring.writer.exporting import changes_in

    which: ExportWhich = "all" if every else "approved"
    changes = changes_in(folder, which=which, products=products)
    for one in islice(changes, limit or None):
        typer.echo(f"{one.product}: {one.column}\n  - {one.before}\n  + {one.after}")
    left = sum(1 for _ in changes)
    if left:
        typer.echo(f"and {left:,} more: --limit 0 shows all")


def export(
    folder: JobFolder,
    file: Annotated[
        Path, typer.Argument(help="The new table: .csv, .tsv, .txt, .jsonl or .parquet.")
    ],
    every: _All = False,
    products: _Products = None,
    force: Force = False,
) -> None:
    """Write the table of the products with the approved texts in it, in the shop's own columns.

    All other cells are as they came. `adwright author diff` shows before what changes, and
    `adwright author undo --export` takes the last export back.

        adwright author export out shop_new.csv
    """
    from adwright.authoring.writer.exporting import export_texts

    allowed_to_replace(file, force=force)
    which: ExportWhich = "all" if every else "approved"
    done = export_texts(folder, file, which=which, products=products)
    typer.echo(f"{done.texts:,} texts in {file}, {done.changed:,} cells changed")
    if done.missing:
        show_table(["no longer in the table"], [[one] for one in done.missing[:_SHOWN]])
