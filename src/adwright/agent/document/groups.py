"""The parts of a screen as a document counts them: items of a list are one, fields are by name.

    for group in groups_of(screen):
        group.many, group.nodes      # the links "Edit" of all rows of a table: one group
    skeleton_of(screen)              # hash of what kind of page it is

Two pages of one kind, say of two orders, have one skeleton: roles, names of controls and of fields
count; what stands in cells, ids, digits and the number of items do not.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from adwright.agent.document.urls import url_template
from adwright.agent.drivers.protocol import Screen, ScreenNode
from adwright.core.hashing import content_hash

__all__ = ["CONTROLS", "FIELDS", "READ", "NodeGroup", "groups_of", "item_path", "skeleton_of"]

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
