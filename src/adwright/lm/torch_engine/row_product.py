"""A matrix of bfloat16 times one row, as fast as one thread reads the matrix.

    y = W x      W [out, in], x [in], y [out]: bfloat16, with sums in float32

torch's takes half as long again: it hands the product to a library that looks up how to do it in
each call, and it reads the matrix no faster than it comes by itself. Here the words are asked for
a page ahead. For processors that multiply pairs of bfloat16; numba, of the extra `fast`, compiles
it where it is first called, in less than a second.
"""

from __future__ import annotations

from typing import Any

import numba
from numba.core import types
from numba.extending import intrinsic

from adwright.core.vector_code import LANES, WORDS, Code

#: Numbers of a row that are multiplied at a time: `in` is a multiple of it.
_STEP = 2 * LANES
#: Bytes ahead of what is read. A page: the processor itself looks ahead only inside of one.
_AHEAD = 4096
#: Rows of W at a time: so many sums, which do not wait for each other.
_ROWS = 4


def _sums(rows: int) -> Any:
    """The intrinsic for so many rows of W: y, w, x are addresses, size is `in`."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        y, w, x, size = args
        code = Code(builder)
        starts = [code.at(w, builder.mul(size, code.whole(row)), 2) for row in range(rows)]

        def step(k: Any, *sums: Any) -> list[Any]:
            here = builder.mul(k, code.whole(2 * _STEP))
            seen = code.load(builder.add(x, here), WORDS)
            new = []
            for start, total in zip(starts, sums, strict=True):
                at = builder.add(start, here)
                code.fetch(code.at(at, _AHEAD, 1))
                new.append(code.multiply_pairs_add(code.load(at, WORDS), seen, total))
            return new

        steps = builder.sdiv(size, code.whole(_STEP))
        for row, total in enumerate(code.loop(steps, [code.fill(0.0)] * rows, step)):
            code.store_half(code.total(total), code.at(y, row, 2))
        return context.get_dummy_value()

    @intrinsic
    def sums(typing, y, w, x, size):
        return types.void(*([types.int64] * 4)), generate

    return sums


_several, _one = _sums(_ROWS), _sums(1)


@numba.njit(nogil=True)
def row_product(y, w, x, rows, size):
    """y = W x: addresses, each of numbers side by side, then out and in."""
    full = rows - rows % _ROWS
    for row in range(0, full, _ROWS):
        _several(y + 2 * row, w + 2 * row * size, x, size)
    for row in range(full, rows):
        _one(y + 2 * row, w + 2 * row * size, x, size)
