"""Healing under another name: by two signs of three, never a part that something else was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

import pytest

from adwright.agent.document.elements import AppDocument, Element, Locator
from adwright.agent.drivers.chromium import ChromiumBrowser
from adwright.agent.drivers.protocol import RequestGate, Screen, ScreenDriver, ScreenNode
from adwright.agent.explore.explorer import ExploreBounds, ReadingGate, build_document, explore
from adwright.agent.explore.records import PageRecords
from adwright.agent.operate.tasks import find_scripts, prepare_task
from adwright.agent.policy.gate import GateRules
from adwright.agent.policy.origins import OriginRules
from adwright.agent.run.locate import heal_in_row, heal_missed, heal_renamed
from adwright.agent.run.runner import RunPolicy, RunReport, run_on_screen
from adwright.core.clock import SystemClock
from tests.support.agent.drift.kinds import KINDS, Drift, DriftKind
from tests.support.agent.drift.pages import drifted_page
from tests.support.agent.drift.proxy import DriftingProxy, drifting
from tests.support.agent.shop_app import ShopApp
from tests.support.agent.shop_document import ORIGIN, shop_document
from tests.support.agent.shop_server import shop_server
from tests.support.agent.site.browsing import chromium_or_skip

DOCUMENT = shop_document()
PAGE = f"{ORIGIN}/offers/7/"
SAVE = DOCUMENT.by_name["offer_edit__save"]
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
BUTTON = ScreenNode("2", "button", "Apply", facts={**FORM, "test_id": "offer_edit-save"})


def screen(*nodes: ScreenNode) -> Screen:
    return Screen(PAGE, "Edit", nodes)


def test_a_field_is_the_same_by_its_mark_and_its_place() -> None:
    healed = heal_renamed(screen(RENAMED), DOCUMENT, SHARE)
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
    assert heal_renamed(screen(*nodes), DOCUMENT, SHARE) is None


def test_the_name_of_another_part_is_not_taken() -> None:
    other = replace(SHARE, name="offer_edit__tax", label="Tax")
    document = replace(DOCUMENT, elements=(*DOCUMENT.elements, other))
    assert heal_renamed(screen(RENAMED), document, SHARE) is not None
    assert heal_renamed(screen(replace(RENAMED, name="TAX")), document, SHARE) is None


def test_a_button_must_send_what_it_sent() -> None:
    healed = heal_missed(screen(BUTTON), DOCUMENT, SAVE, "identity")
    assert healed is not None
    assert healed.node == BUTTON
    for wrong in (
        replace(BUTTON, name="Remove"),  # speaks of another effect
        replace(BUTTON, facts={**BUTTON.facts, "action": "/offers/7/delete/"}),
        replace(BUTTON, facts={**BUTTON.facts, "method": "get"}),
        replace(BUTTON, facts={"test_id": "offer_edit-save"}),  # nothing says what it does
        replace(BUTTON, facts=FORM),  # only what it does
    ):
        assert heal_missed(screen(wrong), DOCUMENT, SAVE, "not_found") is None
    assert heal_missed(screen(BUTTON), DOCUMENT, SAVE, "ambiguous") is None


def test_a_place_counts_only_in_the_same_company() -> None:
    save = replace(SAVE, locators=(*SAVE.locators[:1], Locator("xpath", "/f/button[1]")))
    node = replace(BUTTON, facts={**FORM, "xpath": "/f/button[1]"})
    assert heal_renamed(screen(node), DOCUMENT, save) is not None
    beside = replace(node, key="3", name="Keep", facts={**FORM, "xpath": "/f/button[2]"})
    assert heal_renamed(screen(node, beside), DOCUMENT, save) is None


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
    place = screen(*heads, row, *cells, link, gone)
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
def chromium() -> Iterator[ChromiumBrowser]:
    with chromium_or_skip() as browser:
        yield browser


@pytest.fixture(scope="module")
def app() -> ShopApp:
    return ShopApp()


@pytest.fixture(scope="module")
def proxy(app: ShopApp) -> Iterator[DriftingProxy]:
    with shop_server(app) as url, drifting(url) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def document(
    chromium: ChromiumBrowser, proxy: DriftingProxy, tmp_path_factory: pytest.TempPathFactory
) -> AppDocument:
    records = PageRecords(tmp_path_factory.mktemp("explored"))
    with chromium.driver(ReadingGate((proxy.url,))) as driver:
        explore(driver, records, ExploreBounds(start=f"{proxy.url}/", cautious=False))
    return build_document("shop", records.all, (proxy.url,))


def _run(chromium: ChromiumBrowser, proxy: DriftingProxy, document: AppDocument) -> RunReport:
    ready = prepare_task(next(find_scripts(TASK, document)), TASK, document)
    policy = RunPolicy(GateRules(OriginRules((proxy.url,))), confirm=lambda change: True, heal=True)
    proxy.arrived.clear()
    with ExitStack() as stack:

        def open_driver(gate: RequestGate) -> ScreenDriver:
            return stack.enter_context(chromium.driver(gate))

        return run_on_screen(
            ready.checked,
            document,
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
    document: AppDocument,
) -> None:
    app.offers, app.writes = ShopApp().offers, []
    proxy.drift = Drift(kind, seed=0)
    report = _run(chromium, proxy, document)
    proxy.drift = Drift()
    assert report.verdict == "verified", report.problem
    assert [one.path for one in proxy.arrived] == ["/offers/7/"]
    assert app.offers[7].share == "25"
    assert app.offers[8] == ShopApp().offers[8]
    if kind == "button":
        assert [one.before.label for one in report.healed] == ["Save"]
