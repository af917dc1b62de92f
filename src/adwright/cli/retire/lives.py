"""Which lives the verbs of `adwright retire` are about, and how their periods are typed."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from adwright.core.atomic import atomic_write_text
from adwright.core.config import from_jsonable, settings, to_jsonable
from adwright.core.errors import ConfigError, FileUnreadableError

if TYPE_CHECKING:
    import polars as pl

    from adwright.creative.lifetime.lives import LifeRecord

__all__ = [
    "JOURNEY",
    "RECORD_FILE",
    "RecordOptions",
    "kept_options",
    "opened_lives",
    "period_of",
    "said_period",
]

#: What a run or a list was made from, in its folder.
RECORD_FILE = "record.json"

JOURNEY = "complete-journey"


@settings
class RecordOptions:
    """The record that was named, and how its lives are read. creatives: a table of what they show;
    where, share: of Complete Journey. The rest is of `DeliveryLives`."""

    record: str
    unit_of: Literal["creative", "ad"] = "creative"
    value: Literal["conversion_value", "conversions", "clicks"] | None = None
    currency: str | None = None
    creatives: Path | None = None
    where: Literal["store", "chain"] = "chain"
    share: float | None = None

    def keep(self, folder: Path) -> None:
        """Write them beside what was made from them."""
        atomic_write_text(folder / RECORD_FILE, json.dumps(to_jsonable(self), indent=1) + "\n")


def kept_options(folder: Path, record: str | None) -> RecordOptions:
    """Those of the folder of a run or a list, for another record where one is named.

    Raises FileUnreadableError where the folder says nothing.
    """
    path = folder / RECORD_FILE
    try:
        said = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise FileUnreadableError(
            f"this folder does not say what it was made from: {error}",
            file=str(path),
            hint="name a folder that `adwright retire` made",
        ) from error
    options = from_jsonable(RecordOptions, said, source=str(path))
    return options if record is None else replace(options, record=record)


def opened_lives(options: RecordOptions, *, offline: bool = False) -> LifeRecord:
    """The lives of a record of ads, or of Complete Journey. offline: never download.

    Raises as `opened_ads`, `DeliveryLives` and `CompleteJourney.open`.
    """
    if options.record == JOURNEY:
        from adwright.creative.lifetime.lives import JourneyLives
        from adwright.data.sources.complete_journey import CompleteJourney

        source = CompleteJourney.open(offline=offline)
        return JourneyLives(source, options.where, share=options.share)
    from adwright.cli.ads import opened_ads
    from adwright.creative.lifetime.delivery_spells import DeliverySpellConfig
    from adwright.creative.lifetime.lives import DeliveryLives

    return DeliveryLives(
        opened_ads(Path(options.record)),
        DeliverySpellConfig(unit_of=options.unit_of),
        value=options.value,
        currency=options.currency,
        creatives=None if options.creatives is None else _items(options.creatives),
    )


def period_of(lives: LifeRecord, text: str | None, option: str) -> int | None:
    """The period of the log that a user means: a day, as in 2026-03-31, or a number; None for None.

    Raises ConfigError for neither.
    """
    from adwright.creative.lifetime.lives import DeliveryLives

    if text is None:
        return None
    try:
        if isinstance(lives, DeliveryLives):
            return lives.period_of(date.fromisoformat(text))
        return int(text)
    except ValueError as error:
        how = "a day, as in 2026-03-31" if isinstance(lives, DeliveryLives) else "a week, as in 35"
        raise ConfigError(
            f"{text!r} is no {lives.log.unit} of this record", where=option, hint=f"write {how}"
        ) from error


def said_period(lives: LifeRecord, period: int) -> str:
    """A period as `period_of` takes it."""
    from adwright.creative.lifetime.lives import DeliveryLives

    return f"{lives.day_of(period)}" if isinstance(lives, DeliveryLives) else f"{period}"


def _items(path: Path) -> pl.DataFrame:
    from adwright.core.errors import SchemaError
    from adwright.data.sources.bounds import reading
    from adwright.data.sources.frames import as_frame

    lazy = as_frame(path).frame
    found = reading(path, lazy.collect)
    for name in ("creative_id", "item_id"):
        if name not in found.columns:
            raise SchemaError("the table of creatives lacks a column", file=str(path), column=name)
    return found
