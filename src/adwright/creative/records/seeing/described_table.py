"""The ads of a table with their pictures and videos looked at.

    found = describe_table(read_ads("ads.csv"), Describer(cache="seen"))
    found.records[3].scenes, found.unread          # what it shows; files that could not be read

What the table says of an ad stays: its brand, title, words and length. A file that cannot be read
harms no other: its ad is then what the table says of it, and `absent` tells why nobody looked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from adwright.core.errors import AdwrightError
from adwright.creative.records.seeing.batch import AdFile, describe_all
from adwright.creative.records.seeing.describe import Describer
from adwright.creative.records.verbal.ads_table import AdTable
from adwright.creative.records.verbal.record import AdRecord

__all__ = ["DescribedTable", "describe_table"]


@dataclass(frozen=True)
class DescribedTable:
    """records: of each ad of the table. looked: how many files were looked at. unread: number of
    the ad to why its file could not be."""

    records: tuple[AdRecord, ...]
    looked: int
    unread: Mapping[int, AdwrightError]


def describe_table(table: AdTable, describer: Describer) -> DescribedTable:
    """Look at each file that the table names. Raises as `describe_all`."""
    rows = [row for row, media in enumerate(table.media) if media is not None]
    if not rows:
        return DescribedTable(table.records, 0, {})
    found = describe_all(describer, [_file(table, row) for row in rows])
    records, unread = list(table.records), {}
    for place, (row, seen) in enumerate(zip(rows, found.records, strict=True)):
        known = records[row]
        if seen is None:
            error = unread[row] = found.errors[place]
            records[row] = replace(known, absent=(*known.absent, ("media", error.what)))
        else:
            records[row] = _joined(known, seen)
    return DescribedTable(tuple(records), len(rows) - len(unread), unread)


def _file(table: AdTable, row: int) -> AdFile:
    known = table.records[row]
    media = table.media[row]
    return AdFile(media, known.brand, known.title, known.words, name=str(media))


def _joined(known: AdRecord, seen: AdRecord) -> AdRecord:
    """What was seen, with what the table says where it says something."""
    joined = replace(
        seen,
        seconds=seen.seconds if known.seconds is None else known.seconds,
        speech=known.speech or seen.speech,
        orientation=known.orientation or seen.orientation,
        pace=known.pace or seen.pace,
        motion=known.motion or seen.motion,
        scenes=known.scenes or seen.scenes,
    )
    told = [one for one in seen.absent if not getattr(known, one[0], "")]
    return replace(joined, absent=(*known.absent, *told))
