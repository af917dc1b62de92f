"""Tiles may begin and end anywhere; what they compute is in test_falcon_fused."""

from __future__ import annotations

from adwright.models.kernels.mfalcon_loops import COLUMNS, ROWS
from adwright.models.kernels.vector_code import LANES


def test_tiles_are_whole_blocks_of_the_products() -> None:
    assert ROWS % 8 == 0
    assert COLUMNS % (2 * LANES) == 0
