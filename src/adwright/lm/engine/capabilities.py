"""What an engine can do, in words that its row of the documentation holds."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Capabilities"]


@dataclass(frozen=True)
class Capabilities:
    """One column of the table of engines in docs/language-models.md.

    title: name of the engine for readers. models: what it opens. batching: how requests of
    several callers run. prefix: when a shared beginning of prompts is computed. score, embed,
    constraint: whether it has them, and how.
    """

    title: str
    models: str
    batching: str = ""
    prefix: str = ""
    score: str = "no"
    embed: str = "no"
    constraint: str = "no"
