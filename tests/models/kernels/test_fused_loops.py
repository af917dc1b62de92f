"""Tiles may begin and end anywhere; what they compute is in test_hstu_fused."""

from __future__ import annotations

from adwright.models.kernels.fused_loops import LEAST, MOST


def test_tiles_are_whole_vectors_and_not_a_power_of_two_wide() -> None:
    for side in (LEAST, MOST):
        assert side % 16 == 0
        assert side // 16 % 2 == 1
