"""adwright creative describe: what ads say and show, in fields and in sentences."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from adwright.cli.creative.ads import (
    LOOK_FOR,
    Ads,
    BrandColumn,
    ChosenColumns,
    IdColumn,
    ImageColumn,
    LookFor,
    SecondsColumn,
    TextColumn,
    TitleColumn,
    VideoColumn,
    WordsColumns,
    look_at,
    opened_ads,
)
from adwright.cli.shared import DryRun, Force, Offline, allowed_to_replace

__all__ = ["describe"]

_SHOWN = 5


def describe(  # noqa: PLR0913, PLR0917 - one argument per option
    ads: Ads,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Table of all records, .parquet; without it some are shown."),
    ] = None,
    id_column: IdColumn = None,
    title: TitleColumn = None,
    words: WordsColumns = None,
    brand: BrandColumn = None,
    seconds: SecondsColumn = None,
    image: ImageColumn = None,
    video: VideoColumn = None,
    text: TextColumn = None,
    look_for: LookFor = LOOK_FOR,
    offline: Offline = False,
    force: Force = False,
    dry_run: DryRun = False,
) -> None:
    """Write down what each ad says and shows: colours, words on the screen, faces, things, scenes.

    What was seen of a file is kept by its content, so a second look costs nothing. What could not
    be looked at is said, and never guessed. The table holds the record in fields and, as `text`,
    in sentences, which every other verb reads back with --text text.
    """
    from adwright.core.errors import ConfigError
    from adwright.creative.records.verbal.described_file import save_described
    from adwright.creative.records.verbal.verbalise import verbalised

    if out is not None and out.suffix.lower() != ".parquet":
        raise ConfigError(
            "records are written as Parquet", where=str(out), hint="name it something.parquet"
        )
    chosen = ChosenColumns(id_column, title, words, brand, seconds, image, video, text)
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
