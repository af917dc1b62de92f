"""A table in a folder: what is written is read, and what is broken is said."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from adwright.core.errors import FileUnreadableError, ResourceError
from adwright.creative.lifetime.delivery_spells import delivery_spells
from adwright.creative.lifetime.spell_store import TABLE_FILE, open_spells, save_spells
from adwright.creative.lifetime.spell_table import SpellTable
from tests.support.data.deliveries import record


@pytest.fixture(scope="module")
def table() -> SpellTable:
    return delivery_spells(record()).table


def test_a_table_comes_back_as_it_was(table: SpellTable, tmp_path: Path) -> None:
    save_spells(tmp_path / "spells", table, protocol="lives of creatives")
    found = open_spells(tmp_path / "spells").check()
    for each in fields(table):
        one, two = getattr(table, each.name), getattr(found, each.name)
        if isinstance(one, np.ndarray):
            assert one.dtype == two.dtype
            np.testing.assert_array_equal(one, two)
        else:
            assert one == two
    said = json.loads((tmp_path / "spells" / TABLE_FILE).read_text())
    assert said["protocol"] == "lives of creatives"
    with pytest.raises(ResourceError):
        save_spells(tmp_path / "spells", table)


def test_a_table_without_clicks_has_none(table: SpellTable, tmp_path: Path) -> None:
    from dataclasses import replace

    save_spells(tmp_path / "spells", replace(table, clicks=None, shown=None))
    assert open_spells(tmp_path / "spells").clicks is None


@pytest.mark.parametrize("harm", ["absent", "text", "format", "array"])
def test_a_broken_folder_is_refused(table: SpellTable, tmp_path: Path, harm: str) -> None:
    folder = tmp_path / "spells"
    save_spells(folder, table)
    match harm:
        case "absent":
            (folder / TABLE_FILE).unlink()
        case "text":
            (folder / TABLE_FILE).write_text("[1]")
        case "format":
            said = json.loads((folder / TABLE_FILE).read_text())
            (folder / TABLE_FILE).write_text(json.dumps({**said, "format": 99}))
        case "array":
            (folder / "time.npy").write_bytes(b"nothing")
    with pytest.raises(FileUnreadableError, match="no readable table of spells"):
        open_spells(folder)
