"""SiLU of a tile of scores, and its slope, in one pass of vector instructions.

With x = alpha s + bias and g = sigmoid(x), forward p = x g mask and backward
ds = dp (g + x g (1 - g)) mask. The exponential is 2^n times a polynomial for 2^f, n + f being
-x / ln 2 and |f| at most a half.

Results are float32 in place or, where the products take pairs of bfloat16, rounded to those in
the orders that the products read: by row, with neighbours of a row as a pair, and across, with
one number from each of two rows as a pair.

bias, mask and d_bias are read and written at every place where their step is 1, and at their
first vector where it is 0: a tile without a bias or a mask hands a vector of zeros or of ones.

Small matrix products for tiles in the cache.

A product is fast only where a block of sums stays in registers. So a block of eight rows times
two vectors is written in vector instructions,

    c[m, n] (+)= sum_k a[m, k] b[k, n]

where rows of b and c are read as vectors and elements of a one at a time, so a may be
transposed for nothing. Elements of a and b are words of 32 bits: one float32, or, where the
processor multiplies those (AVX512_BF16), two bfloat16 that are neighbours along k, which is
then half as long. Sums are float32.
"""

from __future__ import annotations

import math
from typing import Any

import numba
from numba.core import types
from numba.extending import intrinsic

from adwright.core.vector_code import (
    FLOATS,
    HALVES,
    LANES,
    WORDS,
    Code,
    has_pairs,
    has_wide_registers,
)

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


# 2^f for |f| <= 1/2, through Chebyshev points: relative errors 1e-4 and 3e-9. The first is a
# fortieth of what rounding to bfloat16 costs.
SHORT = (0.999924557, 0.6931367339, 0.2426394785, 0.05583828295)
LONG = (
    1.0,
    0.6931472067,
    0.2402265092,
    0.05550327227,
    0.009618056679,
    0.001340042818,
    0.0001546144468,
)


def _sigmoid(code: Code, x: Any, short: bool) -> Any:
    """1 / (1 + exp(-x))."""
    builder = code.builder
    power = builder.fmul(x, code.fill(-1 / math.log(2)))
    for limit, order in ((126.0, "<"), (-126.0, ">")):
        inside = builder.fcmp_ordered(order, power, code.fill(limit))
        power = builder.select(inside, power, code.fill(limit))
    whole = code.call(f"llvm.nearbyint.v{LANES}f32", FLOATS, power)
    rest = builder.fsub(power, whole)
    *lower, top = SHORT if short else LONG
    value = code.fill(top)
    for coefficient in reversed(lower):
        value = code.multiply_add(value, rest, code.fill(coefficient))
    exponent = builder.shl(builder.fptosi(whole, WORDS), code.bits(23))
    value = builder.bitcast(builder.add(builder.bitcast(value, WORDS), exponent), FLOATS)
    below = builder.fadd(value, code.fill(1.0))
    if not has_wide_registers():
        return builder.fdiv(code.fill(1.0), below)
    # A guess of 14 bits, and a step of Newton's for 24: half the time of a division.
    guess = code.reciprocal(below)
    if short:
        return guess
    error = code.multiply_add(builder.fneg(below), guess, code.fill(1.0))
    return code.multiply_add(guess, error, guess)


def _silu(code: Code, s: Any, bias: Any, alpha: Any, short: bool) -> tuple[Any, Any]:
    """x g and g of the module's docstring."""
    x = code.multiply_add(s, alpha, bias)
    gate = _sigmoid(code, x, short)
    return code.builder.fmul(x, gate), gate


def _slope(code: Code, dp: Any, weight: Any, gate: Any) -> Any:
    """dp (g + x g (1 - g))."""
    builder = code.builder
    rise = code.multiply_add(weight, builder.fsub(code.fill(1.0), gate), gate)
    return builder.fmul(dp, rise)


def _rounded(code: Code, x: Any) -> Any:
    """Words whose upper halves are x as bfloat16."""
    return code.builder.add(code.builder.bitcast(x, WORDS), code.bits(0x8000))


def _upper(code: Code, words: Any) -> Any:
    return code.builder.lshr(words, code.bits(16))


def _store_half(code: Code, words: Any, address: Any) -> None:
    code.store(code.builder.trunc(_upper(code, words), HALVES), address)


def _across(code: Code, first: Any, second: Any) -> Any:
    """One pair of each place of two rows."""
    builder = code.builder
    return builder.or_(_upper(code, first), builder.and_(second, code.bits(-65536)))


class _Tile:
    """Reads and writes vectors of a tile; see the module's docstring for the steps."""

    def __init__(self, code: Code, bias: Any, bias_step: Any, mask: Any, mask_step: Any) -> None:
        self.code = code
        self.given = {"bias": (bias, bias_step), "mask": (mask, mask_step)}

    def read(self, name: str, place: Any) -> Any:
        address, step = self.given[name]
        return self.code.load(self.code.at(address, self.code.builder.mul(place, step)))

    def add(self, address: Any, step: Any, place: Any, value: Any) -> None:
        address = self.code.at(address, self.code.builder.mul(place, step))
        self.code.store(self.code.builder.fadd(self.code.load(address), value), address)


