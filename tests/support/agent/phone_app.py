"""Views drawn by hand, and a small shop on a phone in memory, with its document."""

from __future__ import annotations

from xml.sax.saxutils import quoteattr

from adwright.agent.android.phone_driver import PhoneAct, app_address
from adwright.agent.android.views import UiView, read_ui_tree, screen_of
from adwright.agent.document.elements import AppDocument, AppState, EffectClass, Element, Locator
from adwright.agent.document.finding import skeleton_of
from adwright.agent.drivers.protocol import Screen, ScreenNode

PACKAGE = "com.shop.ads"
APP = app_address(PACKAGE)


def node(kind: str, box: tuple[int, int, int, int], *inner: str, **given: str) -> str:
    """The XML of a view; names of attributes with _ for -, `id` for the resource id."""
    values = {"class": f"android.widget.{kind}", "package": PACKAGE}
    if "id" in given:
        values["resource-id"] = f"{PACKAGE}:id/{given.pop('id')}"
    values |= {name.replace("_", "-"): value for name, value in given.items()}
    values["bounds"] = f"[{box[0]},{box[1]}][{box[2]},{box[3]}]"
    shown = " ".join(f"{name}={quoteattr(value)}" for name, value in values.items())
    return f"<node {shown}>{''.join(inner)}</node>"


def drawn(*inner: str) -> bytes:
    """A tree of 1000 x 2000 pixels."""
    root = node("FrameLayout", (0, 0, 1000, 2000), *inner)
    return f'<hierarchy rotation="0">{root}</hierarchy>'.encode()


def view_of(data: bytes, short_id: str) -> UiView:
    """The view of a resource id."""
    (found,) = (one for one in read_ui_tree(data).views if one.short_id == short_id)
    return found


def button(text: str, top: int, short_id: str) -> str:
    return node("Button", (0, top, 1000, top + 100), text=text, id=short_id, clickable="true")


class ShopPhone:
    """A `PhoneDevice`. screen: "off", "list", "edit" or "saved". acts: what was done. offers: what
    is stored. turned: the app has drawn its buttons in another order."""

    def __init__(self) -> None:
        self.screen = "off"
        self.acts: list[PhoneAct] = []
        self.offers = ["Spring", "Autumn", "Winter"]
        self.typed = {"offer_name": "", "pin": ""}
        self.active = False
        self.focus = ""
        self.turned = False
        self.scrolled = False
        self.closed = False

    def dump(self) -> bytes:
        match self.screen:
            case "list":
                rows = [self._row(place, one) for place, one in enumerate(self.offers)]
                listed = node("ListView", (0, 100, 1000, 1500), *rows, scrollable="true", id="all")
                return drawn(listed, button("New offer", 1600, "new"))
            case "edit":
                return drawn(*self._form())
            case "saved":
                return drawn(node("TextView", (0, 0, 1000, 100), text="Saved", id="said"))
        return b""

    def do(self, act: PhoneAct) -> None:
        self.acts.append(act)
        match act.kind:
            case "start":
                self.screen = "list"
            case "tap" | "long_tap":
                self._tap(act)
            case "clear":
                self.typed[self.focus] = self.typed[self.focus][: -act.count]
            case "type":
                self.typed[self.focus] += act.text
            case "swipe":
                self.scrolled = act.text == "down"
            case "back":
                self.screen = "list"
            case "enter":
                self._save()

    def address(self, package: str) -> str:
        return app_address(package)

    def picture(self) -> bytes:
        return b""

    def close(self) -> None:
        self.closed = True

    def _row(self, place: int, name: str) -> str:
        top = 100 + 200 * place - (50 if self.scrolled else 0)
        label = node("TextView", (0, top, 400, top + 200), text=name)
        bin_ = node(
            "ImageButton", (450, top, 550, top + 200), content_desc="Delete", clickable="true"
        )
        return node("LinearLayout", (0, top, 1000, top + 200), label, bin_, clickable="true")

    def _form(self) -> list[str]:
        name, pin = self.typed["offer_name"], "•" * len(self.typed["pin"])
        text = {"text": name or "Name", "hint": "Name"}
        field = node("EditText", (0, 0, 1000, 100), id="offer_name", clickable="true", **text)
        secret = node("EditText", (0, 100, 1000, 200), id="pin", text=pin, password="true")
        on = str(self.active).lower()
        switch = node(
            *("CheckBox", (0, 200, 1000, 300)),
            **{"id": "active", "text": "Active", "checkable": "true", "checked": on},
        )
        names = [("Save", "save"), ("Delete offer", "delete")]
        if self.turned:
            names.reverse()
        placed = zip((400, 500), names, strict=True)
        return [field, secret, switch, *(button(text, top, own) for top, (text, own) in placed)]

    def _tap(self, act: PhoneAct) -> None:
        tree = read_ui_tree(self.dump())
        hit = [
            one
            for one in tree.views
            if one.bounds.holds(act.x, act.y) and (one.clickable or one.checkable or one.password)
        ][-1]
        self.focus = hit.short_id if hit.short_id in self.typed else ""
        match hit.short_id or hit.description:
            case "new" | "":
                self.screen = "edit"
            case "active":
                self.active = not self.active
            case "save":
                self._save()
            case "delete" | "Delete":
                self.offers.pop()
                self.screen = "list"

    def _save(self) -> None:
        self.offers.append(self.typed["offer_name"])
        self.screen = "saved"


def phone_document() -> AppDocument:
    """The document of the shop, as one writes it of an app on a phone: states without addresses."""
    phone = ShopPhone()
    screens = {}
    for name in ("list", "edit", "saved"):
        phone.screen = name
        screens[name] = screen_of(read_ui_tree(phone.dump()), APP)
    elements = (
        _element(screens["list"], "list__new", "new", "navigate", target="edit"),
        _element(screens["edit"], "edit__name", "offer_name", "draft"),
        _element(screens["edit"], "edit__active", "active", "draft"),
        _element(screens["edit"], "edit__save", "save", "commit", target="saved"),
        _element(screens["edit"], "edit__delete", "delete", "destructive", target="list"),
        _element(screens["saved"], "saved__said", "said", "read"),
    )
    states = tuple(AppState(name, skeleton_of(one)) for name, one in screens.items())
    return AppDocument("shop", "1", (APP.rstrip("/"),), "list", states, elements)


def _element(
    screen: Screen, name: str, short_id: str, effect: EffectClass, target: str | None = None
) -> Element:
    seen: ScreenNode = next(
        one for one in screen.nodes if one.facts.get("id") == f"{PACKAGE}:id/{short_id}"
    )
    kinds = {"textbox": "text", "checkbox": "switch"}
    return Element(
        name,
        name.partition("__")[0],
        seen.role,
        seen.name,
        locators=(
            Locator("role", seen.name, role=seen.role),
            Locator("test_id", f"{PACKAGE}:id/{short_id}"),
        ),
        value_type=kinds.get(seen.role, "none"),  # type: ignore[arg-type]
        effect=effect,
        requests=("TAP /save",) if short_id == "save" else (),
        target=target,
    )
