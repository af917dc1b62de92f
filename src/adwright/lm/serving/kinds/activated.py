"""Adapters that act from a token of their row on, and leave what is before it to the base.

The keys and values of those tokens are the base's: their pages are shared with everybody who has
read them (`paging.block_keys`), and a pass computes them without the adapter (`passes`). Where in a
row an adapter begins is looked for once, in what is asked; what is written then calls nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from adwright.lm.serving.kinds.shapes import GatheredMethod
from adwright.tuning.reparameterised.activated import ActivatedLoRA, invoked_from

__all__ = ["acts_everywhere", "first_acted"]


def acts_everywhere(method: GatheredMethod) -> bool:
    """Whether an adapter with these settings acts on every token."""
    return not isinstance(method, ActivatedLoRA)


def first_acted(method: GatheredMethod, prompt: Sequence[int]) -> int | None:
    """The first token of a prompt on which an adapter acts; None where the base answers it."""
    match method:
        case ActivatedLoRA():
            return invoked_from(prompt, method.tokens)
        case _:
            return 0
