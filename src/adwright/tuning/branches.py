"""The branches of the taxonomy of parameter-efficient tuning, and under which names a method has
its place there.

Han, Gao, Liu, Zhang & Zhang, "Parameter-Efficient Fine-Tuning for Large Models: A Comprehensive
Survey", 2024, arXiv 2403.14608. `taxonomy` has the whole tree.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

from adwright.core.config import settings

__all__ = ["BRANCHES", "Branch", "Variant", "Variants"]

Branch = Literal[
    "additive: adapters",
    "additive: soft prompts",
    "additive: other",
    "selective: unstructured",
    "selective: structured",
    "reparameterised: low rank",
    "reparameterised: LoRA derivatives",
    "hybrid",
    "efficient: pruning",
    "efficient: quantisation",
    "efficient: memory",
    "references",
    "beyond the survey",
]
BRANCHES: tuple[Branch, ...] = get_args(Branch)


@settings
class Variant:
    """A name that a method has in the literature. note: the settings that give it, or what differs
    from the paper. settings: pairs of name and value that the name stands for where somebody asks
    for it. instead: what to write where the name alone does not give it.
    """

    name: str
    branch: Branch
    note: str = ""
    settings: tuple[tuple[str, Any], ...] = ()
    instead: str = ""


Variants = tuple[Variant, ...]
