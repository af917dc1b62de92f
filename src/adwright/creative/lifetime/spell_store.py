"""A SpellTable in a folder: an array a file, opened without reading it; texts as JSON.

FOLDER/
  table.json     texts, and what it was made from
  time.npy ...   an array each
"""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from adwright.core.atomic import atomic_folder, atomic_write_text
from adwright.core.errors import FileUnreadableError
from adwright.creative.lifetime.spell_table import SpellTable

__all__ = ["TABLE_FILE", "open_spells", "save_spells"]

TABLE_FILE = "table.json"
_FORMAT = 1
_TUPLES = ("causes", "number_names", "category_names", "vocabulary")


def save_spells(folder: str | Path, table: SpellTable, *, protocol: str = "") -> None:
    """Write `table` into a new folder. protocol: in words, what the units are.

    Raises ResourceError where the folder exists or the disk is full; nothing is left behind then.
    """
    with atomic_folder(folder) as new:
        texts: dict[str, Any] = {"format": _FORMAT, "protocol": protocol}
        for each in fields(table):
            value = getattr(table, each.name)
            if isinstance(value, np.ndarray):
                np.save(new / f"{each.name}.npy", value, allow_pickle=False)
            else:
                texts[each.name] = value
        atomic_write_text(new / TABLE_FILE, json.dumps(texts))


def open_spells(folder: str | Path) -> SpellTable:
    """The table in a folder; its arrays are read where they are used, and cannot be written to.

    Raises FileUnreadableError where it holds none, or one of another format.
    """
    path = Path(folder) / TABLE_FILE
    try:
        texts = json.loads(path.read_text(encoding="utf-8"))
        if texts.pop("format") != _FORMAT:
            raise ValueError("another format")
        texts.pop("protocol")
        for name in _TUPLES:
            texts[name] = tuple(texts[name])
        texts["category_values"] = tuple(map(tuple, texts["category_values"]))
        arrays: dict[str, Any] = {
            each.name: np.asarray(
                np.load(path.parent / f"{each.name}.npy", mmap_mode="r", allow_pickle=False)
            )
            for each in fields(SpellTable)
            if each.name not in texts
        }
        return SpellTable(**texts, **arrays)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise FileUnreadableError(
            f"this folder holds no readable table of spells: {error}",
            file=str(path),
            hint="build it again",
        ) from error
