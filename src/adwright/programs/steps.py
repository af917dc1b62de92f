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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from adwright.core.config import MinLen, Natural, settings
from adwright.core.errors import ConfigError, MissingExtraError, ValueInvalidError
from adwright.lm.compiling.bounds import ConstraintBounds
from adwright.lm.compiling.bounds import check_schema as check_size

if TYPE_CHECKING:
    from jsonschema_rs import Validator


# --------------------------------------------------------------------------------------------------
# Templates: constant text with places for variables.
#
#     Write an ad for {{product}}.
#     Headline: {{headline:output}}
#     Body: {{body:output}}
#
# `{{name}}` is an input, replaced by the text of a variable. `{{name:output}}` is an output: there
# the model writes, and what it wrote belongs to the prompt of what follows. A name is a letter or
# `_`, then letters, digits, `_` and `-`. `{{{{` stands for two braces; one brace is itself, and so
# is `}}` where no placeholder is open.
#
# Engines share the beginning that prompts have in common. So text that changes with each call, such
# as the time, belongs behind the text that never changes; `Template.misplaced` says where it does
# not stand there.

#: A name of a variable, call or step.
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}", re.ASCII)
#: Three braces are one brace and a placeholder, unless they are four.
_TOKEN = re.compile(
    rf"(?P<braces>\{{\{{\{{\{{)|\{{\{{ *(?P<name>{NAME.pattern})(?P<output>:output)? *\}}\}}"
    r"|(?P<wrong>\{\{(?!\{))",
    re.ASCII,
)
#: A word of a name that speaks of what differs from call to call.
_CHANGING = frozenset(
    ("date", "datetime", "id", "nonce", "now", "time", "timestamp", "today", "uuid")
)
#: A date, a time of day or a UUID that was written into the constant text itself.
_WRITTEN = re.compile(
    r"\b\d{4}-\d{2}-\d{2}\b|\b\d{1,2}:\d{2}:\d{2}\b"
    r"|\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b",
    re.ASCII,
)
#: Less constant text is not worth sharing: engines share blocks of 16 tokens or more.
_WORTH = 64


@dataclass(frozen=True)
class ConstantText:
    """A piece of a template that is the same in each call."""

    text: str


@dataclass(frozen=True)
class Slot:
    """A placeholder. is_output: whether the model writes there."""

    name: str
    is_output: bool = False


@dataclass(frozen=True)
class Misplaced:
    """Text that changes and stands before text that does not.

    what: the placeholder, or what is written in its place. line: of the template, from 1 on.
    characters: of constant text behind it, which calls cannot share because of it.
    """

    what: str
    line: int
    characters: int

    def __str__(self) -> str:
        return (
            f"line {self.line}: {self.what} changes from call to call, so {self.characters:,} "
            "characters of constant text behind it are never shared: move it behind them"
        )


