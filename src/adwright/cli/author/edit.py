"""adwright author edit and undo."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import typer

from adwright.core.config import Natural


def edit(
    folder: Path,
    product: str,
    slot: str,
    text: str,
    *,
    variant: Natural = 0,
    reviewer: str = "",
) -> None:
    """Put a text of your own in the place of a draft. No job writes over it, unless --over-edits
    asks for that.

        adwright author edit out p17 headline "A quiet cup"

    Options:
        folder: Folder that `adwright author write` wrote to.
        product: Id of the product.
        slot: headline, description, ...
        text: The text that takes the place of the draft.
        variant: Which variant, from 0.
        reviewer: Who says so.
    """
    from adwright.authoring.writer.drafts import Drafts, ReviewDecision

    decision = ReviewDecision(product, slot, variant, "edit", text, reviewer=reviewer)
    with closing(Drafts.open(folder, existing=True)) as drafts:
        before = drafts.text(decision.key)
        drafts.decide(decision)
    typer.echo(f"- {before}\n+ {text}")


def undo(
    folder: Path,
    product: str = "",
    slot: str = "",
    *,
    variant: Natural = 0,
    export: bool = False,
) -> None:
    """Take back the last decision, or the last one about a text; or the last export.

    adwright author undo out

    adwright author undo out p17 headline

    adwright author undo out --export

    Options:
        folder: Folder that `adwright author write` wrote to.
        product: Id of the product; of the last decision.
        slot: headline, description, ...
        variant: Which variant, from 0.
        export: Take the last export back, and no decision.
    """
    from adwright.authoring.writer.drafts import Drafts
    from adwright.authoring.writer.exporting import undo_export
    from adwright.core.errors import ConfigError

    if export:
        typer.echo(f"{undo_export(folder)} is as it was before the export")
        return
    if bool(product) != bool(slot):
        raise ConfigError(
            "a text is named by product and slot", where="adwright author undo", hint="name both"
        )
    with closing(Drafts.open(folder, existing=True)) as drafts:
        key = drafts.undo((product, slot, variant) if product else None)
        now = drafts.states()[key].status
    typer.echo(f"{key[0]}, {key[1]}, variant {key[2]}: {now} again")
