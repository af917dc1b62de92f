"""Finding the one node that is meant."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

import pytest

from adwright.agent.document.elements import AppDocument, Element, Locator, guarded
from adwright.agent.drivers.chromium import ChromiumBrowser
from adwright.agent.drivers.protocol import RequestGate, Screen, ScreenDriver, ScreenNode
from adwright.agent.explore.explorer import (
    ExploreBounds,
    PageRecords,
    ReadingGate,
    build_document,
    explore,
)
from adwright.agent.language.kinds import ElementHandle
from adwright.agent.language.problems import ScriptError
from adwright.agent.operate.tasks import find_scripts, prepare_task
from adwright.agent.policy.gate import GateRules
from adwright.agent.policy.origins import OriginRules
from adwright.agent.run.locate import (
    MOST_PAGES,
    ItemSearch,
    apply_healings,
    effect_agrees,
    fold_name,
    form_of,
    heal_element,
    heal_in_row,
    heal_missed,
    heal_renamed,
    healing_text,
    item_on,
    items_on,
    locate,
    next_page,
    search_ways,
    text_of,
    the_item,
)
from adwright.agent.run.runner import RunPolicy, RunReport, run_on_screen
from adwright.core.clock import SystemClock
from tests.support.agent.drift.kinds import KINDS, Drift, DriftKind
from tests.support.agent.drift.pages import drifted_page
from tests.support.agent.drift.proxy import DriftingProxy, drifting
from tests.support.agent.shop_app import ShopApp
from tests.support.agent.shop_document import ORIGIN, shop_document
from tests.support.agent.shop_server import shop_server

SAVE = Element(
    "form__save",
    "form",
    "button",
    "Save",
    (Locator("role", "Save", role="button"), Locator("test_id", "save")),
    effect="commit",
)
ROWS = Element(
    "list__rows",
    "list",
    "row",
    "",
    (Locator("role", "", role="row", of=0),),
    many=True,
    effect="read",
)
EDIT = Element(
    "list__edit", "list", "link", "Edit", (Locator("role", "Edit", role="link", nth=1, of=2),)
)
BUTTON = ScreenNode("1", "button", "Save", facts={"test_id": "save"})


def screen(*nodes: ScreenNode) -> Screen:
    return Screen("http://a/", "A", nodes)


def code(element: Element, *nodes: ScreenNode) -> str:
    with pytest.raises(ScriptError) as caught:
        locate(screen(*nodes), element)
    return caught.value.code


def test_marks_of_what_is_required_are_no_part_of_a_name() -> None:
    assert fold_name(" Name  * ") == fold_name("name:") == "name"
    assert fold_name("*") == "*"


def test_the_node_of_role_name_and_test_id() -> None:
    other = ScreenNode("2", "button", "Delete")
    assert locate(screen(other, BUTTON), SAVE) is BUTTON


def test_capitals_and_blanks_are_no_other_name() -> None:
    node = replace(BUTTON, name="  save ")
    assert locate(screen(node), SAVE) is node
    assert fold_name("  A\n b ") == "a b"


def test_signs_of_an_icon_font_and_what_is_cut_are_no_other_name() -> None:
    node = replace(BUTTON, name="\uf0c7 Save")
    assert locate(screen(node), SAVE) is node
    long = replace(BUTTON, name=f"Save {'and more ' * 20}")
    kept = replace(SAVE, label=guarded(long.name).text)
    assert kept.label.endswith("…")
    assert locate(screen(long), kept) is long


def test_what_is_missing_hidden_or_of_another_role_is_not_found() -> None:
    assert code(SAVE) == "not_found"
    assert code(SAVE, replace(BUTTON, visible=False)) == "not_found"
    assert code(SAVE, replace(BUTTON, role="link")) == "not_found"


def test_another_name_is_another_element() -> None:
    assert code(SAVE, replace(BUTTON, name="Delete")) == "identity"


def test_two_that_look_alike_are_ambiguous() -> None:
    twin = ScreenNode("2", "button", "Save")
    assert code(SAVE, BUTTON, twin) == "ambiguous"
    assert code(replace(SAVE, locators=SAVE.locators[:1]), BUTTON, twin) == "ambiguous"
    # What writes nothing may rely on its test id.
    assert locate(screen(BUTTON, twin), replace(SAVE, effect="navigate")) is BUTTON


def test_ways_that_lead_apart_stop_what_writes() -> None:
    named, marked = replace(BUTTON, facts={}), replace(BUTTON, key="2", name="Save now")
    element = replace(SAVE, label="Save")
    assert code(element, named, marked) == "identity"
    assert locate(screen(named, marked), replace(element, effect="read")) is named


def row(number: int, text: str) -> ScreenNode:
    return ScreenNode(f"r{number}", "row", "", text=text)


def link(number: int) -> ScreenNode:
    return ScreenNode(f"l{number}", "link", "Edit", parent=f"c{number}")


def cell(number: int) -> ScreenNode:
    return ScreenNode(f"c{number}", "cell", "", parent=f"r{number}")


ITEMS = screen(row(1, "Spring"), cell(1), link(1), row(2, "Autumn"), cell(2), link(2))


def test_items_are_known_by_their_texts() -> None:
    first, second = items_on(ITEMS, ROWS)
    assert (first.seen, second.seen, second.place) == ("Spring", "Autumn", 1)
    moved = screen(row(2, "Autumn"), row(1, "Spring"))
    assert item_on(moved, ROWS, first).key == "r1"
    with pytest.raises(ScriptError) as caught:
        item_on(screen(row(2, "Autumn")), ROWS, first)
    assert caught.value.code == "identity"


def test_items_that_read_the_same_are_told_by_their_place() -> None:
    same = screen(row(1, "A"), row(2, "A"))
    assert item_on(same, ROWS, ElementHandle("list__rows", 1, "A")).key == "r2"
    with pytest.raises(ScriptError) as caught:
        item_on(same, replace(ROWS, effect="destructive"), ElementHandle("list__rows", 1, "A"))
    assert caught.value.code == "ambiguous"


def test_an_element_within_an_item_is_the_one_below_it() -> None:
    assert locate(ITEMS, EDIT, within=ITEMS.nodes[0]).key == "l1"
    assert locate(ITEMS, EDIT, within=ITEMS.nodes[3]).key == "l2"
    for nodes, problem in (
        ((row(1, "a"),), "not_found"),
        ((row(1, "a"), cell(1), link(1), replace(link(1), key="l9")), "ambiguous"),
    ):
        with pytest.raises(ScriptError) as caught:
            locate(screen(*nodes), EDIT, within=nodes[0])
        assert caught.value.code == problem


def test_a_ring_of_parents_ends() -> None:
    one = ScreenNode("l1", "link", "Edit", parent="x")
    ring = (one, ScreenNode("x", "cell", "", parent="y"), ScreenNode("y", "cell", "", parent="x"))
    with pytest.raises(ScriptError):
        locate(screen(row(1, "a"), *ring), EDIT, within=row(1, "a"))


def test_a_node_says_its_value_first() -> None:
    assert text_of(ScreenNode("1", "textbox", "Name", "Spring", text="x")) == "Spring"
    assert text_of(ScreenNode("1", "row", "Name", text="x")) == "x"
    assert text_of(ScreenNode("1", "button", "Name")) == "Name"


def table_row(place: str, key: str, text: str) -> ScreenNode:
    return ScreenNode(key, "row", "", text=text, facts={"xpath": f"/html[1]/form[1]/{place}"})


TABLE = replace(
    ROWS, locators=(Locator("xpath", "/html[1]/form[1]/div[1]/table[1]/tbody[1]/tr", of=0),)
)


def test_a_list_that_was_pushed_down_is_the_one_of_its_kind() -> None:
    head = table_row("div[2]/table[1]/thead[1]/tr[1]", "1", "Name")
    rows = [
        table_row(f"div[2]/table[1]/tbody[1]/tr[{n}]", f"{n + 1}", text)
        for n, text in ((1, "Tea"), (2, "Mug"))
    ]
    seen = screen(head, *rows)
    assert [one.seen for one in items_on(seen, TABLE)] == ["Tea", "Mug"]
    assert item_on(seen, TABLE, items_on(seen, TABLE)[1]) is rows[1]
    # Of two such lists neither is taken, and one of another depth is another list.
    twin = table_row("div[3]/table[1]/tbody[1]/tr[1]", "9", "Pot")
    assert items_on(screen(head, *rows, twin), TABLE) == ()
    deeper = table_row("div[2]/div[1]/table[1]/tbody[1]/tr[1]", "2", "Tea")
    assert items_on(screen(deeper), TABLE) == ()


def test_a_cell_without_a_header_is_not_read_for_one_that_has_moved() -> None:
    base = "/html[1]/table[1]"
    heads = [
        ScreenNode(
            f"h{n}",
            "columnheader",
            name,
            parent="h",
            facts={"xpath": f"{base}/thead[1]/tr[1]/th[{n}]"},
        )
        for n, name in ((1, "Price"), (2, ""))
    ]
    around = ScreenNode("r", "row", "", text="2.37", facts={"xpath": f"{base}/tbody[1]/tr[1]"})
    cells = [
        ScreenNode(
            f"c{n}",
            "cell",
            "",
            text=text,
            parent="r",
            facts={"xpath": f"{base}/tbody[1]/tr[1]/td[{n}]"},
        )
        for n, text in ((1, "2.37"), (2, " "))
    ]
    price = Element(
        "list__price",
        "list",
        "cell",
        "",
        (Locator("xpath", f"{base}/tbody[1]/tr/td[2]", of=0),),
        many=True,
        effect="read",
        description="one of a list, column Price",
    )
    with pytest.raises(ScriptError) as caught:
        locate(screen(*heads, around, *cells), price, within=around)
    assert caught.value.code == "identity"
    moved = replace(price, locators=(Locator("xpath", f"{base}/tbody[1]/tr/td[1]", of=0),))
    assert locate(screen(*heads, around, *cells), moved, within=around) is cells[0]


DOCUMENT = shop_document()
HEAL_SAVE = DOCUMENT.by_name["offer_edit__save"]
NEW = DOCUMENT.by_name["offers__new"]
PAGE = f"{ORIGIN}/offers/7/"
NODE = ScreenNode("1", "button", "SAVE", facts={"action": "/offers/7/", "method": "post"})


def heal_screen(*nodes: ScreenNode) -> Screen:
    return Screen(PAGE, "Edit", nodes)


def test_one_node_of_role_name_and_effect_is_the_element() -> None:
    healed = heal_element(heal_screen(NODE, replace(NODE, key="2", name="Other")), HEAL_SAVE)
    assert healed is not None
    assert (healed.before, healed.node) == (HEAL_SAVE, NODE)
    assert healed.after == replace(HEAL_SAVE, locators=(Locator("role", "SAVE", role="button"),))


@pytest.mark.parametrize(
    "nodes",
    [
        (),
        (NODE, replace(NODE, key="2")),
        (replace(NODE, name="Save all"),),
        (replace(NODE, role="link"),),
        (replace(NODE, visible=False),),
        (replace(NODE, facts={"action": "/offers/7/delete/", "method": "post"}),),
        (replace(NODE, facts={"action": "/offers/7/", "method": "get"}),),
    ],
)
def test_nothing_else_is(nodes: tuple[ScreenNode, ...]) -> None:
    assert heal_element(heal_screen(*nodes), HEAL_SAVE) is None


def test_lists_and_what_has_no_name_are_not_healed() -> None:
    assert heal_element(heal_screen(NODE), replace(HEAL_SAVE, many=True)) is None
    bare = replace(NODE, name="")
    assert heal_element(heal_screen(bare), replace(HEAL_SAVE, label="")) is None


@pytest.mark.parametrize(
    ("element", "facts", "agrees"),
    [
        (HEAL_SAVE, {"action": "/offers/9/", "method": "post"}, True),
        (HEAL_SAVE, {"action": f"{ORIGIN}/offers/9/", "method": "POST"}, True),
        (HEAL_SAVE, {}, True),  # of a script: the gate will see
        (HEAL_SAVE, {"href": "/offers/9/"}, False),
        (NEW, {"href": "/offers/0/"}, True),
        (NEW, {"href": "javascript:send()"}, False),
        (NEW, {"action": "/mail/", "method": "post"}, False),
        (NEW, {"action": "/search/"}, True),
        (replace(HEAL_SAVE, requests=("GET /go/",)), {"href": "/go/"}, True),
        (replace(NEW, value_type="text"), {"type": "password"}, False),
        (replace(NEW, value_type="text"), {"action": "/mail/", "method": "post"}, True),
    ],
)
def test_attributes_say_what_a_node_would_do(
    element: Element, facts: dict[str, str], agrees: bool
) -> None:
    assert effect_agrees(PAGE, element, replace(NODE, facts=facts)) == agrees


def test_healings_are_a_new_version_that_can_be_read() -> None:
    healed = heal_element(heal_screen(NODE), HEAL_SAVE)
    assert healed is not None
    after = apply_healings(DOCUMENT, [healed])
    assert after.version == "2"
    assert after.by_name["offer_edit__save"] == healed.after
    text = healing_text(DOCUMENT, after)
    assert text.startswith("shop 1 -> 2\nchanged element offer_edit__save")
    assert apply_healings(DOCUMENT, []) is DOCUMENT


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


def searching_screen(*rows: str, parts: tuple[str, ...] = ()) -> Screen:
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
    found = the_item(searching_screen("offer-10 Tea", "offer-1 Milk"), rows, "offer-1")
    assert found is not None
    assert found.seen == "offer-1 Milk"
    assert the_item(searching_screen("offer-10 Tea"), rows, "Milk") is None


def test_of_several_the_one_with_a_part_that_says_just_this() -> None:
    rows = document().by_name["offers__rows"]
    seen = searching_screen("Tea of Tea Lane", "Mug, Tea", parts=("Tea", "Mug, Tea"))
    found = the_item(seen, rows, "Tea")
    assert found is not None
    assert found.place == 0
    with pytest.raises(ScriptError, match="2 items"):
        the_item(searching_screen("Tea a", "Tea b"), rows, "Tea")


def test_a_part_says_what_the_text_cuts_short() -> None:
    rows = document().by_name["offers__rows"]
    found = the_item(
        searching_screen("Oat Bi…", "Rye", parts=("Oat Bites", "Rye")), rows, "Oat Bites"
    )
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
        return searching_screen("Milk") if pages < 2 else searching_screen("Tea")

    search = ItemSearch(made, lambda state: searching_screen("Mug"), step)
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
        ItemSearch(
            made, lambda state: searching_screen("Mug"), lambda *_: searching_screen("Mug")
        ).find(made.by_name["offers__rows"], "Tea")
    assert MOST_PAGES > 1


def test_a_search_that_finds_any_of_the_words_is_made_with_fewer() -> None:
    made = document()
    asked: list[str | None] = []

    def step(verb: str, name: str, value: str | None) -> Screen:
        asked.append(value)
        return (
            searching_screen("Oat Bites, 10 OZ")
            if "Oat Bites" in asked
            else searching_screen("Milk")
        )

    rows = made.by_name["offers__rows"]
    search = ItemSearch(made, lambda state: searching_screen("Mug"), step)
    assert search.find(rows, "Oat Bites, 10 OZ").seen == "Oat Bites, 10 OZ"
    assert [one for one in asked if one] == ["Oat Bites, 10 OZ", "Oat Bites"]


RENAMED_SAVE = DOCUMENT.by_name["offer_edit__save"]
SHARE = replace(
    DOCUMENT.by_name["offer_edit__share"],
    locators=(
        Locator("role", "Discount", role="spinbutton"),
        Locator("css", "input[name='share']"),
        Locator("xpath", "/f/input[2]"),
    ),
)
FORM = {"action": "/offers/7/", "method": "post", "form": "/f"}
RENAMED = ScreenNode(
    "1",
    "spinbutton",
    "Rebate",
    facts={**FORM, "css": "input[name='share']", "xpath": "/f/input[2]"},
)
RENAMED_BUTTON = ScreenNode("2", "button", "Apply", facts={**FORM, "test_id": "offer_edit-save"})


def renamed_screen(*nodes: ScreenNode) -> Screen:
    return Screen(PAGE, "Edit", nodes)


def test_a_field_is_the_same_by_its_mark_and_its_place() -> None:
    healed = heal_renamed(renamed_screen(RENAMED), DOCUMENT, SHARE)
    assert healed is not None
    assert (healed.node, healed.after.name, healed.after.label) == (RENAMED, SHARE.name, "Rebate")
    assert healed.after.locators[0] == Locator("role", "Rebate", role="spinbutton")


@pytest.mark.parametrize(
    "nodes",
    [
        (),
        (replace(RENAMED, role="textbox"),),
        (replace(RENAMED, visible=False),),
        (replace(RENAMED, secret=True),),
        (replace(RENAMED, facts={"css": "input[name='share']"}),),  # one sign alone
        (replace(RENAMED, facts={"xpath": "/f/input[2]"}),),
        # Mark and place lead to different fields, and the old name stands elsewhere.
        (
            replace(RENAMED, facts={"css": "input[name='share']"}),
            replace(RENAMED, key="3", facts={"xpath": "/f/input[2]"}),
        ),
        (RENAMED, replace(RENAMED, key="3", name="Discount", facts={})),
    ],
)
def test_one_sign_is_not_enough(nodes: tuple[ScreenNode, ...]) -> None:
    assert heal_renamed(renamed_screen(*nodes), DOCUMENT, SHARE) is None


def test_the_name_of_another_part_is_not_taken() -> None:
    other = replace(SHARE, name="offer_edit__tax", label="Tax")
    document = replace(DOCUMENT, elements=(*DOCUMENT.elements, other))
    assert heal_renamed(renamed_screen(RENAMED), document, SHARE) is not None
    assert heal_renamed(renamed_screen(replace(RENAMED, name="TAX")), document, SHARE) is None


def test_a_button_must_send_what_it_sent() -> None:
    healed = heal_missed(renamed_screen(RENAMED_BUTTON), DOCUMENT, RENAMED_SAVE, "identity")
    assert healed is not None
    assert healed.node == RENAMED_BUTTON
    for wrong in (
        replace(RENAMED_BUTTON, name="Remove"),  # speaks of another effect
        replace(RENAMED_BUTTON, facts={**RENAMED_BUTTON.facts, "action": "/offers/7/delete/"}),
        replace(RENAMED_BUTTON, facts={**RENAMED_BUTTON.facts, "method": "get"}),
        replace(RENAMED_BUTTON, facts={"test_id": "offer_edit-save"}),  # nothing says what it does
        replace(RENAMED_BUTTON, facts=FORM),  # only what it does
    ):
        assert heal_missed(renamed_screen(wrong), DOCUMENT, RENAMED_SAVE, "not_found") is None
    assert heal_missed(renamed_screen(RENAMED_BUTTON), DOCUMENT, RENAMED_SAVE, "ambiguous") is None


def test_a_place_counts_only_in_the_same_company() -> None:
    save = replace(
        RENAMED_SAVE, locators=(*RENAMED_SAVE.locators[:1], Locator("xpath", "/f/button[1]"))
    )
    node = replace(RENAMED_BUTTON, facts={**FORM, "xpath": "/f/button[1]"})
    assert heal_renamed(renamed_screen(node), DOCUMENT, save) is not None
    beside = replace(node, key="3", name="Keep", facts={**FORM, "xpath": "/f/button[2]"})
    assert heal_renamed(renamed_screen(node, beside), DOCUMENT, save) is None


def test_in_an_item_the_column_and_the_link_tell() -> None:
    row = ScreenNode("r", "row", "", facts={"xpath": "/table[1]/tr[2]"})
    heads = [
        ScreenNode(one, "columnheader", one, facts={"xpath": f"/table[1]/tr[1]/th[{n}]"})
        for n, one in enumerate(("Status", "Name"), 1)
    ]
    cells = [
        ScreenNode(one, "cell", "", text=one, parent="r", facts={"xpath": f"/table[1]/tr[2]/{one}"})
        for one in ("td[1]", "td[2]")
    ]
    link = ScreenNode("l", "link", "Spring", parent="td[2]", facts={"href": f"{ORIGIN}/offers/7/"})
    gone = replace(link, key="d", facts={"href": f"{ORIGIN}/offers/7/delete/"})
    place = renamed_screen(*heads, row, *cells, link, gone)
    edit = DOCUMENT.by_name["offers__edit"]
    assert heal_in_row(place, DOCUMENT, edit, row) == link
    named = Element(
        "x__name", "offers", "cell", "", many=True, effect="read", description="column Name"
    )
    assert heal_in_row(place, DOCUMENT, named, row) == cells[1]
    assert heal_in_row(place, DOCUMENT, replace(named, description="column Price"), row) is None
    assert heal_in_row(place, DOCUMENT, replace(named, effect="commit"), row) is None


SMALL = b"""<!doctype html><html><body><form method="post" action="/a/">
<div><label for="t">Title</label><input id="t" name="title"></div>
<div><label for="p">Price</label><input id="p" name="price"></div>
<input type="submit" name="do" value="Save"></form>
<table><tr><th>A</th><th>B</th><th>C</th></tr><tr><td>1</td><td>2</td><td>3</td></tr></table>
</body></html>"""


@pytest.mark.parametrize("kind", [one for one in KINDS if one not in ("none", "confirm")])
def test_a_drift_is_the_same_each_time_and_leaves_what_is_sent(kind: DriftKind) -> None:
    plain = drifted_page(SMALL, Drift()).decode()
    pages = [drifted_page(SMALL, Drift(kind, seed)).decode() for seed in (0, 0, 1, 2, 3)]
    assert pages[0] == pages[1]
    assert len({plain, *pages}) > 1
    for page in pages:
        assert all(page.count(f'name="{name}"') == 1 for name in ("title", "price", "do"))
        assert page.count('action="/a/"') == 1
        assert ('name="clerk_reference"' in page) == (kind == "extra")


# --- on pages, in a browser --------------------------------------------------------------

TASK = 'Set the discount of "Spring" to 25'


@pytest.fixture(scope="module")
def app() -> ShopApp:
    return ShopApp()


@pytest.fixture(scope="module")
def proxy(app: ShopApp) -> Iterator[DriftingProxy]:
    with shop_server(app) as url, drifting(url) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def renamed_document(
    chromium: ChromiumBrowser, proxy: DriftingProxy, tmp_path_factory: pytest.TempPathFactory
) -> AppDocument:
    records = PageRecords(tmp_path_factory.mktemp("explored"))
    with chromium.driver(ReadingGate((proxy.url,))) as driver:
        explore(driver, records, ExploreBounds(start=f"{proxy.url}/", cautious=False))
    return build_document("shop", records.all, (proxy.url,))


def _run(
    chromium: ChromiumBrowser, proxy: DriftingProxy, renamed_document: AppDocument
) -> RunReport:
    ready = prepare_task(next(find_scripts(TASK, renamed_document)), TASK, renamed_document)
    policy = RunPolicy(GateRules(OriginRules((proxy.url,))), confirm=lambda change: True, heal=True)
    proxy.arrived.clear()
    with ExitStack() as stack:

        def open_driver(gate: RequestGate) -> ScreenDriver:
            return stack.enter_context(chromium.driver(gate))

        return run_on_screen(
            ready.checked,
            renamed_document,
            open_driver,
            policy,
            ready.arguments,
            clock=SystemClock(),
            postconditions=ready.postconditions,
        )


@pytest.mark.parametrize("kind", KINDS)
def test_a_task_is_done_on_pages_that_have_drifted(
    kind: DriftKind,
    chromium: ChromiumBrowser,
    app: ShopApp,
    proxy: DriftingProxy,
    renamed_document: AppDocument,
) -> None:
    app.offers, app.writes = ShopApp().offers, []
    proxy.drift = Drift(kind, seed=0)
    report = _run(chromium, proxy, renamed_document)
    proxy.drift = Drift()
    assert report.verdict == "verified", report.problem
    assert [one.path for one in proxy.arrived] == ["/offers/7/"]
    assert app.offers[7].share == "25"
    assert app.offers[8] == ShopApp().offers[8]
    if kind == "button":
        assert [one.before.label for one in report.healed] == ["Save"]
