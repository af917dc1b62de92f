"""Run the adapters of all rows of a pass, with matrices that are picked from the pool.

The tokens of all rows lie end to end [N, width]. A span is a run of them whose adapters are of one
kind and similar rank; it is cut into d pieces of c tokens, each of one adapter, so that its
operation is one batched product,

    y [d, c, out] += (x [d, c, in] A [d, in, r]) B [d, r, out]

with lower ranks padded by zeros. c is the greatest common divisor of the lengths of the stretches:
32 rows of one adapter are one product, 32 rows of 32 adapters are 32. All matrices of a layer come
from the pool by one `index_select`, into memory that the next layer uses again. Maps that see the
same x (q, k, v; gate, up) share one product with their A side by side.

The gathered form is that of Punica (Chen et al., 2023, arXiv 2310.18547), on a CPU and for the
kinds of `gathered_adapters`. Ranks that differ, as in S-LoRA (Sheng et al., 2023, arXiv
2311.03285), are put into buckets.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from adwright.lm.serving.adapter_cache import Layout, MatrixName, PooledAdapter
from adwright.tuning.additive.adapters import Activation, activated
from adwright.tuning.modules import LINEAR, Target

#: Maps that see the same x.
_FAMILIES: tuple[tuple[Target, ...], ...] = (
    ("q_proj", "k_proj", "v_proj"),
    ("o_proj",),
    ("gate_proj", "up_proj"),
    ("down_proj",),
)


#: The map that ends a sublayer, by one that reads what the sublayer reads.
_ENDS: dict[Target, Target] = {"q_proj": "o_proj", "gate_proj": "down_proj"}


class Stretch(NamedTuple):
    """Tokens of one row. hot: its adapter, or None. alone: never in a span with others, as a prompt
    is: it has more tokens than all rows that write."""

    hot: PooledAdapter | None
    tokens: int
    alone: bool = False


class _Pick(NamedTuple):
    """A tensor [d, rows, width] among what was picked, from the number `first` on."""

    first: int
    d: int
    rows: int
    width: int


@dataclass
class _Span:
    """Tokens [start, stop), as d pieces of c tokens. adapters: of each piece."""

    start: int
    stop: int
    c: int
    adapters: list[PooledAdapter]

    @property
    def d(self) -> int:
        return len(self.adapters)


@dataclass
class _Shared:
    """The product of one span with the A of a family, computed once for an x."""

    span: _Span
    a: _Pick
    x: Tensor | None = None
    low: Tensor | None = None


@dataclass
class _MapOps:
    """What happens at one target, in every layer."""

    before: list[tuple[_Span, _Pick]] = field(default_factory=list)
    factor: list[tuple[_Span, _Pick]] = field(default_factory=list)
    low: list[tuple[_Shared, int, int, _Pick]] = field(default_factory=list)
    shift: list[tuple[_Span, _Pick]] = field(default_factory=list)
    after: list[tuple[_Span, Activation, int, tuple[_Pick, ...]]] = field(default_factory=list)
    beside: list[tuple[_Span, Activation, int, tuple[_Pick, ...]]] = field(default_factory=list)

    @property
    def empty(self) -> bool:
        maps = self.before or self.factor or self.low or self.shift
        return not (maps or self.after or self.beside)


class RowOps:
    """The operations of the rows of one pass, for every layer and map.

    stretches: of the tokens, in their order. rows: the pool as grains [*, u]. stride: grains of
    one layer in a page. widths: (out, in) of each target.
    """

    def __init__(
        self,
        stretches: Sequence[Stretch],
        rows: Tensor,
        stride: int,
        widths: dict[Target, tuple[int, int]],
    ) -> None:
        self._rows, self._stride, self._u = rows, stride, rows.shape[1]
        self._widths = widths
        self._index: list[Tensor] = []
        self._numbers = 0
        self._shared: list[_Shared] = []
        self._maps = {target: _MapOps() for target in LINEAR}
        #: What the sublayer of this layer reads, by the map that ends it.
        self._read: dict[Target, Tensor] = {}
        self._plan(stretches)
        self._at = torch.cat(self._index).to(rows.device) if self._index else None
        self._layer = -1
        self._picked = rows.new_empty(self._numbers)

    def idle(self, target: Target) -> bool:
        """Whether no row has an operation at that map."""
        end = _ENDS.get(target)
        return self._maps[target].empty and not (end and self._maps[end].beside)

    def before(self, layer: int, target: Target, x: Tensor) -> Tensor:
        """Return the input of the base's map for x [1, N, in], which is not changed."""
        ops = self._maps[target]
        end = _ENDS.get(target)
        if end is not None and self._maps[end].beside:
            self._read[end] = x
        if ops.before:
            self._pick(layer)
            x = x.clone()
            for span, pick in ops.before:
                own = _of(span, x)
                own.addcmul_(own, self._get(pick))
        return x

    def after(self, layer: int, target: Target, x: Tensor, y: Tensor) -> None:
        """Apply the adapters to y [1, N, out], the output of the base's map for x, in place."""
        ops = self._maps[target]
        self._pick(layer)
        for span, pick in ops.factor:
            own = _of(span, y)
            own.addcmul_(own, self._get(pick))
        for shared, start, stop, pick in ops.low:
            low = self._low(shared, x)
            _of(shared.span, y).baddbmm_(low[..., start:stop], self._get(pick))
        for span, pick in ops.shift:
            _of(span, y).add_(self._get(pick))
        for span, activation, size, picks in ops.after:
            own = _of(span, y)
            self._bottleneck(own, own, activation, size, picks)
        for span, activation, size, picks in ops.beside:
            self._bottleneck(_of(span, self._read[target]), _of(span, y), activation, size, picks)

    def _bottleneck(
        self,
        x: Tensor,
        y: Tensor,
        activation: Activation,
        size: int,
        picks: tuple[_Pick, ...],
    ) -> None:
        """Add to y [d, c, D] what the bottlenecks make of x [d, c, D]."""
        down, inner, up, outer = map(self._get, picks)
        made = torch.baddbmm(inner[..., :size], x, down.transpose(1, 2))
        y.baddbmm_(activated(made, activation), up).add_(outer)

    def _low(self, shared: _Shared, x: Tensor) -> Tensor:
        if shared.x is not x or shared.low is None:
            a = self._get(shared.a)
            shared.x, shared.low = x, torch.bmm(_of(shared.span, x), a.transpose(1, 2))
        return shared.low

    def _pick(self, layer: int) -> None:
        if self._layer != layer and self._at is not None:
            at = self._at + layer * self._stride
            # Reused memory: the system would clear a new block first, page by page.
            into = self._picked.view(-1, self._u)
            torch.index_select(self._rows, 0, at, out=into)
            self._layer = layer
            for shared in self._shared:
                shared.x = shared.low = None

    def _get(self, pick: _Pick) -> Tensor:
        size = pick.d * pick.rows * pick.width
        return self._picked[pick.first : pick.first + size].view(pick.d, pick.rows, pick.width)

    def done(self) -> None:
        """Forget what was picked: the pool may change before the next pass."""
        self._layer = -1
        self._read.clear()
        for shared in self._shared:
            shared.x = shared.low = None

    def _plan(self, stretches: Sequence[Stretch]) -> None:
        for span in _spans(stretches, _low_key):
            self._plan_low(span)
        for span in _spans(stretches, partial(_bottleneck_key, "down")):
            self._plan_bottleneck(span, ("down", "inner", "up", "outer"))
        for span in _spans(stretches, partial(_bottleneck_key, "side_down")):
            self._plan_bottleneck(span, ("side_down", "side_inner", "side_up", "side_outer"))
        for target in LINEAR:
            ops = self._maps[target]
            vectors: tuple[tuple[MatrixName, list[tuple[_Span, _Pick]]], ...] = (
                ("before", ops.before),
                ("factor", ops.factor),
                ("shift", ops.shift),
            )
            for name, into in vectors:
                for span in _spans(stretches, partial(_has, target, name)):
                    into.append((span, self._add(span, [(target, name)])))

    def _plan_low(self, span: _Span) -> None:
        for family in _FAMILIES:
            held = set().union(*(hot.layout.matrices for hot in span.adapters))
            used = [target for target in family if (target, "a") in held]
            if not used:
                continue
            shared = _Shared(span, self._add(span, [(target, "a") for target in used]))
            self._shared.append(shared)
            start = 0
            for target in used:
                pick = self._add(span, [(target, "b")])
                self._maps[target].low.append((shared, start, start + pick.rows, pick))
                start += pick.rows

    def _plan_bottleneck(self, span: _Span, names: tuple[MatrixName, ...]) -> None:
        for target in LINEAR:
            if any((target, names[0]) in hot.layout.matrices for hot in span.adapters):
                picks = tuple(self._add(span, [(target, name)]) for name in names)
                method = span.adapters[0].layout.method
                activation: Activation = getattr(method, "activation", "relu")
                ops = self._maps[target]
                into = ops.after if names[0] == "down" else ops.beside
                into.append((span, activation, picks[0].rows, picks))

    def _add(self, span: _Span, matrices: Sequence[tuple[Target, MatrixName]]) -> _Pick:
        """Pick these matrices of each adapter of a span, one below the other."""
        first, rows, width = self._numbers, 0, 0
        tall: list[tuple[tuple[Target, MatrixName], int]] = []
        for at in matrices:
            own = [hot.layout.matrices[at] for hot in span.adapters if at in hot.layout.matrices]
            # An inner bias is one row, and as wide as the widest.
            width = max(slot.grains for slot in own)
            height = max(slot.rows for slot in own)
            tall.append((at, height * width))
            rows += height
        seen: dict[str, list[Tensor]] = {}
        for hot in span.adapters:
            if hot.name not in seen:
                seen[hot.name] = [own for at, n in tall for own in _grains_of(hot, at, n)]
            self._index.extend(seen[hot.name])
        self._numbers += span.d * rows * width * self._u
        return _Pick(first, span.d, rows, width * self._u)


