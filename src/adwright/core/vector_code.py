"""Vector instructions for loops that numba compiles: a thin layer over LLVM's.

numba compiles loops over numbers well, but keeps sums in memory where a product needs them in
registers, and leaves many loops in single steps. `Code` writes instructions on vectors of 16
numbers, which LLVM turns into those of the processor at hand, one register or several.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import llvmlite.binding
from llvmlite import ir
from numba.core import cgutils

#: Numbers of a vector.
LANES = 16

_I16, _I32, _I64, _F32 = ir.IntType(16), ir.IntType(32), ir.IntType(64), ir.FloatType()


def _features() -> dict[str, bool]:
    return dict(llvmlite.binding.get_host_cpu_features())


def has_pairs() -> bool:
    """Whether the processor multiplies vectors of bfloat16 pairs."""
    return bool(_features().get("avx512bf16"))


def has_wide_registers() -> bool:
    """Whether a vector is one register."""
    return bool(_features().get("avx512f"))


class _BFloat(ir.Type):  # type: ignore[misc]
    """LLVM's bfloat type, which llvmlite lacks."""

    def _to_string(self) -> str:
        return "bfloat"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _BFloat)

    def __hash__(self) -> int:
        return hash(_BFloat)


FLOATS = ir.VectorType(_F32, LANES)
WORDS = ir.VectorType(_I32, LANES)
HALVES = ir.VectorType(_I16, LANES)
_PAIRS = ir.VectorType(_BFloat(), 2 * LANES)


class Code:
    """Writes instructions behind each other. Addresses and sizes are int64 values."""

    def __init__(self, builder: Any) -> None:
        self.builder = builder

    def whole(self, value: int) -> Any:
        """An int64 constant."""
        return ir.Constant(_I64, value)

    def at(self, address: Any, index: Any, size: int = 4) -> Any:
        """address + index elements of so many bytes; index an int or a value."""
        index = self.whole(index) if isinstance(index, int) else index
        return self.builder.add(address, self.builder.mul(index, self.whole(size)))

    def load(self, address: Any, kind: Any = FLOATS) -> Any:
        """The vector there, at any alignment."""
        return self.builder.load(self.builder.inttoptr(address, kind.as_pointer()), align=2)

    def store(self, value: Any, address: Any) -> None:
        """The vector to there."""
        pointer = self.builder.inttoptr(address, value.type.as_pointer())
        self.builder.store(value, pointer, align=2)

    def fill(self, value: float) -> Any:
        """A vector of one constant float32."""
        return ir.Constant(FLOATS, [value] * LANES)

    def bits(self, value: int) -> Any:
        """A vector of one constant word."""
        return ir.Constant(WORDS, [value] * LANES)

    def spread(self, one: Any) -> Any:
        """A vector of one value, a float32 or a word."""
        kind = ir.VectorType(one.type, LANES)
        undefined = ir.Constant(kind, ir.Undefined)
        first = self.builder.insert_element(undefined, one, ir.Constant(_I32, 0))
        zeros = ir.Constant(WORDS, [0] * LANES)
        return self.builder.shuffle_vector(first, undefined, zeros)

    def spread_at(self, address: Any) -> Any:
        """A vector of the one word at an address."""
        pointer = self.builder.inttoptr(address, _I32.as_pointer())
        return self.spread(self.builder.load(pointer, align=4))

    def call(self, name: str, kind: Any, *arguments: Any) -> Any:
        """One of LLVM's own functions, by name."""
        signature = ir.FunctionType(kind, [one.type for one in arguments])
        function = cgutils.get_or_insert_function(  # type: ignore[no-untyped-call]
            self.builder.module, signature, name
        )
        return self.builder.call(function, arguments)

    def multiply_add(self, a: Any, b: Any, c: Any) -> Any:
        """a b + c, rounded once."""
        return self.call(f"llvm.fma.v{LANES}f32", FLOATS, a, b, c)

    def multiply_pairs_add(self, a: Any, b: Any, c: Any) -> Any:
        """c + the products of both bfloat16 of each word of a and b; see `has_pairs`."""
        a, b = self.builder.bitcast(a, _PAIRS), self.builder.bitcast(b, _PAIRS)
        return self.call("llvm.x86.avx512bf16.dpbf16ps.512", FLOATS, c, a, b)

    def reciprocal(self, x: Any) -> Any:
        """1 / x to 14 bits; see `has_wide_registers`."""
        everywhere = ir.Constant(_I16, -1)
        return self.call("llvm.x86.avx512.rcp14.ps.512", FLOATS, x, x, everywhere)

    def total(self, x: Any) -> Any:
        """The sum of a vector of float32, in any order: a float32."""
        signature = ir.FunctionType(_F32, [_F32, FLOATS])
        function = cgutils.get_or_insert_function(  # type: ignore[no-untyped-call]
            self.builder.module, signature, f"llvm.vector.reduce.fadd.v{LANES}f32"
        )
        zero = ir.Constant(_F32, 0.0)
        return self.builder.call(function, [zero, x], fastmath=("reassoc",))

    def store_half(self, one: Any, address: Any) -> None:
        """A float32 as bfloat16 to there; see `has_pairs`."""
        half = self.builder.fptrunc(one, _BFloat())
        self.builder.store(half, self.builder.inttoptr(address, half.type.as_pointer()), align=2)

    def fetch(self, address: Any) -> None:
        """Ask for what is there, to be read soon. Any address may be asked for."""
        bytes_ = ir.IntType(8).as_pointer()
        signature = ir.FunctionType(ir.VoidType(), [bytes_, _I32, _I32, _I32])
        function = cgutils.get_or_insert_function(  # type: ignore[no-untyped-call]
            self.builder.module, signature, "llvm.prefetch.p0"
        )
        # To read, into all caches, as data.
        kind = [ir.Constant(_I32, value) for value in (0, 3, 1)]
        self.builder.call(function, [self.builder.inttoptr(address, bytes_), *kind])

    def loop(
        self, steps: Any, start: Sequence[Any], body: Callable[..., Sequence[Any]]
    ) -> list[Any]:
        """for i in range(steps): values = body(i, *values), at least once; the last values."""
        builder = self.builder
        before, inside = builder.block, builder.append_basic_block("loop")
        after = builder.append_basic_block("after")
        builder.branch(inside)
        builder.position_at_end(inside)
        i = builder.phi(_I64)
        values = [builder.phi(one.type) for one in start]
        new = list(body(i, *values))
        following = builder.add(i, self.whole(1))
        i.add_incoming(self.whole(0), before)
        i.add_incoming(following, builder.block)
        for value, first, last in zip(values, start, new, strict=True):
            value.add_incoming(first, before)
            value.add_incoming(last, builder.block)
        builder.cbranch(builder.icmp_signed("<", following, steps), inside, after)
        builder.position_at_end(after)
        return new
