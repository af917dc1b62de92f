"""A page as nodes: Chromium's accessibility trees, joined with the attributes of its DOM.

    seen = read_snapshot(snapshot, trees)
    seen.nodes                    # ScreenNode, in the order of the page
    seen.places[node.key]         # where the driver finds it again

Two calls of the browser's protocol give all of it, without a script in the page: names and roles
are computed by the browser, attributes are read as they stand in the DOM. So a form field called
"name" hides nothing, and the page cannot lie by replacing functions. `snapshot` is the answer to
DOMSnapshot.captureSnapshot with the computed styles STYLES, `trees` the nodes of
Accessibility.getFullAXTree by frame.

Left out are what accessibility tools do not get, the options of native lists (they stand in
`options`), texts that stand in another node, and frames whose address is no page of a server.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urljoin

from adwright.agent.drivers.dom import ELEMENT, TEXT, DomDocument, read_documents
from adwright.agent.drivers.protocol import ScreenNode
from adwright.agent.drivers.unnamed import blocks_of, hint_of, nearby_label

__all__ = ["STYLES", "NodePlace", "PageNodes", "counted", "read_snapshot"]

#: Computed styles that the snapshot is asked for, in this order.
STYLES = ("visibility",)
#: Of the text in a node.
_MOST_TEXT = 300
#: What has no more characters, and no letter, is a sign, such as "+", and is called so.
_SIGN = 2
_SKIPPED = {"none", "InlineTextBox", "StaticText", "MenuListPopup", "ListMarker", "LineBreak"}
_ROLES = {
    "RootWebArea": "document",
    "LabelText": "label",
    "Iframe": "iframe",
    "ColorWell": "textbox",
    "Date": "textbox",
    "DateTime": "textbox",
    "InputTime": "textbox",
    "Legend": "legend",
    "SvgRoot": "img",
    "image": "img",
}
_SWITCHES = {"checkbox", "radio", "switch", "menuitemcheckbox", "menuitemradio"}
_ATTRIBUTES = (
    *("id", "name", "type", "required", "min", "max", "pattern", "maxlength", "autocomplete"),
    *("readonly", "placeholder", "target", "rel", "title", "step", "multiple", "ping", "download"),
)
_ICONS = ("span", "i", "div", "svg", "img", "b", "em")
_FLAGS = ("required", "multiple", "readonly")
_TEST_IDS = ("data-testid", "data-test-id", "data-test", "data-qa")
#: What says that a button or link only shows a part of its page: HTML's own, and Bootstrap's.
_TOGGLES = ("popovertarget", "data-bs-toggle", "data-toggle")
_TOGGLED = ("modal", "dropdown", "collapse", "tab", "pill", "offcanvas", "popover")
_SERVED = ("http://", "https://", "about:srcdoc", "about:blank")


@dataclass(frozen=True)
class NodePlace:
    """Where a node is: paths of the frames around it, from the outside, and its own path; that is
    empty within a shadow tree, which no path enters."""

    frames: tuple[str, ...]
    path: str


@dataclass(frozen=True)
class PageNodes:
    """The nodes of a page, and the place of each by its key."""

    nodes: tuple[ScreenNode, ...]
    places: Mapping[str, NodePlace]


def read_snapshot(
    snapshot: Mapping[str, Any], trees: Mapping[str, Sequence[Mapping[str, Any]]]
) -> PageNodes:
    """The nodes of all frames of a page, the main one first."""
    documents = read_documents(snapshot)
    nodes: list[ScreenNode] = []
    places: dict[str, NodePlace] = {}
    waiting: list[tuple[int, str, tuple[str, ...]]] = [(0, "", ())]
    seen = {0}
    while waiting:
        index, frame, frames = waiting.pop(0)
        page = documents[index]
        tree = _Tree(trees.get(page.frame_id, ()))
        for key, node, path in _nodes_of(page, tree, frame, index):
            nodes.append(node)
            places[key] = NodePlace(frames, path)
        for number, (element, inner) in enumerate(sorted(page.frames.items())):
            served = documents[inner].url.startswith(_SERVED) if inner < len(documents) else False
            path = page.path(element)
            if served and path and inner not in seen:
                seen.add(inner)
                own = page.attributes[element]
                name = own.get("name") or own.get("id") or f"frame{number}"
                waiting.append((inner, f"{frame}/{name}" if frame else name, (*frames, path)))
    return PageNodes(counted(nodes), places)


class _Tree:
    """One accessibility tree: by the DOM's own numbers of nodes."""

    def __init__(self, nodes: Sequence[Mapping[str, Any]]) -> None:
        self.by_id = {one["nodeId"]: one for one in nodes}
        self.order = list(self._walk(nodes[0]["nodeId"])) if nodes else []
        self._texts: dict[str, str] = {}

    def _walk(self, root: str) -> Sequence[str]:
        found, stack = [], [root]
        while stack:
            each = stack.pop()
            if each in self.by_id:
                found.append(each)
                stack.extend(reversed(self.by_id[each].get("childIds", ())))
        return found

    def texts(self) -> dict[str, str]:
        """The text below each node, shortened."""
        for each in reversed(self.order):
            node = self.by_id[each]
            if _value(node, "role") == "StaticText":
                self._texts[each] = _value(node, "name")[:_MOST_TEXT]
            else:
                parts = (self._texts.get(one, "") for one in node.get("childIds", ()))
                self._texts[each] = " ".join(" ".join(parts).split())[:_MOST_TEXT]
        return self._texts

    def has_text(self, node: Mapping[str, Any]) -> bool:
        """Whether a text stands in the node itself, not only in one below it."""
        inner = (self.by_id.get(one, {}) for one in node.get("childIds", ()))
        return any(_value(one, "role") == "StaticText" for one in inner)


