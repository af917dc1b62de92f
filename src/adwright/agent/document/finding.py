"""Where an element of a document is on a screen, and which state of the document a screen is.

    at = find_node(screen, element)          # one node, or None where it is not there for sure
    where_am_i(document, screen)             # the name of a state, or None

Nothing is guessed: a locator counts where it leads to exactly one node of the right role, and
of several that are alike only where there are as many as there were. The first locator that counts
wins; they are ranked. A path alone is no proof where the element has a name.
"""

from __future__ import annotations

import re
from functools import cache

from adwright.agent.document.elements import AppDocument, Element, Locator
from adwright.agent.document.groups import skeleton_of
from adwright.agent.document.urls import url_template
from adwright.agent.drivers.protocol import Screen, ScreenNode

__all__ = ["LEAST_FOUND", "find_node", "find_nodes", "share_found", "where_am_i"]

#: The share of a state's elements that a screen has to show to be taken for it, where its skeleton
#: is another. Our choice.
LEAST_FOUND = 0.7


def find_node(screen: Screen, element: Element) -> ScreenNode | None:
    """The node of an element, or None where no locator leads to exactly one of its role."""
    for locator in element.locators:
        nodes = _matching(screen, element, locator)
        if len(nodes) == 1 and locator.of in (0, 1):
            return nodes[0]
        if locator.of > 1 and len(nodes) == locator.of:
            return nodes[locator.nth]
    return None


def find_nodes(screen: Screen, element: Element) -> tuple[ScreenNode, ...]:
    """The nodes of a list, in the order of the screen, the head of a table left out; of what is no
    list, its one node if any."""
    if not element.many:
        node = find_node(screen, element)
        return () if node is None else (node,)
    for locator in element.locators:
        nodes = _matching(screen, element, locator)
        if nodes:
            heads = {one.parent for one in screen.nodes if one.role == "columnheader"}
            items = [one for one in nodes if one.key not in heads]
            return tuple(items or nodes)
    return ()


def share_found(document: AppDocument, state: str, screen: Screen) -> float:
    """The share of a state's elements, lists apart, that can be found on a screen; 0 of none."""
    elements = [one for one in document.elements_of(state) if not one.many]
    found = sum(find_node(screen, one) is not None for one in elements)
    return found / len(elements) if elements else 0.0


def where_am_i(document: AppDocument, screen: Screen) -> str | None:
    """The state that a screen shows.

    That with its skeleton; of several, that with its URL template. Else, among states with its URL
    template, or where there are none with its path, that of whose elements most are there, if these
    are at least LEAST_FOUND of them.
    """
    skeleton, template = skeleton_of(screen), url_template(screen.url)
    alike = [one for one in document.states if one.skeleton == skeleton]
    if alike:
        here = [one for one in alike if one.url_template == template]
        return (here or alike)[0].name
    near = [one for one in document.states if one.url_template == template]
    if not near:
        path = template.partition("?")[0]
        near = [one for one in document.states if one.url_template.partition("?")[0] == path]
    shares = {one.name: share_found(document, one.name, screen) for one in near}
    best = max(shares, key=shares.__getitem__, default=None)
    return best if best is not None and shares[best] >= LEAST_FOUND else None


def _matching(screen: Screen, element: Element, locator: Locator) -> list[ScreenNode]:
    if locator.kind == "role":
        return [
            one
            for one in screen.nodes
            if one.role == locator.role and one.frame == locator.frame and one.name == locator.value
        ]
    fact = locator.kind
    if fact == "xpath":
        pattern = _pattern(locator.value)
        fits = [one for one in screen.nodes if pattern.fullmatch(one.facts.get("xpath", ""))]
    else:
        fits = [one for one in screen.nodes if one.facts.get(fact) == locator.value]
    named = [one.value for one in element.locators if one.kind == "role"]
    if fact == "xpath" and named and not element.many:
        # A path says where something stands, not what it is: it only tells alike nodes apart.
        fits = [one for one in fits if one.name in named]
    return [one for one in fits if one.role == element.role and one.frame == locator.frame]


@cache
def _pattern(path: str) -> re.Pattern[str]:
    """A step without a number stands for any number."""
    steps = []
    for step in path.split("/"):
        has_number = step.endswith("]") and step[step.rfind("[") + 1 : -1].isdigit()
        steps.append(re.escape(step) + ("" if has_number or not step else r"(\[\d+\])?"))
    return re.compile("/".join(steps))
