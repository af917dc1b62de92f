"""View trees of UIAutomator, read from XML.

    tree = read_ui_tree(data)                  # what `uiautomator dump` writes
    tree.views[3].text, tree.views[3].bounds

The XML comes from apps that nobody trusts: a document type, and with it every entity, is refused,
and so are trees of more than 5 MB, 20,000 views or 200 levels. Attributes that this does not know
are ignored; a view without readable bounds is there, but cannot be seen or touched.

A view tree as a `Screen`: roles and names as a screen reader of the phone would give them.

    screen = screen_of(tree, "android-app://com.shop.ads/")

Left out are views that say nothing and take nothing: the boxes of a layout. A view that can be
tapped and has no text of its own is called by the texts in it. Of a field, `value` is what stands
in it, and its name is its description, its hint, or the words of its resource id; of a password
field nothing of its content is read. The resource id is the fact "test_id"; the key of a node is
its path. Trees do not say which text is a heading, and links are buttons.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NoReturn
from xml.parsers import expat

from adwright.agent.drivers.protocol import Screen, ScreenNode
from adwright.agent.drivers.snapshot import counted
from adwright.core.errors import FileUnreadableError

#: Of one tree.
MOST_BYTES = 5 << 20
_MOST_VIEWS = 20_000
_DEEPEST = 200
_BOUNDS = re.compile(r"\[(-?\d{1,6}),(-?\d{1,6})\]\[(-?\d{1,6}),(-?\d{1,6})\]")
_ODD = re.compile(r"[^\w.$-]")


@dataclass(frozen=True)
class ViewBounds:
    """A rectangle in pixels of the screen; right and bottom are outside of it."""

    left: int = 0
    top: int = 0
    right: int = 0
    bottom: int = 0

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing in it."""
        return self.right <= self.left or self.bottom <= self.top

    @property
    def area(self) -> int:
        """How many pixels are in it."""
        return 0 if self.is_empty else (self.right - self.left) * (self.bottom - self.top)

    def holds(self, x: int, y: int) -> bool:
        """Whether a point is in it."""
        return self.left <= x < self.right and self.top <= y < self.bottom

    def clipped(self, other: ViewBounds) -> ViewBounds:
        """What of it is in another one as well; empty where nothing is."""
        return ViewBounds(
            max(self.left, other.left),
            max(self.top, other.top),
            min(self.right, other.right),
            min(self.bottom, other.bottom),
        )


@dataclass(frozen=True)
class UiView:
    """One view. place, parent: its number in the tree, and that of the view around it, -1 at the
    top. path: classes from the root with their numbers among those of one class. kind: its class.
    description: what it says to who cannot see. shown: "visible-to-user", where that is told."""

    place: int
    parent: int
    path: str
    kind: str
    text: str = ""
    description: str = ""
    hint: str = ""
    resource_id: str = ""
    package: str = ""
    bounds: ViewBounds = ViewBounds()
    checkable: bool = False
    checked: bool = False
    clickable: bool = False
    enabled: bool = True
    focused: bool = False
    scrollable: bool = False
    long_clickable: bool = False
    password: bool = False
    selected: bool = False
    shown: bool = True

    @property
    def is_visible(self) -> bool:
        """Whether some of it can be seen."""
        return self.shown and not self.bounds.is_empty

    @property
    def short_id(self) -> str:
        """The last part of its resource id: "save" of "com.shop.ads:id/save"."""
        return self.resource_id.rpartition("/")[2]


@dataclass(frozen=True)
class UiTree:
    """All views, in the order in which they are drawn: parents before their children."""

    views: tuple[UiView, ...]
    rotation: int = 0

    @cached_property
    def by_path(self) -> dict[str, UiView]:
        """The views by their paths."""
        return {one.path: one for one in self.views}

    @cached_property
    def children(self) -> list[list[int]]:
        """The numbers of the views in each view."""
        found: list[list[int]] = [[] for _ in self.views]
        for one in self.views:
            if one.parent >= 0:
                found[one.parent].append(one.place)
        return found

    @property
    def package(self) -> str:
        """The app that is shown: that of the first view which names one."""
        return next((one.package for one in self.views if one.package), "")

    def around(self, view: UiView) -> Iterator[UiView]:
        """The views around a view, from the inside."""
        while view.parent >= 0:
            view = self.views[view.parent]
            yield view


