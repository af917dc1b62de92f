"""JSON schemas and GBNF grammars, translated and checked by llguidance.

JSON is written without free white space, since a small model that may put blanks between two
braces often does nothing else.
"""

from __future__ import annotations

from adwright.core.errors import ConfigError, MissingExtraError
from adwright.lm.engine.generation import GenerationConfig

__all__ = ["check_constraint", "compiled", "refused"]


def compiled(config: GenerationConfig) -> str:
    """Translate the schema or grammar of `config` into the form that llguidance reads.

    Raises ConfigError where it is none, MissingExtraError without llguidance.
    """
    try:
        from llguidance import LLMatcher
        from llguidance.gbnf_to_lark import gbnf_to_lark
    except ImportError as error:
        raise MissingExtraError("constrained output", "lm") from error
    try:
        if config.json_schema is not None:
            return LLMatcher.grammar_from_json_schema(
                dict(config.json_schema), overrides={"whitespace_flexible": False}
            )
        return LLMatcher.grammar_from_lark(gbnf_to_lark(config.grammar or ""))
    except Exception as error:  # the converters raise errors of many kinds
        raise refused(str(error)) from error


def check_constraint(config: GenerationConfig) -> None:
    """Check the constraint at once, for engines that would notice only while they compute.

    Raises ConfigError where the schema or grammar of `config` is none.
    """
    if config.constrained:
        text = compiled(config)
        from llguidance import LLMatcher

        why = LLMatcher.validate_grammar(text)
        if why and not why.startswith("WARNING"):
            raise refused(why)


def refused(why: str) -> ConfigError:
    """Make the error that says why a schema or grammar cannot be used."""
    lines = [line.strip() for line in why.splitlines() if line.strip()]
    return ConfigError(
        f"the schema or grammar cannot be used: {lines[0] if lines else 'it is empty'}",
        where="json_schema, grammar",
        hint="correct it",
    )
