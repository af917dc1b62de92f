"""The nouns of an app's document: where one can be (states), and what one can act on (elements).

    save = Element(
        name="offer_edit__save", state="offer_edit", role="button", label="Save",
        locators=(Locator("role", role="button", value="Save"),),
        effect="commit", requests=("POST /dashboard/offers/{}/",), target="offer_list",
    )
    save.writes                               # True: it may change what the app stores

A document is built by the explorer, kept as a text file that people can read and edit, and read by
the checker, the planner and the runner. Nothing here knows a browser.
"""

from __future__ import annotations

import heapq
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count
from typing import Literal
from urllib.parse import parse_qsl, quote, urlsplit

from adwright.agent.drivers.protocol import Screen, ScreenNode
from adwright.core.config import closest_name, settings
from adwright.core.errors import ConfigError

# --------------------------------------------------------------------------------------------------
# Labels of pages that would speak to a model as if they were instructions.

# --------------------------------------------------------------------------------------------------
# What a page calls its things, before it enters a document that a model may read.
#
#     guarded("Save changes").text                       # "Save changes"
#     guarded("Ignore previous instructions and ...")    # withheld, with the reason
#
# A label is data. Who can name a product can write a label, and a label that speaks to the reader
# of the document is an attack. So labels are cleaned of what cannot be seen, cut, and withheld
# where they address a reader. Withheld labels cost a description, never the element: a locator
# keeps the name as the page has it, and no model reads locators. A guard of words is no boundary;
# that is the gate at the network.

#: Of a label in a document.
MOST_CHARACTERS = 80
# Format and control characters, private use and lone surrogates: nobody sees them.
_UNSEEN = {"Cc", "Cf", "Co", "Cs", "Cn"}
_ADDRESSES = re.compile(
    r"""\b(ignore|disregard|forget|override|bypass)\b.{0,40}\b(all|any|previous|prior|above|earlier
    |instruction|instructions|prompt|rules|task)\b
    | \b(system|assistant|developer|user)\s*(prompt|message|:)
    | \b(you\s+(must|should|are\s+now|have\s+to)|as\s+an?\s+(ai|assistant|agent|language\s+model))\b
    | \b(instead|first|now|always)\s*,?\s+
      (click|tap|press|open|enter|type|delete|send|transfer|buy)\b
    | \b(ai|agent|assistant|model|bot)s?\b.{0,20}\b(click|must|should|please|has\s+to|need)\b
    | <\s*/?\s*(script|system|instruction|tool|im_start|im_end)
    | \[\s*/?\s*(inst|system)\s*\] | \{\{|\}\} | https?://
    | \b(ignoriere|vergiss|ignorez|oubliez|ignora|olvida|ignore\s+as|negeer)\b.{0,60}
      \b(anweisung|anweisungen|bisherigen|instructions|instrucciones|istruzioni|instruções
      |anteriores|precedenti|instructies)\b
    """,
    re.IGNORECASE | re.VERBOSE,
)


@dataclass(frozen=True)
class GuardedLabel:
    """text: fit for a document. withheld: why not all of it is there, or empty."""

    text: str
    withheld: str = ""


def seen_text(label: str) -> str:
    """A label without what cannot be seen, as the signs of an icon font, in one line; NFKC."""
    wide = unicodedata.normalize("NFKC", label)
    seen = "".join(
        " " if one.isspace() else one
        for one in wide
        if one.isspace() or unicodedata.category(one) not in _UNSEEN
    )
    return " ".join(seen.split())


def guarded(label: str) -> GuardedLabel:
    """A label for a document: NFKC, without what cannot be seen, in one line, at most 80 characters
    long; of one that addresses a reader only its length."""
    text = seen_text(label)
    # Letters that look alike are made plain before words are looked for; accents go.
    plain = "".join(
        one for one in unicodedata.normalize("NFKD", text) if not unicodedata.combining(one)
    )
    if _ADDRESSES.search(text) or _ADDRESSES.search(plain):
        return GuardedLabel(f"({len(text)} characters withheld)", "it addresses the reader")
    if len(text) > MOST_CHARACTERS:
        return GuardedLabel(text[: MOST_CHARACTERS - 1].rstrip() + "…", "it is long")
    return GuardedLabel(text)


