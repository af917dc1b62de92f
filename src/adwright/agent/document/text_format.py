"""A document as a text that people read, edit, compare and keep under version control.

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
      find css "a[id=\\"new\\"]"
      effect navigate
      to offer_edit

    edge offers -> offer_edit by offers__new

One fact a line, the text in the quotation marks of JSON. An element follows its state. What a line
does not say has its default. Lines that begin with # are remarks, which rewriting drops.
`parse_document(document_text(document))` equals the document.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from adwright.agent.document.elements import (
    AppDocument,
    AppEdge,
    AppState,
    Element,
    Locator,
    ValueConstraints,
)
from adwright.agent.document.text_parser import parse_document, quoted_or_bare
from adwright.core.atomic import atomic_write_text
from adwright.core.errors import FileUnreadableError
from adwright.core.regular import read_regular

__all__ = ["MOST_BYTES", "document_text", "parse_document", "read_document", "write_document"]

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
    for word, value in (
        ("skeleton", state.skeleton),
        ("url", state.url_template),
        ("title", state.title),
    ):
        if value:
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
    if constraints.lowest is not None:
        yield f"  lowest {_quoted(constraints.lowest)}"
    if constraints.highest is not None:
        yield f"  highest {_quoted(constraints.highest)}"
    if constraints.pattern:
        yield f"  pattern {_quoted(constraints.pattern)}"
    if constraints.most_characters is not None:
        yield f"  characters {constraints.most_characters}"


def _edge_line(edge: AppEdge) -> str:
    line = f"edge {quoted_or_bare(edge.source)} -> {quoted_or_bare(edge.target)} by {edge.element}"
    return f"{line} needs {' '.join(edge.needs)}" if edge.needs else line


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=not text.isprintable())
