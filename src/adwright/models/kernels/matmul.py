"""Small matrix products for tiles in the cache.

A product is fast only where a block of sums stays in registers. So a block of eight rows times
two vectors is written in vector instructions,

    c[m, n] (+)= sum_k a[m, k] b[k, n]

where rows of b and c are read as vectors and elements of a one at a time, so a may be
transposed for nothing. Elements of a and b are words of 32 bits: one float32, or, where the
processor multiplies those (AVX512_BF16), two bfloat16 that are neighbours along k, which is
then half as long. Sums are float32.
"""

from __future__ import annotations

from typing import Any

import numba
from numba.core import types
from numba.extending import intrinsic

from adwright.core.vector_code import (
    FLOATS,
    LANES,
    WORDS,
    Code,
    has_pairs,
    has_wide_registers,
)

__all__ = ["add_pairs", "add_words", "set_pairs", "set_words"]

#: Rows and vectors of the block of sums: as many registers as there are.
ROWS, VECTORS = (8, 2) if has_wide_registers() else (4, 1)


def _block(vectors: int, pairs: bool, keep: bool) -> Any:
    """The intrinsic for ROWS rows and so many vectors of c, which it adds to, or replaces."""
    cells = [(row, vector) for row in range(ROWS) for vector in range(vectors)]

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        c, ldc, a, a_row, a_step, b, ldb, panel, steps = args
        code = Code(builder)
        places = [
            code.at(code.at(c, builder.mul(ldc, code.whole(row))), vector * LANES)
            for row, vector in cells
        ]

        def step(k: Any, *sums: Any) -> list[Any]:
            b_now = code.at(b, builder.mul(k, ldb))
            a_now = code.at(a, builder.mul(k, a_step))
            b_rows = [
                code.load(code.at(b_now, builder.mul(panel, code.whole(v))), WORDS)
                for v in range(vectors)
            ]
            a_words = [
                code.spread_at(code.at(a_now, builder.mul(a_row, code.whole(row))))
                for row in range(ROWS)
            ]
            new = []
            for (row, vector), total in zip(cells, sums, strict=True):
                one, other = a_words[row], b_rows[vector]
                if pairs:
                    new.append(code.multiply_pairs_add(one, other, total))
                else:
                    one, other = builder.bitcast(one, FLOATS), builder.bitcast(other, FLOATS)
                    new.append(code.multiply_add(one, other, total))
            return new

        start = [code.load(place) if keep else code.fill(0.0) for place in places]
        for place, total in zip(places, code.loop(steps, start, step), strict=True):
            code.store(total, place)
        return context.get_dummy_value()

    @intrinsic
    def block(typing, c, ldc, a, a_row, a_step, b, ldb, panel, steps):
        return types.void(*([types.int64] * 9)), generate

    return block


def _product(pairs: bool, keep: bool) -> Any:
    wide, narrow = _block(VECTORS, pairs, keep), _block(1, pairs, keep)
    columns = VECTORS * LANES

    @numba.njit(nogil=True)
    def product(c, ldc, a, a_row, a_step, b, ldb, panel, m, n, steps):
        full = n - n % columns
        for column in range(0, full, columns):
            b_now = b + 4 * panel * (column // LANES)
            for row in range(0, m, ROWS):
                c_now, a_now = c + 4 * (row * ldc + column), a + 4 * row * a_row
                wide(c_now, ldc, a_now, a_row, a_step, b_now, ldb, panel, steps)
        for column in range(full, n, LANES):
            b_now = b + 4 * panel * (column // LANES)
            for row in range(0, m, ROWS):
                c_now, a_now = c + 4 * (row * ldc + column), a + 4 * row * a_row
                narrow(c_now, ldc, a_now, a_row, a_step, b_now, ldb, panel, steps)

    return product


#: add_words(c, ldc, a, a_row, a_step, b, ldb, panel, m, n, steps): c += a b for float32 words.
#: c, a, b: addresses; the rest counts words. ldc, ldb: from one row to the next. a_row, a_step:
#: from one row and from one k of a to the next. panel: from one vector of b's row to the next.
#: m: a multiple of ROWS; n: of LANES; steps: the length of k, at least 1.
add_words, set_words = _product(False, True), _product(False, False)
#: The same for pairs of bfloat16, where the processor has them; set_: c = a b.
add_pairs = _product(True, True) if has_pairs() else add_words
set_pairs = _product(True, False) if has_pairs() else set_words
