"""A view tree as a `Screen`: roles and names as a screen reader of the phone would give them.

    screen = screen_of(tree, "android-app://com.shop.ads/")

Left out are views that say nothing and take nothing: the boxes of a layout. A view that can be
tapped and has no text of its own is called by the texts in it. Of a field, `value` is what stands
in it, and its name is its description, its hint, or the words of its resource id; of a password
field nothing of its content is read. The resource id is the fact "test_id"; the key of a node is
its path. Trees do not say which text is a heading, and links are buttons.
"""

from __future__ import annotations

from adwright.agent.drivers.android.ui_tree import UiTree, UiView
from adwright.agent.drivers.protocol import Screen, ScreenNode
from adwright.agent.drivers.snapshot import counted

__all__ = ["field_value", "role_of", "screen_of"]

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
