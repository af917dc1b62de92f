"""aLoRA, activated LoRA: a LoRA that acts from a sequence of tokens on, and not before it.

Greenewald et al., 2025, arXiv 2504.12397. With p the place of the first token of the LAST
occurrence of the invocation in a text, and the other letters of LoRA, at the token t

    y_t = W x_t + [t >= p] s B (A x_t)          count = sum over maps of r (in + out)

so that the keys and values before p are those of the base: whoever has read the text with the base,
or with another such adapter, need not read it again (`lm.serving`). A text without the invocation
is answered by the base, as with peft and vLLM; that is said once.

Training sees whole texts, so p is looked for in prompt and answer, as peft does; whoever writes an
answer looks in the prompt alone. Where answers never hold the invocation, both are the same. It
cannot be merged, since the weights of a merged model act everywhere.

The paper takes a rank of 32 on q, k and v where LoRA takes 6: what stands before p cannot adapt.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Self

import torch
from torch import Tensor, nn

from adwright.core.config import Ge, settings
from adwright.core.errors import ConfigError
from adwright.tuning.modules import Inputs, Variant, Variants
from adwright.tuning.reparameterised.lora import LoRALinear, LowRankMethod
from adwright.tuning.tuned import Tuned

_log = logging.getLogger("adwright")


@settings
class ActivatedLoRA(LowRankMethod):
    """W + s B A on the maps in `targets`, from the last invocation of a text on.

    invocation: its tokens; or a text, which `in_tokens` encodes; empty for what the base's chat
    template puts before an answer. dropout: on the x that A sees, in training.
    Memory and place: those of `LoRA`.
    """

    mergeable: ClassVar[bool] = False
    packable: ClassVar[bool] = True
    variants: ClassVar[Variants] = (
        Variant(
            "aLoRA", "beyond the survey", "acts from the invocation on; shares the base's keys"
        ),
    )
    invocation: str | tuple[int, ...] = ""
    dropout: Annotated[float, Ge(0)] = 0.0

    @property
    def tokens(self) -> tuple[int, ...]:
        """The invocation in tokens; ConfigError where it is a text yet."""
        if isinstance(self.invocation, str) or not self.invocation:
            raise ConfigError(
                "the invocation has no tokens yet",
                where=f"ActivatedLoRA.invocation = {self.invocation!r}",
                hint="give tokens, or encode the text: ActivatedLoRA(...).in_tokens(encode)",
            )
        return self.invocation

    def in_tokens(self, encode: Callable[[str], Sequence[int]], opening: str = "") -> Self:
        """The same with the invocation as tokens."""
        if self.invocation and not isinstance(self.invocation, str):
            return self
        found = tuple(encode(str(self.invocation) if self.invocation else opening))
        if not found:
            raise ConfigError(
                "nothing says from where on the adapter is to act: the base has no chat template",
                where=f"ActivatedLoRA.invocation = {self.invocation!r}",
                hint="name a text that stands in every prompt: --set invocation='Answer:'",
            )
        return replace(self, invocation=found)

    def attach(self, tuned: Tuned) -> None:
        """As the others of low rank; what finds the invocation stands around the backbone."""
        most = tuned.sizes.vocabulary
        if not all(0 <= token < most for token in self.tokens):
            raise ConfigError(
                f"the base has tokens from 0 to {most - 1}",
                where=f"ActivatedLoRA.invocation = {list(self.tokens)}",
                hint="encode the invocation by the tokenizer of this base",
            )
        invoked = Invoked(self.tokens)
        tuned.outer = invoked
        super().attach(tuned)
        for place in tuned.places(self.targets):
            if isinstance(place.linear, ActivatedLinear):
                place.linear.now = invoked.now

    def linear(self, tuned: Tuned, base: nn.Linear, a: nn.Parameter, b: nn.Parameter) -> LoRALinear:
        """An `ActivatedLinear`."""
        return ActivatedLinear(base, a, b, self.scale, self.dropout)


class _Now:
    """Where the adapter acts in the pass that is under way: bool [B, T], or None for nowhere."""

    active: Tensor | None = None


class ActivatedLinear(LoRALinear):
    """W x + s B A x where `now` says so, else W x. By itself it is the base's map."""

    def __init__(
        self, base: nn.Linear, a: nn.Parameter, b: nn.Parameter, scale: float, dropout: float = 0.0
    ) -> None:
        super().__init__(base, a, b, scale, dropout)
        self.now = _Now()

    def acts(self, x: Tensor) -> Tensor | None:
        """bool [..., 1] for x [..., in]."""
        active = self.now.active
        if active is None or active.shape != x.shape[:-1]:
            return torch.zeros(*x.shape[:-1], 1, dtype=torch.bool, device=x.device)
        return active[..., None]

    def weight_update(self) -> Tensor:
        """ConfigError: no weight does the same."""
        return super(LoRALinear, self).weight_update()


