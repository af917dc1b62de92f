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
_ITEMS = frozenset(("row", "listitem", "article", "treeitem", "option", "gridcell", "cell"))
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

    Nodes are alike where role, frame, path without numbers, and signature agree: of a link the
    template of its address, of a field its name, digits apart, of all else its label. Alike nodes
    are a list within rows and items, and from four on anywhere; radio buttons of a form are not.
    """
    by_key = {one.key: one for one in screen.nodes}
    found: dict[tuple[str, ...], list[ScreenNode]] = {}
    for node in screen.nodes:
        if node.visible and (node.role in CONTROLS or node.role in READ):
            found.setdefault(_signature(node), []).append(node)
    groups = []
    for signature, nodes in found.items():
        inside = [_item_of(one, by_key) is not None or one.role in _ITEMS for one in nodes]
        is_list = (all(inside) and len(nodes) > 1) or len(nodes) >= _CROWD
        if is_list and not (nodes[0].role == "radio" and not all(inside)):
            groups.append(NodeGroup(signature, tuple(nodes), many=True))
        else:
            groups += [
                NodeGroup(signature, (one,), many=nodes[0].role in ("row",)) for one in nodes
            ]
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
        is_data = group.many or "{}" in group.signature[3] or node.role in READ
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


def _signature(node: ScreenNode) -> tuple[str, ...]:
    path = _bare_path(node.facts.get("xpath", ""))
    if node.role == "link" and node.facts.get("href"):
        own = url_template(node.facts["href"])
        # Links to one page under several names, such as the sortings of a table, are several.
        if "{}" not in own:
            own = f"{own} {_DIGITS.sub('#', node.name)}"
    elif node.role in FIELDS:
        own = _DIGITS.sub("{}", node.facts.get("name") or node.name)
        if node.role == "radio":
            own += f" {node.name}"
    elif node.role in READ:
        own = ""
    else:
        own = _DIGITS.sub("#", node.name)
    return (node.role, node.frame, path, own)


@cache
def _bare_path(path: str) -> str:
    return _INDEX.sub("", path)


def _item_of(node: ScreenNode, by_key: Mapping[str, ScreenNode]) -> ScreenNode | None:
    around = by_key.get(node.parent)
    while around is not None:
        if around.role in _ITEMS:
            return around
        around = by_key.get(around.parent)
    return None
