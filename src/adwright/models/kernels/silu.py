"""SiLU of a tile of scores, and its slope, in one pass of vector instructions.

With x = alpha s + bias and g = sigmoid(x), forward p = x g mask and backward
ds = dp (g + x g (1 - g)) mask. The exponential is 2^n times a polynomial for 2^f, n + f being
-x / ln 2 and |f| at most a half.

Results are float32 in place or, where the products take pairs of bfloat16, rounded to those in
the orders that the products read: by row, with neighbours of a row as a pair, and across, with
one number from each of two rows as a pair.

bias, mask and d_bias are read and written at every place where their step is 1, and at their
first vector where it is 0: a tile without a bias or a mask hands a vector of zeros or of ones.
"""

from __future__ import annotations

import math
from typing import Any

from numba.core import types
from numba.extending import intrinsic

from adwright.core.vector_code import (
    FLOATS,
    HALVES,
    LANES,
    WORDS,
    Code,
    has_wide_registers,
)

__all__ = ["slope", "slope_pairs", "weigh", "weigh_pairs"]

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