def _nodes_of(
    page: DomDocument, tree: _Tree, frame: str, number: int
) -> list[tuple[str, ScreenNode, str]]:
    texts, kept = tree.texts(), dict[str, str]()
    found, keys = [], dict[int, str]()
    for each in tree.order:
        raw = tree.by_id[each]
        around = kept.get(raw.get("parentId", ""), "")
        kept[each] = around
        element = page.by_backend.get(raw.get("backendDOMNodeId", -1))
        if raw.get("ignored") or element is None or not _is_shown(page, tree, raw, element):
            continue
        key = f"{number}:{raw['backendDOMNodeId']}"
        kept[each] = keys[element] = key
        node = _node(page, raw, element, texts[each])
        found.append((key, replace(node, key=key, frame=frame, parent=around), page.path(element)))
    places = list(keys)
    for element in sorted((*_covered(page, keys), *_icons(page, keys))):
        made = _covered_node if page.tags[element] == "select" else _icon
        node = replace(made(page, element), key=f"{number}:s{element}", frame=frame)
        outer = next((keys[one] for one in page.above(element) if one in keys), "")
        at = next((n for n, one in enumerate(places) if one > element), len(places))
        places.insert(at, element)
        found.insert(at, (node.key, replace(node, parent=outer), page.path(element)))
        keys[element] = node.key
    return _with_blocks(page, found, keys, number, frame)


def _with_blocks(
    page: DomDocument,
    found: list[tuple[str, ScreenNode, str]],
    keys: Mapping[int, str],
    number: int,
    frame: str,
) -> list[tuple[str, ScreenNode, str]]:
    """The nodes with boxes that are records as items of a list, and what is in them inside them."""
    by_key = {key: node for key, node, _ in found}
    controls = (one for one, key in keys.items() if _is_control(by_key[key]))
    blocks = blocks_of(page, controls)
    if not blocks:
        return found
    of_key = {key: element for element, key in keys.items()}
    names = {one: keys.get(one) or f"{number}:b{one}" for one in blocks}
    made: list[tuple[str, ScreenNode, str]] = []
    seen: set[int] = set()
    for key, shown, path in found:
        element, node = of_key.get(key), shown
        inside = [one for one in page.above(element) if one in blocks] if element else []
        for one in reversed(inside):
            if one not in seen and one not in keys:
                seen.add(one)
                made.append((names[one], _block(page, one, names[one], frame), page.path(one)))
        if element in blocks:
            seen.add(element)
            facts = {**shown.facts, "block": "true"}
            node = replace(shown, role="listitem", name="", text=_shown(page, element), facts=facts)
        elif inside and element is not None and _is_part(page, shown, element):
            column = hint_of(page, element)
            node = replace(shown, role="cell", facts={**shown.facts, "column": column})
        if inside and of_key.get(shown.parent, -1) < inside[0]:
            node = replace(node, parent=names[inside[0]])
        made.append((key, node, path))
    return made


