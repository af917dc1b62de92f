"""Find the one node that a script means, and be sure that it is the one.

    node = locate(screen, element)                          # or ScriptError
    node = locate(screen, element, within=row)              # of the row alone
    rows = items_on(screen, element)                        # of a list, as handles

What is found must have the role and the name that the document says. Of an element that may write,
its locators must not lead to different nodes, and no second node may look like it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NoReturn, TypeAlias
from urllib.parse import urljoin

from adwright.agent.document.elements import (
    AppDocument,
    Element,
    column_of,
    guarded,
    header_of,
    seen_text,
    url_template,
)
from adwright.agent.document.finding import find_node, find_nodes, locators_of
from adwright.agent.document.text_format import document_changes, next_version
from adwright.agent.drivers.protocol import Screen, ScreenNode
from adwright.agent.explore.describe import word_effect
from adwright.agent.language.kinds import ElementHandle, matching_handles
from adwright.agent.language.problems import ProblemCode, ScriptError, ScriptProblem, quoted
from adwright.agent.policy.origins import SAFE_METHODS, matching_shape

_ITEMS = ("row", "listitem", "article")
_INDEX = re.compile(r"\[\d+\]")


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
    # A label is kept short, and withheld where it addresses a reader.
    names = (fold_name(shown), fold_name(guarded(shown).text))
    if element.label and fold_name(element.label) not in names:
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
    """A name without capitals, doubled blanks, what cannot be seen and the marks of what is
    required, to compare it."""
    return seen_text(name).strip(" *:").casefold() or name.strip()


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


# --------------------------------------------------------------------------------------------------
# When an element is not where it was: find it again only where it is surely the same.
#
#     healed = heal_element(screen, element)             # or None: stop, and ask
#     document = apply_healings(document, [healed])      # a new version, once the run is verified
#
# The same means: one visible node of the same role and name, which would do what the document says.
# Where the page sends a form elsewhere, or two nodes look alike, nothing is healed. What is healed
# is kept only after the run's postconditions hold, as a change that a person can read.


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
    if action is not None and element.value_type == "none" and not _is_scripted(element, node):
        method = node.facts.get("method", "get").upper()
        if method in SAFE_METHODS:
            return not element.writes or _is_documented(method, urljoin(page, action), element)
        return element.writes and _is_documented(method, urljoin(page, action), element)
    return True


def _is_scripted(element: Element, node: ScreenNode) -> bool:
    """Whether a button that may write is of a form which a script sends: the gate sees how."""
    return element.writes and "scripted" in node.facts


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


# --------------------------------------------------------------------------------------------------
# A part of a page that stands elsewhere, or is called something else, than the document says.
#
#     heal_missed(screen, document, element, "not_found")    # or None: stop, and ask
#     heal_in_row(screen, document, element, row)         # of an item
#
# The role must be the same, and two of three signs must lead to one node, and none to another:
#
#     mark     an id, the name of a form's field, or a test id
#     place    its path
#     deed     the form sends, or the link opens, what the document says
#
# What may write must have the deed. The new name must not be that of another part, nor speak of
# another effect, and nothing else may bear the old one: parts that have changed places are not
# taken for each other.

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
    if action is not None and element.requests and not _is_scripted(element, node):
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


# --------------------------------------------------------------------------------------------------
# Find the one item of a list that has a text: on its page, by its search, or on its further pages.
#
#     handle = ItemSearch(document, world.be_at, step).find(element, "Oat Bites")
#
# All of it only reads: a search is a form by GET or a button without a form that says it looks, a
# further page is a link. Of several items with the text, that counts which has a part that says
# just this, such as a cell or a link; else nothing is chosen.

#: So many further pages of a list are looked through. Our choice.
MOST_PAGES = 12
_MOST_WAYS = 3
_FORM = re.compile(r"^(.*/form(?:\[\d+\])?)(?:/|$)")
_LOOKS = re.compile(r"\b(?:search|find|look up|filter|suche|chercher|buscar|cerca|zoek)", re.I)
_NUMBERED = re.compile(r"\b(?:no|nr|number|code|sku|upc|ean|id)\b", re.I)
_NAMED = re.compile(r"\b(?:name|title|search|text|keyword|query|q|find)\b", re.I)
_REST = re.compile(r"[,;:(\[|]")
_NEXT = re.compile(r"^\W*(?:next(?: page)?|weiter|suivant|siguiente|›|»|>|→)\W*$", re.I)

#: Does a verb with an element of the document, and a value, on the way to an item.
WayStep: TypeAlias = Callable[[str, str, str | None], Screen]


@dataclass(frozen=True)
class SearchWay:
    """A field for what is looked for, and the button that looks."""

    field: Element
    button: Element


class ItemSearch:
    """be_at: goes to a state; step: does one act; both give the screen that comes of it."""

    def __init__(
        self, document: AppDocument, be_at: Callable[[str], Screen], step: WayStep
    ) -> None:
        self._document, self._be_at, self._step = document, be_at, step

    def find(self, element: Element, wanted: str) -> ElementHandle:
        """The item. Raises ScriptError "not_found", or "ambiguous" where several may be meant."""
        found = the_item(self._be_at(element.state), element, wanted)
        for way in search_ways(self._document, element.state, wanted):
            for words in _words_for(wanted):
                found = found or self._searched(element, way, wanted, words)
        found = found or self._on_further_pages(element, wanted)
        if found is None:
            what = f"no item of ${element.name} reads {quoted(wanted)}"
            _fail("not_found", what, "look at the list")
        return found

    def _searched(
        self, element: Element, way: SearchWay, wanted: str, words: str
    ) -> ElementHandle | None:
        """The item, after a search for words; None also where there is no such search here."""
        try:
            self._step("set_text", way.field.name, words)
            screen = self._step("tap", way.button.name, None)
        except ScriptError:
            return None
        return the_item(screen, element, wanted)

    def _on_further_pages(self, element: Element, wanted: str) -> ElementHandle | None:
        link = next_page(self._document, element.state)
        for _ in range(MOST_PAGES if link else 0):
            try:
                screen = self._step("tap", link.name if link else "", None)
            except ScriptError:
                return None
            if found := the_item(screen, element, wanted):
                return found
        return None


def the_item(screen: Screen, element: Element, wanted: str) -> ElementHandle | None:
    """The item of a list on this screen that has a text; None where none has it."""
    every = items_on(screen, element)
    handles = matching_handles(every, wanted)
    if len(handles) != 1:
        handles = handles or every  # a part may say what the text cuts short
        nodes = [item_on(screen, element, one) for one in handles]
        exact = _with_exact_part(screen, handles, nodes, wanted)
        handles = exact or matching_handles(handles, wanted)
    if len(handles) > 1:
        what = f"{len(handles)} items of ${element.name} read {quoted(wanted)}"
        _fail("ambiguous", what, "name it by a text that no other has")
    return handles[0] if handles else None


def form_of(element: Element) -> str | None:
    """The path of the form in which an element stands, empty for none; None where its locators do
    not say."""
    for one in element.locators:
        if one.kind == "xpath":
            found = _FORM.match(one.value)
            return found[1] if found else ""
    return None


def search_ways(document: AppDocument, state: str, wanted: str) -> tuple[SearchWay, ...]:
    """The searches that lead to a state's path, those on its own pages first, then the likeliest
    field first: one for names of a text, one for numbers of a number."""
    path = _path(document, state)
    found: list[tuple[int, SearchWay]] = []
    for button in document.elements:
        if button.role != "button" or button.effect not in ("navigate", "read"):
            continue
        if button.effect == "read" and not _LOOKS.search(button.label):
            continue
        if _path(document, button.target or button.state) != path:
            continue
        form, far = form_of(button), _path(document, button.state) != path
        for field in document.elements_of(button.state):
            fits = field.value_type == "text" and not field.many
            if fits and (form is None or form_of(field) == form):
                rank = _rank(field, wanted) + (10 if far else 0)
                found.append((rank, SearchWay(field, button)))
    ranked = sorted(found, key=lambda one: one[0])
    once = {(one.field.label, one.button.label): one for _, one in reversed(ranked)}
    return tuple(once.values())[::-1][:_MOST_WAYS]


def next_page(document: AppDocument, state: str) -> Element | None:
    """The link to the next page of a state's list, or None."""
    for one in document.elements_of(state):
        if one.role == "link" and one.effect == "navigate" and _NEXT.match(one.label):
            return one
    return None


