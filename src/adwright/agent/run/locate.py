"""Find the one node that a script means, and be sure that it is the one.

    node = locate(screen, element)                          # or ScriptError
    node = locate(screen, element, within=row)              # of the row alone
    rows = items_on(screen, element)                        # of a list, as handles

What is found must have the role and the name that the document says. Of an element that may write,
its locators must not lead to different nodes, and no second node may look like it.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import NoReturn

from adwright.agent.document.columns import column_of, header_of
from adwright.agent.document.elements import Element
from adwright.agent.document.finding import find_node, find_nodes
from adwright.agent.drivers.protocol import Screen, ScreenNode
from adwright.agent.language.problems import ProblemCode, ScriptError, ScriptProblem, quoted
from adwright.agent.language.values import ElementHandle

_ITEMS = ("row", "listitem", "article")
_INDEX = re.compile(r"\[\d+\]")

__all__ = ["fold_name", "item_on", "items_on", "locate", "text_of"]


def locate(screen: Screen, element: Element, within: ScreenNode | None = None) -> ScreenNode:
    """The node of an element. Raises ScriptError: "not_found", "ambiguous" or "identity"."""
    seen = replace(screen, nodes=tuple(one for one in screen.nodes if one.visible))
    if within is not None:
        return _in_its_column(seen, element, _within(seen, element, within))
    node = find_node(seen, element)
    if node is None:
        twins = _alike(seen, element)
        if len(twins) > 1:
            hint = "the document must say which of them is meant"
            _fail("ambiguous", f"{len(twins)} elements look like ${element.name}", hint)
        _fail("not_found", f"${element.name} is not on the page", "the page may have changed")
    shown = node.name or node.text  # what has no name is called what stands in it
    if element.label and fold_name(shown) != fold_name(element.label):
        what = f"what stands in the place of ${element.name} is called {quoted(shown)}"
        _fail("identity", what, "look at the page, and correct the document")
    if element.writes:
        _require_sure(seen, element, node)
    return node


def items_on(screen: Screen, element: Element) -> tuple[ElementHandle, ...]:
    """The items of a list, in the order of the screen, each with its text."""
    seen = replace(screen, nodes=tuple(one for one in screen.nodes if one.visible))
    nodes = _listed(seen, element)
    return tuple(ElementHandle(element.name, n, text_of(one)) for n, one in enumerate(nodes))


def item_on(screen: Screen, element: Element, handle: ElementHandle) -> ScreenNode:
    """The node of an item: that with the text that was seen, and of equal ones that in its place.

    Raises ScriptError where it is gone, or several could be it.
    """
    nodes = _listed(screen, element)
    same = [one for one in nodes if text_of(one) == handle.seen]
    if len(same) == 1:
        return same[0]
    place = handle.place or 0
    if same and place < len(nodes) and text_of(nodes[place]) == handle.seen:
        if element.writes:
            hint = "match it by a text that no other has"
            _fail("ambiguous", f"{len(same)} items read {quoted(handle.seen)}", hint)
        return nodes[place]
    what = f"the item {quoted(handle.seen)} of ${element.name} is no longer there"
    _fail("identity", what, "read the list again")


def _listed(screen: Screen, element: Element) -> tuple[ScreenNode, ...]:
    """The items of a list. Where something was put in before it, the one list that stands as deep
    in the same kinds of elements; what an item holds must still be what the document says."""
    nodes = find_nodes(screen, element)
    if nodes or element.role not in _ITEMS:
        return nodes
    shapes = {_INDEX.sub("", one.value) for one in element.locators if one.kind == "xpath"}
    moved = [
        one
        for one in screen.nodes
        if one.role == element.role and _INDEX.sub("", one.facts.get("xpath", "")) in shapes
    ]
    lists = {one.facts["xpath"].rpartition("/")[0] for one in moved}
    return tuple(moved) if len(lists) == 1 else ()


def text_of(node: ScreenNode) -> str:
    """What a node says: the value of a field, else its text, else its name."""
    return node.value or node.text or node.name


def fold_name(name: str) -> str:
    """A name without capitals, doubled blanks and the marks of what is required, to compare it."""
    return " ".join(name.split()).strip(" *:").casefold() or name.strip()


def _within(screen: Screen, element: Element, around: ScreenNode) -> ScreenNode:
    by_key = {one.key: one for one in screen.nodes}

    def is_inside(node: ScreenNode) -> bool:
        seen = set()
        while node.parent in by_key and node.parent not in seen:
            if node.parent == around.key:
                return True
            seen.add(node.parent)
            node = by_key[node.parent]
        return False

    inner = replace(screen, nodes=tuple(one for one in screen.nodes if is_inside(one)))
    # Numbers count over the whole page; within an item there must be one.
    found = find_nodes(inner, replace(element, many=True))
    if not found:
        _fail("not_found", f"${element.name} is not in the item", "look at what the item holds")
    if len(found) > 1:
        _fail("ambiguous", f"the item holds {len(found)} of ${element.name}", "")
    return found[0]


def _in_its_column(screen: Screen, element: Element, node: ScreenNode) -> ScreenNode:
    """The node; ScriptError where it stands under another header than the document says."""
    wanted = column_of(element)
    header = header_of(screen, node) if wanted else ""
    # A column without a header may be one that has moved, where another has this header now.
    is_elsewhere = any(
        one.role == "columnheader" and fold_name(one.name) == fold_name(wanted)
        for one in (screen.nodes if wanted else ())
    )
    if wanted and (header or is_elsewhere) and fold_name(header) != fold_name(wanted):
        what = f"${element.name} would be read under {quoted(header)}, not {quoted(wanted)}"
        _fail("identity", what, "look at the columns, and correct the document")
    return node


def _alike(screen: Screen, element: Element) -> list[ScreenNode]:
    name = fold_name(element.label)
    return [one for one in screen.nodes if one.role == element.role and fold_name(one.name) == name]


def _require_sure(screen: Screen, element: Element, node: ScreenNode) -> None:
    for locator in element.locators:
        other = find_node(screen, replace(element, locators=(locator,)))
        if other is not None and other.key != node.key:
            what = f"the ways to ${element.name} lead to different elements"
            _fail("identity", what, "look at the page, and correct the document")
    counted = max((one.of for one in element.locators if one.kind == "role"), default=1)
    twins = _alike(screen, element)
    if element.label and len(twins) > max(counted, 1):
        hint = "the document must say which of them is meant"
        _fail("ambiguous", f"{len(twins)} elements look like ${element.name}", hint)


def _fail(code: ProblemCode, what: str, hint: str) -> NoReturn:
    raise ScriptError([ScriptProblem(code, what, hint=hint)])
