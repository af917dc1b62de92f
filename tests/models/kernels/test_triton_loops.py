"""The loops for CUDA need triton, which comes with torch for CUDA; see test_hstu_triton."""

from __future__ import annotations

import pytest


def test_the_loops_are_there_where_triton_is() -> None:
    pytest.importorskip("triton", reason="triton comes with torch for CUDA, and is not here")
    from adwright.models.kernels import triton_loops as hstu_triton_loops

    for name in ("forward", "backward_rows", "backward_columns"):
        assert hasattr(hstu_triton_loops, name)
