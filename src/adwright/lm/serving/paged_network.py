"""A causal network whose keys and values lie in pages, and whose rows have adapters of their own.

One pass takes the tokens of all rows end to end [N]: of rows that are being written one token
each, of prompts as many as there are. The base's maps see them as one matrix; attention and the
small operations of the adapters look at the rows.

Where the decoder has Llama's form, its layers are computed in fewer calls (`fused_decoder`).

The module tree is a copy that shares all weights with the model it was made of, so that the model
may be used, or tuned, elsewhere; nothing writes to the weights.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from adwright.core.errors import ConfigError
from adwright.lm.serving.adapter_ops import RowOps
from adwright.lm.serving.page_pool import PagePool, PageShape
from adwright.lm.serving.paging.fused_decoder import FusedDecoder
from adwright.lm.serving.paging.paged_attention import PagedAttention, Sequenced, paged_attention
from adwright.lm.torch_engine.linear_map import mapped, row_mapped
from adwright.lm.torch_engine.network import Network
from adwright.tuning.modules import LINEAR, Sizes, Target, places

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["PagedLinear", "PagedNetwork"]


class _CurrentPass:
    """Holds the operations of the current pass for all maps."""

    ops: RowOps | None = None


class PagedLinear(nn.Module):
    """The base's map, and the operations of the rows at hand. merged: a weight [out, in] to
    compute with in the place of the base's, or None."""

    def __init__(self, base: nn.Linear, layer: int, target: Target, desk: _CurrentPass) -> None:
        super().__init__()
        self.base = base
        self.merged: Tensor | None = None
        # Not looked up as parameters are, which takes as long as some of the operations.
        self._own = base.weight, base.bias
        self._layer, self._target, self._desk = layer, target, desk

    def forward(self, x: Tensor) -> Tensor:
        """x [1, N, in] to [1, N, out]."""
        ops = self._desk.ops
        weight = self.base.weight if self.merged is None else self.merged
        if ops is None or ops.idle(self._target):
            return mapped(x, weight, self.base.bias)
        seen = ops.before(self._layer, self._target, x)
        y = mapped(seen, weight, self.base.bias)
        ops.after(self._layer, self._target, seen, y)
        return y

    def row(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        """`forward` of one row x [1, 1, in] to [out]: `out`, where there is one."""
        ops = self._desk.ops
        weight, bias = self._own
        if self.merged is not None:
            weight = self.merged
        idle = ops is None or ops.idle(self._target)
        if ops is not None and not idle:
            x = ops.before(self._layer, self._target, x)
        y = row_mapped(x.view(-1), weight, bias, out)
        if ops is not None and not idle:
            ops.after(self._layer, self._target, x, y.view(1, 1, -1))
        return y


class PagedNetwork:
    """The network of a plain model, over a pool. fused: its decoder in fewer calls, where it has
    that form.

    Raises ConfigError where it is not a plain causal LM of full attention in every layer.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        shared = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
        whole: Any = copy.deepcopy(model, shared)
        whole.eval()
        _require_full_attention(whole.config.get_text_config())
        self.network = Network(whole)
        whole.config._attn_implementation = paged_attention()
        self._desk = _CurrentPass()
        self.maps: dict[str, PagedLinear] = {}
        for place in places(whole, LINEAR):
            own = PagedLinear(place.linear, place.layer, place.target, self._desk)
            place.put(own)
            self.maps[place.name] = own
        self._decoder = whole.get_decoder()
        self.fused = FusedDecoder.of(self._decoder)
        if self.fused is not None and not self._agree(Sizes.of(model)):
            self.fused = None

    def hidden(
        self, tokens: Tensor, positions: Tensor, attention: PagedAttention, ops: RowOps | None
    ) -> Tensor:
        """Last hidden states [N, D] of tokens int64 [N] at positions int64 [N]; their keys and
        values are written to the pages that `attention` tells."""
        self._desk.ops = ops
        try:
            if self.fused is not None:
                found = self.fused.row_hidden(tokens, positions, attention)
                return self.fused.hidden(tokens, positions, attention) if found is None else found
            return self._plain(tokens, positions, attention)
        finally:
            self._desk.ops = None
            if ops is not None:
                ops.done()

    def _plain(self, tokens: Tensor, positions: Tensor, attention: PagedAttention) -> Tensor:
        """As transformers computes it."""
        state = self._decoder(
            input_ids=tokens[None],
            position_ids=positions[None],
            use_cache=False,
            paged=attention,
        )
        last: Tensor = state[0]
        return last[0]

    @torch.inference_mode()
    def _agree(self, sizes: Sizes) -> bool:
        """Whether all ways give the same, over two tokens; by row, the second of them."""
        fused = self.fused
        if fused is None:
            return False
        weight = next(self._decoder.parameters())
        tokens = torch.arange(2, device=weight.device)
        pool = PagePool(PageShape.of(sizes, 2), 2, weight.dtype, weight.device)
        found = []
        for way, past in ((self._plain, 0), (fused.hidden, 0), (fused.row_hidden, 1)):
            row, new = Sequenced([1], past, 2 - past), tokens[past:]
            pages = PagedAttention(pool, [row], past, sizes.heads // sizes.kv_heads)
            try:
                own = way(new, new, pages)
            except RuntimeError:  # other shapes than those of a Llama
                return False
            if own is not None:
                found.append(own.float())
        theirs, ours = found[0], found[1:]
        # In 16 bits the first tokens, which all others attend to, are far from each other: 4% here.
        near = 1e-4 if weight.dtype == torch.float32 else 0.1
        return all(
            bool((own - theirs[-len(own) :]).norm() <= near * theirs[-len(own) :].norm())
            for own in ours
        )


def _require_full_attention(config: Any) -> None:
    """Raise ConfigError for windows, caps and other attention than that of Llama."""
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    other = kinds != {"full_attention"} or getattr(config, "attn_logit_softcapping", None)
    # Qwen2 names a window that it does not use.
    window = getattr(config, "sliding_window", None) and not hasattr(config, "layer_types")
    if other or window:
        raise ConfigError(
            "the attention of this model cannot be paged",
            where=str(getattr(config, "model_type", "")),
            hint="serve its adapters one by one, with `load_tuned`",
        )