def _is_part(page: DomDocument, node: ScreenNode, element: int) -> bool:
    """Whether it is a text of a record, called by its class: as a cell of a table is by its
    column."""
    plain = node.role == "generic" and "clickable" not in node.facts and bool(node.text)
    holds = any(page.kinds[one] == ELEMENT for one in page.children[element])
    return plain and not holds and bool(hint_of(page, element))


def _is_control(node: ScreenNode) -> bool:
    tag = node.facts.get("tag")
    clickable = "clickable" in node.facts and tag not in ("html", "body", "label")
    return node.visible and (node.role == "button" or (node.role == "generic" and clickable))


def _block(page: DomDocument, element: int, key: str, frame: str) -> ScreenNode:
    facts = {**_facts(page, element), "block": "true"}
    return ScreenNode(key, "listitem", "", facts=facts, frame=frame, text=_shown(page, element))


def _shown(page: DomDocument, element: int) -> str:
    """The text of a box that can be seen."""
    parts, stack = [], [element]
    while stack:
        each = stack.pop()
        if page.kinds[each] == TEXT:
            parts.append(page.texts[each])
        elif each == element or each in page.visible or page.kinds[each] != ELEMENT:
            stack.extend(reversed(page.children[each]))
    return " ".join(" ".join(parts).split())[:_MOST_TEXT]


def _covered(page: DomDocument, keys: Mapping[int, str]) -> list[int]:
    """Native lists that the page shows one of its own for: people choose there, the form sends
    these. They have a place on the page, a name and options, but are hidden from tools."""
    return [
        one
        for one, tag in enumerate(page.tags)
        if tag == "select"
        and one not in keys
        and one in page.visible
        and page.attributes[one].get("name")
        and page.options.get(one)
        and "disabled" not in page.attributes[one]
    ]


def _covered_node(page: DomDocument, element: int) -> ScreenNode:
    own = page.attributes[element]
    return ScreenNode(
        key="",
        role="listbox" if "multiple" in own else "combobox",
        name=page.label(element) or own.get("aria-label", "") or own["name"].replace("_", " "),
        value=", ".join(page.chosen.get(element, ())),
        facts=_facts(page, element) | {"covered": "true"},
        options=tuple(page.options[element]),
    )


def _icons(page: DomDocument, keys: Mapping[int, str]) -> list[int]:
    """What is drawn, can be clicked, holds nothing, and is hidden from tools: they name it by
    nothing, so it is called after its class."""
    return [
        one
        for one in sorted(page.clickable & page.visible)
        if one not in keys
        and page.tags[one] in _ICONS
        and not any(page.kinds[inner] == ELEMENT for inner in page.children[one])
        and not page.text(one)
        and hint_of(page, one)
    ]


def _icon(page: DomDocument, element: int) -> ScreenNode:
    return ScreenNode("", "generic", hint_of(page, element), facts=_facts(page, element))


def _is_shown(page: DomDocument, tree: _Tree, raw: Mapping[str, Any], element: int) -> bool:
    role = _value(raw, "role")
    if role in _SKIPPED or page.tags[element] in ("option", "optgroup", "#document"):
        return False
    return role != "generic" or element in page.clickable or tree.has_text(raw)


