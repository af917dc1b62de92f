"""Vector instructions do what their names say."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import pytest
from numba.core import types
from numba.extending import intrinsic

from adwright.models.kernels.vector_code import LANES, Code, has_pairs, has_wide_registers


@intrinsic
def _powers(typing: Any, to: Any, x: Any, steps: Any) -> Any:
    """to = x to the power of steps + 1, by a loop that carries a vector."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        code = Code(builder)
        to, x, steps = args
        base = code.load(x)
        zero = code.fill(0.0)
        (last,) = code.loop(steps, [base], lambda i, old: [code.multiply_add(old, base, zero)])
        code.store(last, code.at(to, 0))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), generate


@numba.njit
def _run(to: Any, x: Any, steps: Any) -> None:
    _powers(to, x, steps)


def test_a_loop_carries_vectors() -> None:
    x, to = np.linspace(0.5, 2, LANES, dtype=np.float32), np.zeros(LANES, np.float32)
    _run(to.ctypes.data, x.ctypes.data, 3)
    np.testing.assert_allclose(to, x**4, rtol=1e-6)


def test_pairs_need_wide_registers() -> None:
    if not has_pairs():
        pytest.skip("this processor multiplies no pairs of bfloat16")
    assert has_wide_registers()
