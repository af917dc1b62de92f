"""A causal network of transformers in two parts: hidden states with a cache, and the head."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from adwright.core.errors import ConfigError
from adwright.lm.torch_engine.linear_map import mapped
from adwright.tuning.modules import head_logits

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["Network", "PromptBatch", "shared_beginning"]

#: A shared beginning below so many tokens is not worth a pass of its own.
_WORTH = 16


class Network:
    """Decoder and vocabulary head, called one by one.

    model: a causal model of transformers whose logits are its output embedding of the last hidden
    states, perhaps scaled or capped as its config says.

    around: what lies around the backbone is computed too, by a class derived from this one.

    Raises ConfigError where they are something else, which a pass over two tokens finds out; and
    where a method of tuning lies around the backbone, which would be left out.
    """

    def __init__(self, model: PreTrainedModel, *, around: bool = False) -> None:
        whole: Any = model
        outside = getattr(whole, "outside", None)
        if outside is not None and not around:
            raise ConfigError(
                f"{outside} lies around the model, which by itself answers as its base does",
                where=type(whole).__name__,
                hint="give the engine the whole `Tuned`, not its `model`",
            )
        self._decoder = whole.get_decoder()
        self._head = whole.get_output_embeddings()
        self._config = whole.config.get_text_config()
        # Renamed in transformers 5.x, where the old name warns.
        names = inspect.signature(self._decoder.forward).parameters
        self._cache_name = "cache" if "cache" in names else "past_key_values"
        self.device: torch.device = self._head.weight.device
        self.vocabulary = int(self._head.weight.shape[0])
        self.context = int(getattr(self._config, "max_position_embeddings", 0) or 0)
        self._check(whole)

    def new_cache(self) -> Any:
        """An empty cache of keys and values."""
        from adwright.lm.torch_engine.kv_cache import growing_cache

        return growing_cache(self._config)

    def over(self, prompts: Sequence[Sequence[int]]) -> Network:
        """The network for rows with these prompts: itself, where all rows are computed alike."""
        return self

    def of_rows(self, rows: Tensor) -> Network:
        """The network for some of the rows of `over`, int64 [B']."""
        return self

    def shared(self, rows: Sequence[Sequence[int]]) -> int:
        """How many tokens of these rows of `over` can pass once, see `shared_beginning`."""
        return shared_beginning(rows)

    def hidden(
        self,
        ids: Tensor,
        *,
        positions: Tensor,
        mask: Tensor | None = None,
        cache: Any = None,
    ) -> Tensor:
        """Last hidden states [B, L, D] of tokens `ids` int64 [B, L] at `positions` [B, L].

        mask: int64 [B, past + L], 0 where there is padding; None where there is none, or all of
        it lies behind. cache: read, and the keys and values of `ids` are added to it.
        """
        state = self._decoder(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            use_cache=cache is not None,
            **{self._cache_name: cache},
        )
        last: Tensor = state[0]
        return last

    def inner_hidden(
        self, ids: Tensor, layer: int, *, positions: Tensor, cache: Any = None
    ) -> tuple[Tensor, Tensor]:
        """Last hidden states, and those behind `layer`, both [B, L, D], of tokens `ids` int64
        [B, L] at `positions`; padding may only lie behind. layer: 0 is the embedding, N the last
        of N. cache: as in `hidden`.

        Raises ConfigError for another layer, and for a network with a method around its backbone.
        """
        layers = int(getattr(self._config, "num_hidden_layers", 0))
        if type(self) is not Network or not 0 <= layer <= layers:
            raise ConfigError(
                "this network has no such inner states to read",
                where=f"layer {layer} of {layers}",
                hint="name a layer from 0 on of a base, or of a method inside its modules",
            )
        state = self._decoder(
            input_ids=ids,
            position_ids=positions,
            use_cache=cache is not None,
            output_hidden_states=True,
            **{self._cache_name: cache},
        )
        return state[0], state.hidden_states[layer]

    def logits(self, hidden: Tensor) -> Tensor:
        """Logits float32 [N, V] of hidden states [N, D], made contiguous first."""
        hidden, head = hidden.contiguous(), self._head
        one = len(hidden) == 1 and type(head) is nn.Linear
        logits: Tensor = mapped(hidden, head.weight, head.bias) if one else head(hidden)
        return head_logits(self._config)(logits.float())

    @torch.inference_mode()
    def _check(self, whole: Any) -> None:
        ids = torch.tensor([[0, 1]], device=self.device)
        theirs = whole(input_ids=ids).logits.float()[0]
        # Of the backbone alone, as theirs is: what lies around it has the same head.
        positions = torch.arange(2, device=self.device)[None]
        ours = self.logits(Network.hidden(self, ids, positions=positions)[0])
        size = theirs.abs().max().clamp_min(1e-6)
        if ours.shape != theirs.shape or not bool((ours - theirs).abs().max() <= 0.02 * size):
            raise ConfigError(
                "the logits of this model are not its head on its last hidden states",
                where=type(whole).__name__,
                hint="take another model, or serve this one elsewhere and open it over HTTP",
            )


class PromptBatch:
    """A batch of prompts in the cache, and the logits after each.

    ids: tokens of B prompts, none empty. Their common beginning passes through the network once;
    what follows is padded on the left, so that every row ends at the same place.
    """

    def __init__(self, network: Network, ids: Sequence[Sequence[int]]) -> None:
        network = self._network = network.over(ids)
        self._cache = network.new_cache()
        B, device = len(ids), network.device
        shared = network.shared(ids) if B > 1 else 0
        if shared:
            first = torch.tensor([list(ids[0][:shared])], device=device)
            network.hidden(
                first, positions=torch.arange(shared, device=device)[None], cache=self._cache
            )
            self._cache.batch_repeat_interleave(B)
        L = max(map(len, ids)) - shared
        tokens = torch.zeros(B, L, dtype=torch.long)
        mask = torch.ones(B, shared + L, dtype=torch.long)
        for row, one in enumerate(ids):
            empty = L - (len(one) - shared)
            tokens[row, empty:] = torch.tensor(list(one[shared:]))
            mask[row, shared : shared + empty] = 0
        self._padded = bool((mask == 0).any())
        self._mask = mask.to(device)
        positions = (self._mask.cumsum(-1) - 1).clamp_min(0)[:, shared:]
        self._next = self._mask.sum(-1)  # position of the next token: [B]
        self.logits = self._pass(tokens.to(device), positions)  # [B, V]

    def step(self, tokens: Tensor) -> None:
        """Add one token per row, int64 [B]; `logits` are those after it."""
        one = self._mask.new_ones(len(tokens), 1)
        self._mask = torch.cat([self._mask, one], dim=-1)
        self.logits = self._pass(tokens.to(self._mask.device)[:, None], self._next[:, None])
        self._next = self._next + 1

    def keep(self, rows: Tensor) -> None:
        """Keep only these rows, int64 [B']; the memory of the others is freed."""
        rows = rows.to(self._mask.device)
        self._cache.batch_select_indices(rows)
        self._network = self._network.of_rows(rows)
        self._mask, self._next, self.logits = self._mask[rows], self._next[rows], self.logits[rows]

    def _pass(self, tokens: Tensor, positions: Tensor) -> Tensor:
        hidden = self._network.hidden(
            tokens,
            positions=positions,
            mask=self._mask if self._padded else None,
            cache=self._cache,
        )
        return self._network.logits(hidden[:, -1])


def shared_beginning(ids: Sequence[Sequence[int]], end: int | None = None) -> int:
    """How many tokens all rows begin with, at least one short of the shortest and at most `end`; 0
    where too few."""
    rows = [list(row) for row in ids]
    least, most = min(rows), max(rows)  # all others lie between the two
    limit = min(map(len, ids)) - 1
    limit = limit if end is None else min(limit, end)
    shared = next((at for at in range(limit) if least[at] != most[at]), limit)
    return shared if shared >= _WORTH else 0
