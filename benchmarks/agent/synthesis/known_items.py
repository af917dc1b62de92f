"""What there is in an app right now: the items of its lists by name, and what their pages say.

    known = look_around(document, app)          # on a copy, reading alone
    known.lists["offers__rows"].items[0].name                              # "Spring"
    known.lists["offers__rows"].items[0].pages["offer_edit"]["offer_edit__share"]       # "10"

Tasks name things that exist, set values that differ from those that stand there, and ask what a
page says. The name of an item is a text in its row that no other row has, that of a link first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from adwright.agent.document.elements import AppDocument, Element
from adwright.agent.drivers.protocol import DriverError, Screen, ScreenNode
from adwright.agent.language.kinds import ElementHandle
from adwright.agent.language.problems import ScriptError
from adwright.agent.language.script import is_allowed_in_text
from adwright.agent.policy.gate import GateRules, PolicyGate
from adwright.agent.policy.origins import OriginRules
from adwright.agent.run.locate import items_on, locate, text_of
from adwright.agent.run.screen_world import ScreenWorld
from adwright.agent.run.trace import RunTrace
from adwright.core.progress import progress
from benchmarks.agent.synthesis.disposable import DisposableApp
from benchmarks.agent.synthesis.places import AppPlaces, ListDoor

_SHORTEST, _LONGEST = 2, 40
#: So many cells of a row are read.
_COLUMNS = 4


@dataclass(frozen=True)
class KnownItem:
    """One item of a list. name: a text that stands in this one alone. pages: by state, then by
    element, what stands in the fields of its pages; empty where nobody opened them. cells: by
    element, what stands in its row."""

    name: str
    text: str
    cells: Mapping[str, str] = field(default_factory=dict)
    pages: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


@dataclass(frozen=True)
class KnownList:
    """headed: some of its rows are no items but headers, so that counting them tells nothing."""

    count: int
    headed: bool
    items: tuple[KnownItem, ...]


@dataclass(frozen=True)
class KnownApp:
    """lists: by the element of the rows."""

    lists: Mapping[str, KnownList]


def moved_to(document: AppDocument, origin: str) -> AppDocument:
    """The document of the same app at another address."""
    return replace(document, origins=(origin, *document.origins[1:]))


def look_around(
    document: AppDocument, app: DisposableApp, *, items: int = 8, pages: int = 2
) -> KnownApp:
    """Read the lists of a fresh copy. items: of each list, names are noted; pages: of the first of
    them, the pages are opened. Lists and pages that cannot be read are left out.

    Raises what the app raises.
    """
    origin = app.start()
    try:
        here = moved_to(document, origin)
        gate = PolicyGate(GateRules(OriginRules((origin,)), dry=True), here)
        driver = app.open(gate.decide)
        try:
            with gate.reading():
                looker = _Looker(here, ScreenWorld(here, driver, gate, RunTrace()), items, pages)
                return KnownApp(dict(looker.lists()))
        finally:
            driver.close()
    finally:
        app.stop()


def names_of(screen: Screen, element: Element) -> tuple[str, ...]:
    """For each item of a list a text that stands in it alone, in the order of the screen; empty
    where it has none."""
    handles = items_on(screen, element)
    texts = [one.seen.casefold() for one in handles]
    rows = [_node_at(screen, element, place, handle.seen) for place, handle in enumerate(handles)]
    found = []
    for place, row in enumerate(rows):
        fits = (one for one in _candidates(screen, row) if _is_name(one))
        own = texts[place]
        found.append(
            next(
                (
                    one
                    for one in fits
                    if one.casefold() in own and sum(one.casefold() in text for text in texts) == 1
                ),
                "",
            )
        )
    return tuple(found)


class _Looker:
    def __init__(self, document: AppDocument, world: ScreenWorld, items: int, pages: int) -> None:
        self._document = document
        self._places = AppPlaces(document)
        self._world = world
        self._items = items
        self._pages = pages

    def lists(self) -> Iterator[tuple[str, KnownList]]:
        rows = [one for state in self._places.places for one in self._places.lists_of(state)]
        rows = [one for one in rows if one.state in self._places.open_states]
        with progress(len(rows), "looking around", "lists") as bar:
            for one in rows:
                with suppress(ScriptError, DriverError):
                    yield one.name, self._list(one)
                bar.advance()

    def _list(self, rows: Element) -> KnownList:
        self._home()
        screen = self._world.be_at(rows.state)
        handles = items_on(screen, rows)
        heads = any(one.role == "columnheader" for one in _inner(screen, rows))
        doors = [one for one in self._places.doors if one.rows.name == rows.name]
        named = [
            (name, handle)
            for place, (name, handle) in enumerate(
                zip(names_of(screen, rows), handles, strict=True)
            )
            if name and not _is_header(screen, _node_at(screen, rows, place, handle.seen))
        ]
        items = []
        for number, (name, handle) in enumerate(named[: self._items]):
            pages: dict[str, Mapping[str, str]] = {}
            for door in doors if number < self._pages else ():
                with suppress(ScriptError, DriverError):
                    pages |= self._of_item(door, name)
            cells: dict[str, str] = {}
            with suppress(ScriptError, DriverError):
                cells |= self._cells(rows, name) if number < self._pages else {}
            items.append(KnownItem(name, handle.seen, cells, pages))
        return KnownList(len(handles), heads, tuple(items))

    def _of_item(self, door: ListDoor, name: str) -> dict[str, Mapping[str, str]]:
        self._home()
        handle = self._world.find(door.rows.name, name)
        self._world.act("tap", ElementHandle(door.link.name, within=handle), None)
        found: dict[str, Mapping[str, str]] = {}
        for goal in door.goals:
            with suppress(ScriptError, DriverError):
                found[goal] = dict(self._values(goal))
        return found

    def _cells(self, rows: Element, name: str) -> Iterator[tuple[str, str]]:
        self._home()
        row = self._world.find(rows.name, name)
        for one in self._places.columns(rows)[:_COLUMNS]:
            with suppress(ScriptError, DriverError):
                text = self._world.text(ElementHandle(one.name, within=row))
                if text.strip():
                    yield one.name, text

    def _values(self, state: str) -> Iterator[tuple[str, str]]:
        screen = self._world.be_at(state)
        for one in self._places.readable(state):
            with suppress(ScriptError):
                node = locate(screen, one)
                if not node.secret:
                    yield one.name, node.value

    def _home(self) -> None:
        """From the start, since what is open may have no way to the list."""
        self._world.go_home()


def _node_at(screen: Screen, element: Element, place: int, seen: str) -> ScreenNode | None:
    nodes = [one for one in screen.nodes if one.role == element.role and text_of(one) == seen]
    return nodes[0] if nodes else None


def _inner(screen: Screen, rows: Element) -> Sequence[ScreenNode]:
    found: list[ScreenNode] = []
    for place, handle in enumerate(items_on(screen, rows)):
        found += _within(screen, _node_at(screen, rows, place, handle.seen))
    return found


def _within(screen: Screen, row: ScreenNode | None) -> list[ScreenNode]:
    if row is None:
        return []
    inside, found = {row.key}, []
    for one in screen.nodes:  # parents stand before what is in them
        if one.parent in inside:
            inside.add(one.key)
            found.append(one)
    return found


def _is_header(screen: Screen, row: ScreenNode | None) -> bool:
    return any(one.role == "columnheader" for one in _within(screen, row))


def _candidates(screen: Screen, row: ScreenNode | None) -> Iterator[str]:
    inner = _within(screen, row)
    yield from (one.name for one in inner if one.role == "link")
    yield from (one.text or one.name for one in inner if one.role in ("cell", "gridcell"))
    text = "" if row is None else row.text
    words = text.split()
    for length in (1, 2, 3):
        yield from (
            " ".join(words[at : at + length]) for at in range(max(len(words) - length + 1, 0))
        )


def _is_name(text: str) -> bool:
    plain = " ".join(text.split())
    return (
        _SHORTEST <= len(plain) <= _LONGEST
        and plain == text
        and plain[:1].isalnum()
        and any(one.isalpha() for one in plain)
        and '"' not in plain
        and all(map(is_allowed_in_text, plain))
    )
