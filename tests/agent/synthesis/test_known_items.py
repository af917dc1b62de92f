"""What there is in an app, read without a write."""

from __future__ import annotations

from adwright.agent.drivers.protocol import Screen, ScreenNode
from adwright.agent.synthesis.known_items import look_around, moved_to, names_of
from tests.support.agent.disposable_shop import DisposableShop
from tests.support.agent.shop_app import Offer, ShopApp
from tests.support.agent.shop_document import ORIGIN, shop_document

DOCUMENT = shop_document()
ROWS = DOCUMENT.by_name["offers__rows"]


def test_items_are_known_by_name_with_what_their_pages_say() -> None:
    known = look_around(DOCUMENT, DisposableShop(), pages=1)
    rows = known.lists["offers__rows"]
    assert (rows.count, rows.headed) == (2, False)
    assert [one.name for one in rows.items] == ["Spring", "Autumn"]
    assert rows.items[0].pages["offer_edit"]["offer_edit__share"] == "10"
    assert rows.items[1].pages == {}


def test_bounds_hold() -> None:
    known = look_around(DOCUMENT, DisposableShop(), items=1, pages=0)
    (item,) = known.lists["offers__rows"].items
    assert (item.name, dict(item.pages)) == ("Spring", {})


def test_nothing_is_written() -> None:
    apps: list[ShopApp] = []
    look_around(DOCUMENT, DisposableShop(apps.append))
    assert [app.writes for app in apps] == [[]]


def test_a_list_that_cannot_be_reached_is_left_out() -> None:
    def broken(app: ShopApp) -> None:
        app.labels["Offers"] = "Sales"
        app.test_ids["home-offers"] = "other"

    assert look_around(DOCUMENT, DisposableShop(broken)).lists == {}


def test_items_that_read_alike_have_no_name() -> None:
    def alike(app: ShopApp) -> None:
        app.offers = {n: Offer("Spring") for n in (1, 2)}

    known = look_around(DOCUMENT, DisposableShop(alike))
    assert known.lists["offers__rows"].items == ()


def test_links_and_cells_name_an_item_before_words() -> None:
    def row(key: str, text: str, link: str) -> list[ScreenNode]:
        facts = {"test_id": "offers-rows"}
        return [
            ScreenNode(f"r{key}", "row", "", text=text, facts=facts),
            ScreenNode(f"c{key}", "cell", "", text=link, parent=f"r{key}"),
            ScreenNode(f"l{key}", "link", link, text=link, parent=f"c{key}"),
        ]

    nodes = [*row("1", "7 Three for less Edit", "Three for less"), *row("2", '8 "x" Edit', '"x"')]
    screen = Screen("http://a/offers/", "Offers", tuple(nodes))
    assert names_of(screen, ROWS) == ("Three for less", "")


def test_a_document_moves_with_its_app() -> None:
    moved = moved_to(DOCUMENT, "http://127.0.0.1:1")
    assert moved.origins == ("http://127.0.0.1:1",)
    assert moved_to(moved, ORIGIN) == DOCUMENT
