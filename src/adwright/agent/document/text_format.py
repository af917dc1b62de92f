r"""A document as a text that people read, edit, compare and keep under version control.

    app "Mill Lane"
    version "3"
    origin "https://shop.example"
    start offers

    state offers
      skeleton "9c1185a5c5e9fc54"
      url "/dashboard/offers/"
      title "Offers"

    element offers__new in offers
      role "link"
      label "New offer"
      find role "New offer" as link
      find css "a[id=\"new\"]"
      effect navigate
      to offer_edit

    edge offers -> offer_edit by offers__new

One fact a line, the text in the quotation marks of JSON. An element follows its state. What a line
does not say has its default. Lines that begin with # are remarks, which rewriting drops.
`parse_document(document_text(document))` equals the document.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, NoReturn, get_args

from adwright.agent.document.elements import (
    AppDocument,
    AppEdge,
    AppState,
    Element,
    Locator,
    LocatorKind,
    ValueConstraints,
)
from adwright.core.atomic import atomic_write_text
from adwright.core.config import closest_name, settings
from adwright.core.errors import AdwrightError, DataError, FileUnreadableError
from adwright.core.regular import read_regular

# --------------------------------------------------------------------------------------------------
# Reads the text of a document, line by line; `text_format` writes it and says what it looks like.
#
# Each line is words and texts in quotation marks. A line that begins a block names a state or an
# element; the lines below it are its facts. A mistake is told with its line.

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
_LIMITS = ("lowest", "highest", "pattern")
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
            block.limits[word] = self._one(word, rest)
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


#: Of a file that is read.
MOST_BYTES = 32 << 20


def document_text(document: AppDocument) -> str:
    """The document as text, each line ended."""
    lines = [f"app {_quoted(document.app)}", f"version {_quoted(document.version)}"]
    lines += [f"origin {_quoted(one)}" for one in document.origins]
    lines.append(f"start {quoted_or_bare(document.start)}")
    rest = list(document.elements)
    for state in document.states:
        lines += ["", *_state_lines(state)]
        while rest and rest[0].state == state.name:
            lines += ["", *_element_lines(rest.pop(0))]
    for element in rest:
        lines += ["", *_element_lines(element)]
    lines += [""] if document.edges else []
    lines += [_edge_line(edge) for edge in document.edges]
    return "\n".join(lines) + "\n"


def write_document(path: str | Path, document: AppDocument) -> None:
    """Write the text to `path` as a whole or not at all."""
    atomic_write_text(path, document_text(document))


def read_document(path: str | Path) -> AppDocument:
    """The document of a file.

    Raises FileUnreadableError where it cannot be read, DataError for a line that says nothing known
    or a document that contradicts itself, with the line's number.
    """
    try:
        text = read_regular(Path(path), most=MOST_BYTES).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise FileUnreadableError(
            f"the document cannot be read: {error}",
            file=str(path),
            hint="it is a text file in UTF-8",
        ) from error
    return parse_document(text, file=str(path))


def _state_lines(state: AppState) -> Iterator[str]:
    yield f"state {quoted_or_bare(state.name)}"
    for word, name in _TEXTS["state"].items():
        if value := getattr(state, name):
            yield f"  {word} {_quoted(value)}"


def _element_lines(element: Element) -> Iterator[str]:
    yield f"element {element.name} in {quoted_or_bare(element.state)}"
    yield f"  role {_quoted(element.role)}"
    yield f"  label {_quoted(element.label)}"
    for locator in element.locators:
        yield _locator_line(locator)
    if element.value_type != "none":
        yield f"  takes {element.value_type}"
    for option in element.options:
        yield f"  option {_quoted(option)}"
    yield from _constraint_lines(element.constraints)
    if element.many:
        yield "  many"
    yield f"  effect {element.effect}"
    for request in element.requests:
        yield f"  request {_quoted(request)}"
    if element.target is not None:
        yield f"  to {quoted_or_bare(element.target)}"
    if element.description:
        yield f"  about {_quoted(element.description)}"


def _locator_line(locator: Locator) -> str:
    line = f"  find {locator.kind} {_quoted(locator.value)}"
    if locator.role:
        line += f" as {quoted_or_bare(locator.role)}"
    if (locator.nth, locator.of) != (0, 1):
        line += f" number {locator.nth} of {locator.of}"
    return line + (f" frame {_quoted(locator.frame)}" if locator.frame else "")


def _constraint_lines(constraints: ValueConstraints) -> Iterator[str]:
    if constraints.required:
        yield "  required"
    for word in _LIMITS:
        value = getattr(constraints, word)
        if value is not None and (value or word != "pattern"):
            yield f"  {word} {_quoted(value)}"
    if constraints.most_characters is not None:
        yield f"  characters {constraints.most_characters}"


def _edge_line(edge: AppEdge) -> str:
    line = f"edge {quoted_or_bare(edge.source)} -> {quoted_or_bare(edge.target)} by {edge.element}"
    return f"{line} needs {' '.join(edge.needs)}" if edge.needs else line


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=not text.isprintable())


# --------------------------------------------------------------------------------------------------
# What is different between two documents of an app, for a person who reviews it.
#
#     for change in document_changes(old, new):
#         str(change)              # "changed element offer_edit__save: label "Save" -> "Store""
#
# States and elements are compared by their names, which are stable; see `naming`.


@settings
class DocumentChange:
    """One difference. field, old, new: of a changed part, as text; empty where a whole part came
    or went."""

    kind: Literal["added", "removed", "changed"]
    what: Literal["document", "state", "element", "edge"]
    name: str
    field: str = ""
    old: str = ""
    new: str = ""

    def __str__(self) -> str:
        said = f"{self.kind} {self.what} {self.name}"
        return f"{said}: {self.field} {self.old} -> {self.new}" if self.field else said


def document_changes(old: AppDocument, new: AppDocument) -> tuple[DocumentChange, ...]:
    """All differences, versions apart: what went, what came, and what changed, in that order.

    Empty exactly where the two are equal but for the version and the order of their parts.
    """
    found: list[DocumentChange] = []
    for name in ("app", "origins", "start"):
        a, b = getattr(old, name), getattr(new, name)
        if a != b:
            found.append(DocumentChange("changed", "document", old.app, name, _said(a), _said(b)))
    found += _compared("state", old.state_by_name, new.state_by_name)
    found += _compared("element", old.by_name, new.by_name)
    found += _compared("edge", _edges(old), _edges(new))
    order = ("removed", "added", "changed")
    return tuple(sorted(found, key=lambda one: order.index(one.kind)))


def next_version(version: str) -> str:
    """The number after it; of what is no number, the same with ".1" behind it."""
    return str(int(version) + 1) if version.isascii() and version.isdigit() else f"{version}.1"


def _edges(document: AppDocument) -> dict[str, AppEdge]:
    named: dict[str, AppEdge] = {}
    for one in document.edges:
        name = f"{one.source} -> {one.target} by {one.element}"
        while name in named:
            name += " again"
        named[name] = one
    return named


def _compared(
    what: Literal["state", "element", "edge"],
    old: Mapping[str, AppState | Element | AppEdge],
    new: Mapping[str, AppState | Element | AppEdge],
) -> Iterator[DocumentChange]:
    yield from _whole("removed", what, (one for one in old if one not in new))
    yield from _whole("added", what, (one for one in new if one not in old))
    for name, before in old.items():
        after = new.get(name)
        if after is None:
            continue
        for each in fields(before):
            a, b = getattr(before, each.name), getattr(after, each.name)
            if a != b:
                yield DocumentChange("changed", what, name, each.name, _said(a), _said(b))


def _whole(
    kind: Literal["added", "removed"],
    what: Literal["state", "element", "edge"],
    names: Iterable[str],
) -> Iterator[DocumentChange]:
    for name in names:
        yield DocumentChange(kind, what, name)


def _said(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)
