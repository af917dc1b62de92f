"""The document of a small shop: offers, mail and a budget."""

from __future__ import annotations

from adwright.agent.document.elements import (
    AppDocument,
    AppEdge,
    AppState,
    EffectClass,
    Element,
    Locator,
    ValueConstraints,
    ValueType,
)

ORIGIN = "http://shop.test:8000"
_STATES = {
    "home": ("/", "Home"),
    "offers": ("/offers/", "Offers"),
    "offer_edit": ("/offers/{}/", "Edit offer"),
    "offer_delete": ("/offers/{}/delete/", "Delete offer"),
    "mail": ("/mail/", "Mail"),
    "budget": ("/budget/", "Budget"),
    "sign_in": ("/sign-in/", "Sign in"),
}


def _element(
    name: str,
    role: str,
    label: str,
    effect: EffectClass,
    *,
    value: ValueType = "none",
    target: str | None = None,
    requests: tuple[str, ...] = (),
    options: tuple[str, ...] = (),
    many: bool = False,
    limits: ValueConstraints | None = None,
) -> Element:
    return Element(
        name=name,
        state=name.split("__", maxsplit=1)[0],
        role=role,
        label=label,
        locators=(
            Locator("role", label, role=role, of=0),
            Locator("test_id", name.replace("__", "-")),
        ),
        value_type=value,
        options=options,
        constraints=limits or ValueConstraints(),
        many=many,
        effect=effect,
        requests=requests,
        target=target,
    )


def shop_document(version: str = "1") -> AppDocument:
    """All states and elements of the shop."""
    name = ValueConstraints(required=True, most_characters=40)
    share = ValueConstraints(required=True, lowest="0", highest="90")
    elements = (
        _element("home__offers", "link", "Offers", "navigate", target="offers"),
        _element("home__mail", "link", "Mail", "navigate", target="mail"),
        _element("home__budget", "link", "Budget", "navigate", target="budget"),
        _element("home__sign_in", "link", "Sign in", "navigate", target="sign_in"),
        _element("offers__rows", "row", "", "read", many=True),
        _element("offers__edit", "link", "Edit", "navigate", target="offer_edit", many=True),
        _element("offers__new", "link", "New offer", "navigate", target="offer_edit"),
        _element("offers__home", "link", "Home", "navigate", target="home"),
        _element("offers__search", "textbox", "Search", "draft", value="text"),
        _element("offer_edit__name", "textbox", "Name", "draft", value="text", limits=name),
        _element(
            "offer_edit__share", "spinbutton", "Discount", "draft", value="number", limits=share
        ),
        _element(
            "offer_edit__status",
            "combobox",
            "Status",
            "draft",
            value="choice",
            options=("Open", "Closed"),
        ),
        _element("offer_edit__active", "checkbox", "Active", "draft", value="switch"),
        _element(
            "offer_edit__save",
            "button",
            "Save",
            "commit",
            target="offers",
            requests=("POST /offers/{}/",),
        ),
        _element("offer_edit__delete", "link", "Delete", "navigate", target="offer_delete"),
        _element("offer_edit__home", "link", "Home", "navigate", target="home"),
        _element(
            "offer_delete__confirm",
            "button",
            "Yes, delete",
            "destructive",
            target="offers",
            requests=("POST /offers/{}/delete/",),
        ),
        _element("offer_delete__home", "link", "Home", "navigate", target="home"),
        _element("mail__to", "textbox", "To", "draft", value="text"),
        _element("mail__text", "textbox", "Text", "draft", value="text"),
        _element(
            "mail__send", "button", "Send", "message", target="home", requests=("POST /mail/",)
        ),
        _element("mail__home", "link", "Home", "navigate", target="home"),
        _element("budget__amount", "spinbutton", "Amount", "draft", value="number"),
        _element("budget__total", "status", "Total", "read"),
        _element(
            "budget__launch",
            "button",
            "Launch",
            "spend",
            target="budget",
            requests=("POST /budget/",),
        ),
        _element("budget__home", "link", "Home", "navigate", target="home"),
        _element("sign_in__user", "textbox", "User", "draft", value="text"),
        _element("sign_in__password", "textbox", "Password", "draft", value="secret"),
        _element(
            "sign_in__enter",
            "button",
            "Enter",
            "commit",
            target="home",
            requests=("POST /sign-in/",),
        ),
        _element("sign_in__reset", "button", "Reset", "unknown"),
        _element("sign_in__home", "link", "Home", "navigate", target="home"),
    )
    edges = (AppEdge("offer_edit", "offer_edit__save", "offers", needs=("offer_edit__name",)),)
    states = tuple(
        AppState(one, f"skeleton-{one}", url, title) for one, (url, title) in _STATES.items()
    )
    return AppDocument("shop", version, (ORIGIN,), "home", states, elements, edges)
