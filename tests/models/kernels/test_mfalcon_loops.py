"""Tiles may begin and end anywhere; what they compute is in test_falcon_fused."""

from __future__ import annotations

from adwright.core.vector_code import LANES
from adwright.models.kernels.mfalcon_loops import COLUMNS, ROWS


def test_tiles_are_whole_blocks_of_the_products() -> None:
    assert ROWS % 8 == 0
    assert COLUMNS % (2 * LANES) == 0
