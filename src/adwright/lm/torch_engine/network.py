"""A causal network of transformers in two parts: hidden states with a cache, and the head."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from adwright.core.errors import ConfigError
from adwright.tuning.methods import load_tuned
from adwright.tuning.modules import Ahead, Inputs, head_logits
from adwright.tuning.reparameterised.lora import Invoked, invoked_from
from adwright.tuning.tuned import Tuned

if TYPE_CHECKING:
    from transformers import PreTrainedModel


# --------------------------------------------------------------------------------------------------
# The base's linear maps, of many rows or of one.
#
# A single row is a product of a matrix and a vector, whose cost is that of reading the weights.
# torch hands it to a kernel for matrices, which first packs 16 bits wide weights anew in each call;
# those for vectors read them as they lie, with sums in 32 bits as well. Ours (`row_product`), for
# one thread, reads them fastest.

_HALF = (torch.bfloat16, torch.float16)
#: What `row_product` multiplies at a time.
_PIECE = 32


def mapped(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`functional.linear` without a gradient: x [..., in], weight [out, in] to [..., out]."""
    one = x.numel() == x.shape[-1]
    if not one or weight.dtype not in _HALF or not weight.is_cpu or x.dtype != weight.dtype:
        return functional.linear(x, weight, bias)
    return row_mapped(x.reshape(-1), weight, bias).view(*x.shape[:-1], -1)


def row_mapped(
    row: Tensor, weight: Tensor, bias: Tensor | None = None, out: Tensor | None = None
) -> Tensor:
    """`mapped` of one row [in] of the weight's type, written to `out` [out], contiguous, where
    there is one."""
    product = _compiled() if weight.dtype == torch.bfloat16 and weight.is_cpu else None
    rows, size = weight.shape
    lies_well = size % _PIECE == 0 and weight.is_contiguous()
    if product is None or not lies_well or torch.get_num_threads() > 1:
        if bias is None:
            return torch.mv(weight, row, out=out)
        return torch.addmv(bias, weight, row, out=out)
    row = row.contiguous()
    y = row.new_empty(rows) if out is None else out
    product(y.data_ptr(), weight.data_ptr(), row.data_ptr(), rows, size)
    return y if bias is None else y.add_(bias)


@cache
def _compiled() -> Callable[[int, int, int, int, int], None] | None:
    """The product in compiled code; None without numba, or for another processor."""
    if find_spec("numba") is None:
        return None
    from adwright.core.vector_code import has_pairs
    from adwright.lm.torch_engine.row_product import row_product

    product: Callable[[int, int, int, int, int], None] = row_product
    return product if has_pairs() else None


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


# --------------------------------------------------------------------------------------------------
# The network of a tuned model, with what lies around its backbone; and a tuned model over a base.
#
# Most methods change modules inside the model, which then is a network like any other. Some stand
# around the backbone:
#
#     vectors before the text    they go before the first tokens, into the same cache; the tokens
#                                stand L positions later. What moves embedded words is added there
#     a LoRA that acts from a    each row is told where; before that its keys are those of the base
#     sequence of tokens on
#     anything else (a ladder)   has no cache: all tokens are read again for each new one

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
