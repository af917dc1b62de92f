"""adwright author export and diff."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from adwright.cli.shared import allowed_to_replace, show_table
from adwright.core.config import Natural

if TYPE_CHECKING:
    from adwright.authoring.writer.exporting import ExportWhich


_SHOWN = 20


def diff(
    folder: Path,
    *,
    every: bool = False,
    products: Path | None = None,
    limit: Natural = 50,
) -> None:
    """Say what an export would change in the table, cell by cell. Nothing is written.

    Options:
        folder: Folder that `adwright author write` wrote to.
        every (--all): Drafts that wait for a decision, too; never rejected ones.
        products: The table, where it is no longer where the job found it.
        limit: Show so many; 0 for all.
    """
    from adwright.authoring.writer.exporting import changes_in

    which: ExportWhich = "all" if every else "approved"
    changes = changes_in(folder, which=which, products=products)
    for one in islice(changes, limit or None):
        typer.echo(f"{one.product}: {one.column}\n  - {one.before}\n  + {one.after}")
    left = sum(1 for _ in changes)
    if left:
        typer.echo(f"and {left:,} more: --limit 0 shows all")


def export(
    folder: Path,
    *,
    out: Path,
    every: bool = False,
    products: Path | None = None,
    force: bool = False,
) -> None:
    """Write the table of the products with the approved texts in it, in the shop's own columns.

    All other cells are as they came. `adwright author diff` shows before what changes, and
    `adwright author undo --export` takes the last export back.

        adwright author export drafts --out shop_new.csv

    Options:
        folder: Folder that `adwright author write` wrote to.
        out: The new table: .csv, .tsv, .txt, .jsonl or .parquet.
        every (--all): Drafts that wait for a decision, too; never rejected ones.
        products: The table, where it is no longer where the job found it.
    """
    from adwright.authoring.writer.exporting import export_texts

    allowed_to_replace(out, force=force)
    which: ExportWhich = "all" if every else "approved"
    done = export_texts(folder, out, which=which, products=products)
    typer.echo(f"{done.texts:,} texts in {out}, {done.changed:,} cells changed")
    if done.missing:
        show_table(["no longer in the table"], [[one] for one in done.missing[:_SHOWN]])
