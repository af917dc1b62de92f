"""A phone emulated by Chromium: a page on a phone's screen, as views, under a finger.

    settings = DriverSettings(screen="phone")
    with open_browser() as browser, browser.driver(gate, settings) as page:
        driver = PhoneDriver(ChromiumPhone(page), gate)

It is no Android: it shows that what is written for phones works on another device than a recording.
Views are made of the browser's accessibility tree, with the classes that Chrome has on a phone;
what lies outside the screen is left out, as UIAutomator does. Taps and swipes are touch events of
the browser's protocol. The gate is that of the network, as in any browser. The menu of a native
list is no part of the page: its choices cannot be tapped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from adwright.agent.drivers.android.device import PhoneAct
from adwright.agent.drivers.android.ui_tree import UiTree, UiView, ViewBounds, write_ui_tree
from adwright.agent.drivers.chromium import ChromiumDriver
from adwright.agent.drivers.dom import read_documents
from adwright.agent.drivers.protocol import DriverError, Screen, ScreenNode, SeenRequest

__all__ = ["EMULATED", "ChromiumPhone", "PageWindow", "page_tree"]

#: In the place of an app's package.
EMULATED = "emulated.by.chromium"
_CLASSES = {
    **dict.fromkeys(("textbox", "searchbox", "spinbutton"), "android.widget.EditText"),
    **dict.fromkeys(("checkbox", "menuitemcheckbox"), "android.widget.CheckBox"),
    **dict.fromkeys(("radio", "menuitemradio"), "android.widget.RadioButton"),
    **dict.fromkeys(("list", "listbox", "table", "grid"), "android.widget.ListView"),
    **dict.fromkeys(("heading", "paragraph", "status", "cell"), "android.widget.TextView"),
    "button": "android.widget.Button",
    "switch": "android.widget.Switch",
    "combobox": "android.widget.Spinner",
    "slider": "android.widget.SeekBar",
    "img": "android.widget.Image",
    "iframe": "android.webkit.WebView",
}
_TAPPED = {
    *("button", "link", "checkbox", "radio", "switch", "combobox", "slider", "tab", "menuitem"),
    *("option", "treeitem", "textbox", "searchbox", "spinbutton", "disclosuretriangle"),
}
_READ = ("heading", "paragraph", "status", "alert", "cell", "generic")
_TEXTS = {"textbox", "searchbox", "spinbutton"}
_LONG_TAP_SECONDS, _STOP_SECONDS = 1.0, 0.1
_SWIPE_STEPS = 12
_KEYS = {
    "enter": {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "text": "\r"},
    "delete": {"key": "Backspace", "code": "Backspace", "windowsVirtualKeyCode": 8},
}


@dataclass(frozen=True)
class PageWindow:
    """What is seen of a page. width, height: of the screen, in its pixels. scale: how many of them
    are one of CSS. left, top: how far one has moved over what was laid out, in pixels of CSS."""

    width: int
    height: int
    scale: float = 1.0
    left: float = 0.0
    top: float = 0.0


class ChromiumPhone:
    """A `PhoneDevice` over a page; one of `DriverSettings(screen="phone")`, which has touch.

    pause: waits so many seconds, while a finger rests.
    """

    sees_requests = True

    def __init__(
        self, page: ChromiumDriver, *, pause: Callable[[float], None] = time.sleep
    ) -> None:
        self._page = page
        self._pause = pause
        self._url = ""

    def dump(self) -> bytes:
        """See `PhoneDevice`."""
        screen = self._page.observe()
        self._url = screen.url
        return write_ui_tree(page_tree(screen, self._page.snapshot, self._window()))

    def do(self, act: PhoneAct) -> None:
        """See `PhoneDevice`."""
        match act.kind:
            case "start":
                self._page.open(act.text)
            case "tap" | "long_tap":
                self._touch([(act.x, act.y)], _LONG_TAP_SECONDS * (act.kind == "long_tap"))
            case "swipe":
                shares = [step / _SWIPE_STEPS for step in range(_SWIPE_STEPS + 1)]
                wide, high = act.to_x - act.x, act.to_y - act.y
                line = [(act.x + wide * one, act.y + high * one) for one in shares]
                # A finger that stops before it leaves throws nothing.
                self._touch(line, _STOP_SECONDS)
            case "clear":
                self._send("Input.dispatchKeyEvent", type="keyDown", commands=["selectAll"])
                self._key("delete")
            case "type":
                self._send("Input.insertText", text=act.text)
            case "enter":
                self._key("enter")
            case "back":
                self._page.back()
        # What the gate is asked for by then belongs to the act.
        self._page.rest()

    def address(self, package: str) -> str:
        """The address of the page."""
        return self._url

    def picture(self) -> bytes:
        """See `PhoneDevice`."""
        return self._page.picture()

    def requests(self) -> tuple[SeenRequest, ...]:
        """What the page's network decided on."""
        return self._page.requests()

    def close(self) -> None:
        """Close the page."""
        self._page.close()

    def _window(self) -> PageWindow:
        seen = self._send("Page.getLayoutMetrics")["cssVisualViewport"]
        scale = seen["scale"] * self._page.pixel_ratio
        size = round(seen["clientWidth"] * scale), round(seen["clientHeight"] * scale)
        return PageWindow(*size, scale, seen["offsetX"], seen["offsetY"])

    def _touch(self, line: Sequence[tuple[float, float]], rests: float) -> None:
        """A finger along some points, in pixels of the screen, that rests at the last of them."""
        # The protocol counts in pixels of CSS, as large as they are shown.
        scale = self._window().scale
        for place, (x, y) in enumerate(line):
            points = [{"x": x / scale, "y": y / scale}]
            kind = "touchMove" if place else "touchStart"
            self._send("Input.dispatchTouchEvent", type=kind, touchPoints=points)
        if rests:
            self._pause(rests)
        self._send("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def _key(self, name: str) -> None:
        self._send("Input.dispatchKeyEvent", **({"type": "keyDown"} | _KEYS[name]))
        self._send("Input.dispatchKeyEvent", **({"type": "keyUp"} | _KEYS[name] | {"text": ""}))

    def _send(self, method: str, **values: Any) -> dict[str, Any]:
        from playwright.sync_api import Error

        try:
            answer: dict[str, Any] = self._page.session.send(method, values)
        except Error as error:
            raise DriverError(f"the emulated phone fails: {error.message[:200]}") from error
        return answer


def page_tree(screen: Screen, snapshot: Mapping[str, Any], shown: PageWindow) -> UiTree:
    """The views of what can be seen of a page. snapshot: that of which `screen` was made."""
    window = ViewBounds(0, 0, shown.width, shown.height)
    places = _places(snapshot, shown)
    root = UiView(
        *(0, -1, "", "android.webkit.WebView"),
        description=screen.title,
        package=EMULATED,
        bounds=window,
        scrollable=_scrolls(snapshot, shown.height / shown.scale),
    )
    views = [root]
    children: dict[str, list[ScreenNode]] = {}
    keys = {one.key for one in screen.nodes}
    for node in screen.nodes:
        children.setdefault(node.parent if node.parent in keys else "", []).append(node)
    stack = [(one, 0) for one in reversed(children.get("", ()))]
    while stack:
        node, parent = stack.pop()
        edges = places.get(node.key, ViewBounds()).clipped(window)
        if node.visible and not edges.is_empty and node.role != "document":
            views.append(_view(node, len(views), parent, edges))
            parent = len(views) - 1
        stack.extend((one, parent) for one in reversed(children.get(node.key, ())))
    return UiTree(tuple(views))


def _view(node: ScreenNode, place: int, parent: int, edges: ViewBounds) -> UiView:
    kind = _CLASSES.get(node.role, "android.view.View")
    field = node.role in _TEXTS
    listed = node.role == "combobox" and not field
    # What a label does, its field does.
    tapped = node.role in _TAPPED or node.facts.get("clickable") == "true"
    tapped &= node.role != "label"
    alone = node.name or (node.text if node.role in _READ and not tapped else "")
    text = node.value if field or listed else alone
    return UiView(
        *(place, parent, "", kind),
        text=text,
        description=node.name if listed else "",
        hint=node.name if field else "",
        resource_id=node.facts.get("id") or node.facts.get("name", ""),
        package=EMULATED,
        bounds=edges,
        checkable=node.role in ("checkbox", "radio", "switch", "menuitemcheckbox"),
        checked=node.value == "true",
        clickable=tapped,
        enabled=node.enabled,
        password=node.secret,
    )


def _places(snapshot: Mapping[str, Any], shown: PageWindow) -> dict[str, ViewBounds]:
    """Where each node of the page stands on the screen, by its key, frames included."""
    documents = read_documents(snapshot)
    found: dict[str, ViewBounds] = {}
    waiting = [(0, -shown.left, -shown.top)]
    while waiting:
        index, left, top = waiting.pop()
        raw, page = snapshot["documents"][index], documents[index]
        left, top = left - page.scrolled[0], top - page.scrolled[1]
        layout = raw["layout"]
        boxes = dict(zip(layout["nodeIndex"], layout["bounds"], strict=True))
        for backend, node in page.by_backend.items():
            if node in boxes:
                x, y, wide, high = boxes[node]
                edges = (left + x, top + y, left + x + wide, top + y + high)
                found[f"{index}:{backend}"] = ViewBounds(*(round(e * shown.scale) for e in edges))
        for element, inner in page.frames.items():
            if element in boxes and inner < len(documents):
                waiting.append((inner, left + boxes[element][0], top + boxes[element][1]))
    return found


def _scrolls(snapshot: Mapping[str, Any], height: float) -> bool:
    return bool(snapshot["documents"][0].get("contentHeight", 0) > height + 1)
