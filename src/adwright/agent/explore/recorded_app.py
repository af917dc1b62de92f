"""The draft of a document out of a recorded app of a phone, for a person to finish.

    document = recorded_document(Path("recordings/shop"), "shop")
    write_document(document, Path("shop.txt"))

Nobody sees what an app sends, so a recording does not tell what a tap does: by their words, buttons
are destructive, spending or sending, and else "unknown", which is refused. The person who knows the
app writes "navigate" or "commit" in the place of "unknown". States have no addresses: they are
known by their skeletons alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from adwright.agent.document.elements import AppDocument, AppEdge, AppState, Element, Locator
from adwright.agent.document.finding import find_node
from adwright.agent.document.groups import skeleton_of
from adwright.agent.document.naming import element_name, state_name, word_of
from adwright.agent.drivers.android.device import app_address
from adwright.agent.drivers.android.phone_driver import touch_path
from adwright.agent.drivers.android.phone_screen import screen_of
from adwright.agent.drivers.android.recorded import (
    TRANSITIONS,
    VIEWS,
    RecordedDevice,
    Transition,
    read_transitions,
)
from adwright.agent.drivers.android.ui_tree import read_ui_tree
from adwright.agent.drivers.protocol import Screen
from adwright.agent.explore.describe import UNNAMED, describe

__all__ = ["recorded_document"]


def recorded_document(folder: str | Path, app: str, *, version: str = "1") -> AppDocument:
    """The document of all screens of a recording; its start is the first of them, its origin the
    app that this shows.

    Raises DataError, with file and row, for a recording that is broken or incomplete.
    """
    folder = Path(folder)
    RecordedDevice(folder)  # checks all of it
    transitions = read_transitions(folder / TRANSITIONS)
    screens: dict[str, Screen] = {}
    packages = []
    for name in dict.fromkeys(one for each in transitions for one in _trees_of(each)):
        path = folder / VIEWS / f"{name}.xml"
        tree = read_ui_tree(path.read_bytes(), file=str(path))
        screens[name] = screen_of(tree, app_address(tree.package))
        packages.append(tree.package)
    states: dict[str, AppState] = {}
    shown: dict[str, Screen] = {}
    for screen in screens.values():
        skeleton = skeleton_of(screen)
        if skeleton not in states:
            name = state_name(f"/{_word(screen)}/", {one.name for one in states.values()})
            states[skeleton] = AppState(name, skeleton)
            shown[name] = screen
    of_tree = {name: states[skeleton_of(screen)].name for name, screen in screens.items()}
    elements = {one.name: one for name, screen in shown.items() for one in _elements(name, screen)}
    edges = _edges(transitions, screens, of_tree, elements)
    for edge in edges:
        elements[edge.element] = replace(elements[edge.element], target=edge.target)
    return AppDocument(
        app,
        version,
        (app_address(packages[0]).rstrip("/"),),
        next(iter(states.values())).name,
        tuple(states.values()),
        tuple(elements.values()),
        tuple(edges),
    )


def _trees_of(transition: Transition) -> tuple[str, ...]:
    return tuple(filter(None, (transition.before, transition.after)))


def _word(screen: Screen) -> str:
    """The first text on a screen, as its name; "screen" where there is none."""
    texts = (word_of(one.name) for one in screen.nodes if one.role in ("text", "heading"))
    return next(filter(None, texts), "screen")


def _elements(state: str, screen: Screen) -> list[Element]:
    found = []
    for seen in describe(screen):
        element = replace(
            seen.element, name=state + seen.element.name.removeprefix(UNNAMED), state=state
        )
        node = find_node(screen, element)
        if element.writes and node is not None:
            element = replace(element, requests=(f"TAP /{touch_path(node)}",))
        found.append(element)
    return found + _texts(state, screen, {one.name for one in found})


def _texts(state: str, screen: Screen, taken: set[str]) -> list[Element]:
    """Texts that have a resource id of their own: they can be read, and say what came of an act."""
    ids = Counter(one.facts.get("test_id", "") for one in screen.nodes)
    found = []
    for node in screen.nodes:
        own = node.facts.get("test_id", "")
        if node.role == "text" and own and ids[own] == 1:
            name = element_name(state, own.rpartition("/")[2], "text", taken)
            taken.add(name)
            locator = Locator("test_id", own)
            found.append(Element(name, state, "text", "", (locator,), effect="read"))
    return found


def _edges(
    transitions: tuple[Transition, ...],
    screens: Mapping[str, Screen],
    of_tree: Mapping[str, str],
    elements: Mapping[str, Element],
) -> list[AppEdge]:
    """What leads to another state when it is tapped; not what once led here and once there."""
    found: dict[str, set[AppEdge]] = {}
    for one in transitions:
        if one.act != "tap" or not one.before:
            continue
        source, target, screen = of_tree[one.before], of_tree[one.after], screens[one.before]
        for element in elements.values():
            if element.state != source or element.many:
                continue
            node = find_node(screen, element)
            if node is not None and node.key == one.node and source != target:
                found.setdefault(element.name, set()).add(AppEdge(source, element.name, target))
    return [edges.pop() for edges in found.values() if len(edges) == 1]
