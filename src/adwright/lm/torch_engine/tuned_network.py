"""The network of a tuned model, with what lies around its backbone; and a tuned model over a base.

Most methods change modules inside the model, which then is a network like any other. Some stand
around the backbone:

    vectors before the text    they go before the first tokens, into the same cache; the tokens
                               stand L positions later. What moves embedded words is added there
    anything else (a ladder)   has no cache: all tokens are read again for each new one
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from adwright.lm.torch_engine.network import Network
from adwright.tuning.methods import load_tuned
from adwright.tuning.modules import Ahead, Inputs
from adwright.tuning.tuned import Tuned

__all__ = ["AheadNetwork", "RereadNetwork", "borrowed", "network_of", "tuned_folder", "tuned_over"]

_Model = TypeVar("_Model", bound=nn.Module)


def network_of(model: Any) -> Network:
    """The network of a causal LM of transformers, or of a `Tuned` one. Errors as `Network`."""
    if not isinstance(model, Tuned):
        return Network(model)
    match model.outer:
        case None:
            return Network(model.model)  # type: ignore[arg-type]
        case Ahead():
            return AheadNetwork(model)
        case _:
            return RereadNetwork(model)


def tuned_folder(folder: str | Path) -> Path:
    """Where an adapter lies in `folder`: in its `tuned`, as `adwright tune` writes it, or there."""
    inner = Path(folder) / "tuned"
    return inner if inner.is_dir() else Path(folder)


def tuned_over(base: _Model, folder: str | Path) -> Tuned:
    """Load the adapter in `folder` over `base`, in eval mode; errors as `load_tuned`.

    The base stays as it is, and its weights are in memory once: the adapter's modules stand in a
    tree of their own, and what the adapter trained of the base itself is a copy.
    """
    return load_tuned(borrowed(base), tuned_folder(folder)).eval()


def borrowed(base: _Model) -> _Model:
    """Copy the tree of modules; its parameters are new ones over the same memory."""
    memo: dict[int, Any] = {id(each): each for each in base.buffers()}
    for each in base.parameters():
        memo[id(each)] = nn.Parameter(each.data, requires_grad=False)
    return copy.deepcopy(base, memo)


class AheadNetwork(Network):
    """A backbone that reads learned vectors before each text. tuned: its `outer` is an `Ahead`."""

    def __init__(self, tuned: Tuned) -> None:
        super().__init__(tuned.causal, around=True)
        if not isinstance(tuned.outer, Ahead):
            raise TypeError(f"{type(tuned.outer)} does more than to put vectors ahead")
        self._outer: Ahead = tuned.outer
        with torch.no_grad():
            self._vectors: Tensor = tuned.outer.ahead().to(self._head.weight.dtype)
        self.context = max(0, self.context - len(self._vectors))

    def hidden(
        self, ids: Tensor, *, positions: Tensor, mask: Tensor | None = None, cache: Any = None
    ) -> Tensor:
        """As `Network.hidden`; `positions` and `mask` are of the text alone."""
        L = len(self._vectors)
        text = self._decoder.get_input_embeddings()(ids)
        moved = self._outer.shift(positions)
        if moved is not None:
            text = text + moved.to(text.dtype)
        first = cache is None or not cache.get_seq_length()
        at = positions + L
        if first:
            text = torch.cat([self._vectors.expand(len(ids), -1, -1), text], 1)
            before = torch.arange(L, device=ids.device).expand(len(ids), -1)
            at = torch.cat([before, at], 1)
        if mask is not None:
            mask = torch.cat([mask.new_ones(len(mask), L), mask], 1)
        state = self._decoder(
            inputs_embeds=text,
            attention_mask=mask,
            position_ids=at,
            use_cache=cache is not None,
            **{self._cache_name: cache},
        )
        last: Tensor = state[0]
        return last[:, L:] if first else last


class RereadNetwork(Network):
    """A backbone with anything around it. tuned: it computes the hidden states of whole texts."""

    def __init__(self, tuned: Tuned) -> None:
        super().__init__(tuned.causal, around=True)
        self._tuned = tuned

    def new_cache(self) -> Any:
        """An empty store of tokens."""
        return _TokenStore()

    def hidden(
        self, ids: Tensor, *, positions: Tensor, mask: Tensor | None = None, cache: Any = None
    ) -> Tensor:
        """As `Network.hidden`, but what the cache holds is read again."""
        new = ids.shape[1]
        if isinstance(cache, _TokenStore):
            ids, positions = cache.joined(ids, positions)
        outer: Any = self._tuned.outer
        hidden: Tensor = outer(self._tuned.causal.model, Inputs(ids, mask, positions))
        return hidden[:, -new:]


class _TokenStore:
    """Tokens and positions [B, T] so far, as a cache for `PromptBatch`."""

    def __init__(self) -> None:
        self._held: tuple[Tensor, Tensor] | None = None

    def joined(self, ids: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Add new ones, and return all."""
        if self._held is not None:
            ids = torch.cat([self._held[0], ids], 1)
            positions = torch.cat([self._held[1].expand(len(ids), -1), positions], 1)
        self._held = (ids, positions.expand(len(ids), -1))
        return self._held

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Take each row so many times."""
        if self._held is not None:
            ids, positions = self._held
            self._held = ids.repeat_interleave(repeats, 0), positions.repeat_interleave(repeats, 0)

    def batch_select_indices(self, rows: Tensor) -> None:
        """Keep these rows, int64 [B']."""
        if self._held is not None:
            self._held = self._held[0][rows], self._held[1][rows]
