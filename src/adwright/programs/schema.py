"""JSON schemas of what a call writes and of what a step looks for.

Checked by jsonschema-rs. A schema comes from strangers, so before it is used it is bounded, as
those of the engines are, and more strictly: patterns must be matched in linear time (no
look-around, no back-references), nothing is fetched, and no definition leads back to itself, since
what checking costs could double with each level of the answer.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from adwright.core.errors import ConfigError, MissingExtraError
from adwright.lm.compiling.bounds import ConstraintBounds
from adwright.lm.compiling.schema_bounds import check_schema as check_size

if TYPE_CHECKING:
    from jsonschema_rs import Validator

__all__ = ["OutputSchema", "read_json"]

_BOUNDS = ConstraintBounds()
#: Objects of a schema once each reference is replaced by what it refers to.
_EXPANDED = 2000
#: What gives references another meaning than that of a path from the top.
_DYNAMIC = frozenset(("$dynamicRef", "$recursiveRef", "$id", "$anchor", "$dynamicAnchor"))
_SHOWN = 120


class OutputSchema:
    """A schema that texts are checked against.

    Raises ConfigError where it is no schema, or above a bound; MissingExtraError without
    jsonschema-rs. where: its place, for errors.
    """

    def __init__(self, schema: Mapping[str, Any], *, where: str = "json_schema") -> None:
        if find_spec("jsonschema_rs") is None:
            raise MissingExtraError("checking a JSON schema", "lm")
        try:
            self._text = json.dumps(schema, allow_nan=False)
            check_size(schema, _BOUNDS)
            _check_references(json.loads(self._text))
            self._validator = _validator(self._text)
        except (TypeError, ValueError, RecursionError) as error:
            raise _refused(_first_line(error), where) from error
        except ConfigError as error:
            raise _refused(error.what, where) from error

    def problem(self, value: object) -> str:
        """What is wrong with a value that was read from JSON; "" where it fits."""
        error = next(self._validator.iter_errors(value), None)
        if error is None:
            return ""
        path = "".join(f"[{part!r}]" for part in error.instance_path)
        return f"{error.message[:_SHOWN]}{f' at {path}' if path else ''}"

    def problem_of_text(self, text: str) -> str:
        """What is wrong with a text that must be JSON of this schema; "" where it fits."""
        try:
            value = read_json(text)
        except ValueError as error:
            return str(error)
        return self.problem(value)


def read_json(text: str) -> Any:
    """What a text holds as JSON: one value, in which no name stands twice.

    Raises ValueError that says what is wrong; Python's own reader takes NaN, and the last of two
    values of one name.
    """
    try:
        return json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError("it is no JSON: it is nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"it is no JSON: {str(error)[:_SHOWN]}") from error


@lru_cache(maxsize=256)
def _validator(text: str) -> Validator:
    """The programs of one front end have the same schemas again and again."""
    import jsonschema_rs

    linear = jsonschema_rs.RegexOptions()
    return jsonschema_rs.Draft202012Validator(
        json.loads(text), pattern_options=linear, retriever=_nothing
    )


def _nothing(uri: str) -> Any:
    raise ValueError(f"it refers to {uri[:_SHOWN]}, and nothing is fetched")


def _check_references(schema: object) -> None:
    """Raise ValueError where a definition leads back to itself, or all of it together, with each
    reference replaced, is too large."""
    sizes: dict[str, int] = {}
    open_ones: list[str] = []

    def size(part: object) -> int:
        if isinstance(part, Sequence) and not isinstance(part, str):
            return sum(size(one) for one in part)
        if not isinstance(part, Mapping):
            return 0
        dynamic = next((name for name in part if _is_dynamic(name, part[name])), None)
        if dynamic is not None:
            raise ValueError(f"{dynamic} is not taken: write $ref to a definition")
        total = 1 + sum(size(one) for one in part.values())
        if isinstance(part.get("$ref"), str):
            total += referred(part["$ref"])
        if total > _EXPANDED:
            raise ValueError(f"with each reference replaced it has more than {_EXPANDED} objects")
        return total

    def referred(reference: str) -> int:
        if reference in open_ones:
            raise ValueError(f"{reference} leads back to itself, so what it admits has no bound")
        if reference not in sizes:
            open_ones.append(reference)
            sizes[reference] = size(_at(schema, reference))
            open_ones.pop()
        return sizes[reference]

    size(schema)


def _is_dynamic(name: str, value: object) -> bool:
    return name in _DYNAMIC and isinstance(value, str)


def _at(schema: object, reference: str) -> object:
    """What a reference inside the schema refers to."""
    if reference != "#" and not reference.startswith("#/"):
        raise ValueError(
            f"$ref {reference[:_SHOWN]!r} is not inside the schema: write #/$defs/NAME"
        )
    found = schema
    for part in reference.split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(found, Mapping) and name in found:
            found = found[name]
        elif isinstance(found, list) and name.isdecimal() and int(name) < len(found):
            found = found[int(name)]
        else:
            raise ValueError(f"$ref {reference[:_SHOWN]!r} refers to nothing")
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        twice = next(name for name, count in counts.items() if count > 1)
        raise ValueError(f"the name {twice[:_SHOWN]!r} stands twice")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number in JSON")


def _first_line(error: BaseException) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _refused(why: str, where: str) -> ConfigError:
    return ConfigError(f"the schema cannot be used: {why}", where=where, hint="correct it")