def _weigh(pairs: bool) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        s, bias, bias_step, mask, mask_step, alpha, halves, size = args
        code = Code(builder)
        tile, factor = _Tile(code, bias, bias_step, mask, mask_step), code.spread(alpha)

        def vector(i: Any) -> list[Any]:
            place = builder.mul(i, code.whole(LANES))
            scores = code.load(code.at(s, place))
            weight, _ = _silu(code, scores, tile.read("bias", place), factor, pairs)
            weight = builder.fmul(weight, tile.read("mask", place))
            if pairs:
                _store_half(code, _rounded(code, weight), code.at(halves, place, 2))
            else:
                code.store(weight, code.at(s, place))
            return []

        code.loop(builder.sdiv(size, code.whole(LANES)), [], vector)
        return context.get_dummy_value()

    @intrinsic
    def weigh(typing, s, bias, bias_step, mask, mask_step, alpha, halves, size):
        long = types.int64
        return types.void(*([long] * 5), types.float32, long, long), generate

    return weigh


def _slope_words() -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        s, dp, d_bias, bias, bias_step, mask, mask_step, alpha, size = args
        code = Code(builder)
        tile, factor = _Tile(code, bias, bias_step, mask, mask_step), code.spread(alpha)

        def vector(i: Any) -> list[Any]:
            place = builder.mul(i, code.whole(LANES))
            scores, above = code.load(code.at(s, place)), code.load(code.at(dp, place))
            weight, gate = _silu(code, scores, tile.read("bias", place), factor, False)
            seen = tile.read("mask", place)
            below = builder.fmul(_slope(code, above, weight, gate), seen)
            code.store(builder.fmul(weight, seen), code.at(s, place))
            code.store(below, code.at(dp, place))
            tile.add(d_bias, bias_step, place, below)
            return []

        code.loop(builder.sdiv(size, code.whole(LANES)), [], vector)
        return context.get_dummy_value()

    @intrinsic
    def slope(typing, s, dp, d_bias, bias, bias_step, mask, mask_step, alpha, size):
        long = types.int64
        return types.void(*([long] * 7), types.float32, long), generate

    return slope


def _slope_pairs() -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        s, dp, d_bias, bias, bias_step, mask, mask_step, alpha, *rest = args
        across, d_across, halves, m, n = rest
        code = Code(builder)
        tile, factor = _Tile(code, bias, bias_step, mask, mask_step), code.spread(alpha)

        def one(place: Any) -> tuple[Any, Any]:
            scores, above = code.load(code.at(s, place)), code.load(code.at(dp, place))
            weight, gate = _silu(code, scores, tile.read("bias", place), factor, True)
            seen = tile.read("mask", place)
            below = builder.fmul(_slope(code, above, weight, gate), seen)
            tile.add(d_bias, bias_step, place, below)
            rounded = _rounded(code, below)
            _store_half(code, rounded, code.at(halves, place, 2))
            return _rounded(code, builder.fmul(weight, seen)), rounded

        def rows(i: Any) -> list[Any]:
            def vector(j: Any) -> list[Any]:
                column = builder.mul(j, code.whole(LANES))
                upper = builder.add(builder.mul(builder.mul(i, code.whole(2)), n), column)
                first, second = one(upper), one(builder.add(upper, n))
                place = builder.add(builder.mul(i, n), column)
                code.store(_across(code, first[0], second[0]), code.at(across, place))
                code.store(_across(code, first[1], second[1]), code.at(d_across, place))
                return []

            code.loop(builder.sdiv(n, code.whole(LANES)), [], vector)
            return []

        code.loop(builder.sdiv(m, code.whole(2)), [], rows)
        return context.get_dummy_value()

    @intrinsic
    def slope(  # noqa: PLR0913, PLR0917 - one argument an address
        typing,
        s,
        dp,
        d_bias,
        bias,
        bias_step,
        mask,
        mask_step,
        alpha,
        across,
        d_across,
        halves,
        m,
        n,
    ):
        long = types.int64
        return types.void(*([long] * 7), types.float32, *([long] * 5)), generate

    return slope


#: weigh(s, bias, bias_step, mask, mask_step, alpha, halves, size): s [size] to the weights, in
#: place, or as bfloat16 by row in halves.
weigh, weigh_pairs = _weigh(False), _weigh(True)
#: slope(s, dp, d_bias, bias, bias_step, mask, mask_step, alpha, size): in place, s to the weights
#: and dp to the gradient of the scores, which is added to d_bias.
slope = _slope_words()
#: slope_pairs(.., alpha, across, d_across, halves, m, n): of s and dp [m, n], across the weights,
#: and d_across and halves (by row) the gradient of the scores, which is added to d_bias.
slope_pairs = _slope_pairs()
