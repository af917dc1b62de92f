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

from collections import Counter
from collections.abc import Mapping
from dataclasses import field
from functools import cached_property
from typing import Literal, get_args

from adwright.core.config import closest_name, settings
from adwright.core.errors import ConfigError

__all__ = [
    "EFFECTS",
    "WRITING",
    "AppDocument",
    "AppEdge",
    "AppState",
    "EffectClass",
    "Element",
    "Locator",
    "LocatorKind",
    "ValueConstraints",
    "ValueType",
]

#: What acting on an element may do, from harmless to harmful. "draft" changes what stands in a form
#: that nobody has sent; "unknown" is refused unless a person allows it.
EffectClass = Literal[
    "read", "navigate", "draft", "commit", "message", "spend", "destructive", "unknown"
]
EFFECTS: tuple[EffectClass, ...] = get_args(EffectClass)
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