def _node(page: DomDocument, raw: Mapping[str, Any], element: int, text: str) -> ScreenNode:
    own = page.attributes[element]
    role, properties = _value(raw, "role"), _properties(raw)
    kind = own.get("type", "").lower()
    secret = page.tags[element] == "input" and (
        kind == "password" or own.get("autocomplete", "").endswith("password")
    )
    name = " ".join(_value(raw, "name").split()) or nearby_label(page, element)
    if not name and element in page.clickable and role in ("generic", "button", "image", "img"):
        role = "button" if role == "button" else "generic"  # a picture that is clicked is an icon
        is_sign = len(text) <= _SIGN and not any(one.isalnum() for one in text)
        name = (text or hint_of(page, element)) if is_sign else ""
    if role in _SWITCHES:
        value = "true" if properties.get("checked") in (True, "true") else "false"
    elif secret:
        value = ""
    else:
        value = page.values.get(element, _value(raw, "value"))
    if role in ("combobox", "listbox") or page.tags[element] == "select":
        chosen = page.chosen.get(element)
        value = ", ".join(chosen) if chosen else value
    return ScreenNode(
        key="",
        role=_ROLES.get(role, role if role.islower() else role.lower()),
        name=name,
        value=value,
        facts=_facts(page, element) | _folding(properties),
        options=tuple(page.options.get(element, ())),
        enabled=not properties.get("disabled", False),
        visible=element in page.visible,
        secret=secret,
        text="" if secret else text,
    )


def _facts(page: DomDocument, element: int) -> dict[str, str]:
    own = page.attributes[element]
    facts = {key: own[key] for key in _ATTRIBUTES if key in own}
    facts["tag"] = page.tags[element]
    facts["css"], facts["xpath"] = page.selector(element), page.path(element)
    if label := page.label(element):
        facts["label"] = label
    for key in _TEST_IDS:
        if own.get(key):
            facts["test_id"] = own[key]
            break
    for key in _TOGGLES:
        if own.get(key) and (key == "popovertarget" or own[key].lower() in _TOGGLED):
            facts["toggles"] = own[key]
    if element in page.clickable:
        facts["clickable"] = "true"
    if page.tags[element] == "select":
        facts["chosen"] = page.sent(element)
    elif own.get("type") in ("checkbox", "radio", "submit") or page.tags[element] == "button":
        facts["value"] = own.get("value", "")
    if "href" in own and page.tags[element] in ("a", "area"):
        address = own["href"].strip()
        # A place in this very page, or nothing but what a script does.
        key = "anchor" if address.startswith("#") else "href"
        facts[key] = address if key == "anchor" else urljoin(page.base, address)
    form = page.form(element)
    if form is not None:
        outer = page.attributes[form]
        sends = page.tags[element] in ("button", "input")
        action = (own.get("formaction") if sends else None) or outer.get("action") or page.url
        method = (own.get("formmethod") if sends else None) or outer.get("method") or "get"
        facts["action"] = urljoin(page.base, action.strip())
        facts["method"] = method.strip().upper()
        facts["form"] = page.path(form)
    return {key: value for key, value in facts.items() if value or key in _FLAGS}


def _folding(properties: Mapping[str, Any]) -> dict[str, str]:
    """Whether it opens something that is closed now, and whether it is chosen."""
    found = {}
    for name in ("selected", "pressed"):
        if properties.get(name) in (True, "true"):
            found[name] = "true"
    if isinstance(properties.get("expanded"), bool):
        found["expanded"] = "true" if properties["expanded"] else "false"
    if properties.get("hasPopup") not in (None, "false", False):
        found["haspopup"] = str(properties["hasPopup"])
    return found


def counted(nodes: Sequence[ScreenNode]) -> tuple[ScreenNode, ...]:
    """With the number of each among those that are alike."""
    of = Counter((one.role, one.name, one.frame) for one in nodes)
    so_far: Counter[tuple[str, str, str]] = Counter()
    found = []
    for one in nodes:
        alike = (one.role, one.name, one.frame)
        found.append(replace(one, nth=so_far[alike], of=of[alike]))
        so_far[alike] += 1
    return tuple(found)


def _value(node: Mapping[str, Any], key: str) -> str:
    value = node.get(key, {}).get("value", "")
    return value if isinstance(value, str) else str(value)


def _properties(node: Mapping[str, Any]) -> dict[str, Any]:
    return {one["name"]: one["value"].get("value") for one in node.get("properties", ())}