def read_ui_tree(data: bytes, *, file: str = "") -> UiTree:
    """The tree of a dump. file: where it stands, for errors.

    Raises FileUnreadableError for what is no tree of views, is too large, or has a document type.
    """
    reader = _TreeReader(file)
    if len(data) > MOST_BYTES:
        reader.refuse(f"the view tree is larger than {MOST_BYTES >> 20} MB", "close what it shows")
    return reader.read(data)


class _TreeReader:
    """Reads one dump with expat, which knows no file and no network."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._views: list[UiView] = []
        self._open: list[int] = []
        self._names: list[Counter[str]] = [Counter()]
        self._rotation: int | None = None
        self._depth = 0

    def read(self, data: bytes) -> UiTree:
        """The tree. Raises FileUnreadableError."""
        parser = expat.ParserCreate("utf-8")
        parser.StartDoctypeDeclHandler = self._doctype
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        try:
            parser.Parse(data, True)
        except expat.ExpatError as error:
            shown = data[:80].decode("utf-8", "replace").strip()
            self.refuse(f"this is no view tree: {error}", f"it begins with {shown!r}", error)
        return UiTree(tuple(self._views), self._rotation or 0)

    def refuse(self, what: str, hint: str, cause: Exception | None = None) -> NoReturn:
        """Raise the error."""
        raise FileUnreadableError(what, file=self._file, hint=hint) from cause

    def _doctype(self, *_: object) -> None:
        self.refuse(
            "the view tree has a document type, which may define entities or name other files",
            "UIAutomator writes none: do not use it",
        )

    def _start(self, tag: str, given: dict[str, str]) -> None:
        self._depth += 1
        if self._rotation is None:
            if tag != "hierarchy":
                self.refuse(f"this is no view tree: it begins with <{tag[:40]}>", "give a dump")
            turned = given.get("rotation", "0")
            self._rotation = int(turned) if turned in ("1", "2", "3") else 0
            return
        if self._depth > _DEEPEST or len(self._views) >= _MOST_VIEWS:
            what = f"the view tree has more than {_MOST_VIEWS} views or {_DEEPEST} levels"
            self.refuse(what, "close what it shows")
        # Some tools name each element after its class.
        view = _view(given, given.get("class") or (tag if tag != "node" else ""))
        place, parent = len(self._views), self._open[-1] if self._open else -1
        step = _ODD.sub("_", view.kind) or "view"
        self._names[-1][step] += 1
        before = self._views[parent].path if parent >= 0 else "/hierarchy"
        path = f"{before}/{step}[{self._names[-1][step]}]"
        self._views.append(replace(view, place=place, parent=parent, path=path))
        self._open.append(place)
        self._names.append(Counter())

    def _end(self, _: str) -> None:
        self._depth -= 1
        if self._open:
            self._open.pop()
            self._names.pop()


def _view(given: dict[str, str], kind: str) -> UiView:
    def is_true(name: str, default: str = "false") -> bool:
        return given.get(name, default) == "true"

    edges = _BOUNDS.fullmatch(given.get("bounds", ""))
    return UiView(
        place=0,
        parent=-1,
        path="",
        kind=kind,
        text=given.get("text", ""),
        description=given.get("content-desc", ""),
        hint=given.get("hint", ""),
        resource_id=given.get("resource-id", ""),
        package=given.get("package", ""),
        bounds=ViewBounds(*map(int, edges.groups())) if edges else ViewBounds(),
        checkable=is_true("checkable"),
        checked=is_true("checked"),
        clickable=is_true("clickable"),
        enabled=is_true("enabled", "true"),
        focused=is_true("focused"),
        scrollable=is_true("scrollable"),
        long_clickable=is_true("long-clickable"),
        password=is_true("password"),
        selected=is_true("selected"),
        shown=is_true("visible-to-user", "true"),
    )


#: By the last part of a class.
_ROLES = {
    **dict.fromkeys(("Button", "ImageButton", "FloatingActionButton", "MaterialButton"), "button"),
    **dict.fromkeys(
        ("EditText", "AutoCompleteTextView", "MultiAutoCompleteTextView", "TextInputEditText"),
        "textbox",
    ),
    **dict.fromkeys(("CheckBox", "CheckedTextView"), "checkbox"),
    **dict.fromkeys(("Switch", "SwitchCompat", "SwitchMaterial", "ToggleButton"), "switch"),
    **dict.fromkeys(("ListView", "RecyclerView", "GridView", "ExpandableListView"), "list"),
    **dict.fromkeys(("SeekBar", "RatingBar"), "slider"),
    **dict.fromkeys(("ImageView", "Image"), "img"),
    **dict.fromkeys(("Tab", "TabView"), "tab"),
    "RadioButton": "radio",
    "Spinner": "combobox",
    "ProgressBar": "progressbar",
    "WebView": "document",
    "TextView": "text",
}
_FIELDS = {"textbox", "checkbox", "radio", "switch", "combobox", "slider"}
_SWITCHES = {"checkbox", "radio", "switch"}
_MOST_TEXT = 300


def screen_of(tree: UiTree, url: str) -> Screen:
    """The nodes of a tree, in its order; `at_end` where nothing on it scrolls."""
    roles = [role_of(tree, one) for one in tree.views]
    kept: dict[int, str] = {}
    nodes = []
    for view, role in zip(tree.views, roles, strict=True):
        around = kept.get(view.parent, "")
        kept[view.place] = view.path if role else around
        if role:
            nodes.append(_node(tree, view, role, around))
    scrolls = any(one.scrollable and one.is_visible for one in tree.views)
    return Screen(url, "", counted(nodes), at_end=not scrolls)


def role_of(tree: UiTree, view: UiView) -> str:
    """The role of a view, empty for one that only holds others."""
    last = view.kind.rpartition(".")[2].rpartition("$")[2]
    role = _ROLES.get(last, "textbox" if last.endswith(("EditText", "AutoComplete")) else "")
    if role in _FIELDS:
        return role
    if view.checkable:
        return "checkbox"
    if role == "tab" or view.kind.endswith("TabLayout$TabView"):
        return "tab"
    around = tree.views[view.parent].kind.rpartition(".")[2] if view.parent >= 0 else ""
    if _ROLES.get(around) == "list" and role != "button":
        return "listitem"
    if view.clickable or view.long_clickable:
        return "button"
    if role == "text" and not (view.text or view.description):
        return ""
    if role:
        return role
    if view.scrollable:
        return "generic"
    return "text" if view.text or view.description else ""


def field_value(view: UiView) -> str:
    """What stands in a text field: its hint is shown as its text where nothing does."""
    return "" if view.password or (view.hint and view.text == view.hint) else view.text


def _node(tree: UiTree, view: UiView, role: str, parent: str) -> ScreenNode:
    inner = "" if view.password else _texts_in(tree, view)
    own = " ".join((view.description or view.text).split())
    if role == "textbox":
        name, value = _field_name(view), field_value(view)
    elif role in _SWITCHES:
        name = own or _field_name(view)
        value = "true" if view.checked else "false"
    elif role in ("combobox", "slider"):
        name, value = _field_name(view), view.text or inner
    else:
        takes = view.clickable or view.long_clickable or role in ("listitem", "tab")
        name, value = own or (inner if takes else ""), ""
    return ScreenNode(
        key=view.path,
        role=role,
        name=name[:_MOST_TEXT],
        value=value,
        facts=_facts(view, role),
        enabled=view.enabled,
        visible=view.is_visible,
        secret=view.password,
        parent=parent,
        text="" if view.password or role == "textbox" else inner,
    )


def _field_name(view: UiView) -> str:
    words = view.description or view.hint or view.short_id.replace("_", " ").replace("-", " ")
    return " ".join(words.split())


def _texts_in(tree: UiTree, view: UiView) -> str:
    """The texts of a view and of those in it, without passwords, shortened."""
    parts, stack, length = [], [view.place], 0
    while stack and length < _MOST_TEXT:
        one = tree.views[stack.pop()]
        said = "" if one.password else one.text or one.description
        if said and one.is_visible:
            parts.append(said)
            length += len(said)
        stack.extend(reversed(tree.children[one.place]))
    return " ".join(" ".join(parts).split())[:_MOST_TEXT]


def _facts(view: UiView, role: str) -> dict[str, str]:
    edges = view.bounds
    facts = {
        "xpath": view.path,
        "class": view.kind,
        "package": view.package,
        "id": view.resource_id,
        "test_id": view.resource_id,
        "bounds": f"{edges.left},{edges.top},{edges.right},{edges.bottom}",
        "name": view.short_id if role in _FIELDS else "",
    }
    flags = {
        "clickable": view.clickable,
        "scrollable": view.scrollable,
        "selected": view.selected,
        "checked": view.checked,
    }
    facts |= {name: "true" for name, value in flags.items() if value}
    return {key: value for key, value in facts.items() if value}
