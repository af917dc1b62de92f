"""DePT: a short soft prompt, and a low-rank update of the embedded text.

Shi & Lipani, "DePT: Decomposed Prompt Tuning", ICLR 2024, arXiv 2309.05173. At position t,

    input = [p_1 ... p_L, E(x_t) + (A B)_t]        A [S, r] random, B [r, D] = 0 at first
    count = L D + S r + r D

S is the longest text. The parameters of a long prompt are spent so that fewer positions are read.

The method has two learning rates: the paper trains the prompt at 3e-1 and more, A and B at rates
such as 5e-4. Here the prompt's rate is `rate_ratio` times the other. Ours: 60, where the paper has
some hundreds. A step of Adam is as long as the rate, and embeddings of a Llama-type model are far
smaller than those of T5; at the default rate, 5e-4, the prompt has 3e-2, which is best for prompt
tuning on the default model.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor, nn

from adwright.core.config import Count, Ge, settings
from adwright.core.errors import ValueInvalidError
from adwright.tuning.additive.prompt import run_with_prompt
from adwright.tuning.branches import Variant, Variants
from adwright.tuning.modules import Inputs, zeros
from adwright.tuning.sizes import Sizes
from adwright.tuning.tuned import Tuned, TuningMethod

__all__ = ["DePT", "DecomposedPrompt"]


@settings
class DePT(TuningMethod):
    """length: L. longest: S. rank: r. rate_ratio: see the module; 1 for one rate.

    Memory: L positions in each layer. Applies to any model that takes embeddings.
    """

    variants: ClassVar[Variants] = (Variant("DePT", "additive: soft prompts"),)
    packable: ClassVar[bool] = True
    exact_start: ClassVar[bool] = False
    length: Count = 10
    longest: Count = 512
    rank: Count = 8
    rate_ratio: Annotated[float, Ge(0)] = 60.0

    def count(self, sizes: Sizes) -> int:
        """L D + S r + r D."""
        return self.length * sizes.width + self.rank * (self.longest + sizes.width)

    def attach(self, tuned: Tuned) -> None:
        """Put a `DecomposedPrompt` around the backbone."""
        table = tuned.causal.model.embed_tokens.weight
        words = torch.randint(len(table), (self.length,), generator=tuned.generator)
        vectors = nn.Parameter(table.detach()[words].float())
        a = tuned.normal(self.longest, self.rank, std=self.rank**-0.5)
        tuned.outer = DecomposedPrompt(vectors, a, zeros(self.rank, tuned.sizes.width))

    def rate(self, name: str) -> float:
        """`rate_ratio` for the prompt, 1 for A and B."""
        return self.rate_ratio if name.endswith(".vectors") else 1.0


class DecomposedPrompt(nn.Module):
    """vectors: p [L, D]. a: A [S, r]. b: B [r, D]."""

    def __init__(self, vectors: nn.Parameter, a: nn.Parameter, b: nn.Parameter) -> None:
        super().__init__()
        self.vectors, self.a, self.b = vectors, a, b

    def ahead(self) -> Tensor:
        """The vectors [L, D]."""
        return self.vectors

    def shift(self, places: Tensor) -> Tensor:
        """A B at `places` [..., T]: [..., T, D]. ValueInvalidError where one is beyond S."""
        tokens = int(places.max()) + 1
        if tokens > len(self.a):
            raise ValueInvalidError(
                f"a text of {tokens} tokens is longer than the {len(self.a)} of the update",
                value=tokens,
                hint="raise DePT.longest, or cut the texts",
            )
        return self.a[places] @ self.b

    def forward(self, backbone: Callable[..., Any], inputs: Inputs) -> Tensor:
        """Compute the hidden states [B, T, D] of the text; errors as `shift`."""
        rows, tokens = inputs.ids.shape
        places = inputs.positions
        if places is None:
            places = torch.arange(tokens, device=inputs.ids.device)
        vectors = self.vectors.expand(rows, -1, -1)
        return run_with_prompt(backbone, vectors, inputs, shift=self.shift(places))