@dataclass(frozen=True)
class Template:
    """A template, read. pieces: in the order of the text."""

    pieces: tuple[ConstantText | Slot, ...]

    @classmethod
    def parse(cls, text: str, *, where: str = "template") -> Template:
        """Read a template. where: its place, for errors.

        Raises ConfigError, with the line, where a placeholder is not written as one; where an
        output stands twice, or nothing is to be written at all.
        """
        pieces: list[ConstantText | Slot] = []
        constant: list[str] = []
        for part in _parts(text, where):
            if isinstance(part, str):
                constant.append(part)
                continue
            _add(pieces, constant)
            pieces.append(part)
        _add(pieces, constant)
        outputs = [one.name for one in pieces if isinstance(one, Slot) and one.is_output]
        twice = next((one for one, count in Counter(outputs).items() if count > 1), None)
        if twice is not None:
            raise ConfigError(
                f"the output {twice} stands twice",
                where=where,
                hint=f"give each its own name; {{{{{twice}}}}} repeats what was written",
            )
        if not outputs:
            raise ConfigError(
                "the template has no output, so there is nothing to generate",
                where=where,
                hint="write {{answer:output}} where the model has to go on",
            )
        return cls(tuple(pieces))

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the inputs, each once, as they come; one that repeats an output is no input."""
        found: dict[str, None] = {}
        written: set[str] = set()
        for one in self.slots:
            if one.is_output:
                written.add(one.name)
            elif one.name not in written:
                found[one.name] = None
        return tuple(found)

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the outputs, as they come."""
        return tuple(one.name for one in self.slots if one.is_output)

    @property
    def slots(self) -> tuple[Slot, ...]:
        """The placeholders, as they come."""
        return tuple(one for one in self.pieces if isinstance(one, Slot))

    def misplaced(self, changing: frozenset[str] = frozenset()) -> tuple[Misplaced, ...]:
        """Where text that changes with each call stands before constant text.

        changing: inputs that do; besides them those are taken for such whose name says so (a word
        such as time, date, id, now, uuid), and dates, times of day and UUIDs in the constant text.
        Text behind the last output counts for nothing.
        """
        found: list[Misplaced] = []
        line, behind = 1, self._constant_behind()
        for piece, rest in zip(self.pieces, behind, strict=True):
            if isinstance(piece, ConstantText):
                for hit in _WRITTEN.finditer(piece.text):
                    row = line + piece.text.count("\n", 0, hit.start())
                    left = len(piece.text) - hit.end() + rest
                    found.append(Misplaced(repr(hit.group()), row, left))
                line += piece.text.count("\n")
            elif not piece.is_output and _changes(piece.name, changing):
                found.append(Misplaced(f"{{{{{piece.name}}}}}", line, rest))
        return tuple(one for one in found if one.characters >= _WORTH)

    def _constant_behind(self) -> list[int]:
        """Of each piece, the characters of constant text between it and the next output."""
        behind: list[int] = []
        characters, is_read = 0, False
        for piece in reversed(self.pieces):
            behind.append(characters)
            if isinstance(piece, ConstantText):
                characters += len(piece.text) if is_read else 0
            elif piece.is_output:
                characters, is_read = 0, True
        return behind[::-1]


def _parts(text: str, where: str) -> Iterator[str | Slot]:
    """The constant texts, which may be empty, and the placeholders."""
    start = 0
    for hit in _TOKEN.finditer(text):
        yield text[start : hit.start()]
        start = hit.end()
        if hit["wrong"] is not None:
            line = text.count("\n", 0, hit.start()) + 1
            raise ConfigError(
                f"{text[hit.start() : hit.start() + 40]!r} is no placeholder",
                where=f"{where}, line {line}",
                hint="write {{name}} or {{name:output}}; {{{{ stands for two braces",
            )
        yield "{{" if hit["braces"] is not None else Slot(hit["name"], hit["output"] is not None)
    yield text[start:]


def _add(pieces: list[ConstantText | Slot], constant: list[str]) -> None:
    text = "".join(constant)
    constant.clear()
    if text:
        pieces.append(ConstantText(text))


def _changes(name: str, changing: frozenset[str]) -> bool:
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower().replace("-", "_").split("_")
    return name in changing or not _CHANGING.isdisjoint(words)


# --------------------------------------------------------------------------------------------------
# JSON schemas of what a call writes and of what a step looks for.
#
# Checked by jsonschema-rs. A schema comes from strangers, so before it is used it is bounded, as
# those of the engines are, and more strictly: patterns must be matched in linear time (no
# look-around, no back-references), nothing is fetched, and no definition leads back to itself,
# since what checking costs could double with each level of the answer.

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


#: What stands before an item of a list: "1. ", "2) ", "- ", "* ".
_MARK = re.compile(r"(?:\d{1,4}[.)]|[-*•])\s+")
_QUOTES = {'"': '"', "'": "'", "“": "”", "„": "“", "«": "»", "`": "`"}
_LONGEST_SEPARATOR = 1000
_STEPS_SHOWN = 60


@settings
class JsonField:
    """The value at a path of names and indices: its text if it is one, else compact JSON."""

    path: Annotated[tuple[str | int, ...], MinLen(1)]
    kind: Literal["json_field"] = "json_field"


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
    characters: Natural = 0
    kind: Literal["trim"] = "trim"


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
    return repr(text if len(text) <= _STEPS_SHOWN else text[:_STEPS_SHOWN] + "...")


def _check_separator(where: str, separator: str) -> None:
    if len(separator) > _LONGEST_SEPARATOR:
        what = f"separator has more than {_LONGEST_SEPARATOR} characters"
        raise _wrong(where, what, "make it shorter")


def _wrong(where: str, what: str, hint: str) -> ConfigError:
    return ConfigError(what, where=where, hint=hint)