def _grains_of(hot: PooledAdapter, at: tuple[Target, MatrixName], number: int) -> list[Tensor]:
    """The grains of a matrix, padded with the grain of zeros."""
    slot = hot.layout.matrices.get(at)
    if slot is None:
        return [torch.zeros(number, dtype=torch.long)]
    has = slot.rows * slot.grains
    own = hot.grains[slot.first : slot.first + has]
    return [own] if has == number else [own, torch.zeros(number - has, dtype=torch.long)]


def _of(span: _Span, x: Tensor) -> Tensor:
    """The tokens of a span, a view [d, c, width] of x [1, N, width]."""
    return x[0, span.start : span.stop].view(span.d, span.c, -1)


def _has(target: Target, name: MatrixName, layout: Layout) -> object:
    return (target, name) in layout.matrices or None


def _low_key(layout: Layout) -> object:
    return layout.order if any(name == "a" for _, name in layout.matrices) else None


def _bottleneck_key(down: MatrixName, layout: Layout) -> object:
    return layout.order if any(name == down for _, name in layout.matrices) else None


def _spans(stretches: Sequence[Stretch], key: Callable[[Layout], object]) -> Iterator[_Span]:
    """Neighbours of one key; those without one (None) are in no span."""
    at = 0
    group: list[Stretch] = []
    start, last = 0, None
    for stretch in stretches:
        own = None if stretch.hot is None else key(stretch.hot.layout)
        same = own == last and not stretch.alone and not (group and group[-1].alone)
        if group and not same:
            yield _span(start, group)
            group = []
        if own is not None:
            if not group:
                start = at
            group.append(stretch)
        last = own
        at += stretch.tokens
    if group:
        yield _span(start, group)


def _span(start: int, group: Sequence[Stretch]) -> _Span:
    runs: list[tuple[PooledAdapter, int]] = []
    for stretch in group:
        if runs and runs[-1][0] is stretch.hot:
            runs[-1] = (runs[-1][0], runs[-1][1] + stretch.tokens)
        elif stretch.hot is not None:
            runs.append((stretch.hot, stretch.tokens))
    c = math.gcd(*(tokens for _, tokens in runs))
    adapters = [hot for hot, tokens in runs for _ in range(tokens // c)]
    return _Span(start, start + c * len(adapters), c, adapters)
