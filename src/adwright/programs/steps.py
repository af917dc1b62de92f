"""Native steps: pure functions on texts that run between calls, without a model.

A closed list. Nothing that comes from outside is evaluated: a step is told by its kind and a few
plain values. Each takes time in proportion to the texts, and makes no more of them than it is
given, but for a separator or a number a part. What it is given is bounded by whoever runs it.

    kind         inputs     outputs    what it does
    json_field   1          1          a part of a JSON text, by its path
    json_items   1          n          the items of a JSON list, one an output
    lines        1          n          the lines that hold text, one an output
    join         n          1          all of them, with a separator between two
    first_that   n          1          the first that fits a JSON schema
    distinct     n          1          their lines, each once
    numbered     n          1          "1. " before the first, and so on
    majority     n          1          the one that most of them say
    trim         1          1          without blanks and quotes around, cut to a length
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from adwright.core.config import settings
from adwright.core.errors import ConfigError, ValueInvalidError
from adwright.programs.schema import OutputSchema, read_json

__all__ = [
    "DistinctLines",
    "FirstThat",
    "Join",
    "JsonField",
    "JsonItems",
    "Majority",
    "Numbered",
    "StepFunction",
    "TextLines",
    "Trim",
    "check_arity",
    "run_step",
]

#: What stands before an item of a list: "1. ", "2) ", "- ", "* ".
_MARK = re.compile(r"(?:\d{1,4}[.)]|[-*•])\s+")
_QUOTES = {'"': '"', "'": "'", "“": "”", "„": "“", "«": "»", "`": "`"}
_LONGEST_SEPARATOR = 1000
_SHOWN = 60


@settings
class JsonField:
    """The value at a path of names and indices: its text if it is one, else compact JSON."""

    path: tuple[str | int, ...]
    kind: Literal["json_field"] = "json_field"

    def __post_init__(self) -> None:
        if not self.path:
            raise _wrong("JsonField.path", "path is empty", "name a field, as in ['headline']")


@settings
class JsonItems:
    """The items of a JSON list in order, as `JsonField` writes them. There must be as many as there
    are outputs, or more: the others are left out."""

    kind: Literal["json_items"] = "json_items"


@settings
class TextLines:
    """The lines that are not blank, trimmed. There must be as many as there are outputs, or more:
    the others are left out. unmarked: without a number or bullet before them."""

    unmarked: bool = True
    kind: Literal["lines"] = "lines"


@settings
class Join:
    """All texts in order, with `separator` between two."""

    separator: str = "\n"
    kind: Literal["join"] = "join"

    def __post_init__(self) -> None:
        _check_separator("Join.separator", self.separator)


@settings
class FirstThat:
    """The first text that fits a JSON schema, as it is.

    json_schema: with patterns that are matched in linear time, see `OutputSchema`. parse: check
    what the text holds as JSON; False: check the text itself, as {"type": "string", "maxLength":
    30} does.
    """

    json_schema: Mapping[str, Any]
    parse: bool = False
    kind: Literal["first_that"] = "first_that"


@settings
class DistinctLines:
    """The lines of all texts, trimmed, each once: two that differ in case or blanks are one, of
    which the first stays. Blank ones are left out."""

    kind: Literal["distinct"] = "distinct"


@settings
class Numbered:
    """The texts one below another, the first behind "1. ". separator: between two."""

    separator: str = "\n"
    kind: Literal["numbered"] = "numbered"

    def __post_init__(self) -> None:
        _check_separator("Numbered.separator", self.separator)


@settings
class Majority:
    """The text that most of them say, as the first of those says it. Case and blanks count for
    nothing; among equally many, the one that came first."""

    kind: Literal["majority"] = "majority"


@settings
class Trim:
    """Without blanks around; quoted: nor one pair of quotes. characters: at most so many, cut
    between words where there are several; 0: all."""

    quoted: bool = True
    characters: int = 0
    kind: Literal["trim"] = "trim"

    def __post_init__(self) -> None:
        if self.characters < 0:
            raise _wrong("Trim.characters", "characters must be at least 0", "0 keeps all")


StepFunction = Annotated[
    JsonField
    | JsonItems
    | TextLines
    | Join
    | FirstThat
    | DistinctLines
    | Numbered
    | Majority
    | Trim,
    Field(discriminator="kind"),
]


def check_arity(function: StepFunction, inputs: int, outputs: int, *, where: str) -> None:
    """Raise ConfigError where the step takes or gives another number of texts, or its schema cannot
    be used. where: its place, for errors."""
    one_in = isinstance(function, JsonField | JsonItems | TextLines | Trim)
    many_out = isinstance(function, JsonItems | TextLines)
    if inputs < 1 or (one_in and inputs != 1):
        many = "one input" if one_in else "at least one input"
        raise _wrong(where, f"a step {function.kind} takes {many}, not {inputs}", "change inputs")
    if outputs < 1 or (not many_out and outputs != 1):
        many = "at least one output" if many_out else "one output"
        hint = "change outputs"
        raise _wrong(where, f"a step {function.kind} gives {many}, not {outputs}", hint)
    if isinstance(function, FirstThat):
        OutputSchema(function.json_schema, where=where)


def run_step(function: StepFunction, texts: Sequence[str], outputs: int) -> tuple[str, ...]:
    """Run a step. texts: its inputs in order. outputs: how many there are to be.

    Raises ValueInvalidError where the texts are not what it needs.
    """
    match function:
        case JsonField(path=path):
            return (_field(_json(texts[0]), path),)
        case JsonItems():
            found = _json(texts[0])
            if not isinstance(found, list):
                raise ValueInvalidError(f"the text is no JSON list: {_short(texts[0])}")
            return _enough([_written(one) for one in found[:outputs]], outputs, "items")
        case TextLines(unmarked=unmarked):
            lines = [line.strip() for line in texts[0].splitlines()]
            lines = [_MARK.sub("", line, count=1) if unmarked else line for line in lines]
            return _enough([line for line in lines if line], outputs, "lines with text")
        case Join(separator=separator):
            return (separator.join(texts),)
        case FirstThat():
            return (_first_that(function, texts),)
        case DistinctLines():
            lines = [line.strip() for text in texts for line in text.splitlines()]
            first = {_folded(line): line for line in reversed(lines) if line}
            kept = {_folded(line): first[_folded(line)] for line in lines if line}
            return ("\n".join(kept.values()),)
        case Numbered(separator=separator):
            return (separator.join(f"{at}. {text}" for at, text in enumerate(texts, start=1)),)
        case Majority():
            said = [_folded(text) for text in texts]
            (most, _), *_ = Counter(said).most_common(1)
            return (texts[said.index(most)],)
        case Trim():
            return (_trimmed(function, texts[0]),)


def _json(text: str) -> Any:
    try:
        return read_json(text)
    except ValueError as error:
        raise ValueInvalidError(f"{error}, in {_short(text)}") from error


def _encodable(text: str) -> str:
    """JSON may write half a character, which no text may hold."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueInvalidError(
            f"it has half a character, a surrogate, in {_short(text)}"
        ) from error
    return text


