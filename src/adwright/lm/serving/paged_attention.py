"""Attention of rows whose keys and values lie in pages of the pool.

A pass has the new tokens of B rows that are being written, one each, and after them those of
prompts. Their keys and values are written into the pages of their rows first. Then, with G heads
of keys and H / G queries on each,

    written rows   K, V [G, B, S, D] picked from the pool, S the longest of them in whole blocks:
                   softmax(q K^T / sqrt(D) + mask) V, as two batched products
    begun alike    what rows have in the same pages is picked once, and multiplied with the queries
                   of all of them: K', V' [G, S', D], softmax(q [K' K]^T / sqrt(D)) [V' V]
    prompts        one by one: a fresh one is causal attention over itself, a later piece of one
                   picks what came before

Rows whose lengths differ much are picked in several buckets, so that less than half of what is
picked is padding; and so much at a time that the copy is still near when it is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from adwright.lm.serving.prefixes import PagePool, PageShape

# --------------------------------------------------------------------------------------------------
# One token of one row through the layers of a Llama: what is left beside reading the weights.
#
# A product with one row takes as long as reading its weights does, and so long does each small
# operation around it wait for its own code and numbers, which the weights have driven out of the
# cache. So there are as few of them as it takes: queries, keys and values are written side by side
# into memory that all layers use,
#
#     [q; k; v] [H + 2 G, W]  ->  [q; k; v] c + swapped halves [q; k; v] s
#
# with c = 1 and s = 0 at the values, so that one turn does for all and its lower part goes to the
# pages as it lies. Where they go to, and what is read, is the same place in every layer: all such
# indices are made at once.


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


_NAME = "adwright_paged"
#: Numbers of keys and values that are picked at a time, but for a single row longer than that.
#: The copy of so many stays in a cache of a few MB.
_MOST = 1 << 21
#: Up to so many blocks no bucket is worth its calls.
_FEW = 4
#: So many blocks have to be saved for what rows share to be worth its calls.
SAVED_BLOCKS = 32


@dataclass(frozen=True)
class Sequenced:
    """A row of the pass. pages: of its keys and values, with room for the new ones. past: tokens
    that are there already. new: tokens of this pass."""

    pages: Sequence[int]
    past: int
    new: int


@dataclass(frozen=True)
class _Bucket:
    """Written rows that are picked together. rows: int64 [b], or None for all in their order.
    blocks: int64 [2 G m + 2 G b n] in the first layer: m of each head that all of them share, then
    those of each head and row. shared: m. mask: [G b, H / G, n T]. alone: S, of a single row,
    which needs no mask."""

    rows: Tensor | None
    blocks: Tensor
    shared: int
    mask: Tensor
    alone: int | None


@dataclass(frozen=True)
class _Prompt:
    """Tokens [start, stop) of the pass. blocks: int64 [2, G, n], where something came before."""

    start: int
    stop: int
    past: int
    blocks: Tensor | None
    mask: Tensor | None


class PagedAttention:
    """Writes the keys and values of one pass into pages, and lets its queries read theirs.

    rows: those that are being written first, `written` of them with one new token each. folds:
    H / G.
    """

    def __init__(self, pool: PagePool, rows: Sequence[Sequenced], written: int, folds: int) -> None:
        self._pool, self._shape, self._folds = pool, pool.shape, folds
        self._written = written
        self._room: Tensor | None = None
        self._write = _written_to(rows, self._shape).to(pool.tensor.device)
        decoding = list(rows[:written])
        self._buckets = [
            self._bucket(decoding, own, shared)
            for group, shared in begun_alike(decoding, self._shape)
            for own in _buckets(decoding, group, shared, self._shape)
        ]
        self._prompts: list[_Prompt] = []
        start = written
        for row in rows[written:]:
            self._prompts.append(self._prompt(row, start))
            start += row.new

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        """query [1, H, N, D], key and value [1, G, N, D] to [1, N, H, D]."""
        H, N, D = query.shape[1:]
        shape = self._shape
        at = self._write + layer * (2 * shape.heads * shape.block)
        self._pool.tokens.index_copy_(0, at, torch.cat([key, value]).view(-1, D))
        folded = query.view(shape.heads, self._folds, N, D)
        queries = folded[:, :, : self._written].transpose(1, 2)
        if self._written == N and len(self._buckets) == 1:
            return self._read(layer, self._buckets[0], queries, scale)[None]
        found = query.new_empty(1, N, H, D)
        for bucket in self._buckets:
            if bucket.rows is None:
                found[0, : self._written] = self._read(layer, bucket, queries, scale)
            else:
                own = queries.index_select(1, bucket.rows)
                found[0, bucket.rows] = self._read(layer, bucket, own, scale)
        for prompt in self._prompts:
            part = slice(prompt.start, prompt.stop)
            k, v, mask = key[:, :, part], value[:, :, part], None
            if prompt.blocks is not None:
                picked = self._picked(layer, prompt.blocks)
                k, v = picked.view(2, 1, shape.heads, -1, D)
                S = prompt.past + prompt.stop - prompt.start
                k, v, mask = k[:, :, :S], v[:, :, :S], prompt.mask
            made = functional.scaled_dot_product_attention(
                query[:, :, part],
                k,
                v,
                attn_mask=mask,
                is_causal=mask is None,
                scale=scale,
                enable_gqa=self._folds > 1,
            )
            found[0, part] = made[0].transpose(0, 1)
        return found

    @property
    def heads(self) -> tuple[int, int]:
        """H, of queries, and G, of keys."""
        return self._folds * self._shape.heads, self._shape.heads

    def row_pages(self) -> RowPages | None:
        """Where the pass is one token of one row on a CPU: its pages; None else."""
        alone = self._buckets[0].alone if len(self._buckets) == 1 and not self._prompts else None
        if alone is None or not self._write.is_cpu:
            return None
        shape = self._shape
        steps = 2 * shape.heads * shape.block, 2 * shape.heads
        where = self._write, self._buckets[0].blocks.view(-1)
        return RowPages(self._pool.tokens, self._pool.blocks, *where, steps, shape.layers, alone)

    def _read(self, layer: int, bucket: _Bucket, queries: Tensor, scale: float) -> Tensor:
        """queries [G, b, H / G, D] to [b, H, D]."""
        G, b, F, D = queries.shape
        picked = self._picked(layer, bucket.blocks)
        split = 2 * G * bucket.shared
        k, v = picked[split:].view(2, G * b, -1, D)
        if bucket.alone is not None:
            k, v = k[None, :, : bucket.alone], v[None, :, : bucket.alone]
            made = functional.scaled_dot_product_attention(queries[:, 0][None], k, v, scale=scale)
            return made.view(1, G * F, D)
        q = queries.reshape(G * b, F, D)
        scores = torch.baddbmm(bucket.mask, q, k.transpose(1, 2), alpha=scale)
        if not split:
            made = torch.bmm(scores.softmax(-1), v)
        else:
            common_k, common_v = picked[:split].view(2, G, -1, D)
            common = torch.bmm(q.view(G, b * F, D) * scale, common_k.transpose(1, 2))
            weights = torch.cat([common.view(G * b, F, -1), scores], -1).softmax(-1)
            S = common.shape[-1]
            made = torch.bmm(weights[..., :S].reshape(G, b * F, S), common_v).view(G * b, F, D)
            made = torch.baddbmm(made, weights[..., S:], v)
        return made.view(G, b, F, D).transpose(0, 1).reshape(b, G * F, D)

    def _picked(self, layer: int, blocks: Tensor) -> Tensor:
        """Keys and values of int64 blocks: [their number, T D]."""
        at = blocks + layer * (2 * self._shape.heads)
        picked = self._into(at.numel())
        torch.index_select(self._pool.blocks, 0, at.view(-1), out=picked)
        return picked

    def _into(self, blocks: int) -> Tensor:
        """Memory for so many blocks, the same for every layer and bucket."""
        wide = self._shape.block * self._shape.width
        if self._room is None or len(self._room) < blocks:
            self._room = self._pool.tensor.new_empty(blocks, wide)
        return self._room[:blocks]

    def _bucket(self, rows: Sequence[Sequenced], own: list[int], shared: int) -> _Bucket:
        T, G = self._shape.block, self._shape.heads
        some = [rows[at] for at in own]
        if len(some) == 1:
            shared = 0
        n = max(self._shape.blocks(row.past + 1) for row in some) - shared
        pages = torch.zeros(len(some), n, dtype=torch.long)
        for at, row in enumerate(some):
            used = row.pages[shared : self._shape.blocks(row.past + 1)]
            pages[at, : len(used)] = torch.tensor(used)
        ends = torch.tensor([row.past + 1 for row in some]) - shared * T
        like = self._pool.tensor
        mask = torch.zeros(len(some), n * T, dtype=like.dtype)
        mask.masked_fill_(torch.arange(n * T) >= ends[:, None], -torch.inf)
        wide = mask[None, :, None].expand(G, -1, self._folds, -1).flatten(0, 1)
        index = None if own == list(range(len(rows))) else torch.tensor(own, device=like.device)
        alone = some[0].past + 1 if len(some) == 1 else None
        common = self._blocks(torch.tensor(some[0].pages[:shared], dtype=torch.long)[None])
        blocks = torch.cat([common.flatten(), self._blocks(pages).flatten()])
        return _Bucket(index, blocks.to(like.device), shared, wide.to(like.device), alone)

    def _prompt(self, row: Sequenced, start: int) -> _Prompt:
        stop, device = start + row.new, self._pool.tensor.device
        if not row.past:
            return _Prompt(start, stop, 0, None, None)
        used = torch.tensor(row.pages[: self._shape.blocks(row.past + row.new)])
        mask = torch.ones(row.new, row.past + row.new, dtype=torch.bool, device=device)
        blocks = self._blocks(used[None])[:, :, 0].to(device)
        return _Prompt(start, stop, row.past, blocks, mask.tril(row.past))

    def _blocks(self, pages: Tensor) -> Tensor:
        """int64 [b, n] pages to [2, G, b, n] rows of `PagePool.blocks` in the first layer."""
        G = self._shape.heads
        parts = torch.arange(2 * G).view(2, G, 1, 1)
        return pages * (self._shape.layers * 2 * G) + parts


def paged_attention() -> str:
    """Register this attention with transformers; return its name."""
    from transformers import AttentionInterface

    AttentionInterface.register(_NAME, _attend)
    return _NAME


def _attend(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    paged: PagedAttention | None = None,
    **rest: Any,
) -> tuple[Tensor, None]:
    """As transformers calls it: query [1, H, N, D], key and value [1, G, N, D] -> [1, N, H, D]."""
    if paged is None:
        raise RuntimeError("a network over pages was called without them")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    layer: Any = module.layer_idx
    return paged.attend(int(layer), query, key, value, scale), None


def _written_to(rows: Sequence[Sequenced], shape: PageShape) -> Tensor:
    """int64 [2 G N]: where the keys, then the values of all new tokens go in the first layer."""
    T, G = shape.block, shape.heads
    at: list[int] = []
    inside: list[int] = []
    for row in rows:
        for token in range(row.past, row.past + row.new):
            at.append(row.pages[token // T])
            inside.append(token % T)
    heads = torch.arange(2 * G)[:, None]
    first = torch.tensor(at, dtype=torch.long) * (shape.layers * 2 * G)
    return ((first + heads) * T + torch.tensor(inside, dtype=torch.long)).view(-1)


def begun_alike(rows: Sequence[Sequenced], shape: PageShape) -> list[tuple[list[int], int]]:
    """Rows, and how many full blocks at their start are in the same pages; 0 for what is left."""
    by_first: dict[int, list[int]] = {}
    for at, row in enumerate(rows):
        by_first.setdefault(row.pages[0], []).append(at)
    groups, left = [], []
    for own in by_first.values():
        some = [rows[at] for at in own]
        full = min(row.past for row in some) // shape.block
        columns = zip(*(row.pages[:full] for row in some), strict=True)
        shared = sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, columns))
        if shared * (len(own) - 1) >= SAVED_BLOCKS:
            groups.append((own, shared))
        else:
            left += own
    return [*groups, (sorted(left), 0)]


def _buckets(
    rows: Sequence[Sequenced], group: list[int], shared: int, shape: PageShape
) -> Iterator[list[int]]:
    """Rows of the group whose lengths after what they share are like; see the module."""
    sizes = {at: shape.blocks(rows[at].past + 1) - shared for at in group}
    left = group
    while left:
        longest = max(sizes[at] for at in left)
        most = max(1, _MOST // (shape.slice * longest))
        padded = longest * len(left) > 2 * sum(sizes[at] for at in left)
        own = left
        if padded and longest > _FEW:
            own = [at for at in left if sizes[at] * 2 > longest]
        own = own[:most]
        yield own
        taken = set(own)
        left = [at for at in left if at not in taken]


# --------------------------------------------------------------------------------------------------
# The layers of a Llama in as few calls of torch as it takes.
#
# Where one row writes, most of what a pass takes beside reading the weights are calls: of modules
# in transformers, and of small operations in torch. A decoder of Llama's form is computed here in
# about half of them, from the same modules and weights, for any number of tokens [N]:
#
#     h = norm(x);  q, k, v = maps(h);  (q, k) <- (q, k) cos + swapped halves (q, k) (-sin, sin)
#     x <- x + o(attention(q, k, v));   h = norm(x);   x <- x + down(act(gate(h)) up(h))
#
# Whether a decoder has that form is not read off its name: its layers have these parameters and no
# others, and `PagedNetwork` compares the hidden states of a few tokens with those of transformers.

_MAPS = (
    *("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"),
    *("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"),
)
_NORMS = ("input_layernorm", "post_attention_layernorm")


class FusedDecoder:
    """A decoder of transformers in the form of the module. `of` says whether it has it."""

    def __init__(self, decoder: Any) -> None:
        self._embed, self._rotary = decoder.embed_tokens, decoder.rotary_emb
        self._norm = _norm(decoder.norm)
        self._layers = [_layer(layer) for layer in decoder.layers]
        self._by_row = all(hasattr(own, "row") for layer in self._layers for own in layer.maps)
        attention = decoder.layers[0].self_attn
        self._width, self._scale = int(attention.head_dim), float(attention.scaling)

    @staticmethod
    def of(decoder: Any) -> FusedDecoder | None:
        """The decoder in this form where its modules are those of it; None else. What they
        compute is for the caller to compare."""
        parts = ("embed_tokens", "rotary_emb", "norm", "layers")
        if not all(isinstance(getattr(decoder, part, None), nn.Module) for part in parts):
            return None
        for layer in decoder.layers:
            names = {name.rsplit(".", 1)[0] for name, _ in layer.named_parameters()}
            if {name.removesuffix(".base") for name in names} != {*_MAPS, *_NORMS}:
                return None
        norms = [decoder.norm, *(getattr(at, name) for at in decoder.layers for name in _NORMS)]
        if not all(hasattr(norm, "variance_epsilon") for norm in norms):
            return None
        attention = decoder.layers[0].self_attn
        has = all(hasattr(attention, name) for name in ("head_dim", "scaling"))
        return FusedDecoder(decoder) if has and hasattr(decoder.layers[0].mlp, "act_fn") else None

    def hidden(self, tokens: Tensor, positions: Tensor, attention: PagedAttention) -> Tensor:
        """Last hidden states [N, D] of tokens int64 [N] at positions int64 [N]."""
        N, W = len(tokens), self._width
        x = self._embed(tokens[None])
        cos, sin = self._rotary(x, positions[None])
        sin = torch.cat([-sin[..., : W // 2], sin[..., W // 2 :]], -1)
        cos, sin = cos[0, :, None], sin[0, :, None]  # [N, 1, W]
        for at, layer in enumerate(self._layers):
            h = layer.first(x)
            query, value = layer.q.forward(h), layer.v.forward(h)
            both = torch.cat([query, layer.k.forward(h)], -1).view(N, -1, W)  # queries, then keys
            both = torch.addcmul(both * cos, both.roll(W // 2, -1), sin).transpose(0, 1)[None]
            H = query.shape[-1] // W
            values = value.view(1, N, -1, W).transpose(1, 2)
            made = attention.attend(at, both[:, :H], both[:, H:], values, self._scale)
            x = x + layer.o.forward(made.view(1, N, -1))
            h = layer.second(x)
            inner = layer.act(layer.gate.forward(h)) * layer.up.forward(h)
            x = x + layer.down.forward(inner)
        return self._norm(x)[0]

    def row_hidden(
        self, tokens: Tensor, positions: Tensor, attention: PagedAttention
    ) -> Tensor | None:
        """As `hidden`, in fewer calls still, where the pass is one token of one row and the maps
        have a `row`; None else."""
        pages = attention.row_pages() if self._by_row else None
        if pages is None:
            return None
        x = self._embed(tokens[None])
        cos, sin = self._rotary(x, positions[None])
        x = torch.cat([x[0], -x[0]])
        turn = cos[0, 0], sin[0, 0]
        x = through_layers(self._layers, x, turn, pages, attention.heads, self._scale)
        return self._norm.mirrored(x)[0]


def _layer(module: Any) -> LlamaLayer:
    first, second = (_norm(getattr(module, name)) for name in _NORMS)
    q, k, v, o, gate, up, down = (module.get_submodule(name) for name in _MAPS)
    return LlamaLayer(first, second, q, k, v, o, gate, up, down, module.mlp.act_fn)


def _norm(module: Any) -> RowNorm:
    return RowNorm(module.weight, float(module.variance_epsilon))
