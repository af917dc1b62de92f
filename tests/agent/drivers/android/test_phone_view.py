"""A phone emulated by Chromium: views of a page, and real touch events."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from adwright.agent.drivers.android.device import PhoneAct
from adwright.agent.drivers.android.phone_driver import PhoneDriver
from adwright.agent.drivers.android.phone_view import (
    EMULATED,
    ChromiumPhone,
    PageWindow,
    page_tree,
)
from adwright.agent.drivers.android.ui_tree import ViewBounds, read_ui_tree, write_ui_tree
from adwright.agent.drivers.browser import ChromiumBrowser
from adwright.agent.drivers.chromium import ChromiumDriver, DriverSettings
from adwright.agent.drivers.protocol import DriverError, GateDecision, PendingRequest, Screen
from adwright.agent.drivers.snapshot import read_snapshot
from tests.support.agent.site.browsing import allow_all, chromium_or_skip, node_of
from tests.support.agent.site.pages import page
from tests.support.agent.site.recorded import recorded_page
from tests.support.agent.site.server import SmallSite, small_site

FORM = """<meta name="viewport" content="width=device-width"><style>button {display: block}</style>
<label>Note <input id="note" value="old"></label>
<label>Key <input type="password" id="key" value="hush"></label>
<label><input type="checkbox" id="on"> Active</label>
<button type="button" onpointerup="said.textContent = event.pointerType">Touch</button>
<button type="button" ontouchstart="this.at = Date.now()" ontouchend="
  said.textContent = Date.now() - this.at > 800 ? 'long' : 'short'">Hold</button>
<p id="said" role="status">nothing</p><a href="/offers">All offers</a>
<form action="/offers/1" method="post"><button>Send</button></form>
<iframe name="ad" srcdoc="<button onclick='this.textContent = `tapped`'>Inner</button>"></iframe>
<div style="height: 1200px"></div><button type="button" id="low" onclick="
  this.textContent = 'deep'">Low</button>"""


@pytest.fixture(scope="module")
def chromium() -> Iterator[ChromiumBrowser]:
    with chromium_or_skip() as browser:
        yield browser


@pytest.fixture(scope="module")
def site() -> Iterator[SmallSite]:
    with small_site() as site:
        wide = FORM.partition("<style>")[2].replace("1200px", "3000px")
        site.extra |= {
            "/form": page("Form", FORM),
            "/wide": page("Wide", wide),
        }
        yield site


def reading(request: PendingRequest) -> GateDecision:
    return GateDecision(request.method == "GET", "method", "only reading")


@pytest.fixture
def page_driver(chromium: ChromiumBrowser, site: SmallSite) -> Iterator[ChromiumDriver]:
    with chromium.driver(reading, DriverSettings(screen="phone")) as driver:
        yield driver


def never(request: PendingRequest) -> GateDecision:
    raise AssertionError("its own network asks")


def said(driver: PhoneDriver) -> str:
    (node,) = (one for one in driver.observe().nodes if one.facts.get("id") == "said")
    return node.name


def test_a_page_is_used_by_touch(page_driver: ChromiumDriver, site: SmallSite) -> None:
    waits: list[float] = []
    phone = ChromiumPhone(page_driver, pause=waits.append)
    driver = PhoneDriver(phone, never)
    driver.open(f"{site.url}/form")
    screen = driver.observe()
    assert (screen.url, screen.at_end) == (f"{site.url}/form", False)
    assert "hush" not in str(screen)
    driver.tap(node_of(screen, "button", "Touch"))
    assert said(driver) == "touch"
    driver.long_tap(node_of(screen, "button", "Hold"))
    assert (waits, said(driver)) == ([1.0], "short")
    note = node_of(screen, "textbox", "Note")
    driver.set_text(note, "Grüße ☕")
    assert driver.read(note) == "Grüße ☕"
    driver.choose(node_of(screen, "checkbox", "Active"), "true")
    assert node_of(driver.observe(), "checkbox", "Active").value == "true"
    driver.tap(node_of(screen, "button", "Inner"))
    after = driver.observe()
    assert node_of(after, "button", "tapped").facts["package"] == EMULATED
    driver.tap(node_of(after, "button", "Send"))
    assert site.written == []
    refused = [one.request.method for one in driver.requests() if not one.decision.allowed]
    assert refused == ["POST"]
    driver.tap(node_of(driver.observe(), "button", "All offers"))
    assert driver.observe().url == f"{site.url}/offers"
    driver.back()
    assert driver.observe().url == f"{site.url}/form"
    assert phone.address("x") == f"{site.url}/form"