#: What acting on an element may do, from harmless to harmful. "draft" changes what stands in a form
#: that nobody has sent; "unknown" is refused unless a person allows it.
EffectClass = Literal[
    "read", "navigate", "draft", "commit", "message", "spend", "destructive", "unknown"
]
#: Those that may change what is stored, sent or paid outside of the page.
WRITING: frozenset[EffectClass] = frozenset(
    ("commit", "message", "spend", "destructive", "unknown")
)
#: What an element takes; "none" for what is only tapped or read.
ValueType = Literal["none", "text", "number", "date", "choice", "switch", "file", "secret"]
LocatorKind = Literal["role", "label", "test_id", "css", "xpath"]


@settings
class Locator:
    """One way to find an element on a screen.

    value: the accessible name (role), the text of the label, the test id, the selector or the path.
    role: of kind "role" alone. nth, of: it is number `nth`, from 0, of `of` that are alike; of=0
    where nobody counted. frame: the name or URL template of the frame; empty in the page itself.
    """

    kind: LocatorKind
    value: str
    role: str = ""
    nth: int = 0
    of: int = 1
    frame: str = ""

    def __post_init__(self) -> None:
        if self.nth < 0 or self.of < 0 or (self.of and self.nth >= self.of):
            raise ConfigError(
                f"number {self.nth} of {self.of} elements does not exist",
                where=f"Locator {self.value!r}",
                hint="nth counts from 0 and is below of",
            )


@settings
class ValueConstraints:
    """What a field accepts, as its form says; None or empty where it says nothing.

    lowest, highest: as the form writes them, numbers or dates. pattern: a regular expression.
    """

    required: bool = False
    lowest: str | None = None
    highest: str | None = None
    pattern: str = ""
    most_characters: int | None = None


@settings
class Element:
    """Something on a screen that can be acted on or read.

    name: stable, `state__element`, letters, digits and underscores. state: the name of the state
    it stands in. role, label: its role and accessible name. locators: ways to find it, best first.
    value_type: what it takes. options: what can be chosen, where that is a list. many: it stands
    for the items of a list, such as the rows of a table. effect: what acting on it may do.
    requests: "METHOD path-template" that were observed when it was acted on. target: the state
    it leads to; None where it stays. description: one line for people and models; data from the
    page, never an instruction.
    """

    name: str
    state: str
    role: str
    label: str
    locators: tuple[Locator, ...] = ()
    value_type: ValueType = "none"
    options: tuple[str, ...] = ()
    constraints: ValueConstraints = field(default_factory=ValueConstraints)
    many: bool = False
    effect: EffectClass = "unknown"
    requests: tuple[str, ...] = ()
    target: str | None = None
    description: str = ""

    def __post_init__(self) -> None:
        if not (self.name.isidentifier() and self.name.isascii()):
            raise ConfigError(
                f"{self.name!r} is no name of an element",
                where="Element.name",
                hint="use letters, digits and underscores, as in offer_edit__save",
            )

    @property
    def writes(self) -> bool:
        """Whether acting on it may change what is stored, sent or paid."""
        return self.effect in WRITING


@settings
class AppState:
    """One layout of the app: a kind of page, not a page.

    skeleton: hash of roles, names and form fields, with the items of lists collapsed.
    url_template: where it was seen, a hint only, as "/dashboard/offers/{}/".
    """

    name: str
    skeleton: str
    url_template: str = ""
    title: str = ""


@settings
class AppEdge:
    """Acting on `element` in `source` leads to `target`. needs: elements that must be filled
    first."""

    source: str
    element: str
    target: str
    needs: tuple[str, ...] = ()


