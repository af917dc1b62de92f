"""How an adapter lies in pages: rows of its small matrices, cut into grains.

Of `gathered.MapUpdate` the rows are stored, for each layer in the same order,

    low:    A^T [r, in], B [r, out]               before, factor: g - 1, f - 1, one row each
    after, beside:  down^T [m, out], its bias, up [m, out], its bias      shift: v, one row

and every width is a multiple of the grain u, the greatest common divisor of the widths of the
base's maps. So any rows of any adapters can be picked, in any order, as one `index_select` over
the pool in rows of u numbers; a lower rank is filled up with the grain of zeros. Vectors that
multiply are stored less one, so that zeros mean "none" there too.

Keys and values that stand before the text lie in pages of their own behind these, as those of a
row do: [2, G, T, D] in each layer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from adwright.lm.serving.gathered_adapters import layer_of
from adwright.lm.serving.kinds.activated import acts_everywhere
from adwright.lm.serving.kinds.ahead import NOTHING_AHEAD, AheadTokens, ahead_of
from adwright.lm.serving.kinds.shapes import GATHERED, GatheredMethod, shared_of, zeros_of
from adwright.lm.serving.kinds.updates import MapUpdate, update_of
from adwright.lm.serving.page_pool import PageShape
from adwright.tuning.modules import LINEAR, Sizes, Target

__all__ = ["Layout", "MatrixName", "MatrixSlot", "grain_of", "image", "layout_of"]

MatrixName = Literal[
    "a",
    "b",
    "before",
    "factor",
    "shift",
    "down",
    "inner",
    "up",
    "outer",
    "side_down",
    "side_inner",
    "side_up",
    "side_outer",
]


@dataclass(frozen=True)
class MatrixSlot:
    """Where a matrix lies in the record of a layer. first: its first grain. grains: per row."""

    first: int
    rows: int
    grains: int


@dataclass(frozen=True)
class Layout:
    """The record of one layer. matrices: by target and name. grains: their number in all.

    order: rows of a batch are sorted by it, so that like kinds stand together: place of the kind,
    bucket of the rank (ranks of one bucket are filled up to the largest), activation.
    ahead: what stands before the text.
    """

    method: GatheredMethod
    matrices: dict[tuple[Target, MatrixName], MatrixSlot]
    grains: int
    order: tuple[int, int, str]
    ahead: AheadTokens = NOTHING_AHEAD

    @property
    def foldable(self) -> bool:
        """Whether folded weights can have its place: it is of low rank at each map, and acts on
        every token."""
        return acts_everywhere(self.method) and any(name == "a" for _, name in self.matrices)

    def pages(self, shape: PageShape, grain: int) -> int:
        """Pages that an adapter of this layout takes."""
        return self.matrix_pages(shape, grain) + shape.blocks(self.ahead.tokens)

    def matrix_pages(self, shape: PageShape, grain: int) -> int:
        """Those of its matrices."""
        return -(-self.grains * grain // shape.slice)


def grain_of(sizes: Sizes) -> int:
    """u: the greatest common divisor of all widths of the maps, which those of keys are among."""
    return math.gcd(*(width for shape in sizes.shapes.values() for width in shape))


def layout_of(method: GatheredMethod, sizes: Sizes, grain: int) -> Layout:
    """Where the matrices of an adapter with these settings lie."""
    matrices: dict[tuple[Target, MatrixName], MatrixSlot] = {}
    total = 0
    for target in LINEAR:
        out, inputs = sizes.shapes[target]
        bias = target in sizes.linear_bias
        linear = nn.Linear(inputs, out, bias=bias, device="meta")
        own = zeros_of(method, target, linear)
        shared = {name: tensor.to("meta") for name, tensor in shared_of(method, sizes).items()}
        update = update_of(method, target, linear, own | shared if own else own)
        for name, tensor in _matrices(update).items():
            rows, width = tensor.shape
            matrices[target, name] = MatrixSlot(total, rows, -(-width // grain))
            total += rows * matrices[target, name].grains
    bucket = (getattr(method, "rank", getattr(method, "size", 1)) - 1).bit_length()
    place = list(GATHERED).index(type(method).__name__)
    order = (place, bucket, getattr(method, "activation", ""))
    return Layout(method, matrices, total, order, ahead_of(method))


def image(
    layout: Layout,
    updates: Mapping[str, MapUpdate],
    shape: PageShape,
    grain: int,
    dtype: torch.dtype,
    ahead: Tensor | None = None,
) -> Tensor:
    """The pages of an adapter [pages, L, e], in host memory.

    updates: by the dotted name of the map, as `BaseMaps.updates` gives them. ahead: its keys and
    values [N, 2, G, L, D] before the text.
    """
    pages = layout.matrix_pages(shape, grain)
    record = torch.zeros(shape.layers, pages * shape.slice, dtype=dtype)
    for name, update in updates.items():
        layer, target = layer_of(name), name.rpartition(".")[-1]
        for key, tensor in _matrices(update).items():
            place = layout.matrices[target, key]  # type: ignore[index]
            wide = record[layer, place.first * grain :][: place.rows * place.grains * grain]
            # An adapter that was cut has fewer rows in some layers.
            wide.view(place.rows, -1)[: len(tensor), : tensor.shape[-1]] = tensor
    own = record.view(shape.layers, pages, shape.slice).transpose(0, 1).contiguous()
    return own if ahead is None else torch.cat([own, _key_pages(ahead.to(dtype), shape)])


def _key_pages(keys: Tensor, shape: PageShape) -> Tensor:
    """Keys and values [N, 2, G, L, D] as pages [n, N, e]."""
    n, T = shape.blocks(keys.shape[3]), shape.block
    padded = functional.pad(keys, (0, 0, 0, n * T - keys.shape[3]))
    cut = padded.view(*keys.shape[:3], n, T, shape.width).permute(3, 0, 1, 2, 4, 5)
    return cut.reshape(n, shape.layers, shape.slice)


def _matrices(update: MapUpdate) -> dict[MatrixName, Tensor]:
    """The rows of one map, each [rows, width]."""
    found: dict[MatrixName, Tensor] = {}
    if update.low is not None:
        found |= {"a": update.low[0].T, "b": update.low[1]}
    if update.before is not None:
        found["before"] = update.before[None] - 1
    if update.factor is not None:
        found["factor"] = update.factor[None] - 1
    if update.shift is not None:
        found["shift"] = update.shift[None]
    if update.after is not None:
        down, inner, up, outer = update.after
        found |= {"down": down.T, "inner": inner, "up": up, "outer": outer}
    if update.beside is not None:
        down, inner, up, outer = update.beside
        found |= {"side_down": down.T, "side_inner": inner, "side_up": up, "side_outer": outer}
    return found
