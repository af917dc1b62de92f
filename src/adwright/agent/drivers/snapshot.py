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

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any
from urllib.parse import urljoin

from adwright.agent.drivers.protocol import ScreenNode
from adwright.core.config import package_toml

# --------------------------------------------------------------------------------------------------
# The DOM of a page's documents, out of one answer of the browser, as plain lists by node number.
#
# Attributes are what stands in the page, not properties of objects. Paths are XPath with tag names
# and numbers from the document's root; within a shadow tree there is none.

#: Kinds of nodes.
ELEMENT, TEXT = 1, 3
#: What an id made by a program has, and one made by a person mostly has not.
_MANY_DIGITS = 3


@dataclass
class DomDocument:
    """One document. Nodes are numbers, parents stand before their children.

    frame_id: the browser's name of its frame. frames: number of a frame's element, and of the
    document in it. shadow: nodes at the top of a shadow tree. values: what stands in fields now.
    chosen: labels of the chosen options.
    """

    frame_id: str
    url: str
    base: str
    title: str
    parents: Sequence[int]
    kinds: Sequence[int]
    tags: list[str]
    texts: list[str]
    attributes: list[dict[str, str]]
    by_backend: dict[int, int]
    frames: dict[int, int]
    values: dict[int, str]
    clickable: frozenset[int]
    visible: frozenset[int]
    selected: frozenset[int]
    shadow: frozenset[int] = frozenset()
    size: tuple[float, float] = (0.0, 0.0)
    scrolled: tuple[float, float] = (0.0, 0.0)
    _paths: dict[int, str] = field(default_factory=dict)

    @cached_property
    def children(self) -> list[list[int]]:
        """The nodes in each node."""
        found: list[list[int]] = [[] for _ in self.parents]
        for node, parent in enumerate(self.parents):
            if parent >= 0:
                found[parent].append(node)
        return found

    @cached_property
    def options(self) -> dict[int, list[str]]:
        """The labels of the options of each native list."""
        return self._options(lambda _: True)

    @cached_property
    def chosen(self) -> dict[int, list[str]]:
        """Those of them that are chosen."""
        return self._options(lambda node: node in self.selected)

    def sent(self, node: int) -> str:
        """What a form sends of a native list: the value of its first chosen option."""
        for one in sorted(self.selected):
            if self.around(one, "select") == node:
                return self.attributes[one].get("value", self.text(one))
        return ""

    def _options(self, takes: Any) -> dict[int, list[str]]:
        found: dict[int, list[str]] = {}
        for node, tag in enumerate(self.tags):
            if tag == "option" and takes(node):
                around = self.around(node, "select")
                if around is not None:
                    label = self.attributes[node].get("label") or self.text(node)
                    found.setdefault(around, []).append(" ".join(label.split()))
        return found

    def above(self, node: int) -> Iterator[int]:
        """The nodes around a node, from the inside."""
        node = self.parents[node]
        while node >= 0:
            yield node
            node = self.parents[node]

    def around(self, node: int, tag: str) -> int | None:
        """The nearest element of that tag around a node, itself included."""
        while node >= 0:
            if self.tags[node] == tag:
                return node
            node = self.parents[node]
        return None

    def text(self, node: int) -> str:
        """All text in a node."""
        if self.kinds[node] == TEXT:
            return self.texts[node]
        parts, stack = [], [node]
        while stack:
            each = stack.pop()
            if self.kinds[each] == TEXT:
                parts.append(self.texts[each])
            stack.extend(reversed(self.children[each]))
        return " ".join(" ".join(parts).split())

    def path(self, node: int) -> str:
        """Its XPath from the root, or nothing within a shadow tree."""
        if node in self._paths:
            return self._paths[node]
        parent = self.parents[node]
        if self.kinds[node] != ELEMENT or node in self.shadow:
            found = ""
        elif parent < 0 or self.tags[parent] == "#document":
            found = f"/{self._step(node)}"
        else:
            before = self.path(parent)
            found = f"{before}/{self._step(node)}" if before else ""
        self._paths[node] = found
        return found

    def _step(self, node: int) -> str:
        tag, parent = self.tags[node], self.parents[node]
        same = [
            one
            for one in (self.children[parent] if parent >= 0 else [node])
            if self.tags[one] == tag and self.kinds[one] == ELEMENT
        ]
        # Elements of SVG have a namespace, which a bare name does not match.
        drawn = self.around(node, "svg") is not None
        name = f"*[name()='{tag}']" if drawn or not tag.replace("-", "").isalnum() else tag
        return f"{name}[{same.index(node) + 1}]"

    def selector(self, node: int) -> str:
        """A CSS selector out of its id or name, or nothing where it has none that looks lasting."""
        own, tag = self.attributes[node], self.tags[node]
        if own.get("id") and sum(one.isdigit() for one in own["id"]) < _MANY_DIGITS:
            return f"{tag}[id={_quoted(own['id'])}]"
        if own.get("name"):
            chosen = tag == "input" and own.get("type") in ("radio", "checkbox", "submit")
            value = f"[value={_quoted(own['value'])}]" if chosen and own.get("value") else ""
            return f"{tag}[name={_quoted(own['name'])}]{value}"
        return ""

    @cached_property
    def _labels(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for node, tag in enumerate(self.tags):
            if tag == "label" and self.attributes[node].get("for"):
                found.setdefault(self.attributes[node]["for"], node)
        return found

    def label(self, node: int) -> str:
        """The text of its label; a field's own texts do not count."""
        if self.tags[node] not in ("input", "select", "textarea", "meter", "progress", "output"):
            return ""
        found = self._labels.get(self.attributes[node].get("id", ""))
        if found is None:
            found = self.around(node, "label")
        if found is None:
            return ""
        fields = ("input", "select", "textarea", "script", "style")
        parts, stack = [], [found]
        while stack:
            each = stack.pop()
            if self.kinds[each] == TEXT:
                parts.append(self.texts[each])
            if self.tags[each] not in fields:
                stack.extend(reversed(self.children[each]))
        return " ".join(" ".join(parts).split())

    @cached_property
    def _forms(self) -> dict[str, int]:
        named = (
            (one, self.attributes[one].get("id")) for one, t in enumerate(self.tags) if t == "form"
        )
        return {name: node for node, name in named if name}

    def form(self, node: int) -> int | None:
        """The form that it belongs to: by its attribute `form`, else the one around it."""
        own = self.attributes[node].get("form")
        if own and self.tags[node] in ("button", "input", "select", "textarea"):
            return self._forms.get(own)
        return self.around(node, "form")


def read_documents(snapshot: Mapping[str, Any]) -> list[DomDocument]:
    """The documents of DOMSnapshot.captureSnapshot, whose first computed style is visibility."""
    strings: list[str] = snapshot["strings"]
    return [_document(one, strings) for one in snapshot["documents"]]


def _document(raw: Mapping[str, Any], strings: list[str]) -> DomDocument:
    nodes, layout = raw["nodes"], raw["layout"]

    def word(index: int) -> str:
        return strings[index] if index >= 0 else ""

    attributes = []
    for flat in nodes["attributes"]:
        pairs = zip(flat[::2], flat[1::2], strict=True)
        attributes.append({word(key).lower(): word(value) for key, value in pairs})
    values = {
        index: word(value)
        for part in ("textValue", "inputValue")
        for index, value in zip(nodes[part]["index"], nodes[part]["value"], strict=True)
        if value >= 0
    }
    visible = frozenset(
        node
        for node, styles, box in zip(
            layout["nodeIndex"], layout["styles"], layout["bounds"], strict=True
        )
        if (not styles or word(styles[0]) != "hidden") and box[2] > 0 and box[3] > 0
    )
    inner = nodes["contentDocumentIndex"]
    return DomDocument(
        frame_id=word(raw["frameId"]),
        url=word(raw["documentURL"]),
        base=word(raw["baseURL"]) or word(raw["documentURL"]),
        title=word(raw["title"]),
        parents=nodes["parentIndex"],
        kinds=nodes["nodeType"],
        tags=[word(one).lower() for one in nodes["nodeName"]],
        texts=[word(one) for one in nodes["nodeValue"]],
        attributes=attributes,
        by_backend={one: index for index, one in enumerate(nodes["backendNodeId"])},
        frames=dict(zip(inner["index"], inner["value"], strict=True)),
        values=values,
        clickable=frozenset(nodes["isClickable"]["index"]),
        visible=visible,
        selected=frozenset(nodes["optionSelected"]["index"]),
        shadow=frozenset(nodes["shadowRootType"]["index"]),
        size=(raw.get("contentWidth", 0.0), raw.get("contentHeight", 0.0)),
        scrolled=(raw.get("scrollOffsetX", 0.0), raw.get("scrollOffsetY", 0.0)),
    )


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\a ") + '"'


# --------------------------------------------------------------------------------------------------
# What a page shows without saying so to tools: icons without a name, labels that are bound to no
# field, and records drawn as boxes.
#
#     hint_of(page, node)           # "trash" of <span class="icon-trash">
#     nearby_label(page, node)      # "Genre" of a field in a row that begins with that header
#     blocks_of(page, controls)     # boxes that are alike, each with text and a control of its own
#
# All three are guesses from tags, classes and places. They are used only where the accessibility
# tree says nothing, and they name things for people and plans; what may be done is decided
# elsewhere.

_TABLES = package_toml(__package__, "pages.toml")
_FIELDS = ("input", "select", "textarea")
_WORDS = re.compile(r"[A-Za-z]{2,}")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_MOST_WORDS, _LONGEST_LABEL = 3, 60
#: Roles around which nothing else is a record: these are records already, or parts of one.
_RECORDS = frozenset(("tr", "li", "article", "option", "ul", "ol", "nav", "header", "footer"))


def hint_of(page: DomDocument, node: int) -> str:
    """What the class or else the id of a node calls it; empty where they tell only its look."""
    own = page.attributes[node]
    for text in (own.get("title", ""), own.get("class", ""), own.get("id", "")):
        words = [one.lower() for one in _WORDS.findall(_CAMEL.sub(" ", text))]
        told = list(dict.fromkeys(one for one in words if one not in _TABLES["look"]))
        if told:
            return " ".join(told[:_MOST_WORDS])
    return ""


def nearby_label(page: DomDocument, node: int) -> str:
    """The text of a label right before a field that names none, or of the header of its row."""
    if page.tags[node] not in _FIELDS:
        return ""
    parent = page.parents[node]
    before = [one for one in page.children[parent] if one < node] if parent >= 0 else []
    for one in reversed(before):
        if page.tags[one] in _FIELDS:
            break
        if page.tags[one] == "label" and not page.attributes[one].get("for"):
            return page.text(one)[:_LONGEST_LABEL]
    row = page.around(node, "tr")
    for one in page.children[row] if row is not None else ():
        if page.tags[one] == "th":
            return page.text(one)[:_LONGEST_LABEL]
    return ""


def blocks_of(page: DomDocument, controls: Iterable[int]) -> frozenset[int]:
    """The boxes that are records: of one tag and class beside each other, each with a control and
    more text than that of the control, and without fields; the innermost around each control."""
    has = frozenset(controls)
    holders: set[int] = set()
    for one in has:
        holders.update(page.above(one))
    found = set()
    for control in has:
        for one in page.above(control):
            if page.tags[one] in _RECORDS:
                break
            if _is_record(page, one, control, holders):
                found.add(one)
                break
    return frozenset(found)


def _is_record(page: DomDocument, node: int, control: int, holders: set[int]) -> bool:
    kind, parent = _kind(page, node), page.parents[node]
    if not kind or parent < 0 or page.tags[node] not in ("div", "section", "dl"):
        return False
    alike = [one for one in page.children[parent] if one in holders and _kind(page, one) == kind]
    if len(alike) < 2 or _has_field(page, node):
        return False
    return len(page.text(node)) > len(page.text(control))


def _kind(page: DomDocument, node: int) -> tuple[str, str] | None:
    """The tag and the first class: further ones often say how it is now."""
    own = page.attributes[node].get("class", "").split()
    return (page.tags[node], own[0]) if own else None


def _has_field(page: DomDocument, node: int) -> bool:
    stack = [node]
    while stack:
        one = stack.pop()
        if page.tags[one] in _FIELDS:
            return True
        stack.extend(page.children[one])
    return False


#: Computed styles that the snapshot is asked for, in this order.
STYLES = ("visibility",)
#: Of the text in a node.
_MOST_TEXT = 300
#: What has no more characters, and no letter, is a sign, such as "+", and is called so.
_SIGN = 2
_SKIPPED = {"none", "InlineTextBox", "StaticText", "MenuListPopup", "ListMarker", "LineBreak"}
_SWITCHES = {"checkbox", "radio", "switch", "menuitemcheckbox", "menuitemradio"}
_ATTRIBUTES = (
    *("id", "name", "type", "required", "min", "max", "pattern", "maxlength", "autocomplete"),
    *("readonly", "placeholder", "target", "rel", "title", "step", "multiple", "ping", "download"),
)
_ICONS = ("span", "i", "div", "svg", "img", "b", "em")
_FLAGS = ("required", "multiple", "readonly", "scripted")
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
        role=_TABLES["roles"].get(role, role if role.islower() else role.lower()),
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
        # Without either attribute it would only load its page again: a script sends it.
        own_way = sends and (own.get("formaction") or own.get("formmethod"))
        if not (own_way or outer.get("action") or outer.get("method")):
            facts["scripted"] = ""
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
