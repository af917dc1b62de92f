"""Forms, lists and doors of a document."""

from __future__ import annotations

from dataclasses import replace

import pytest

from adwright.agent.document.elements import AppDocument, AppState, Element, Locator
from adwright.agent.synthesis.places import AppPlaces, plain_label, singular
from tests.support.agent.shop_document import shop_document

SHOP = AppPlaces(shop_document())


def test_fields_belong_to_the_button_that_sends_them() -> None:
    forms = {one.button.name: [field.name for field in one.fields] for one in SHOP.forms}
    assert forms["mail__send"] == ["mail__to", "mail__text"]
    assert forms["offer_edit__save"][:2] == ["offer_edit__name", "offer_edit__share"]
    assert forms["offer_delete__confirm"] == []
    assert "sign_in__reset" not in forms  # nobody knows what it does
    assert "sign_in__password" not in forms["sign_in__enter"]


def test_an_items_door_leads_to_its_pages() -> None:
    (door,) = SHOP.doors
    assert (door.rows.name, door.link.name) == ("offers__rows", "offers__edit")
    assert door.goals == ("offer_edit", "offer_delete")
    assert SHOP.doors_to("offer_delete") == (door,)
    assert SHOP.doors_to("mail") == ()


def element(name: str, role: str = "textbox", path: str = "", **more: object) -> Element:
    label = name.partition("__")[2].replace("_", " ").capitalize()
    locators = (Locator("role", label, role=role), Locator("xpath", path)) if path else ()
    return Element(name, name.partition("__")[0], role, label, locators, **more)  # type: ignore[arg-type]


def document(*elements: Element, paths: dict[str, str]) -> AppDocument:
    states = tuple(AppState(name, name, path) for name, path in paths.items())
    return AppDocument("a", "1", ("http://a",), states[0].name, states, elements)


def button(name: str, path: str = "", effect: str = "commit") -> Element:
    return element(name, "button", path, effect=effect, requests=("POST /x/",))


def test_forms_are_told_apart_by_their_paths() -> None:
    field = {"value_type": "text", "effect": "draft"}
    parts = (
        element("x__search", path="/b/form[1]/input[1]", **field),
        element("x__name", path="/b/form[2]/input[1]", **field),
        button("x__save_and_add_another", "/b/form[2]/button[1]"),
        button("x__save", "/b/form[2]/button[2]"),
        button("x__drop", "/b/form[3]/button[1]", "destructive"),
    )
    forms = AppPlaces(document(*parts, paths={"x": "/x/"})).forms
    assert [(one.button.name, [f.name for f in one.fields]) for one in forms] == [
        ("x__save", ["x__name"]),
        ("x__drop", []),
    ]


def test_without_paths_neighbours_belong_together() -> None:
    field = {"value_type": "text", "effect": "draft"}
    parts = (
        element("x__a", **field),
        button("x__save_all"),
        button("x__save"),
        element("x__b", **field),
        button("x__go"),
        element("x__c", **field),
    )
    forms = AppPlaces(document(*parts, paths={"x": "/x/"})).forms
    assert {one.button.name: [f.name for f in one.fields] for one in forms} == {
        "x__save": ["x__a"],
        "x__go": ["x__b", "x__c"],
    }


def test_tabs_of_one_address_are_one_place() -> None:
    field = {"value_type": "text", "effect": "draft"}
    parts = (element("x__a", **field), button("x__save"), element("x_tab__b", **field))
    found = AppPlaces(document(*parts, paths={"x": "/x/", "x_tab": "/x/", "y": "/x/?sort"}))
    assert found.places == ("x",)
    assert [f.name for f in found.forms[0].fields] == ["x__a", "x_tab__b"]


@pytest.mark.parametrize(
    ("template", "noun"),
    [
        ("/dashboard/offers/{}/metadata/", "offer"),
        ("/dashboard/product-type/create/", "product type"),
        ("/admin/_-campaign/edit/{}", "campaign"),
        ("/categories/", "category"),
        ("/", "item"),
    ],
)
def test_things_are_called_by_their_address(template: str, noun: str) -> None:
    found = AppPlaces(document(paths={"x": template}))
    assert found.noun("x") == noun


def test_labels_are_said_plainly() -> None:
    one = element("x__a")
    assert plain_label(replace(one, label="Start  date * (UTC):")) == "start date"
    assert [singular(n) for n in ("offers", "classes", "categories", "status", "boxes")] == [
        "offer",
        "class",
        "category",
        "status",
        "box",
    ]
