from __future__ import annotations

import json
from pathlib import Path

import pytest

from adwright.audit.catalogue import ShopCatalogue
from adwright.audit.watch import STATE_FORMAT, read_state, state_of, write_state
from adwright.core.errors import FileUnreadableError
from tests.support.audit.defended import kettles

SHOP = ShopCatalogue("kettles", "I want a kettle.", kettles())


def test_it_comes_back(tmp_path: Path) -> None:
    state = state_of(SHOP, [1, 2, 3, 4.5], target="rule", looks=3)
    assert read_state(tmp_path / "k.json") is None
    write_state(state, tmp_path / "k.json")
    again = read_state(tmp_path / "k.json")
    assert again == state
    assert again.listings["Delta"].rank == 4.5
    assert again.listings["Alpha"].attributes["Power"] == "900 W"
    assert state_of(SHOP, None, target="", looks=1).listings["Alpha"].rank is None


def test_any_text_of_a_seller_comes_back(tmp_path: Path) -> None:
    odd = SHOP.with_listing(0, kettles()[0].with_text("Description", "\ud800\u202e\n\x00日"))
    write_state(state_of(odd, None, target="", looks=1), tmp_path / "k.json")
    again = read_state(tmp_path / "k.json")
    assert again is not None
    assert again.listings["Alpha"].texts["Description"] == "\ud800\u202e\n\x00日"


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "[" * 5000, json.dumps({"format": STATE_FORMAT, "looks": "three"})]
)
def test_what_is_no_state_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "k.json").write_text(text)
    with pytest.raises(FileUnreadableError, match="no state of a watch"):
        read_state(tmp_path / "k.json")
