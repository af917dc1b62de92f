"""Where an element of a document is on a screen, and which state of the document a screen is.

    at = find_node(screen, element)          # one node, or None where it is not there for sure
    where_am_i(document, screen)             # the name of a state, or None

Nothing is guessed: a locator counts where it leads to exactly one node of the right role, and
of several that are alike only where there are as many as there were. The first locator that counts
wins; they are ranked. A path alone is no proof where the element has a name.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache

from adwright.agent.document.elements import AppDocument, Element, Locator, url_template
from adwright.agent.drivers.protocol import Screen, ScreenNode
from adwright.core.hashing import content_hash

# --------------------------------------------------------------------------------------------------
# Names for states and elements that stay the same from one exploration to the next.
#
#     element_name("offer_edit", "Save changes", "button", taken)     # "offer_edit__save_changes"
#
# They come from labels and addresses, not from numbers of nodes or from hashes: a page that gets
# one more button renames nothing but the names that would stand twice.

_LONGEST = 40
_LETTERS = str.maketrans({"ß": "ss", "ø": "o", "ł": "l", "đ": "d", "æ": "ae", "œ": "oe"})


def word_of(text: str) -> str:
    """Small ASCII letters, digits and underscores out of a text; empty where nothing is left."""
    plain = unicodedata.normalize("NFKD", text.lower().translate(_LETTERS))
    word = re.sub(r"[^a-z0-9]+", "_", plain.encode("ascii", "ignore").decode()).strip("_")
    return word[:_LONGEST].rstrip("_")


def state_name(template: str, taken: Collection[str]) -> str:
    """The name of a state after its URL template, a number behind it where that is taken.

    >>> state_name("/dashboard/offers/{}/", set())
    'dashboard_offers_item'
    """
    path, _, query = template.partition("?")
    parts = [word_of(one) if one != "{}" else "item" for one in path.split("/") if one]
    while len("_".join(parts)) > _LONGEST and len(parts) > 1:
        parts.pop(0)
    if query:
        parts.append("by_" + word_of(query.replace("&", " ")))
    return _free(_letter_first("_".join(filter(None, parts)) or "home"), taken)


def element_name(state: str, label: str, role: str, taken: Collection[str]) -> str:
    """`state__label`, with the role behind it where that is taken, and then a number."""
    word, kind = word_of(label), word_of(role) or "part"
    name = f"{state}__{word or kind}"
    if name in taken and word:
        name = f"{name}_{kind}"
    return _free(name, taken)


def locators_of(node: ScreenNode) -> tuple[Locator, ...]:
    """Ways to find a node again, the most lasting first: role and name, label, test id, CSS, path.

    A field is also found by its label alone where that is not its name. Without a name, a role is
    no locator.
    """
    facts, frame = node.facts, node.frame
    found = []
    if node.name:
        found.append(
            Locator("role", node.name, role=node.role, nth=node.nth, of=node.of, frame=frame)
        )
    if facts.get("label"):
        found.append(Locator("label", facts["label"], frame=frame))
    if facts.get("test_id"):
        found.append(Locator("test_id", facts["test_id"], frame=frame))
    if facts.get("css"):
        found.append(Locator("css", facts["css"], frame=frame))
    if facts.get("xpath"):
        found.append(Locator("xpath", facts["xpath"], frame=frame))
    return tuple(found)


def _letter_first(name: str) -> str:
    return name if name[:1].isalpha() else f"s_{name}"


def _free(name: str, taken: Collection[str]) -> str:
    found, number = name, 2
    while found in taken:
        found, number = f"{name}_{number}", number + 1
    return found


# --------------------------------------------------------------------------------------------------
# The parts of a screen as a document counts them: items of a list are one, fields are by name.
#
#     for group in groups_of(screen):
#         group.many, group.nodes      # the links "Edit" of all rows of a table: one group
#     skeleton_of(screen)              # hash of what kind of page it is
#
# Two pages of one kind, say of two orders, have one skeleton: roles, names of controls and of
# fields count; what stands in cells, ids, digits and the number of items do not.

#: Roles that take a value.
FIELDS = frozenset(
    (
        *("textbox", "searchbox", "combobox", "listbox", "spinbutton", "slider"),
        *("checkbox", "radio", "switch", "menuitemcheckbox", "menuitemradio"),
    )
)
#: Roles that can be acted on.
CONTROLS = FIELDS | frozenset(
    ("link", "button", "tab", "menuitem", "option", "treeitem", "generic", "disclosuretriangle")
)
#: Roles that can only be read, and are worth a name.
READ = frozenset(("heading", "row", "listitem", "alert", "status", "dialog", "alertdialog"))
_ROWS = frozenset(("row",))
_ITEMS = frozenset(("row", "listitem", "article", "treeitem", "option", "gridcell", "cell"))
_CELLS = frozenset(("cell", "gridcell"))
_INDEX = re.compile(r"\[\d+\]")
_DIGITS = re.compile(r"\d+")
#: From so many that are alike on, they are a list, whatever is around them.
_CROWD = 4
_DIGEST = 16


@dataclass(frozen=True)
class NodeGroup:
    """Nodes that are one thing to a document.

    signature: what they have in common, role first. many: they are, or may be, several: the items
    of a list. label: the name that they share, or empty.
    """

    signature: tuple[str, ...]
    nodes: tuple[ScreenNode, ...]
    many: bool

    @property
    def first(self) -> ScreenNode:
        """The node that stands for all."""
        return self.nodes[0]

    @property
    def label(self) -> str:
        """The name that all nodes share, or empty."""
        names = {one.name for one in self.nodes}
        return self.first.name if len(names) == 1 else ""


def groups_of(screen: Screen) -> tuple[NodeGroup, ...]:
    """The groups of a screen, in the order of their first nodes; what cannot be seen is left out.

    In rows, nodes are alike that stand in the same place of their row. Elsewhere, nodes are alike
    where role, frame, path without numbers, and signature agree: of a link the template of its
    address, of a field its name, digits apart, of all else its label. Alike nodes are a list within
    rows and items, also a single one in a table with headers, and from four on anywhere; radio
    buttons of a form are not. Cells count in tables with headers, where they hold text alone.
    """
    by_key = {one.key: one for one in screen.nodes}
    headed = {
        _table_of(one.facts.get("xpath", "")) for one in screen.nodes if one.role == "columnheader"
    }
    found: dict[tuple[str, ...], list[ScreenNode]] = {}
    cells = _plain_cells(screen, by_key, headed)
    for node in screen.nodes:
        if node.visible and (_counts(node) or node.key in cells):
            found.setdefault(_signature(node, _around(node, by_key, _ROWS)), []).append(node)
    groups = []
    for signature, nodes in found.items():
        first = nodes[0]
        inside = all(one.role in _ITEMS or _around(one, by_key, _ITEMS) for one in nodes)
        row = first if first.role == "row" else _around(first, by_key, _ROWS)
        in_table = row is not None and _table_of(row.facts.get("xpath", "")) in headed
        is_list = (inside and len(nodes) > 1) or len(nodes) >= _CROWD
        is_list |= in_table and first.role not in FIELDS
        if is_list and (first.role != "radio" or inside):
            groups += _by_target(signature, nodes)
        else:
            groups += [NodeGroup(signature, (one,), many=False) for one in nodes]
    order = {one.key: place for place, one in enumerate(screen.nodes)}
    return tuple(sorted(groups, key=lambda one: order[one.first.key]))


def skeleton_of(screen: Screen) -> str:
    """A hash of the kind of page: of the set of its groups' signatures and labels, digits apart.

    Left out are labels of lists and of links to data, and what is only read; fields count by their
    names, also hidden ones of the same form do not.
    """
    parts = set()
    for group in groups_of(screen):
        node = group.first
        is_data = group.many or "{}" in group.signature[3] or node.role in READ | _CELLS
        label = "" if is_data or node.role in FIELDS else _DIGITS.sub("#", group.label)
        parts.add((node.role, group.signature[1], group.signature[3], label, group.many))
    return content_hash(sorted([list(map(str, one)) for one in parts]))[:_DIGEST]


def item_path(group: NodeGroup, screen: Screen) -> str:
    """The XPath of all nodes of a list: that of the first, without the numbers of its items."""
    by_key = {one.key: one for one in screen.nodes}
    path = group.first.facts.get("xpath", "")
    steps = path.split("/")
    paths = [one.facts.get("xpath", "").split("/") for one in group.nodes]
    item: ScreenNode | None = group.first
    while item is not None:
        if item.role in _ITEMS and item.role not in ("cell", "gridcell"):
            depth = len(item.facts.get("xpath", "").split("/")) - 1
            if 0 < depth < len(steps):
                steps[depth] = _INDEX.sub("", steps[depth])
        item = by_key.get(item.parent)
    for other in paths:
        if len(other) == len(steps):
            pairs = zip(steps, other, strict=True)
            steps = [a if a == b else _INDEX.sub("", a) for a, b in pairs]
    return "/".join(steps)


def _by_target(signature: tuple[str, ...], nodes: list[ScreenNode]) -> list[NodeGroup]:
    """A list as a group; links that lead to different kinds of pages, as one "Edit" in each row of
    a table of parts, are no list but several links."""
    parts: dict[str, list[ScreenNode]] = {}
    for one in nodes:
        parts.setdefault(url_template(one.facts.get("href", "")), []).append(one)
    apart = len(parts) > 1 and all(len(many) == 1 for many in parts.values())
    if nodes[0].role != "link" or not apart:
        return [NodeGroup(signature, tuple(nodes), many=True)]
    return [NodeGroup((*signature, to), (one,), many=False) for to, (one,) in parts.items()]


def _plain_cells(
    screen: Screen, by_key: Mapping[str, ScreenNode], headed: set[str]
) -> frozenset[str]:
    """The keys of cells with text and without controls, in tables with headers."""
    cells = {
        one.key
        for one in screen.nodes
        if one.role in _CELLS and one.text and _table_of(one.facts.get("xpath", "")) in headed
    } | _values_of_pairs(screen, headed)
    cells |= {one.key for one in screen.nodes if one.role == "cell" and "column" in one.facts}
    for node in screen.nodes:
        if node.role in CONTROLS and (cell := _around(node, by_key, _CELLS)) is not None:
            cells.discard(cell.key)
    return frozenset(cells)


def _values_of_pairs(screen: Screen, headed: set[str]) -> set[str]:
    """The second cells of tables without headers whose rows are pairs: a name, and its value."""
    rows: dict[str, list[ScreenNode]] = {}
    for one in screen.nodes:
        if one.role in _CELLS and _table_of(one.facts.get("xpath", "")) not in headed:
            rows.setdefault(one.parent, []).append(one)
    tables: dict[str, list[list[ScreenNode]]] = {}
    for cells in rows.values():
        tables.setdefault(_table_of(cells[0].facts.get("xpath", "")), []).append(cells)
    return {
        cells[1].key
        for many in tables.values()
        if len(many) > 1 and all(len(cells) == 2 and cells[0].text for cells in many)
        for cells in many
        if cells[1].text
    }


def _counts(node: ScreenNode) -> bool:
    if node.role == "generic":
        return "clickable" in node.facts and node.facts.get("tag") not in ("html", "body", "label")
    return node.role in CONTROLS or node.role in READ


def _signature(node: ScreenNode, row: ScreenNode | None) -> tuple[str, ...]:
    path = node.facts.get("xpath", "")
    before = "" if row is None else row.facts.get("xpath", "")
    is_below = bool(before) and path.startswith(before)
    place = _bare_path(before) + path.removeprefix(before) if is_below else _bare_path(path)
    if node.role == "link" and node.facts.get("href"):
        own = "" if is_below else url_template(node.facts["href"])
        # Links to one page under several names, such as the sortings of a table, are several.
        if own and "{}" not in own:
            own = f"{own} {_DIGITS.sub('#', node.name)}"
    elif node.role in FIELDS:
        own = _DIGITS.sub("{}", node.facts.get("name") or node.name)
        if node.role == "radio":
            own += f" {node.name}"
    elif node.role in READ or node.role in _CELLS:
        own = node.facts.get("column", "")
    else:
        own = _DIGITS.sub("#", node.name)
    return (node.role, node.frame, place, own)


@cache
def _bare_path(path: str) -> str:
    return _INDEX.sub("", path)


def _around(
    node: ScreenNode, by_key: Mapping[str, ScreenNode], roles: frozenset[str]
) -> ScreenNode | None:
    """The nearest node around it with one of the roles."""
    around = by_key.get(node.parent)
    while around is not None and around.role not in roles:
        around = by_key.get(around.parent)
    return around


def _table_of(path: str) -> str:
    """The path of the table in which a path is, as far as it has one."""
    head, table, rest = path.rpartition("/table")
    return f"{head}{table}{rest.partition('/')[0]}" if table else ""


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
