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
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from adwright.core.errors import ConfigError
from adwright.lm.serving.adapter_ops import RowOps, Stretch
from adwright.lm.serving.paged_attention import (
    FusedDecoder,
    PagedAttention,
    Sequenced,
    paged_attention,
)
from adwright.lm.serving.prefixes import PagePool, PageShape
from adwright.lm.serving.scheduler import AnswerRow, ScoreRow, Turn, failed_pass, sample, score
from adwright.lm.torch_engine.network import Network, mapped, row_mapped
from adwright.tuning.modules import LINEAR, Sizes, Target, places

if TYPE_CHECKING:
    from transformers import PreTrainedModel


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


# --------------------------------------------------------------------------------------------------
# One pass of the network over rows of the batch: tokens in, keys and values kept, tokens out.


class Passes:
    """The network over a pool. grain: u, of `layout`."""

    def __init__(self, network: PagedNetwork, pool: PagePool, sizes: Sizes, grain: int) -> None:
        self.network, self._pool, self._sizes, self._grain = network, pool, sizes, grain
        self._folds = sizes.heads // sizes.kv_heads
        self._key: tuple[object, ...] = ()
        self._ops: RowOps | None = None
        #: The adapter whose weights stand in the maps, so that its rows need no operations.
        self.merged: str | None = None

    def run(self, turns: Sequence[Turn]) -> None:
        """Take these tokens through the network, and hand each row what came of them.

        What it raises, it raises before any row has changed: its turns can be run again. The keys
        and values that it wrote lie behind `done`, in pages of their own row, and are written
        over. An error in what is one row's own ends that row.
        """
        with torch.inference_mode():
            hidden = self._hidden(turns)
            ends, at = [], 0
            writing: list[AnswerRow] = []
            for row, new in turns:
                at += new
                if isinstance(row, AnswerRow) and row.left == new:
                    ends.append(at - 1)
                    writing.append(row)
            logits = None
            if writing:
                last = hidden.index_select(0, torch.tensor(ends, device=hidden.device))
                logits = self.network.network.logits(last).cpu()
            at = 0
            scored: list[tuple[ScoreRow, torch.Tensor, int]] = []
            for row, new in turns:
                first = row.done
                row.done += new
                own = hidden[at : at + new]
                at += new
                if isinstance(row, ScoreRow):
                    scored.append((row, own, first))
                    continue
                try:
                    row.take(own, first, self.network.network)
                except Exception as error:  # whatever is wrong with one row, the others go on
                    row.fail(failed_pass(error))
            if scored:
                self._score(scored)
            if logits is not None:
                sample(writing, logits)

    def _score(self, scored: Sequence[tuple[ScoreRow, torch.Tensor, int]]) -> None:
        try:
            score(scored, self.network.network)
        except Exception as error:  # whatever is wrong with the scores, the others go on
            for row, *_ in scored:
                row.fail(failed_pass(error))

    def _hidden(self, turns: Sequence[Turn]) -> torch.Tensor:
        device = self._pool.tensor.device
        tokens: list[int] = []
        positions: list[int] = []
        rows: list[Sequenced] = []
        for row, new in turns:
            tokens += row.tokens[row.done : row.done + new]
            first = row.ahead.moved + row.done
            positions += range(first, first + new)
            rows.append(Sequenced(row.pages, row.ahead.tokens + row.done, new))
        written = sum(turn.row.writes for turn in turns)
        attention = PagedAttention(self._pool, rows, written, self._folds)
        return self.network.hidden(
            torch.tensor(tokens, device=device),
            torch.tensor(positions, device=device),
            attention,
            self._row_ops(turns),
        )

    def _row_ops(self, turns: Sequence[Turn]) -> RowOps | None:
        """The operations of these rows; those of the last pass where the rows are the same."""
        stretches = [stretch for turn in turns for stretch in self._stretches(turn)]
        if all(stretch.hot is None for stretch in stretches):
            return None
        key = tuple(stretches)
        if key != self._key or self._ops is None:
            u = self._grain
            self._ops = RowOps(
                stretches, self._pool.grains(u), self._pool.shape.slice // u, self._sizes.shapes
            )
            self._key = key
        return self._ops

    def _stretches(self, turn: Turn) -> Iterator[Stretch]:
        """The tokens of one row before its adapter acts, and those from there on."""
        row, new = turn
        hot = None if row.adapter == self.merged else row.hot
        before = min(max(row.acts_from - row.done, 0), new)
        if before:
            yield Stretch(None, before, not row.writes)
        if new > before:
            yield Stretch(hot, new - before, not row.writes)