class Invoked(nn.Module):
    """Stands around the backbone, and tells the maps where they act. tokens: of the invocation."""

    def __init__(self, tokens: tuple[int, ...]) -> None:
        super().__init__()
        self.tokens = tokens
        self.now = _Now()
        self._told = False

    def forward(self, backbone: Callable[..., Any], inputs: Inputs) -> Tensor:
        """Hidden states [B, T, D]."""
        with self.acting(self.active(inputs)):
            output = backbone(
                input_ids=inputs.ids,
                attention_mask=inputs.mask,
                position_ids=inputs.positions,
                use_cache=False,
            )
        hidden: Tensor = output.last_hidden_state
        return hidden

    def train(self, mode: bool = True) -> Invoked:
        """Also forget the last pass: its backward pass is over."""
        super().train(mode)
        self.now.active = None
        return self

    @contextmanager
    def acting(self, active: Tensor | None) -> Iterator[None]:
        """Let the maps act at bool [B, T] within; a graph keeps it until the next pass, since its
        backward pass may compute layers again."""
        self.now.active = active
        try:
            yield
        finally:
            if not torch.is_grad_enabled():
                self.now.active = None

    def active(self, inputs: Inputs) -> Tensor:
        """The tokens from the last invocation of their text on: bool [B, T]."""
        ids = inputs.ids
        B, T = ids.shape
        text = torch.zeros_like(ids)
        if inputs.positions is not None:
            text = (inputs.positions.expand(B, T) == 0).cumsum(1)
        text = text - text[:, :1]
        real = torch.ones_like(ids, dtype=torch.bool) if inputs.mask is None else inputs.mask > 0
        place = torch.arange(T, device=ids.device).expand(B, T)
        # [B, T]: the place where an invocation begins, or -1
        begins = torch.where(self._begin(ids, text, real), place, -1)
        last = torch.full_like(ids, -1).scatter_reduce(1, text, begins, "amax")
        self._tell(last, text)
        own = last.gather(1, text)
        return (own >= 0) & (place >= own)

    def _begin(self, ids: Tensor, text: Tensor, real: Tensor) -> Tensor:
        """Whether all of the invocation stands at a place and behind it, in one text."""
        n = len(self.tokens)
        if ids.shape[1] < n:
            return torch.zeros_like(real)
        wanted = torch.tensor(self.tokens, device=ids.device)
        windows = ids.unfold(1, n, 1) == wanted  # [B, T - n + 1, n]
        seen = windows.all(-1) & real.unfold(1, n, 1).all(-1)
        seen &= text[:, : text.shape[1] - n + 1] == text[:, n - 1 :]
        return nn.functional.pad(seen, (0, n - 1))

    def _tell(self, last: Tensor, text: Tensor) -> None:
        if self._told:
            return
        texts = text[:, -1:] + 1  # [B, 1]
        held = torch.arange(last.shape[1], device=last.device) < texts
        lacking, all_of = int((held & (last < 0)).sum()), int(held.sum())
        if lacking:
            self.tell_lacking(lacking, all_of)

    def tell_lacking(self, lacking: int, texts: int) -> None:
        """Say, the first time, that the base answers these."""
        if not self._told:
            _log.warning(
                "%d of %d texts lack the invocation %s of the adapter: the base answers them",
                lacking,
                texts,
                list(self.tokens),
            )
        self._told = True


def invoked_from(ids: Sequence[int], invocation: Sequence[int]) -> int | None:
    """The place of the first token of the last `invocation` in `ids`; None where there is none."""
    n = len(invocation)
    wanted = list(invocation)
    places = range(len(ids) - n, -1, -1)
    return next((at for at in places if list(ids[at : at + n]) == wanted), None)
