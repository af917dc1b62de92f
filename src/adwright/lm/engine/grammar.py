"""JSON schemas and GBNF grammars: bounded, translated and checked, before an engine sees them.

Sizes are looked at first, see `ConstraintBounds`. Then a process that may die compiles them with
llguidance, see `lm.compiling.compiler`. JSON is written without free white space, since a small
model that may put blanks between two braces often does nothing else.
"""

from __future__ import annotations

import json
from importlib.util import find_spec

from adwright.core.errors import MissingExtraError
from adwright.lm.compiling.bounds import ConstraintBounds, require_at_most
from adwright.lm.compiling.compiler import refused, shared_compiler
from adwright.lm.compiling.gbnf_bounds import check_gbnf
from adwright.lm.compiling.rehearsal import Kind
from adwright.lm.compiling.schema_bounds import check_schema
from adwright.lm.engine.generation import Cancellation, GenerationConfig

__all__ = ["check_bounds", "check_constraint", "check_template", "compiled", "refused"]

_BOUNDS = ConstraintBounds()


def check_bounds(config: GenerationConfig, bounds: ConstraintBounds = _BOUNDS) -> None:
    """Check the size of the schema or grammar, for an engine that compiles it by itself.

    Raises ConfigError that names the bound and the value found.
    """
    if not config.constrained:
        return
    kind, text = _text(config)
    try:
        length = len(text.encode())
    except UnicodeEncodeError as error:
        raise refused("it has half a character, a surrogate") from error
    require_at_most("bytes", length, bounds.text_bytes)
    match kind:
        case "schema":
            check_schema(config.json_schema or {}, bounds)
        case "gbnf":
            check_gbnf(text, bounds)
        case "regex":
            check_schema({"pattern": text}, bounds)
        case _:  # its parts are for whoever put it together to check
            pass


def compiled(
    config: GenerationConfig,
    *,
    cancel: Cancellation | None = None,
    bounds: ConstraintBounds = _BOUNDS,
) -> str:
    """Translate the schema or grammar of `config` into the form that llguidance reads.

    Raises ConfigError where it is none, is above a bound or takes too much to compile;
    ResourceError where the machine has no time for it, or it is cancelled; MissingExtraError
    without llguidance.
    """
    if find_spec("llguidance") is None:
        raise MissingExtraError("constrained output", "lm")
    check_bounds(config, bounds)
    kind, text = _text(config)
    never = Cancellation() if cancel is None else cancel
    return shared_compiler().compile(kind, text, cancelled=lambda: never.cancelled)


def check_constraint(
    config: GenerationConfig,
    *,
    cancel: Cancellation | None = None,
    bounds: ConstraintBounds = _BOUNDS,
) -> None:
    """Check the constraint at once, for engines that would notice only while they compute.

    Raises as `compiled`.
    """
    if config.constrained:
        compiled(config, cancel=cancel, bounds=bounds)


def check_template(template: str) -> None:
    """Render a short and a long chat in a process that may die, the first time that this template
    is met.

    Raises ConfigError where it takes too long or makes far too much of them.
    """
    shared_compiler().compile("template", template)


def _text(config: GenerationConfig) -> tuple[Kind, str]:
    if config.json_schema is not None:
        return "schema", json.dumps(dict(config.json_schema))
    if config.regex is not None:
        return "regex", config.regex
    return ("gbnf", config.grammar or "") if config.lark is None else ("lark", config.lark)
