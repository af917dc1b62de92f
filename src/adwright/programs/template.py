r"""Templates: constant text with places for variables.

    Write an ad for {{product}}.
    Headline: {{headline:output}}
    Body: {{body:output}}

`{{name}}` is an input, replaced by the text of a variable. `{{name:output}}` is an output: there
the model writes, and what it wrote belongs to the prompt of what follows. A name is a letter or
`_`, then letters, digits, `_` and `-`. `{{{{` stands for two braces; one brace is itself, and so is
`}}` where no placeholder is open.

Engines share the beginning that prompts have in common. So text that changes with each call, such
as the time, belongs behind the text that never changes; `Template.misplaced` says where it does not
stand there.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from adwright.core.errors import ConfigError

__all__ = ["NAME", "ConstantText", "Misplaced", "Slot", "Template"]

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