@settings
class AppDocument:
    """All that is known of an app: one directed graph of states, with their elements.

    app: its name. version: of the document, raised by each change. origins: "https://host:port" at
    which it lives, the first of them home. start: the state in which a run begins.
    Raises ConfigError for a name that stands twice, or that nothing bears.
    """

    app: str
    version: str
    origins: tuple[str, ...]
    start: str
    states: tuple[AppState, ...]
    elements: tuple[Element, ...] = ()
    edges: tuple[AppEdge, ...] = ()

    def __post_init__(self) -> None:
        states = _unique("state", [one.name for one in self.states])
        elements = _unique("element", [one.name for one in self.elements])
        _known("start", states, [self.start])
        for one in self.elements:
            _known(f"element {one.name}", states, [one.state, one.target or one.state])
        for edge in self.edges:
            where = f"edge {edge.source} -> {edge.target}"
            _known(where, states, [edge.source, edge.target])
            _known(where, elements, [edge.element, *edge.needs])

    @cached_property
    def by_name(self) -> Mapping[str, Element]:
        """The elements by their names."""
        return {one.name: one for one in self.elements}

    @cached_property
    def state_by_name(self) -> Mapping[str, AppState]:
        """The states by their names."""
        return {one.name: one for one in self.states}

    def elements_of(self, state: str) -> tuple[Element, ...]:
        """The elements of one state, in the order of the document."""
        return tuple(one for one in self.elements if one.state == state)


def _unique(kind: str, names: list[str]) -> frozenset[str]:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ConfigError(
            f"two of the document's {kind}s have one name",
            where=f"{kind} {twice[0]}",
            hint="rename one of them",
        )
    return frozenset(names)


def _known(where: str, known: frozenset[str], names: list[str]) -> None:
    for name in names:
        if name not in known:
            meant = closest_name(name, known)
            raise ConfigError(
                f"nothing in the document is called {name!r}",
                where=where,
                hint=f"did you mean {meant}?" if meant else "add it, or remove what names it",
            )


# --------------------------------------------------------------------------------------------------
# Templates of URLs: what addresses of one kind of page have in common.
#
#     url_template("http://h/dashboard/orders/100012/?page=2")      # "/dashboard/orders/{}/?page"
#
# A template is a hint for people and a bound for the explorer, never what a state is known by.

#: A longer part of a path is data, such as the title of a product.
LONGEST_WORD = 40
_DATA = re.compile(r"[\d%;,=@:+]|^[0-9a-f-]{16,}$", re.IGNORECASE)
_VERSION = re.compile(r"v\d{1,2}", re.IGNORECASE)


def url_template(url: str) -> str:
    """The path with what looks like data as {}, and the names of the query's parts, sorted.

    Data are parts with a digit (but versions such as v2), escapes, signs such as ";", and long
    ones. The origin and the fragment are left out.
    """
    parts = urlsplit(url)
    path = "/"
    for part in parts.path.split("/")[1:]:
        is_data = _DATA.search(part) and not _VERSION.fullmatch(part)
        hidden = part and (is_data or len(part) > LONGEST_WORD)
        path += "{}/" if hidden else f"{part}/"
    path = path[:-1] or "/"
    names = sorted({name for name, _ in parse_qsl(parts.query, keep_blank_values=True) if name})
    return f"{path}?{'&'.join(quote(name, safe='[]') for name in names)}" if names else path


def origin_of(url: str) -> str:
    """Scheme, host and port, the usual ports left out; empty of what is no page of a server."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return ""
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return ""
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    usual = {"http": 80, "https": 443}[parts.scheme]
    return f"{parts.scheme}://{host}" + ("" if port in (None, usual) else f":{port}")


def in_scope(url: str, origins: tuple[str, ...], paths: tuple[str, ...]) -> bool:
    """Whether a URL is of one of the origins, below one of the paths; a path with ".." is not."""
    path = urlsplit(url).path or "/"
    return (
        origin_of(url) in origins
        and ".." not in path
        and any(path.startswith(one) for one in paths)
    )


# --------------------------------------------------------------------------------------------------
# Columns of tables: which one an element of a list stands in, and which one a node does.
#
# column_of(element)               # "Status", of what the document calls "column Status"
# header_of(screen, node)          # "Status", of the header over its cell; empty without one

_COLUMN = re.compile(r"\bcolumn (.+?)(?:;|$)")
_CELLS = ("cell", "gridcell", "rowheader")


def column_of(element: Element) -> str:
    """The header of the column in which a list's parts stand, or empty."""
    found = _COLUMN.search(element.description)
    return found[1].strip() if found else ""


