"""Many ads, with a progress bar; one that cannot be read does not harm the others.

described = describe_all(describer, [AdFile("a.png", brand="Mill Lane"), AdFile("b.mp4")])
described.records            # AdRecord, or None where there is an error
described.errors             # {1: FileUnreadableError(...)}
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from adwright.core.errors import AdwrightError, ResourceError
from adwright.core.progress import progress
from adwright.creative.records.seeing.describe import Describer
from adwright.creative.records.verbal.record import AdRecord

__all__ = ["AdFile", "Described", "describe_all"]


@dataclass(frozen=True)
class AdFile:
    """An ad to be described. source: as `Describer.describe` takes it. name: for errors."""

    source: str | Path | bytes | None
    brand: str = ""
    title: str = ""
    words: str = ""
    name: str = ""


@dataclass(frozen=True)
class Described:
    """records: of each ad, None where it could not be read. errors: place of the ad to why, with
    the name of its file."""

    records: tuple[AdRecord | None, ...]
    errors: dict[int, AdwrightError]


def describe_all(describer: Describer, ads: Sequence[AdFile]) -> Described:
    """Describe each ad. Raises ResourceError where the cache cannot be written: that would go on
    for all of them."""
    records: list[AdRecord | None] = []
    errors: dict[int, AdwrightError] = {}
    with progress(len(ads), "describe", "ads") as bar:
        for place, ad in enumerate(ads):
            try:
                records.append(
                    describer.describe(
                        ad.source, brand=ad.brand, title=ad.title, words=ad.words, name=ad.name
                    )
                )
            except ResourceError:
                raise
            except AdwrightError as error:
                records.append(None)
                errors[place] = error
            bar.advance()
    return Described(tuple(records), errors)
