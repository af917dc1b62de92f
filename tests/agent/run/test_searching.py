"""One item of a list: on its page, by its search, or on its further pages."""

from __future__ import annotations

from dataclasses import replace

import pytest

from adwright.agent.document.elements import AppDocument, Element, Locator
from adwright.agent.drivers.protocol import Screen, ScreenNode
from adwright.agent.language.problems import ScriptError
from adwright.agent.run.locate import (
    MOST_PAGES,
    ItemSearch,
    form_of,
    next_page,
    search_ways,
    the_item,
)
from tests.support.agent.shop_document import shop_document

SHOP = shop_document()


def at(name: str, path: str) -> tuple[Locator, ...]:
    one = SHOP.by_name[name]
    return (*one.locators, Locator("xpath", path, of=0))


def document(**changes: Element) -> AppDocument:
    go = replace(
        SHOP.by_name["offers__home"],
        name="offers__go",
        role="button",
        label="Search",
        target="offers",
        locators=(Locator("xpath", "/form[1]/button[1]"),),
    )
    number = replace(
        SHOP.by_name["offers__search"],
        name="offers__number",
        label="Offer number",
        locators=(Locator("xpath", "/form[1]/input[2]"),),
    )
    named = replace(number, name="offers__by_name", label="Offer name")
    elsewhere = replace(named, name="offers__other", locators=(Locator("xpath", "/form[2]/input"),))
    rows = replace(SHOP.by_name["offers__rows"], locators=at("offers__rows", "/table/tr"))
    added = {one.name: one for one in (go, number, named, elsewhere, rows)} | changes
    kept = tuple(one for one in SHOP.elements if one.name not in added)
    return replace(SHOP, elements=(*kept, *added.values()))


def screen(*rows: str, parts: tuple[str, ...] = ()) -> Screen:
    nodes = [
        ScreenNode(f"r{n}", "row", "", text=row, facts={"xpath": f"/table/tr[{n + 1}]"})
        for n, row in enumerate(rows)
    ]
    inner = [
        ScreenNode(f"p{n}", "cell", part, parent=f"r{n}") for n, part in enumerate(parts) if part
    ]
    return Screen("http://shop.test:8000/offers/", "Offers", (*nodes, *inner))


def test_fields_of_the_same_form_the_likeliest_first() -> None:
    names = [one.field.name for one in search_ways(document(), "offers", "Spring sale")]
    assert names == ["offers__by_name", "offers__number"]
    names = [one.field.name for one in search_ways(document(), "offers", "100012")]
    assert names == ["offers__number", "offers__by_name"]
    assert search_ways(SHOP, "offers", "Spring") == ()


def test_a_form_is_known_by_its_path() -> None:
    made = document()
    assert form_of(made.by_name["offers__go"]) == "/form[1]"
    assert form_of(made.by_name["offers__rows"]) == ""
    assert form_of(SHOP.by_name["offers__rows"]) is None


def test_whole_words_before_parts_of_words() -> None:
    rows = document().by_name["offers__rows"]
    found = the_item(screen("offer-10 Tea", "offer-1 Milk"), rows, "offer-1")
    assert found is not None
    assert found.seen == "offer-1 Milk"
    assert the_item(screen("offer-10 Tea"), rows, "Milk") is None


def test_of_several_the_one_with_a_part_that_says_just_this() -> None:
    rows = document().by_name["offers__rows"]
    seen = screen("Tea of Tea Lane", "Mug, Tea", parts=("Tea", "Mug, Tea"))
    found = the_item(seen, rows, "Tea")
    assert found is not None
    assert found.place == 0
    with pytest.raises(ScriptError, match="2 items"):
        the_item(screen("Tea a", "Tea b"), rows, "Tea")


def test_a_part_says_what_the_text_cuts_short() -> None:
    rows = document().by_name["offers__rows"]
    found = the_item(screen("Oat Bi…", "Rye", parts=("Oat Bites", "Rye")), rows, "Oat Bites")
    assert found is not None
    assert found.place == 0


def test_it_is_searched_for_and_then_looked_for_on_further_pages() -> None:
    following = replace(
        SHOP.by_name["offers__home"], name="offers__next", label="next", target="offers"
    )
    made = document(offers__next=following)
    assert next_page(made, "offers") == following
    steps: list[tuple[str, str, str | None]] = []

    def step(verb: str, name: str, value: str | None) -> Screen:
        steps.append((verb, name, value))
        pages = sum(one[1] == "offers__next" for one in steps)
        return screen("Milk") if pages < 2 else screen("Tea")

    search = ItemSearch(made, lambda state: screen("Mug"), step)
    assert search.find(made.by_name["offers__rows"], "Tea").seen == "Tea"
    assert steps == [
        ("set_text", "offers__by_name", "Tea"),
        ("tap", "offers__go", None),
        ("set_text", "offers__number", "Tea"),
        ("tap", "offers__go", None),
        ("tap", "offers__next", None),
        ("tap", "offers__next", None),
    ]
    steps.clear()
    with pytest.raises(ScriptError, match="no item"):
        ItemSearch(made, lambda state: screen("Mug"), lambda *_: screen("Mug")).find(
            made.by_name["offers__rows"], "Tea"
        )
    assert MOST_PAGES > 1


def test_a_search_that_finds_any_of_the_words_is_made_with_fewer() -> None:
    made = document()
    asked: list[str | None] = []

    def step(verb: str, name: str, value: str | None) -> Screen:
        asked.append(value)
        return screen("Oat Bites, 10 OZ") if "Oat Bites" in asked else screen("Milk")

    rows = made.by_name["offers__rows"]
    search = ItemSearch(made, lambda state: screen("Mug"), step)
    assert search.find(rows, "Oat Bites, 10 OZ").seen == "Oat Bites, 10 OZ"
    assert [one for one in asked if one] == ["Oat Bites, 10 OZ", "Oat Bites"]
