"""The limits that llguidance keeps by itself, the same wherever it runs.

They bound what compiles, and the work and memory of each mask while an answer is written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llguidance import LLParserLimits

__all__ = ["parser_limits"]


def parser_limits() -> LLParserLimits:
    """Its own limits, but for the states of a lexer: 250,000 of them may be half a gigabyte for
    each answer. Raises ImportError without llguidance."""
    from llguidance import LLParserLimits

    return LLParserLimits(
        max_items_in_row=2000,
        initial_lexer_fuel=1_000_000,
        step_lexer_fuel=200_000,
        step_max_items=50_000,
        max_lexer_states=20_000,
        max_grammar_size=200_000,
        verbose_errors=False,
    )