@pytest.mark.parametrize("path", ["/form", "/wide"])
def test_swipes_scroll_and_what_is_below_comes(
    page_driver: ChromiumDriver, site: SmallSite, path: str
) -> None:
    driver = PhoneDriver(ChromiumPhone(page_driver), never)
    driver.open(f"{site.url}{path}")
    assert "Low" not in {one.name for one in driver.observe().nodes}
    assert not driver.scroll(None, "down")
    assert any(driver.scroll(None, "down") for _ in range(6))
    driver.tap(node_of(driver.observe(), "button", "Low"))
    assert node_of(driver.observe(), "button", "deep").visible
    assert not driver.scroll(None, "up")


def test_pictures_have_the_pixels_of_the_views(
    page_driver: ChromiumDriver, site: SmallSite
) -> None:
    phone = ChromiumPhone(page_driver)
    phone.do(PhoneAct("start", text=f"{site.url}/form"))
    tree = read_ui_tree(phone.dump())
    picture = phone.picture()
    size = tuple(int.from_bytes(picture[at : at + 4], "big") for at in (16, 20))
    assert size == (780, 1688) == (tree.views[0].bounds.right, tree.views[0].bounds.bottom)
    phone.close()
    with pytest.raises(DriverError):
        phone.do(PhoneAct("tap", x=1, y=1))


def test_enter_sends_a_form(chromium: ChromiumBrowser) -> None:
    with (
        small_site(key=True) as site,
        chromium.driver(allow_all, DriverSettings(screen="phone")) as inner,
    ):
        driver = PhoneDriver(ChromiumPhone(inner), never)
        driver.open(site.url)
        screen = driver.observe()
        driver.set_text(node_of(screen, "textbox", "User"), "ann")
        (key,) = (one for one in driver.observe().nodes if one.secret)
        driver.set_text(key, "correct horse")
        driver.enter()
        assert "Offers" in {one.name for one in driver.observe().nodes}


def test_a_recorded_page_as_views() -> None:
    snapshot, trees = recorded_page()
    screen = Screen("http://shop.example/offers/7/", "Offer", read_snapshot(snapshot, trees).nodes)
    tree = read_ui_tree(write_ui_tree(page_tree(screen, snapshot, PageWindow(1280, 800))))
    by_text = {one.text or one.hint: one for one in tree.views if one.text or one.hint}
    assert by_text["Save"].kind == "android.widget.Button"
    assert by_text["Save"].clickable
    title = next(one for one in tree.views if one.hint == "Title")
    assert (title.kind, title.package) == ("android.widget.EditText", EMULATED)
    secret = next(one for one in tree.views if one.password)
    assert secret.text == ""
    # Twice as large, half of it is outside; moved by its own size, all of it.
    double = page_tree(screen, snapshot, PageWindow(1280, 800, 2.0))
    grown = next(one for one in double.views if one.hint == "Title")
    assert grown.bounds.left == pytest.approx(2 * title.bounds.left, abs=1)
    assert len(page_tree(screen, snapshot, PageWindow(9, 9)).views) < len(tree.views)
    moved = page_tree(screen, snapshot, PageWindow(1280, 800, 1.0, 0.0, 9_000.0))
    assert [one.bounds for one in moved.views] == [ViewBounds(0, 0, 1280, 800)]
