"""adwright creative annotate: what ads say and show, in fields and in sentences."""

from __future__ import annotations

from pathlib import Path

import typer

from adwright.cli.creative.ads import (
    LOOK_FOR,
    ChosenColumns,
    look_at,
    opened_ads,
)
from adwright.cli.shared import allowed_to_replace

_SHOWN = 5


def describe(
    ads: Path,
    *,
    out: Path | None = None,
    columns: str | None = None,
    id_column: str | None = None,
    title: str | None = None,
    words: list[str] | None = None,
    brand: str | None = None,
    seconds: str | None = None,
    image: str | None = None,
    video: str | None = None,
    text: str | None = None,
    look_for: str = LOOK_FOR,
    offline: bool = False,
    force: bool = False,
    dry_run: bool = False,
) -> None:
    """Write down what each ad says and shows: colours, words on the screen, faces, things, scenes.

    What was seen of a file is kept by its content, so a second look costs nothing. What could not
    be looked at is said, and never guessed. The table holds the record in fields and, as `text`,
    in sentences, which every other verb reads back with --text text.

    Options:
        ads: A table of ads (CSV, TSV, Parquet, JSON lines), a folder of images and videos, or
            one such file.
        out: Table of all records, .parquet; without it some are shown.
        columns: Which column is which, OURS=THEIRS,...: id, title, words (again for each), brand,
            seconds, image, video, text (in sentences, as `describe` writes them); image= for none.
            Others are guessed by their names.
        id_column (--id): Old: --columns id=.
        title: Old: --columns title=.
        words: Old: --columns words=.
        brand: Old: --columns brand=.
        seconds: Old: --columns seconds=.
        image: Old: --columns image=.
        video: Old: --columns video=.
        text: Old: --columns text=.
        look_for: What to look for in images and videos, by commas: colours, words, faces, tags;
            nothing leaves the files closed.
    """
    from adwright.core.errors import ConfigError
    from adwright.creative.records.ad_record import save_described, verbalised

    if out is not None and out.suffix.lower() != ".parquet":
        raise ConfigError(
            "records are written as Parquet", where=str(out), hint="name it something.parquet"
        )
    chosen = ChosenColumns(columns, id_column, title, words, brand, seconds, image, video, text)
    table = opened_ads(ads, chosen)
    files = sum(media is not None for media in table.media)
    if dry_run:
        typer.echo(f"{len(table):,} ads, {files:,} of them with a file to look at")
        if out is not None:
            typer.echo(f"Would write {out}")
        return
    if out is not None:
        allowed_to_replace(out, force=force)
    found = look_at(table, look_for, offline=offline)
    if out is None:
        for name, record in list(zip(table.ids, found.records, strict=True))[:_SHOWN]:
            typer.echo(f"{name}: {verbalised(record)}")
        if len(table) > _SHOWN:
            typer.echo(f"{len(table) - _SHOWN:,} more; write all with --out ads.parquet")
        return
    save_described(out, table.ids, found.records)
    typer.echo(f"{len(table):,} ads, {found.looked:,} files looked at: saved in {out}")
    typer.echo(f"Next: adwright creative score {out} --text text --model RUN")
