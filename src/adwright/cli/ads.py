"""adwright ads describe, import and duplicates."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from adwright.cli.shared import (
    DryRun,
    Force,
    allowed_to_replace,
    name_pairs,
    show_facts,
    show_table,
)
from adwright.core.errors import FileUnreadableError

if TYPE_CHECKING:
    from adwright.creative.records.delivery import DeliveryRecord

__all__ = ["app", "describe_ads", "duplicate_ads", "import_ads", "opened_ads"]

app = typer.Typer(
    help=(
        "Bring in what an ad platform exports: ads, and how they did day by day.\n\n"
        "Break the report down by ad and by day, and do not open it in a spreadsheet before: that "
        "cuts ids off. Meta Ads Manager, Google Ads and TikTok Ads are told by their columns."
    ),
    no_args_is_help=True,
)

Record = Annotated[
    Path,
    typer.Argument(help="An imported folder, or an export that can be read without options."),
]
Platform = Annotated[
    Literal["meta", "google", "tiktok", "table"] | None,
    typer.Option("--source", help="The platform; without it, what the columns tell."),
]
Columns = Annotated[
    str | None,
    typer.Option(
        "--columns", help="Which column is which, OURS=THEIRS,... as in ad_id=Anzeigen-ID."
    ),
]
DateFormat = Annotated[
    str,
    typer.Option("--date-format", help="Of days that can be read in two ways, as in %d/%m/%Y."),
]
TimeZone = Annotated[
    str, typer.Option("--time-zone", help="Of the account, as in Europe/Paris: whose days are it.")
]
Currency = Annotated[
    str, typer.Option("--currency", help="Of the amounts, as in EUR, where the export says none.")
]
Decimal = Annotated[
    Literal["", ".", ","],
    typer.Option("--decimal", help="The sign before decimals, where it can be read in two ways."),
]
Gaps = Annotated[
    Literal["zero", "refuse"],
    typer.Option("--gaps", help="Days that an ad lacks in between: without delivery, or an error."),
]
Repeats = Annotated[
    Literal["refuse", "sum"],
    typer.Option("--repeats", help="Rows of one ad and day: an error, or parts that are added up."),
]
ExcessClicks = Annotated[
    Literal["refuse", "cap"],
    typer.Option("--excess-clicks", help="More clicks than impressions: an error, or as many."),
]
Links = Annotated[
    Path | None,
    typer.Option(
        "--links", help="Table of which creative was in which ad and when, for an export by ad."
    ),
]


@app.command("describe")
def describe_ads(record: Record) -> None:
    """Count ads, creatives, days and spend; say what was repaired and what is odd."""
    _show(opened_ads(record))


@app.command("import")
def import_ads(  # noqa: PLR0913, PLR0917 - one argument per option
    export: Annotated[Path, typer.Argument(help="The export: CSV, JSON lines or Parquet.")],
    out: Annotated[Path, typer.Argument(help="Folder for the delivery record, in Parquet.")],
    source: Platform = None,
    columns: Columns = None,
    date_format: DateFormat = "",
    time_zone: TimeZone = "",
    currency: Currency = "",
    decimal: Decimal = "",
    gaps: Gaps = "zero",
    repeats: Repeats = "refuse",
    excess_clicks: ExcessClicks = "refuse",
    links: Links = None,
    force: Force = False,
    dry_run: DryRun = False,
) -> None:
    """Check an export row by row, say what was repaired and what is odd, and keep it as Parquet.

    What can be read in two ways is refused with its row, its column and what to do; nothing is
    dropped in silence.
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


@app.command("duplicates")
def duplicate_ads(
    record: Record,
    images: Annotated[
        Path | None,
        typer.Option(
            "--images",
            help="Folder of the images, found by their content: compares looks, too; needs the "
            "extra `creative`.",
        ),
    ] = None,
) -> None:
    """Name the creatives that are nearly the same: texts but for case, marks and spaces, and with
    --images looks but for size and compression."""
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
