"""What every phone can do, be it real or made up: show its views, and be touched.

    device.dump()                                          # XML, as UIAutomator writes it
    device.do(PhoneAct("tap", node=view.path, x=540, y=320))

A `PhoneDriver` makes a `ScreenDriver` of it, and asks the gate.

Where a finger must come down so that exactly one view gets the touch.

    touch_point(tree, view)          # (540, 320), or None where something else would get it
    swipe_line(bounds, "down")       # (540, 1500, 540, 500): the finger goes up

Of views that overlap, the one that is drawn last gets a touch; UIAutomator lists them in this
order. What is asked is never the place alone: in the middle of a row there may be another button.

A `ScreenDriver` over a phone, whose gate is asked before each touch.

    driver = PhoneDriver(AdbDevice(AdbSettings("emulator-5554")), gate.decide)
    driver.open("android-app://com.shop.ads/")
    screen = driver.observe()

Nobody sees what an app on a phone sends. So the gate is asked for a "touch" before a finger comes
down: its method is what is done ("TAP"), its path the resource id of the view, or its name, its
fields what stands on the screen in fields that have an id. A gate that fails says no.

A tree may be seconds old when a finger comes down. So before each touch one looks again: the view
must stand where it stood, with the role and the name that it had, and get the touch itself. Where
the gate has taken its time, as a person does who is asked, one looks once more.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Literal, Protocol
from urllib.parse import quote

from adwright.agent.android.views import (
    UiTree,
    UiView,
    ViewBounds,
    field_value,
    read_ui_tree,
    role_of,
    screen_of,
)
from adwright.agent.drivers.protocol import (
    Direction,
    DriverError,
    GateDecision,
    PendingRequest,
    RequestGate,
    Screen,
    ScreenNode,
    SeenRequest,
)
from adwright.core.clock import Clock, SystemClock
from adwright.core.config import settings
from adwright.core.errors import DataError

#: "start" opens an address; "clear" empties the field that has the focus, "type" types into it.
ActKind = Literal["start", "tap", "long_tap", "swipe", "clear", "type", "enter", "back"]


@settings
class PhoneAct:
    """One act. node: the path of the view that is meant. x, y: where the finger comes down, and
    to_x, to_y: where a swipe ends, in pixels. text: what is typed or opened, or the direction of a
    swipe. count: characters that a "clear" has to take away. secret: `text` is one."""

    kind: ActKind
    node: str = ""
    x: int = 0
    y: int = 0
    to_x: int = 0
    to_y: int = 0
    text: str = ""
    count: int = 0
    secret: bool = False


class PhoneDevice(Protocol):
    """All methods raise DriverError where the phone does not do as asked."""

    def dump(self) -> bytes:
        """The views on the screen, once it is at rest, as UIAutomator writes them."""
        ...

    def do(self, act: PhoneAct) -> None:
        """Do it; what came of it the next `dump` shows."""
        ...

    def address(self, package: str) -> str:
        """The URL of what is shown; `package` is the app that its views name."""
        ...

    def picture(self) -> bytes:
        """The screen as PNG; empty where there are no pictures."""
        ...

    def close(self) -> None:
        """Give everything back; any number of times."""
        ...


def app_address(package: str) -> str:
    """The URL that stands for an app: "android-app://com.shop.ads/"."""
    return f"android-app://{package}/"


#: Shares of width and height at which one tries, the middle first. Our choice.
_TRIED = tuple(
    sorted(
        ((x, y) for x in (0.5, 0.25, 0.75, 0.1, 0.9) for y in (0.5, 0.25, 0.75, 0.1, 0.9)),
        key=lambda one: (one[0] - 0.5) ** 2 + (one[1] - 0.5) ** 2,
    )
)
#: Of its bounds, a swipe covers this share: it begins inside, away from the edges of the screen,
#: at which phones take swipes for themselves.
_SWIPED = 0.6


def touch_point(tree: UiTree, view: UiView) -> tuple[int, int] | None:
    """A point, in pixels, at which `view` gets a touch; None where it can be seen nowhere, or
    another view would get it."""
    seen = view.bounds.clipped(screen_bounds(tree))
    if seen.is_empty or not view.shown:
        return None
    takers = [one for one in tree.views if _takes_touch(tree, one) and one.is_visible]
    wanted = {view.place}
    if not _takes_touch(tree, view):
        # A text hands a touch on to what is around it, or to nothing.
        outer = next((one for one in tree.around(view) if _takes_touch(tree, one)), None)
        wanted = {-1 if outer is None else outer.place}
    for across, down in _TRIED:
        x = min(seen.left + int((seen.right - seen.left) * across), seen.right - 1)
        y = min(seen.top + int((seen.bottom - seen.top) * down), seen.bottom - 1)
        hit = [one.place for one in takers if one.bounds.holds(x, y)]
        if (hit[-1] if hit else -1) in wanted:
            return x, y
    return None


def swipe_line(bounds: ViewBounds, direction: Direction) -> tuple[int, int, int, int]:
    """From where to where a finger goes to see what lies in that direction, in pixels."""
    middle_x, middle_y = (bounds.left + bounds.right) // 2, (bounds.top + bounds.bottom) // 2
    across = int((bounds.right - bounds.left) * _SWIPED / 2)
    down = int((bounds.bottom - bounds.top) * _SWIPED / 2)
    match direction:
        case "down":
            return middle_x, middle_y + down, middle_x, middle_y - down
        case "up":
            return middle_x, middle_y - down, middle_x, middle_y + down
        case "right":
            return middle_x + across, middle_y, middle_x - across, middle_y
        case "left":
            return middle_x - across, middle_y, middle_x + across, middle_y


def screen_bounds(tree: UiTree) -> ViewBounds:
    """The bounds of the window: those of the first view that has any."""
    return next((one.bounds for one in tree.views if not one.bounds.is_empty), ViewBounds())


def _takes_touch(tree: UiTree, view: UiView) -> bool:
    takes = view.clickable or view.long_clickable or view.checkable
    return takes or role_of(tree, view) == "textbox"


_METHODS: dict[ActKind, str] = {
    "tap": "TAP",
    "long_tap": "LONG_TAP",
    "type": "TYPE",
    "enter": "ENTER",
    "back": "BACK",
}
_COVER = (255, 0, 255)
#: A gate that takes longer has asked a person.
_AT_ONCE_SECONDS = 0.5


class PhoneDriver:
    """gate: asked before each touch, and for each app that is opened."""

    def __init__(
        self, device: PhoneDevice, gate: RequestGate, *, clock: Clock | None = None
    ) -> None:
        self._clock = clock or SystemClock()
        self._device = device
        self._gate = gate
        self._seen: list[SeenRequest] = []
        # What was observed last, and what was looked at last.
        self._tree = self._now = UiTree(())
        self._screen = Screen("", "", ())

    def observe(self) -> Screen:
        """What is there, once the screen is at rest."""
        self._tree = self._look()
        self._screen = screen_of(self._tree, self._device.address(self._tree.package))
        return self._screen

    def open(self, url: str) -> None:
        """Open an app by android-app://PACKAGE/ or android-app://PACKAGE/ACTIVITY, or a link that
        the app opens."""
        self._ask(PendingRequest("GET", url, "page", document_url=self._screen.url), url[:200])
        self._device.do(PhoneAct("start", text=url))

    def tap(self, node: ScreenNode) -> None:
        """A tap on it."""
        self._touch("tap", node)

    def long_tap(self, node: ScreenNode) -> None:
        """A tap that lasts a second."""
        self._touch("long_tap", node)

    def set_text(self, node: ScreenNode, text: str) -> None:
        """Make `text` all that stands in a field. Raises DriverError where the field shows
        something else afterwards; what a password field holds cannot be looked at."""
        if node.role != "textbox":
            raise DriverError(f"{_named(node)} takes no text", hint="tap it, or choose a value")
        view, x, y = self._allowed("type", node, None if node.secret else text)
        self._device.do(PhoneAct("tap", view.path, x, y))
        view = self._find(node, moved=True)
        held = view.text if node.secret else field_value(view)
        if held:
            self._device.do(PhoneAct("clear", view.path, count=len(held)))
        if text:
            self._device.do(PhoneAct("type", view.path, text=text, secret=node.secret))
        shown = field_value(self._find(node, moved=True))
        if not node.secret and shown != text:
            raise DriverError(
                f"{_named(node)} shows {shown[:80]!r}, not what was typed",
                hint="the app or its keyboard changes what is typed; use a text that it keeps",
            )

    def choose(self, node: ScreenNode, option: str) -> None:
        """Of a switch "true" or "false"."""
        if node.role not in ("checkbox", "radio", "switch") or option not in ("true", "false"):
            raise DriverError(
                f"{_named(node)} is no switch",
                where=option[:80],
                hint="tap it, and tap the choice that it shows",
            )
        if self._find(node).checked != (option == "true"):
            self._touch("tap", node)

    def scroll(self, node: ScreenNode | None, direction: Direction) -> bool:
        """Most of a page further; true where nothing moves any more. To the side only what is named
        scrolls: a swipe over a row may delete it."""
        if node is None and direction in ("left", "right"):
            raise DriverError("only a list that is named is scrolled to the side")
        view = self._find(node) if node is not None else _largest(self._look())
        before = self._now
        if view is None or not view.scrollable:
            return True
        line = swipe_line(view.bounds.clipped(screen_bounds(before)), direction)
        self._device.do(PhoneAct("swipe", view.path, *line, text=direction))
        return _content(self._look()) == _content(before)

    def back(self) -> None:
        """The key Back."""
        self._key("back")

    def enter(self) -> None:
        """The key Enter, to what has the focus."""
        self._key("enter")

    def read(self, node: ScreenNode) -> str:
        """The text in it, or the value of a field, now; never what a password field holds."""
        if node.secret:
            return ""
        now = self._node_now(node)
        return now.value if node.role == "textbox" else now.value or now.text or now.name

    def requests(self) -> tuple[SeenRequest, ...]:
        """All that was decided on since the last call, in order."""
        found, self._seen = tuple(self._seen), []
        return found

    def picture(self, masked: tuple[ScreenNode, ...] = ()) -> bytes:
        """The screen as PNG; these nodes, and fields for passwords, are painted over, where they
        stood and where they stand. Empty where there is no Pillow to paint with."""
        hidden = {one.key for one in masked}
        data = self._device.picture()
        boxes = [
            (view.bounds.left, view.bounds.top, view.bounds.right - 1, view.bounds.bottom - 1)
            for tree in (self._tree, self._look())
            for view in tree.views
            if (view.password or view.path in hidden) and not view.bounds.is_empty
        ]
        return _painted(data, boxes) if data and boxes else data

    def close(self) -> None:
        """Give everything back; any number of times."""
        self._device.close()

    # --- before a touch ----------------------------------------------------------------

    def _touch(self, kind: ActKind, node: ScreenNode) -> None:
        view, x, y = self._allowed(kind, node)
        self._device.do(PhoneAct(kind, view.path, x, y))

    def _allowed(
        self, kind: ActKind, node: ScreenNode, typed: str | None = None
    ) -> tuple[UiView, int, int]:
        """Where a touch that the gate allows goes to. typed: what is about to be typed."""
        found = self._place(node)
        before, began = _fields(self._now), self._clock.monotonic()
        self._ask_touch(kind, found[0], typed)
        if self._clock.monotonic() - began > _AT_ONCE_SECONDS:
            found = self._place(node)
            if _fields(self._now) != before:
                what = "the screen has changed while the gate was asked"
                raise DriverError(what, where=node.key, hint="observe it anew")
        return found

    def _place(self, node: ScreenNode) -> tuple[UiView, int, int]:
        """A view that stands where it stood, and a point at which it gets a touch."""
        if not node.enabled:
            raise DriverError(f"{_named(node)} is switched off")
        view = self._find(node)
        point = touch_point(self._now, view)
        if point is None:
            hint = "scroll to it, or close what lies over it"
            raise DriverError(f"{_named(node)} cannot be touched", where=view.path, hint=hint)
        return view, *point

    def _find(self, node: ScreenNode, *, moved: bool = False) -> UiView:
        """Its view in a tree of now. moved: it may stand elsewhere, as when a keyboard opens."""
        now = self._node_now(node)
        if not moved and now.facts.get("bounds") != node.facts.get("bounds"):
            raise DriverError(f"{_named(node)} has moved", where=node.key, hint="observe it anew")
        return self._now.by_path[now.key]

    def _node_now(self, node: ScreenNode) -> ScreenNode:
        screen = screen_of(self._look(), self._screen.url)
        now = next((one for one in screen.nodes if one.key == node.key), None)
        if now is None or (now.role, now.name, now.secret) != (node.role, node.name, node.secret):
            what = f"{_named(node)} is not on the screen"
            raise DriverError(what, where=node.key, hint="observe it anew")
        return now

    def _look(self) -> UiTree:
        try:
            self._now = read_ui_tree(self._device.dump())
        except DataError as error:
            raise DriverError(error.what, where=error.where, hint=error.hint) from error
        return self._now

    def _key(self, kind: ActKind) -> None:
        self._look()
        self._ask_touch(kind, None)
        self._device.do(PhoneAct(kind))

    def _ask_touch(self, kind: ActKind, view: UiView | None, typed: str | None = None) -> None:
        """Ask the gate about a touch of a view, or a key. typed: what is about to be typed."""
        method, fields = _METHODS[kind], _fields(self._now)
        package = (view.package if view else "") or self._now.package
        path, what = "", f"the key {kind.capitalize()}"
        if view is not None:
            node = next(one for one in screen_of(self._now, "").nodes if one.key == view.path)
            what = f"{kind.replace('_', ' ')} on {_named(node)}"
            path = touch_path(node)
            if typed is not None and view.short_id:
                fields |= {view.short_id: typed}
            elif typed is not None:
                fields |= {"typed": typed}
        fields["touch"] = what
        url = app_address(package) + path
        self._ask(PendingRequest(method, url, "touch", self._screen.url, fields=fields), what)

    def _ask(self, request: PendingRequest, what: str) -> None:
        try:
            decision = self._gate(request)
        except Exception as error:
            decision = GateDecision(False, "gate_failed", f"the gate failed: {error}")
        self._seen.append(SeenRequest(request, decision))
        if not decision.allowed:
            raise DriverError(f"the gate refuses: {decision.reason}", where=what)


def touch_path(node: ScreenNode) -> str:
    """The path under which the gate is asked about a touch: "save" of "com.shop.ads:id/save", or
    "Save-all" of a view without a resource id. A document says "TAP /save"."""
    own = node.facts.get("id", "").rpartition("/")[2]
    return quote(own or "-".join(node.name.split()), safe="")


def _fields(tree: UiTree) -> dict[str, str]:
    """What stands in the fields that have an id, as a form would send it; no password."""
    found: dict[str, str] = {}
    for one in tree.views:
        role = role_of(tree, one)
        if not one.short_id or one.password:
            continue
        if role == "textbox":
            found[one.short_id] = field_value(one)
        elif role in ("checkbox", "radio", "switch") and one.checked:
            found[one.short_id] = "on"
    return found


def _largest(tree: UiTree) -> UiView | None:
    """The largest view that scrolls."""
    lists = [one for one in tree.views if one.scrollable and one.is_visible]
    return max(lists, key=lambda one: one.bounds.area, default=None)


def _content(tree: UiTree) -> list[tuple[object, ...]]:
    """What a swipe changes: texts and places."""
    return [(one.path, one.text, one.description, one.bounds) for one in tree.views]


def _named(node: ScreenNode) -> str:
    return f"{node.role} {node.name[:60]!r}"


def _painted(data: bytes, boxes: Sequence[tuple[int, int, int, int]]) -> bytes:
    """A PNG with rectangles painted over; empty where that cannot be done."""
    try:
        from PIL import Image, ImageDraw
    except ImportError:
        return b""
    try:
        with Image.open(io.BytesIO(data)) as image:
            made = image.convert("RGB")
    except (OSError, ValueError, SyntaxError) as error:
        raise DriverError(f"the picture cannot be read: {error}") from error
    draw = ImageDraw.Draw(made)
    for box in boxes:
        draw.rectangle(box, fill=_COVER)
    found = io.BytesIO()
    made.save(found, "PNG")
    return found.getvalue()
