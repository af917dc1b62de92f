"""Vector instructions do what their names say."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import pytest
from numba.core import types
from numba.extending import intrinsic

from adwright.core.vector_code import LANES, Code, has_pairs, has_wide_registers


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


@intrinsic
def _summed(typing: Any, to: Any, x: Any) -> Any:
    """to, a bfloat16: the sum of x."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        code = Code(builder)
        to, x = args
        code.fetch(code.at(x, 1 << 40))
        code.store_half(code.total(code.load(x)), to)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


@numba.njit
def _sum(to: Any, x: Any) -> None:
    _summed(to, x)


def test_a_sum_is_rounded_to_a_half() -> None:
    if not has_pairs():
        pytest.skip("this processor rounds to no bfloat16")
    to = np.zeros(1, np.uint32)
    for x in (np.linspace(0.5, 2, LANES), np.full(LANES, np.nan), np.full(LANES, -np.inf)):
        own = x.astype(np.float32)
        _sum(to.ctypes.data + 2, own.ctypes.data)  # the upper half of a float32
        np.testing.assert_allclose(to.view(np.float32)[0], own.sum(), rtol=2**-8)


def test_pairs_need_wide_registers() -> None:
    if not has_pairs():
        pytest.skip("this processor multiplies no pairs of bfloat16")
    assert has_wide_registers()
