"""adwright author edit and undo."""

from __future__ import annotations

from contextlib import closing
from typing import Annotated

import typer

from adwright.cli.author.options import JobFolder

__all__ = ["edit", "undo"]

_Variant = Annotated[int, typer.Option("--variant", min=0, help="Which variant, from 0.")]


def edit(
    folder: JobFolder,
    product: Annotated[str, typer.Argument(help="Id of the product.")],
    slot: Annotated[str, typer.Argument(help="headline, description, ...")],
    text: Annotated[str, typer.Argument(help="The text that takes the place of the draft.")],
    variant: _Variant = 0,
    reviewer: Annotated[str, typer.Option("--reviewer", help="Who says so.")] = "",
) -> None:
    """Put a text of your own in the place of a draft. No job writes over it, unless --over-edits
    asks for that.

        adwright author edit out p17 headline "A quiet cup"
    """
    from adwright.authoring.writer.draft import ReviewDecision
    from adwright.authoring.writer.drafts import Drafts

    decision = ReviewDecision(product, slot, variant, "edit", text, reviewer=reviewer)
    with closing(Drafts.open(folder, existing=True)) as drafts:
        before = drafts.text(decision.key)
        drafts.decide(decision)
    typer.echo(f"- {before}\n+ {text}")


def undo(
    folder: JobFolder,
    product: Annotated[str, typer.Argument(help="Id of the product; of the last decision.")] = "",
    slot: Annotated[str, typer.Argument(help="headline, description, ...")] = "",
    variant: _Variant = 0,
    export: Annotated[
        bool, typer.Option("--export", help="Take the last export back, and no decision.")
    ] = False,
) -> None:
    """Take back the last decision, or the last one about a text; or the last export.

    adwright author undo out

    adwright author undo out p17 headline

    adwright author undo out --export
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
