"""The network of a tuned model, with what lies around its backbone; and a tuned model over a base.

Most methods change modules inside the model, which then is a network like any other. Some stand
around the backbone:

    vectors before the text    they go before the first tokens, into the same cache; the tokens
                               stand L positions later. What moves embedded words is added there
    a LoRA that acts from a    each row is told where; before that its keys are those of the base
    sequence of tokens on
    anything else (a ladder)   has no cache: all tokens are read again for each new one
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from adwright.lm.torch_engine.network import Network, shared_beginning
from adwright.tuning.methods import load_tuned
from adwright.tuning.modules import Ahead, Inputs
from adwright.tuning.reparameterised.activated import Invoked, invoked_from
from adwright.tuning.tuned import Tuned

__all__ = [
    "ActivatedNetwork",
    "AheadNetwork",
    "RereadNetwork",
    "borrowed",
    "network_of",
    "tuned_folder",
    "tuned_over",
]

#: A place behind every text.
_NEVER = 1 << 40

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
        case Invoked():
            return ActivatedNetwork(model)
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


class ActivatedNetwork(Network):
    """A backbone whose adapter acts from the last invocation in a prompt on. tuned: its `outer` is
    an `Invoked`. Without `over` it is looked for in the tokens of each pass."""

    def __init__(self, tuned: Tuned) -> None:
        super().__init__(tuned.causal, around=True)
        if not isinstance(tuned.outer, Invoked):
            raise TypeError(f"{type(tuned.outer)} does not wait for an invocation")
        self._outer = tuned.outer
        self._starts: Tensor | None = None

    def over(self, prompts: Sequence[Sequence[int]]) -> Network:
        """The network that acts in each row from a place on; in none without the invocation."""
        found = [invoked_from(prompt, self._outer.tokens) for prompt in prompts]
        if None in found:
            self._outer.tell_lacking(found.count(None), len(found))
        starts = [_NEVER if at is None else at for at in found]
        return self._with(torch.tensor(starts, device=self.device))

    def of_rows(self, rows: Tensor) -> Network:
        """As `Network.of_rows`."""
        return self if self._starts is None else self._with(self._starts[rows])

    def shared(self, rows: Sequence[Sequence[int]]) -> int:
        """As `Network.shared`: what all begin with, before the adapter acts in any of them."""
        end = 0 if self._starts is None else int(self._starts.min())
        return shared_beginning(rows, end)

    def hidden(
        self, ids: Tensor, *, positions: Tensor, mask: Tensor | None = None, cache: Any = None
    ) -> Tensor:
        """As `Network.hidden`."""
        if self._starts is None:
            active = self._outer.active(Inputs(ids, mask, None))
        else:
            # One row for all of them is their common beginning.
            starts = self._starts if len(self._starts) == len(ids) else self._starts.min()[None]
            active = (positions >= starts[:, None]).expand_as(ids)
        with self._outer.acting(active):
            return super().hidden(ids, positions=positions, mask=mask, cache=cache)

    def _with(self, starts: Tensor) -> ActivatedNetwork:
        own = copy.copy(self)
        own._starts = starts
        return own


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
