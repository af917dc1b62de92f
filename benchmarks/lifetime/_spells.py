"""Spells of display at one landmark of each, as a table that is built once; its parts by time.

A table in a folder is an array a file, opened without reading it, and texts as JSON.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from adwright.core.atomic import atomic_folder, atomic_write_text
from adwright.core.errors import ResourceError
from adwright.core.hashing import content_hash
from adwright.creative.lifetime.spell_table import SpellTable, draw_ids
from adwright.creative.lifetime.spells import DisplayRecord, SpellWeeks, Units, Where
from adwright.data.sources.complete_journey import CompleteJourney

#: Of what spells are, in the name of their folder.
VERSION = 2
_TEXTS = "table.json"
_TUPLES = ("causes", "number_names", "category_names", "vocabulary")


@dataclass(frozen=True)
class SpellConfig:
    """where: see `DisplayRecord`. landmark: the week of a spell, from 1, at whose close its
    features are taken."""

    where: Where = "store"
    landmark: int = 1

    def units(self, record: DisplayRecord) -> Units:
        """All spells that reach it, but for those that ran when the data began."""
        return record.units(record.runs.first + self.landmark - 1)


class SpellParts(NamedTuple):
    """The parts of a split by start: each is a table, none knows what came after it."""

    train: SpellTable
    valid: SpellTable
    test: SpellTable


def build_spells(source: CompleteJourney, cache: Path, config: SpellConfig) -> SpellTable:
    """The units in a folder under `cache`, built on first use: about a minute of one core and 3 GB
    for all spells of the stores."""
    key = content_hash([config.where, config.landmark, VERSION])
    folder = cache / f"spells-{key[:16]}"
    if not folder.exists():
        record = DisplayRecord(source, config.where)
        try:
            _save(folder, record.table(config.units(record), float(config.landmark)))
        except ResourceError:
            if not folder.exists():  # another process was not faster
                raise
    return _opened(folder)


def weeks_of(source: CompleteJourney, config: SpellConfig) -> SpellWeeks:
    """The weeks of each of those units, up to its last."""
    record = DisplayRecord(source, config.where)
    return record.weeks(config.units(record).spell)


def split_by_start(table: SpellTable, valid_from: int, test_from: int) -> SpellParts:
    """What ended from `valid_from` on is censored there in training, likewise at `test_from` in
    validation."""
    train = table.take(table.start < valid_from).seen_before(valid_from)
    between = (table.start >= valid_from) & (table.start < test_from)
    valid = table.take(between).seen_before(test_from)
    return SpellParts(train, valid, table.take(table.start >= test_from))


def drawn_owners(table: SpellTable, share: float, seed: int) -> NDArray[np.int32]:
    """A share of the owners by a hash of their ids: the same ones of any table that has them."""
    drawn: NDArray[np.int32] = draw_ids(np.unique(table.owner), share, seed)
    return drawn


def of_owners(table: SpellTable, owners: NDArray[np.int32], *, others: bool = False) -> SpellTable:
    """The units of these owners, or of all others."""
    return table.take(np.isin(table.owner, owners) != others)


def _save(folder: Path, table: SpellTable) -> None:
    with atomic_folder(folder) as new:
        texts: dict[str, Any] = {}
        for each in fields(table):
            value = getattr(table, each.name)
            if isinstance(value, np.ndarray):
                np.save(new / f"{each.name}.npy", value, allow_pickle=False)
            else:
                texts[each.name] = value
        atomic_write_text(new / _TEXTS, json.dumps(texts))


def _opened(folder: Path) -> SpellTable:
    texts = json.loads((folder / _TEXTS).read_text(encoding="utf-8"))
    for name in _TUPLES:
        texts[name] = tuple(texts[name])
    texts["category_values"] = tuple(map(tuple, texts["category_values"]))
    arrays: dict[str, Any] = {
        each.name: np.asarray(np.load(folder / f"{each.name}.npy", mmap_mode="r"))
        for each in fields(SpellTable)
        if each.name not in texts
    }
    return SpellTable(**texts, **arrays)
