"""Tiles may begin and end anywhere; what they compute is in test_falcon_fused."""

from __future__ import annotations

from adwright.models.falcon_tiles import COLUMNS, ROWS
from adwright.models.hstu_llvm import LANES


def test_tiles_are_whole_blocks_of_the_products() -> None:
    assert ROWS % 8 == 0
    assert COLUMNS % (2 * LANES) == 0
