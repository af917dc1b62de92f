"""The DOM of a page's documents, out of one answer of the browser, as plain lists by node number.

Attributes are what stands in the page, not properties of objects. Paths are XPath with tag names
and numbers from the document's root; within a shadow tree there is none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

__all__ = ["ELEMENT", "TEXT", "DomDocument", "read_documents"]

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
