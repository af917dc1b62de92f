"""Options that tell which ads, and what of them: shared by the verbs of `adwright creative`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from adwright.cli.shared import column_pairs
from adwright.core.assets import cache_folder
from adwright.core.errors import ConfigError

if TYPE_CHECKING:
    from adwright.creative.records.ads_table import AdColumns, AdTable
    from adwright.creative.records.describe import DescribedTable


#: All that can be looked for.
LOOK_FOR = "colours,words,faces,tags"
#: Files that could not be read, at most so many are named.
_NAMED = 10


@dataclass(frozen=True)
class ChosenColumns:
    """The options that name columns. pairs: OURS=THEIRS,...; the others are their old forms."""

    pairs: str | None
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
        from adwright.creative.records.ads_table import AdColumns
        from adwright.data.table_door import table_specs

        pairs = column_pairs(self.pairs, several=("words",))
        table_specs("ads")["ad"].check_fields(pairs, also=("words",))
        words = None if self.words is None else [one for one in self.words if one]
        words = pairs.pop("words", words)
        return AdColumns(
            words=None if words is None else tuple(words),
            **{
                part: "".join(pairs[part]) if part in pairs else told
                for part, told in asdict(self).items()
                if part not in ("pairs", "words")
            },
        )


def opened_ads(source: Path, chosen: ChosenColumns, *, quiet: bool = False) -> AdTable:
    """The ads; what was guessed or put right is said, unless it was before (quiet)."""
    from adwright.creative.records.ads_table import read_ads

    table = read_ads(source, chosen.columns())
    for sentence in () if quiet else table.said:
        typer.echo(sentence, err=True)
    return table


def look_at(table: AdTable, wanted: str, *, offline: bool, dry_run: bool = False) -> DescribedTable:
    """What their files show; files that cannot be read are named, and harm no other. dry_run: the
    files stay closed."""
    from adwright.creative.records.describe import DescribedTable, Describer, describe_table
    from adwright.creative.records.media import PARTS, SeeingSettings

    if wanted.strip() == "nothing":
        return DescribedTable(table, 0, {})
    names = [name.strip() for name in wanted.split(",")]
    parts = tuple(part for part in PARTS if part in names)
    if unknown := [name for name in names if name not in parts]:
        raise ConfigError(
            f"nobody can look for {unknown[0]!r}",
            where="--look-for",
            hint=f"choose among {', '.join(PARTS)}, or nothing",
        )
    if dry_run:
        return DescribedTable(table, 0, {})
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
