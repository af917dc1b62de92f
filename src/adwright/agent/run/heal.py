"""When an element is not where it was: find it again only where it is surely the same.

    healed = heal_element(screen, element)             # or None: stop, and ask
    document = apply_healings(document, [healed])      # a new version, once the run is verified

The same means: one visible node of the same role and name, which would do what the document says.
Where the page sends a form elsewhere, or two nodes look alike, nothing is healed. What is healed is
kept only after the run's postconditions hold, as a change that a person can read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from urllib.parse import urljoin

from adwright.agent.document.changes import document_changes, next_version
from adwright.agent.document.elements import AppDocument, Element
from adwright.agent.document.naming import locators_of
from adwright.agent.drivers.protocol import Screen, ScreenNode
from adwright.agent.policy.shapes import SAFE_METHODS, matching_shape
from adwright.agent.run.locate import fold_name

__all__ = ["HealedElement", "apply_healings", "effect_agrees", "heal_element", "healing_text"]


@dataclass(frozen=True)
class HealedElement:
    """An element with its new locators, and the node that it was found at."""

    before: Element
    after: Element
    node: ScreenNode


def heal_element(screen: Screen, element: Element) -> HealedElement | None:
    """The element where it stands now; None where that is not sure. Lists are not healed."""
    if element.many or not element.label:
        return None
    name = fold_name(element.label)
    alike = [
        one
        for one in screen.nodes
        if one.visible and one.role == element.role and fold_name(one.name) == name
    ]
    if len(alike) != 1 or not effect_agrees(screen.url, element, alike[0]):
        return None
    (node,) = alike
    return HealedElement(element, replace(element, locators=locators_of(node)), node)


def effect_agrees(page: str, element: Element, node: ScreenNode) -> bool:
    """Whether a node would do what the document says of the element, by its own attributes.

    A link or form that leads to another origin, or sends what the document does not know, does not.
    What attributes do not say, as of buttons of scripts, the gate sees when it is sent.
    """
    action, href = node.facts.get("action"), node.facts.get("href")
    if node.facts.get("type", "") in ("password",) and element.value_type != "secret":
        return False
    if href is not None:
        if href.strip().lower().startswith(("javascript:", "data:")):
            return False
        return not element.writes or _is_documented("GET", urljoin(page, href), element)
    if action is not None and element.value_type == "none":
        method = node.facts.get("method", "get").upper()
        if method in SAFE_METHODS:
            return not element.writes or _is_documented(method, urljoin(page, action), element)
        return element.writes and _is_documented(method, urljoin(page, action), element)
    return True


def apply_healings(document: AppDocument, healed: Sequence[HealedElement]) -> AppDocument:
    """The document with the new locators, as its next version."""
    if not healed:
        return document
    after = {one.before.name: one.after for one in healed}
    elements = tuple(after.get(one.name, one) for one in document.elements)
    return replace(document, elements=elements, version=next_version(document.version))


def healing_text(before: AppDocument, after: AppDocument) -> str:
    """The change for a person to review, one line each."""
    lines = [f"{before.app} {before.version} -> {after.version}"]
    lines += map(str, document_changes(before, after))
    return "".join(f"{line}\n" for line in lines)


def _is_documented(method: str, url: str, element: Element) -> bool:
    return not element.requests or matching_shape(method, url, element.requests) is not None