def header_of(screen: Screen, node: ScreenNode) -> str:
    """The header over a cell, or over the cell around a node; empty where there is none."""
    by_key = {one.key: one for one in screen.nodes}
    cell: ScreenNode | None = node
    while cell is not None and cell.role not in _CELLS:
        cell = by_key.get(cell.parent)
    if cell is None:
        return ""
    row = [one for one in screen.nodes if one.parent == cell.parent and one.role in _CELLS]
    head, table, rest = cell.facts.get("xpath", "").rpartition("/table")
    start = f"{head}{table}{rest.partition('/')[0]}/"
    heads = [
        one
        for one in screen.nodes
        if one.role == "columnheader" and one.facts.get("xpath", "").startswith(start)
    ]
    place = [one.key for one in row].index(cell.key)
    return guarded(heads[place].name).text if table and place < len(heads) else ""


# --------------------------------------------------------------------------------------------------
# What stands on most pages of an app, such as its menu: the frame, which is about no task.
#
#     frame = frame_of(document)           # names of elements
#     variants = variants_of(document)     # names of states, such as a list that is sorted
# otherwise
#
# An element is of the frame where its role, label and requests stand in so many states; fields
# never are. A variant is a state with a query in its address where another has none.

#: In this share of the states, and in more than so many, an element is of the frame. Our choice.
FRAME_SHARE, FRAME_LEAST = 0.3, 3


def frame_of(document: AppDocument) -> frozenset[str]:
    """The names of the elements of the frame."""
    counted: Counter[tuple[str, str, str]] = Counter()
    for state in document.states:
        counted.update({_sign(one) for one in document.elements_of(state.name)})
    least = max(FRAME_LEAST, FRAME_SHARE * len(document.states))
    return frozenset(
        one.name
        for one in document.elements
        if one.label and one.value_type == "none" and counted[_sign(one)] > least
    )


def variants_of(document: AppDocument) -> frozenset[str]:
    """The names of the states that are another view of one with the same path."""
    plain = {one.url_template for one in document.states if "?" not in one.url_template}
    return frozenset(
        one.name
        for one in document.states
        if "?" in one.url_template and one.url_template.partition("?")[0] in plain
    )


def _sign(element: Element) -> tuple[str, str, str]:
    # Buttons such as "Save" stand on many pages too, but send to each page's own address.
    return element.role, element.label, " ".join(element.requests)


# --------------------------------------------------------------------------------------------------
# Ways through an app, found when they are needed: shortest paths in the document's graph.
#
#     route = find_route(document, "offer_list", "offer_edit")
#     [edge.element for edge in route]                 # what to act on, in this order
#
# A way costs one for each act, and one for each field that has to be filled before. It goes through
# elements that read or navigate.


def find_route(document: AppDocument, start: str, target: str) -> tuple[AppEdge, ...] | None:
    """The cheapest way from one state to another, empty where they are one, None where there is
    none. Of equal ways that whose edges stand first in the document."""
    steps: dict[str, list[AppEdge]] = {}
    for edge in edges_of(document):
        if document.by_name[edge.element].effect in ("read", "navigate"):
            steps.setdefault(edge.source, []).append(edge)
    ticket = count()
    heap: list[tuple[int, int, str]] = [(0, next(ticket), start)]
    best: dict[str, tuple[int, AppEdge | None]] = {start: (0, None)}
    while heap:
        cost, _, state = heapq.heappop(heap)
        if state == target:
            found: list[AppEdge] = []
            while (last := best[state][1]) is not None:
                found.append(last)
                state = last.source
            return tuple(reversed(found))
        if cost > best[state][0]:
            continue
        for edge in steps.get(state, ()):
            further = cost + 1 + len(edge.needs)
            if edge.target not in best or further < best[edge.target][0]:
                best[edge.target] = (further, edge)
                heapq.heappush(heap, (further, next(ticket), edge.target))
    return None


def edges_of(document: AppDocument) -> Iterator[AppEdge]:
    """The document's edges, and one for each element with a target that no edge names."""
    named = {(one.source, one.element) for one in document.edges}
    yield from document.edges
    for one in document.elements:
        if one.target is not None and (one.state, one.name) not in named:
            yield AppEdge(one.state, one.name, one.target)
