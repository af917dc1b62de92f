"""Split the text of a script into words, signs and levels of indentation.

Only ASCII stands outside of quotes and comments, so that no letter can pass for another. Controls,
invisible and reordering characters are refused everywhere, comments included. Tabs are refused; one
level is four blanks. Inside brackets a line may go on.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Literal

from adwright.agent.language.problems import ProblemCode, ScriptError, ScriptProblem, quoted
from adwright.agent.language.tree import SourcePosition
from adwright.core.config import settings

__all__ = [
    "MOST_CHARACTERS",
    "MOST_LEVELS",
    "MOST_WORDS",
    "ScriptWord",
    "WordKind",
    "is_allowed_in_text",
    "script_words",
]

WordKind = Literal[
    "name", "element", "text", "whole", "decimal", "sign", "newline", "indent", "dedent", "end"
]
MOST_CHARACTERS, MOST_WORDS, MOST_LEVELS = 20_000, 5_000, 6
_MOST_DIGITS, _MOST_TEXT = 15, 2_000
_LEVEL = 4
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,79}(?![A-Za-z0-9_])")
_ELEMENT = re.compile(r"\$([A-Za-z_][A-Za-z0-9_]{0,199})(?![A-Za-z0-9_])")
_NUMBER = re.compile(r"([0-9]+)(\.[0-9]+)?(?![0-9A-Za-z_.])")
_SIGN = re.compile(r"==|!=|<=|>=|[<>=+\-*/()\[\],:]")
_ESCAPES = {"n": "\n", "t": "\t", '"': '"', "'": "'", "\\": "\\"}
#: Controls, formats (zero width, bidirectional), surrogates, private and unassigned, separators.
_FORBIDDEN = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))
_OPENS, _CLOSES = {"(": ")", "[": "]"}, (")", "]")
_HINTS = {
    ".": "there is no attribute access; write verb(value), as in get_text($x)",
    "{": "there are no dictionaries and no formatting; join text with +",
    ";": "write one statement a line",
    "!": "write not",
    "$": "a dollar sign stands before the name of an element, as in $offers__new",
    "_": "a name begins with a letter",
}


@settings
class ScriptWord:
    """A word of a script. value: of a text what stands between its quotes, of an element its name
    without the dollar sign."""

    kind: WordKind
    value: str
    at: SourcePosition


def is_allowed_in_text(character: str) -> bool:
    """Whether a character may stand in a script: visible, or a plain blank."""
    return unicodedata.category(character) not in _FORBIDDEN


def script_words(source: str) -> list[ScriptWord]:
    """The words of a script, in order; the last one is of kind "end".

    Raises ScriptError at the first thing that is no part of the language.
    """
    if len(source) > MOST_CHARACTERS:
        _refuse(
            "too_long", f"a script has at most {MOST_CHARACTERS:,} characters", 1, 1, "shorten it"
        )
    lexer = _Lexer(source.replace("\r\n", "\n"))
    return lexer.words()


def _refuse(code: ProblemCode, what: str, line: int, column: int, hint: str = "") -> None:
    raise ScriptError([ScriptProblem(code, what, line, column, hint)])


class _Lexer:
    def __init__(self, source: str) -> None:
        self._lines = source.split("\n")
        self._words: list[ScriptWord] = []
        self._open: list[ScriptWord] = []
        self._level = 0

    def words(self) -> list[ScriptWord]:
        for number, line in enumerate(self._lines, 1):
            self._read_line(number, line)
        last = len(self._lines)
        if self._open:
            one = self._open[-1]
            what = f"{one.value} is not closed"
            _refuse("bracket", what, one.at.line, one.at.column, f"add {_OPENS[one.value]}")
        self._indent_to(0, last, 1)
        self._add("end", "", last, 1)
        return self._words

    def _add(self, kind: WordKind, value: str, line: int, column: int) -> None:
        if len(self._words) >= MOST_WORDS:
            _refuse("too_long", f"a script has at most {MOST_WORDS:,} words", line, column)
        self._words.append(ScriptWord(kind, value, SourcePosition(line, column)))

    def _read_line(self, number: int, line: str) -> None:
        for column, one in enumerate(line, 1):
            if not is_allowed_in_text(one):
                what = f"{quoted(one)} is a control or an invisible character"
                hint = "indent with four blanks" if one == "\t" else "remove it"
                _refuse("character", what, number, column, hint)
        start = len(line) - len(line.lstrip(" "))
        if start == len(line) or line[start] == "#":
            return
        if not self._open:
            if start % _LEVEL:
                hint = f"indent each level by {_LEVEL} blanks"
                _refuse("indent", f"{start} blanks are no level", number, start + 1, hint)
            self._indent_to(start // _LEVEL, number, start + 1)
        place = start
        while place < len(line) and line[place] != "#":
            if line[place] == " ":
                place += 1
            else:
                place = self._read_word(number, line, place)
        if not self._open:
            self._add("newline", "", number, len(line) + 1)

    def _indent_to(self, level: int, line: int, column: int) -> None:
        if level > MOST_LEVELS:
            _refuse("too_deep", f"blocks nest at most {MOST_LEVELS} deep", line, column)
        if level > self._level + 1:
            _refuse("indent", "this line is indented too far", line, column, "use one level more")
        while self._level < level:
            self._level += 1
            self._add("indent", "", line, column)
        while self._level > level:
            self._level -= 1
            self._add("dedent", "", line, column)

    def _read_word(self, number: int, line: str, place: int) -> int:
        column = place + 1
        if line[place] in "\"'":
            return self._read_text(number, line, place)
        if found := _NAME.match(line, place):
            self._add("name", found[0], number, column)
        elif found := _ELEMENT.match(line, place):
            self._add("element", found[1], number, column)
        elif found := _NUMBER.match(line, place):
            if len(found[1]) > _MOST_DIGITS or len(found[2] or "") > _MOST_DIGITS:
                what = f"a number has at most {_MOST_DIGITS} digits before and after the point"
                _refuse("number", what, number, column)
            self._add("decimal" if found[2] else "whole", found[0], number, column)
        elif found := _SIGN.match(line, place):
            self._bracket(found[0], number, column)
            self._add("sign", found[0], number, column)
        else:
            self._refuse_character(number, line, place)
            return place  # not reached
        return found.end()

    def _bracket(self, sign: str, line: int, column: int) -> None:
        if sign in _OPENS:
            self._open.append(ScriptWord("sign", sign, SourcePosition(line, column)))
        elif sign in _CLOSES:
            if not self._open or _OPENS[self._open[-1].value] != sign:
                _refuse("bracket", f"{sign} closes nothing", line, column, "remove it")
            self._open.pop()

    def _read_text(self, number: int, line: str, place: int) -> int:
        quote, parts, at = line[place], [], place + 1
        while at < len(line) and line[at] != quote:
            if line[at] == "\\":
                known = _ESCAPES.get(line[at + 1 : at + 2])
                if known is None:
                    what = f"{quoted(line[at : at + 2])} is no escape"
                    hint = "escapes are \\n \\t \\\" \\' \\\\; write other characters themselves"
                    _refuse("escape", what, number, at + 1, hint)
                parts.append(known or "")
                at += 2
            else:
                parts.append(line[at])
                at += 1
        if at >= len(line):
            _refuse(
                "text_end", "the text does not end on its line", number, place + 1, f"add {quote}"
            )
        text = "".join(parts)
        if len(text) > _MOST_TEXT:
            _refuse("too_long", f"a text has at most {_MOST_TEXT:,} characters", number, place + 1)
        self._add("text", text, number, place + 1)
        return at + 1

    def _refuse_character(self, number: int, line: str, place: int) -> None:
        one = line[place]
        if one.isdigit() and one.isascii():
            _refuse("number", "this is no number", number, place + 1, "as in 12 or 12.50")
        if one.isascii() and one.isalpha():
            _refuse("too_long", "this name is too long", number, place + 1, "shorten it")
        hint = _HINTS.get(one, "outside of quotes only plain ASCII letters, digits and signs stand")
        name = unicodedata.name(one, "")
        shown = f"{quoted(one)} ({name.lower()})" if not one.isascii() and name else quoted(one)
        _refuse("character", f"{shown} is no part of the language", number, place + 1, hint)