def _field(value: Any, path: Sequence[str | int]) -> str:
    for at, part in enumerate(path):
        match value, part:
            case dict(), str() if part in value:
                value = value[part]
            case list(), int() if 0 <= part < len(value):
                value = value[part]
            case _:
                told = "".join(f"[{one!r}]" for one in path[: at + 1])
                raise ValueInvalidError(f"the JSON has nothing at {told}")
    return _written(value)


def _written(value: Any) -> str:
    if isinstance(value, str):
        return _encodable(value)
    return _encodable(json.dumps(value, ensure_ascii=False, separators=(",", ":")))


def _enough(found: list[str], outputs: int, what: str) -> tuple[str, ...]:
    if len(found) < outputs:
        raise ValueInvalidError(f"there are {len(found)} {what}, and {outputs} outputs")
    return tuple(found[:outputs])


def _first_that(function: FirstThat, texts: Sequence[str]) -> str:
    schema = OutputSchema(function.json_schema)
    problem = ""
    for text in texts:
        problem = schema.problem_of_text(text) if function.parse else schema.problem(text)
        if not problem:
            return text
    raise ValueInvalidError(f"none of {len(texts)} texts fits; the last: {problem}")


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())


def _trimmed(function: Trim, text: str) -> str:
    text = text.strip()
    if function.quoted and len(text) > 1 and _QUOTES.get(text[0]) == text[-1]:
        text = text[1:-1].strip()
    most = function.characters
    if not most or len(text) <= most:
        return text
    if any(one.isspace() for one in text[most - 1 : most + 1]):
        return text[:most].rstrip()
    *words, _ = text[:most].rsplit(maxsplit=1)
    return words[0] if words else text[:most]


def _short(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "...")


def _check_separator(where: str, separator: str) -> None:
    if len(separator) > _LONGEST_SEPARATOR:
        what = f"separator has more than {_LONGEST_SEPARATOR} characters"
        raise _wrong(where, what, "make it shorter")


def _wrong(where: str, what: str, hint: str) -> ConfigError:
    return ConfigError(what, where=where, hint=hint)
