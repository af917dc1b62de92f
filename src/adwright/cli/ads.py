"""adwright ads describe, import and duplicates."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer

from adwright.cli.shared import (
    allowed_to_replace,
    name_pairs,
    show_facts,
    show_table,
)
from adwright.cli.verbs import verb
from adwright.core.errors import FileUnreadableError

if TYPE_CHECKING:
    from adwright.creative.records.delivery import DeliveryRecord


app = typer.Typer(
    help=(
        "Bring in what an ad platform exports: ads, and how they did day by day.\n\n"
        "Break the report down by ad and by day, and do not open it in a spreadsheet before: that "
        "cuts ids off. Meta Ads Manager, Google Ads and TikTok Ads are told by their columns."
    ),
    no_args_is_help=True,
)


@verb(app, "describe")
def describe_ads(
    record: Path,
) -> None:
    """Count ads, creatives, days and spend; say what was repaired and what is odd.

    Options:
        record: An imported folder, or an export that can be read without options.
    """
    _show(opened_ads(record))


@verb(app, "import", by_place="out")
def import_ads(
    export: Path,
    *,
    out: Path,
    source: str | None = None,
    columns: str | None = None,
    date_format: str = "",
    time_zone: str = "",
    currency: str = "",
    decimal: Literal["", ".", ","] = "",
    gaps: Literal["zero", "refuse"] = "zero",
    repeats: Literal["refuse", "sum"] = "refuse",
    excess_clicks: Literal["refuse", "cap"] = "refuse",
    links: Path | None = None,
    force: bool = False,
    dry_run: bool = False,
) -> None:
    """Check an export row by row, say what was repaired and what is odd, and keep it as Parquet.

    What can be read in two ways is refused with its row, its column and what to do; nothing is
    dropped in silence.

    Options:
        export: The export: CSV, JSON lines or Parquet.
        out: Folder for the delivery record, in Parquet.
        source: The platform, meta, google or tiktok, or table for columns named as ours; without
            it, what the columns tell.
        columns: Which column is which, OURS=THEIRS,... as in ad_id=Anzeigen-ID.
        date_format: Of days that can be read in two ways, as in %d/%m/%Y.
        time_zone: Of the account, as in Europe/Paris: whose days are it.
        currency: Of the amounts, as in EUR, where the export says none.
        decimal: The sign before decimals, where it can be read in two ways.
        gaps: Days that an ad lacks in between: without delivery, or an error.
        repeats: Rows of one ad and day: an error, or parts that are added up.
        excess_clicks: More clicks than impressions: an error, or as many.
        links: Table of which creative was in which ad and when, for an export by ad.
    """
    from adwright.creative.records.delivery import save_delivery
    from adwright.creative.records.export_rows import DeliveryOptions
    from adwright.creative.records.import_delivery import import_delivery

    replacing = not dry_run and allowed_to_replace(out, force=force)
    options = DeliveryOptions(
        columns=name_pairs("--columns", columns) or {},
        date_format=date_format,
        time_zone=time_zone,
        currency=currency,
        decimal=decimal,
        gaps=gaps,
        repeats=repeats,
        excess_clicks=excess_clicks,
    )
    record = import_delivery(export, source=source, options=options, links=links, tell=False)
    _show(record)
    if dry_run:
        typer.echo(f"All rows are valid. Would write {out}")
        return
    save_delivery(out, record, overwrite=replacing)
    typer.echo(f"All rows are valid. Written to {out}")


@verb(app, "duplicates")
def duplicate_ads(
    record: Path,
    *,
    images: Path | None = None,
) -> None:
    """Name the creatives that are nearly the same: texts but for case, marks and spaces, and with
    --images looks but for size and compression.

    Options:
        record: An imported folder, or an export that can be read without options.
        images: Folder of the images, found by their content: compares looks, too; needs the
            extra `creative`.
    """
    from adwright.creative.records.duplicates import near_duplicates

    found = opened_ads(record).creatives
    looks = None if images is None else _looks_in(images, set(found["image_hash"].drop_nulls()))
    groups = near_duplicates(found, looks, by="text" if looks is None else "both")
    rest = groups.filter(groups["creative_id"] != groups["representative"])
    if rest.is_empty():
        typer.echo("No two creatives are nearly the same.")
        return
    rows = list(rest.select("creative_id", "representative").iter_rows())
    show_table(("creative", "nearly the same as"), rows)


def opened_ads(place: Path) -> DeliveryRecord:
    """The delivery record of an imported folder, or of an export that needs no options.

    Raises FileUnreadableError where there is neither, and as `open_delivery`, `import_delivery`.
    """
    from adwright.creative.records.delivery import open_delivery
    from adwright.creative.records.import_delivery import import_delivery

    if place.is_dir():
        return open_delivery(place)
    if not place.exists():
        raise FileUnreadableError(
            "there is no such record of ads",
            file=str(place),
            hint="name a folder of `adwright ads import`, or an export",
        )
    return import_delivery(place)


def _show(record: DeliveryRecord) -> None:
    found = record.summary()
    show_facts(found.facts())
    for sentence in found.sentences():
        typer.echo(sentence)


def _looks_in(folder: Path, wanted: set[str]) -> dict[str, int]:
    """Hash of the content -> look, of those images in the folder that the creatives have."""
    from adwright.creative.records.duplicates import perceptual_hash

    looks = {}
    for path in sorted(each for each in folder.rglob("*") if each.is_file()):
        content = path.read_bytes()
        name = hashlib.sha256(content).hexdigest()
        if name in wanted:
            looks[name] = perceptual_hash(content)
    typer.echo(f"{len(looks):,} of {len(wanted):,} images are in {folder}", err=True)
    return looks
