"""adwright author preferences."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import typer

from adwright.cli.shared import allowed_to_replace
from adwright.core.errors import DataError


def preferences(
    folder: Path,
    *,
    out: Path,
    force: bool = False,
) -> None:
    """Write what reviewers preferred, as data that a model learns from.

    An edit is preferred to its draft, and an approved or edited text to a rejected variant of the
    same slot. Each line has `chosen` and `rejected`, both conversations that begin with what the
    model was asked.

        adwright author preferences drafts --out preferences.jsonl

        adwright tune run --data preferences.jsonl --messages-field chosen --out tuned

    Options:
        folder: What `adwright author review` was given.
        out: File of JSON lines to write.
    """
    from adwright.authoring.preferences import preferences as preferences_of
    from adwright.authoring.writer.drafts import Drafts
    from adwright.core.atomic import atomic_write_text

    with closing(Drafts.open(folder, reading_only=True)) as drafts:
        found = preferences_of(drafts)
    if found.unknown:
        typer.echo(
            f"{found.unknown:,} left out: what the model was asked for them is not in the journal",
            err=True,
        )
    if not found.rows:
        raise DataError(
            "no decision tells of a preference",
            file=str(folder),
            hint="edit drafts, or reject one variant and approve another: `adwright author review`",
        )
    allowed_to_replace(out, force=force)
    lines = (json.dumps(row.as_json(), ensure_ascii=False) + "\n" for row in found.rows)
    atomic_write_text(out, "".join(lines))
    edits = sum(row.kind == "edit" for row in found.rows)
    typer.echo(f"{len(found.rows):,} preferences ({edits:,} edits) in {out}")
