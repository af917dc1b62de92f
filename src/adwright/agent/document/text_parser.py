"""Reads the text of a document, line by line; `text_format` writes it and says what it looks like.

Each line is words and texts in quotation marks. A line that begins a block names a state or an
element; the lines below it are its facts. A mistake is told with its line.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any, NoReturn, get_args

from adwright.agent.document.elements import (
    AppDocument,
    AppEdge,
    AppState,
    Element,
    Locator,
    LocatorKind,
    ValueConstraints,
)
from adwright.core.config import closest_name
from adwright.core.errors import AdwrightError, DataError

__all__ = ["parse_document", "quoted_or_bare"]

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[^\s"]+|(?P<bad>")')
_BARE = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_TEXTS = {
    "state": {"skeleton": "skeleton", "url": "url_template", "title": "title"},
    "element": {
        "role": "role",
        "label": "label",
        "takes": "value_type",
        "effect": "effect",
        "to": "target",
        "about": "description",
    },
}
_LIMITS = {"lowest": "lowest", "highest": "highest", "pattern": "pattern"}
_LISTS = {"option": "options", "request": "requests"}
_HEADS = ("app", "version", "origin", "start", "state", "element", "edge")


def quoted_or_bare(text: str) -> str:
    """A name as it stands in a line: bare where it is a plain word, else in quotation marks."""
    if _BARE.fullmatch(text):
        return text
    return json.dumps(text, ensure_ascii=not text.isprintable())


@dataclass
class _PartSoFar:
    """A state or an element in the making."""

    kind: str
    line: int
    facts: dict[str, Any]
    limits: dict[str, Any] = field(default_factory=dict)
    locators: list[Locator] = field(default_factory=list)
    lists: dict[str, list[str]] = field(default_factory=dict)


def parse_document(text: str, *, file: str = "") -> AppDocument:
    """The document that a text says.

    file: where it stands, for errors. Raises DataError naming the line: for a word that means
    nothing here, a text without its end, a fact that stands twice, a value that cannot be, a name
    that nothing bears.
    """
    reader = _LineReader(file)
    for number, line in enumerate(text.split("\n"), start=1):
        reader.line = number
        stripped = line.strip()
        if stripped and not stripped.startswith("#"):
            reader.take(reader.tokens(line))
    return reader.document()


class _LineReader:
    """Takes lines in turn."""

    def __init__(self, file: str) -> None:
        self._file = file
        self.line = 0
        self._head: dict[str, Any] = {}
        self._origins: list[str] = []
        self._states: list[AppState] = []
        self._elements: list[Element] = []
        self._edges: list[AppEdge] = []
        self._block: _PartSoFar | None = None

    def fail(self, what: str, hint: str = "", line: int | None = None) -> NoReturn:
        row = self.line if line is None else line
        raise DataError(f"line {row}: {what}", file=self._file, hint=hint or "mend that line")

    def tokens(self, line: str) -> list[str]:
        found = []
        for match in _TOKEN.finditer(line):
            if match["bad"]:
                self.fail("a text has no end", 'close it with "')
            token = match.group()
            if not token.startswith('"'):
                found.append(token)
                continue
            try:
                found.append(json.loads(token))
            except ValueError as error:
                self.fail(f"{token[:60]} is no text: {error}", "write it as JSON does")
        return found

    def take(self, tokens: list[str]) -> None:
        word, rest = tokens[0], tokens[1:]
        if word in _HEADS:
            self._close()
            self._begin(word, rest)
        elif self._block is None:
            meant = closest_name(word, _HEADS)
            hint = f"did you mean {meant}?" if meant else f"a line begins with {', '.join(_HEADS)}"
            self.fail(f"{word[:60]!r} begins no line here", hint)
        else:
            self._fact(self._block, word, rest)

    def _begin(self, word: str, rest: list[str]) -> None:
        if word == "origin":
            self._origins.append(self._one(word, rest))
        elif word in ("app", "version", "start"):
            if word in self._head:
                self.fail(f"{word} stands twice")
            self._head[word] = self._one(word, rest)
        elif word == "state":
            self._block = _PartSoFar("state", self.line, {"name": self._one(word, rest)})
        elif word == "element":
            if len(rest) != 3 or rest[1] != "in":
                self.fail("an element needs a name and a state", "write element NAME in STATE")
            facts = {"name": rest[0], "state": rest[2], "role": "", "label": ""}
            self._block = _PartSoFar("element", self.line, facts)
        else:
            self._edge(rest)

    def _edge(self, rest: list[str]) -> None:
        if len(rest) < 5 or (rest[1], rest[3]) != ("->", "by") or rest[5:6] not in ([], ["needs"]):
            self.fail("an edge is not complete", "write edge STATE -> STATE by ELEMENT needs ...")
        if rest[5:] == ["needs"]:
            self.fail("it needs nothing", "leave out needs, or name elements")
        self._edges.append(AppEdge(rest[0], rest[4], rest[2], tuple(rest[6:])))

    def _fact(self, block: _PartSoFar, word: str, rest: list[str]) -> None:
        texts = _TEXTS[block.kind]
        is_element = block.kind == "element"
        if word in texts:
            if block.facts.get(texts[word]):
                self.fail(f"{word} stands twice")
            block.facts[texts[word]] = self._one(word, rest)
        elif is_element and word == "find":
            block.locators.append(self._locator(rest))
        elif is_element and word in _LISTS:
            block.lists.setdefault(_LISTS[word], []).append(self._one(word, rest))
        elif is_element and word in _LIMITS:
            block.limits[_LIMITS[word]] = self._one(word, rest)
        elif is_element and word == "characters":
            block.limits["most_characters"] = self._number(self._one(word, rest))
        elif is_element and word in ("required", "many"):
            if rest:
                self.fail(f"{word} stands alone")
            (block.limits if word == "required" else block.facts)[word] = True
        else:
            known = [*texts, *_HEADS]
            known += ["find", "required", "many", "characters"] if is_element else []
            known += [*_LISTS, *_LIMITS] if is_element else []
            meant = closest_name(word, known)
            what = f"{word[:60]!r} says nothing of {'an element' if is_element else 'a state'}"
            self.fail(what, f"did you mean {meant}?" if meant else "")

    def _locator(self, rest: list[str]) -> Locator:
        if len(rest) < 2 or rest[0] not in get_args(LocatorKind):
            kinds = ", ".join(get_args(LocatorKind))
            self.fail("a locator is not complete", f"write find KIND TEXT; kinds are {kinds}")
        facts: dict[str, Any] = {"kind": rest[0], "value": rest[1]}
        more = rest[2:]
        if more[:1] == ["as"] and len(more) > 1:
            facts["role"], more = more[1], more[2:]
        if more[:1] == ["number"]:
            if len(more) < 4 or more[2] != "of":
                self.fail("the number of a locator is not complete", "write number 0 of 2")
            facts["nth"], facts["of"] = self._number(more[1]), self._number(more[3])
            more = more[4:]
        if more[:1] == ["frame"] and len(more) == 2:
            facts["frame"] = more[1]
            more = []
        if more:
            self.fail(f"{more[0][:60]!r} says nothing of a locator")
        made: Locator = self._make(Locator, facts, self.line)
        return made

    def _close(self) -> None:
        block, self._block = self._block, None
        if block is None:
            return
        if block.kind == "state":
            facts = {"skeleton": "", **block.facts}
            self._states.append(self._make(AppState, facts, block.line))
            return
        lists = {key: tuple(value) for key, value in block.lists.items()}
        limits = self._make(ValueConstraints, block.limits, block.line)
        facts = {**block.facts, **lists, "locators": tuple(block.locators), "constraints": limits}
        self._elements.append(self._make(Element, facts, block.line))

    def document(self) -> AppDocument:
        self._close()
        for word in ("app", "version", "start"):
            if word not in self._head:
                self.fail(f"the document does not say its {word}", f'write {word} "..." on top')
        parts: dict[str, Any] = {"origins": tuple(self._origins), "states": tuple(self._states)}
        parts |= {"elements": tuple(self._elements), "edges": tuple(self._edges)}
        try:
            return AppDocument(**self._head, **parts)
        except AdwrightError as error:
            raise DataError(
                f"{error.what}: {error.where}", file=self._file, hint=error.hint
            ) from error

    def _make(self, cls: Any, facts: dict[str, Any], line: int) -> Any:
        try:
            return cls(**facts)
        except AdwrightError as error:
            self.fail(error.what, error.hint, line)

    def _one(self, word: str, rest: list[str]) -> str:
        if len(rest) != 1:
            self.fail(f"{word} has one value, not {len(rest)}", f'write {word} "..."')
        return rest[0]

    def _number(self, text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) < 10):
            self.fail(f"{text[:60]!r} is no whole number")
        return int(text)