def _words_for(wanted: str) -> tuple[str, ...]:
    """What to search for: the text, then what stands before its first comma or bracket, as many
    searches find anything that has one of the words."""
    first = _REST.split(wanted, maxsplit=1)[0].strip()
    return (wanted, first) if first and first != wanted.strip() else (wanted,)


def _with_exact_part(
    screen: Screen,
    handles: Iterable[ElementHandle],
    nodes: Iterable[ScreenNode],
    wanted: str,
) -> tuple[ElementHandle, ...]:
    """Those of several items that hold a part which says just this."""
    folded = _folded(wanted)
    by_key = {one.key: one for one in screen.nodes}
    holders: set[str] = set()
    for one in screen.nodes:
        around: ScreenNode | None = one
        while (
            folded in (_folded(one.name), _folded(one.text))
            and around is not None
            and around.key not in holders
        ):
            holders.add(around.key)
            around = by_key.get(around.parent)
    pairs = zip(handles, nodes, strict=True)
    return tuple(handle for handle, node in pairs if node.key in holders)


def _folded(text: str) -> str:
    return " ".join(text.split()).casefold()


def _rank(field: Element, wanted: str) -> int:
    is_number = any(one.isdigit() for one in wanted) and " " not in wanted
    words = f"{field.label} {field.name.replace('_', ' ')}"
    likely, less = (_NUMBERED, _NAMED) if is_number else (_NAMED, _NUMBERED)
    return 0 if likely.search(words) else 2 if less.search(words) else 1


def _path(document: AppDocument, state: str) -> str:
    return document.state_by_name[state].url_template.partition("?")[0]
