"""adwright author export and diff."""

from __future__ import annotations

from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from adwright.cli.shared import allowed_to_replace, show_table
from adwright.core.config import Natural
from adwright.core.errors import ConfigError

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
    out: Path | None = None,
    creatives: Path | None = None,
    every: bool = False,
    products: Path | None = None,
    force: bool = False,
) -> None:
    """Write the table of the products with the approved texts in it, in the shop's own columns.

    All other cells are as they came. `adwright author diff` shows before what changes, and
    `adwright author undo --export` takes the last export back.

        adwright author export drafts --out shop_new.csv
        adwright author export drafts --all --creatives ads.parquet

    Options:
        folder: Folder that `adwright author write` wrote to.
        out: The new table: .csv, .tsv, .txt, .jsonl or .parquet.
        creatives: Table of the ads that the texts make, .parquet or .csv, with who wrote each and
            from which it was made: `adwright creative score` judges them, `data import` takes them.
        every (--all): Drafts that wait for a decision, too; never rejected ones.
        products: The table, where it is no longer where the job found it.
    """
    from adwright.authoring.writer.exporting import creatives_of, export_texts

    if creatives is not None:
        from adwright.authoring.writer.drafts import Drafts
        from adwright.data.sources.tables import write_creatives

        allowed_to_replace(creatives, force=force)
        with closing(Drafts.open(folder, reading_only=True)) as drafts:
            ads = creatives_of(drafts, "all" if every else "approved")
        write_creatives(creatives, ads)
        typer.echo(f"{len(ads):,} ads in {creatives}")
    if out is None:
        if creatives is None:
            raise ConfigError(
                "nothing is to be written", where="--out", hint="name --out, --creatives or both"
            )
        return
    allowed_to_replace(out, force=force)
    which: ExportWhich = "all" if every else "approved"
    done = export_texts(folder, out, which=which, products=products)
    typer.echo(f"{done.texts:,} texts in {out}, {done.changed:,} cells changed")
    if done.missing:
        show_table(["no longer in the table"], [[one] for one in done.missing[:_SHOWN]])
