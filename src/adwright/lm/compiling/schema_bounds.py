"""The size of a JSON schema, measured in one pass without recursion."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from adwright.lm.compiling.bounds import ConstraintBounds, longest_chain, require_at_most

__all__ = ["check_schema", "schema_states"]

#: Their values are data: objects in them are no schemas.
_DATA = frozenset(("const", "default", "enum", "examples"))
_DEFINITIONS = frozenset(("$defs", "definitions"))
_ROOT = "#"
_LENGTHS = ("minLength", "maxLength")
#: Compilers count longer strings in another way.
_COUNTED = 128
#: A class of characters in a pattern, or a repetition and its counts.
_PATTERN = re.compile(r"\\.|[.\[]|\{(\d+)(?:,(\d*))?\}")
#: What one repetition in a pattern takes more than a length.
_REPEATED = 4
#: What an array of bounded length takes.
_ARRAY = 10


def check_schema(schema: Mapping[str, Any], bounds: ConstraintBounds) -> None:
    """Raise ConfigError where `schema` is above a bound; the bytes are looked at elsewhere."""
    parts = states = 0
    refs: dict[str, list[str]] = defaultdict(list)
    # Of each value: its key, how deep it lies, the definition that it belongs to, whether it is
    # data.
    left: list[tuple[str, Any, int, str, bool]] = [("", schema, 1, _ROOT, False)]
    while left:
        key, value, depth, owner, is_data = left.pop()
        match value:
            case str():
                require_at_most("characters in one string", len(value), bounds.literal)
                if key == "$ref" and not is_data:
                    refs[owner].append(value)
            case Mapping():
                parts += not is_data
                states += 0 if is_data else schema_states(value)
                _check_names(value, bounds)
                for name, inner in value.items():
                    inside = is_data or name in _DATA
                    own = f"#/{key}/{name}" if key in _DEFINITIONS and not is_data else owner
                    left.append((name, inner, depth + 1, own, inside))
            case Sequence():
                left.extend(("", inner, depth + 1, owner, is_data) for inner in value)
            case _:
                continue
        if not isinstance(value, str):
            require_at_most("levels of nesting", depth, bounds.depth)
        require_at_most("objects", parts, bounds.parts)
        require_at_most("counted characters", states, bounds.states)
    require_at_most("references in a row", longest_chain(refs, _ROOT) - 1, bounds.chain)


def schema_states(part: Mapping[str, Any]) -> int:
    """About how many states the lengths and patterns of one object of a schema take."""
    lengths = [part[name] for name in _LENGTHS if isinstance(part.get(name), int | float)]
    states = int(min(max(lengths, default=0), _COUNTED))
    states += _ARRAY if "minItems" in part or "maxItems" in part else 0
    patterns = [part.get("pattern"), *_keys(part.get("patternProperties"))]
    for pattern in patterns:
        if isinstance(pattern, str):
            for found in _PATTERN.finditer(pattern):
                counts = [int(one[:9]) for one in found.groups() if one]
                states += _REPEATED * max(counts) if counts else 1
    return states


def _keys(value: object) -> list[str]:
    return list(value) if isinstance(value, Mapping) else []


def _check_names(found: Mapping[str, Any], bounds: ConstraintBounds) -> None:
    longest = max((len(str(name)) for name in found), default=0)
    require_at_most("characters in one string", longest, bounds.literal)
