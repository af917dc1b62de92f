"""Options that tell which ads, and what of them: shared by the verbs of `adwright creative`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adwright.core.assets import cache_folder
from adwright.core.errors import ConfigError

if TYPE_CHECKING:
    from adwright.creative.records.seeing.described_table import DescribedTable
    from adwright.creative.records.verbal.ads_table import AdColumns, AdTable

__all__ = [
    "LOOK_FOR",
    "Ads",
    "BrandColumn",
    "ChosenColumns",
    "IdColumn",
    "ImageColumn",
    "LookFor",
    "SecondsColumn",
    "TextColumn",
    "TitleColumn",
    "VideoColumn",
    "WordsColumns",
    "look_at",
    "opened_ads",
]

#: All that can be looked for.
LOOK_FOR = "colours,words,faces,tags"
#: Files that could not be read, at most so many are named.
_NAMED = 10

Ads = Annotated[
    Path,
    typer.Argument(
        help="A table of ads (CSV, TSV, Parquet, JSON lines), a folder of images and videos, or "
        "one such file."
    ),
]
IdColumn = Annotated[
    str | None, typer.Option("--id", help="Column of ids. Columns that are not named are guessed.")
]
TitleColumn = Annotated[str | None, typer.Option("--title", help="Column of headlines.")]
WordsColumns = Annotated[
    list[str] | None, typer.Option("--words", help="Column of other text; repeat it for several.")
]
BrandColumn = Annotated[str | None, typer.Option("--brand", help="Column of brands.")]
SecondsColumn = Annotated[
    str | None, typer.Option("--seconds", help="Column of a video's length in seconds.")
]
ImageColumn = Annotated[
    str | None, typer.Option("--image", help="Column of paths of images, '' for none.")
]
VideoColumn = Annotated[
    str | None, typer.Option("--video", help="Column of paths of videos, '' for none.")
]
TextColumn = Annotated[
    str | None,
    typer.Option("--text", help="Column of ads in sentences, as `describe` writes them."),
]
LookFor = Annotated[
    str,
    typer.Option(
        "--look-for",
        help="What to look for in images and videos, by commas: colours, words, faces, tags; "
        "nothing leaves the files closed.",
    ),
]


@dataclass(frozen=True)
class ChosenColumns:
    """The options that name columns."""

    id: str | None
    title: str | None
    words: list[str] | None
    brand: str | None
    seconds: str | None
    image: str | None
    video: str | None
    text: str | None

    def columns(self) -> AdColumns:
        """As the reader of ads takes them."""
        from adwright.creative.records.verbal.ads_table import AdColumns

        return AdColumns(
            id=self.id,
            title=self.title,
            words=None if self.words is None else tuple(one for one in self.words if one),
            brand=self.brand,
            seconds=self.seconds,
            image=self.image,
            video=self.video,
            text=self.text,
        )


def opened_ads(source: Path, chosen: ChosenColumns) -> AdTable:
    """The ads; what was guessed or put right is said."""
    from adwright.creative.records.verbal.ads_table import read_ads

    table = read_ads(source, chosen.columns())
    for sentence in table.said:
        typer.echo(sentence, err=True)
    return table


def look_at(table: AdTable, wanted: str, *, offline: bool) -> DescribedTable:
    """What their files show; files that cannot be read are named, and harm no other."""
    from adwright.creative.records.seeing.describe import Describer
    from adwright.creative.records.seeing.described_table import DescribedTable, describe_table
    from adwright.creative.records.seeing.settings import PARTS, SeeingSettings

    if wanted.strip() == "nothing":
        return DescribedTable(table.records, 0, {})
    names = [name.strip() for name in wanted.split(",")]
    parts = tuple(part for part in PARTS if part in names)
    if unknown := [name for name in names if name not in parts]:
        raise ConfigError(
            f"nobody can look for {unknown[0]!r}",
            where="--look-for",
            hint=f"choose among {', '.join(PARTS)}, or nothing",
        )
    settings = SeeingSettings(parts=parts, offline=offline)
    found = describe_table(table, Describer(cache=cache_folder() / "seen", settings=settings))
    for row, error in list(found.unread.items())[:_NAMED]:
        typer.echo(f"{table.ids[row]}: {error}", err=True)
    if found.unread:
        typer.echo(
            f"{len(found.unread):,} of {len(found.unread) + found.looked:,} files could not be "
            "read; of these ads only the table speaks",
            err=True,
        )
    return found
