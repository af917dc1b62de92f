"""A part of a page that stands elsewhere, or is called something else, than the document says.

    heal_missed(screen, document, element, "not_found")    # or None: stop, and ask
    heal_in_row(screen, document, element, row)         # of an item

The role must be the same, and two of three signs must lead to one node, and none to another:

    mark     an id, the name of a form's field, or a test id
    place    its path
    deed     the form sends, or the link opens, what the document says

What may write must have the deed. The new name must not be that of another part, nor speak of
another effect, and nothing else may bear the old one: parts that have changed places are not
taken for each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from urllib.parse import urljoin

from adwright.agent.document.columns import column_of, header_of
from adwright.agent.document.elements import AppDocument, Element
from adwright.agent.document.guards import guarded
from adwright.agent.document.naming import locators_of
from adwright.agent.document.urls import url_template
from adwright.agent.drivers.protocol import Screen, ScreenNode
from adwright.agent.explore.effects import word_effect
from adwright.agent.language.problems import ProblemCode
from adwright.agent.policy.shapes import matching_shape
from adwright.agent.run.heal import HealedElement, effect_agrees, heal_element
from adwright.agent.run.locate import fold_name

__all__ = ["heal_in_row", "heal_missed", "heal_renamed"]

_MARKS = ("css", "test_id")
_FEWEST = 2


def heal_missed(
    screen: Screen, document: AppDocument, element: Element, code: ProblemCode
) -> HealedElement | None:
    """By its role and name, or under a new name. code: why it was not located."""
    healed = heal_element(screen, element) if code == "not_found" else None
    if healed is None and code in ("not_found", "identity"):
        healed = heal_renamed(screen, document, element)
    return healed


def heal_renamed(screen: Screen, document: AppDocument, element: Element) -> HealedElement | None:
    """The element under its new name; None where that is not sure. Lists are not healed."""
    if element.many or not element.label:
        return None
    nodes = [one for one in screen.nodes if one.visible and one.role == element.role]
    marked = [one for one in nodes if _has(one, element, _MARKS)]
    placed = [one for one in nodes if _has(one, element, ("xpath",))]
    told = {one.key: one for one in (*marked, *placed)}
    if len(told) != 1:
        return None
    (node,) = told.values()
    does = _does(screen, document, element, node)
    signs = bool(marked) + bool(placed) + bool(does)
    sure = signs >= _FEWEST and does is not False and (does or not element.writes)
    if not sure or not effect_agrees(screen.url, element, node):
        return None
    if not (marked or _has_its_company(nodes, document, element, node)):
        return None
    if not _takes_the_same(element, node) or _is_called_wrong(nodes, document, element, node):
        return None
    label = guarded(node.name or node.text).text
    return HealedElement(element, replace(element, label=label, locators=locators_of(node)), node)


def heal_in_row(
    screen: Screen, document: AppDocument, element: Element, row: ScreenNode
) -> ScreenNode | None:
    """The part of an item under the header that the document names, or the one link that opens
    what it says; None where there is not just one. What may write is not looked for."""
    if element.writes:
        return None
    column = fold_name(column_of(element))
    inner = [one for one in _inside(screen, row) if one.visible and one.role == element.role]
    if element.role == "link":
        inner = [one for one in inner if _does(screen, document, element, one)]
        same = {one.facts.get("href", "") for one in inner}
        if len(same) == 1 and len(inner) > 1 and not column:
            return inner[0]
    if column:
        inner = [one for one in inner if fold_name(header_of(screen, one)) == column]
    return inner[0] if len(inner) == 1 else None


def _inside(screen: Screen, around: ScreenNode) -> Iterator[ScreenNode]:
    """The nodes in a node, in the order of the screen."""
    by_key = {one.key: one for one in screen.nodes}
    for node in screen.nodes:
        above = by_key.get(node.parent)
        while above is not None and above.key != around.key:
            above = by_key.get(above.parent)
        if above is not None:
            yield node


def _has(node: ScreenNode, element: Element, kinds: Sequence[str]) -> bool:
    return any(
        one.kind in kinds and one.frame == node.frame and node.facts.get(one.kind) == one.value
        for one in element.locators
    )


def _does(screen: Screen, document: AppDocument, element: Element, node: ScreenNode) -> bool | None:
    """Whether it sends, or opens, what the document says; None where neither says anything."""
    href, action = node.facts.get("href"), node.facts.get("action")
    if href is not None and element.target is not None and not element.writes:
        wanted = document.state_by_name[element.target].url_template.partition("?")[0]
        return url_template(urljoin(screen.url, href)).partition("?")[0] == wanted
    if action is not None and element.requests:
        method = node.facts.get("method", "get").upper()
        return matching_shape(method, urljoin(screen.url, action), element.requests) is not None
    return None


def _has_its_company(
    nodes: Sequence[ScreenNode], document: AppDocument, element: Element, node: ScreenNode
) -> bool:
    """Whether its place tells which it is: its form has as many parts of its role as the document
    says, or no other part of its role leads where it does."""
    others = [
        one
        for one in document.elements_of(element.state)
        if one.role == element.role and not one.many
    ]
    if element.requests:
        form = node.facts.get("form")
        documented = sum(one.requests == element.requests for one in others)
        return documented == sum(one.facts.get("form") == form for one in nodes)
    return sum(one.target == element.target for one in others) == 1


def _states_beside(document: AppDocument, element: Element) -> frozenset[str]:
    """The states at the address of an element's."""
    path = document.state_by_name[element.state].url_template.partition("?")[0]
    return frozenset(
        one.name for one in document.states if one.url_template.partition("?")[0] == path
    )


def _takes_the_same(element: Element, node: ScreenNode) -> bool:
    """Whether a field takes what it took."""
    if node.secret != (element.value_type == "secret"):
        return False
    if not element.options:
        return True
    now = {guarded(one).text for one in node.options}
    return set(element.options) <= now


def _is_called_wrong(
    nodes: Sequence[ScreenNode], document: AppDocument, element: Element, node: ScreenNode
) -> bool:
    """Whether the new name is another part's, or tells another effect, or the old one is there."""
    name = fold_name(node.name or node.text)
    beside = _states_beside(document, element)
    taken = {
        fold_name(one.label)
        for one in document.elements
        if one.state in beside and one.role == element.role and one.name != element.name
        if fold_name(one.label) != fold_name(element.label)
    }
    stays = any(fold_name(one.name) == fold_name(element.label) for one in nodes)
    says = word_effect(node.name) if element.role in ("button", "link") else None
    return not name or name in taken or stays or (says is not None and says != element.effect)
