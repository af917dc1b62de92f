"""One token of one row through the layers of a Llama: what is left beside reading the weights.

A product with one row takes as long as reading its weights does, and so long does each small
operation around it wait for its own code and numbers, which the weights have driven out of the
cache. So there are as few of them as it takes: queries, keys and values are written side by side
into memory that all layers use,

    [q; k; v] [H + 2 G, W]  ->  [q; k; v] c + swapped halves [q; k; v] s

with c = 1 and s = 0 at the values, so that one turn does for all and its lower part goes to the
pages as it lies. Where they go to, and what is read, is the same place in every layer: all such
indices are made at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["LlamaLayer", "RowNorm", "RowPages", "through_layers"]


class RowNorm:
    """A root mean square norm: x / sqrt(mean(x^2) + eps) times the weight [D]."""

    def __init__(self, weight: Tensor, eps: float) -> None:
        self.weight, self._eps = weight, eps
        self._shape = [len(weight)]
        self._twice: Tensor | None = None

    def __call__(self, x: Tensor) -> Tensor:
        """x [..., D], any number of rows."""
        return functional.rms_norm(x, self._shape, self.weight, self._eps)

    def mirrored(self, x: Tensor) -> Tensor:
        """The same of one row and its negative [x; -x] [2, D], to [1, 1, D].

        Together they have mean 0 and the variance mean(x^2), so that the norm is that of layers,
        which torch has as one operation; it computes the other in ten.
        """
        D = self._shape[0]
        if self._twice is None:
            self._twice = torch.cat([self.weight, self.weight])
        both = functional.layer_norm(x.view(-1), [2 * D], self._twice, None, self._eps)
        return both[:D].view(1, 1, D)


class LlamaLayer(NamedTuple):
    """The parts of a layer. act: of the gate."""

    first: RowNorm
    second: RowNorm
    q: Any
    k: Any
    v: Any
    o: Any
    gate: Any
    up: Any
    down: Any
    act: Callable[[Tensor], Tensor]

    @property
    def maps(self) -> Sequence[Any]:
        """Its linear maps; `through_layers` calls their `row` (x [1, 1, in], perhaps a tensor
        [out] to write to), which returns [out]."""
        return self[2:9]


class RowPages:
    """The pages of one row, for a pass over one token of it.

    tokens, blocks: the pool as in `PagePool`. write: int64 [2 G], where the keys, then the values
    of the token go in the first layer; read: int64 [2 G n], the blocks of the row. steps: from a
    layer to the next in both. S: tokens of the row, with this one.
    """

    def __init__(
        self,
        tokens: Tensor,
        blocks: Tensor,
        write: Tensor,
        read: Tensor,
        steps: tuple[int, int],
        layers: int,
        S: int,
    ) -> None:
        self._tokens, self._blocks = tokens, blocks
        at = torch.arange(layers, device=write.device)[:, None]
        self._write = (write + at * steps[0]).unbind()
        self._read = (read + at * steps[1]).unbind()
        self._picked = blocks.new_empty(len(read), blocks.shape[1])
        G = len(write) // 2
        self._k, self._v = self._picked.view(2, 1, G, -1, tokens.shape[1])[..., :S, :]

    def attend(self, layer: int, query: Tensor, made: Tensor, scale: float) -> Tensor:
        """query [1, G, H / G, W] to [1, 1, H W]. made: keys, then values of the token, [2 G, W]."""
        self._tokens.index_copy_(0, self._write[layer], made)
        torch.index_select(self._blocks, 0, self._read[layer], out=self._picked)
        found = functional.scaled_dot_product_attention(query, self._k, self._v, scale=scale)
        return found.reshape(1, 1, -1)


def through_layers(
    layers: Sequence[LlamaLayer],
    x: Tensor,
    turn: tuple[Tensor, Tensor],
    pages: RowPages,
    heads: tuple[int, int],
    scale: float,
) -> Tensor:
    """[x; -x] [2, D] behind the layers of that in front of them, which is written to.

    turn: cos and sin [W] of the token's position. heads: H, of queries, and G, of keys.
    """
    (H, G), (cos, sin) = heads, turn
    W = len(cos)
    made = x.new_empty(H + 2 * G, W)
    flat = made.view(-1)
    q, k, v = flat[: H * W], flat[H * W : (H + G) * W], flat[(H + G) * W :]
    c, s = torch.ones_like(made), torch.zeros_like(made)
    c[: H + G], s[: H + G] = cos, sin
    minus, plus = -s[:, : W // 2], s[:, W // 2 :]
    turned = torch.empty_like(made)
    (left, right), (new_left, new_right) = made.chunk(2, -1), turned.chunk(2, -1)
    query, kept = turned[:H].view(1, G, -1, W), turned[H:]
    signs = x.new_tensor([[1.0], [-1.0]])
    added = x.new_empty(x.shape[1])
    for at, layer in enumerate(layers):
        h = layer.first.mirrored(x)
        layer.q.row(h, q)
        layer.k.row(h, k)
        layer.v.row(h, v)
        torch.mul(made, c, out=turned)
        new_left.addcmul_(right, minus)
        new_right.addcmul_(left, plus)
        x.addcmul_(layer.o.row(pages.attend(at, query, kept, scale), added), signs)
        h = layer.second.mirrored(x)
        inner = layer.act(layer.gate.row(h)).mul_(layer.up.row(h))[None, None]
        x.addcmul_(layer.down.row(inner, added), signs)
    return x
