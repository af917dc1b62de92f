"""In Chromium: acting on a page, waiting for it, and pictures without secrets."""

from __future__ import annotations

import inspect
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date

import pytest

from adwright.agent.drivers.calendar import month_in, pick_day, read_day
from adwright.agent.drivers.chromium import (
    BrowserSettings,
    ChromiumBrowser,
    ChromiumDriver,
    DriverSettings,
    launch_options,
    open_browser,
)
from adwright.agent.drivers.protocol import (
    DriverError,
    FetchedPage,
    FetchingDriver,
    Screen,
    ScreenNode,
)
from adwright.core.errors import ConfigError, ResourceError
from tests.support.agent.site.browsing import allow_all, chromium_or_skip, node_of
from tests.support.agent.site.pages import page
from tests.support.agent.site.screens import node, screen
from tests.support.agent.site.server import SmallSite, small_site

FORM = """<label>Key <input type="password" id="key" value="hush"></label>
<label>Kind <select><option>A</option><option>Bee</option></select></label>
<label><input type="checkbox"> Active</label><label>Note <textarea></textarea></label>
<button type="button" onclick="fetch('/slow').then(() => {
  document.getElementById('said').textContent = 'done' })">Work</button>
<button type="button" disabled>Never</button>
<button type="button" onclick="document.getElementById('said').textContent =
  confirm('Really?') ? 'yes' : 'no'">Ask</button>
<button type="button" onmousedown="this.down = Date.now()" onmouseup="
  document.getElementById('said').textContent = Date.now() - this.down > 800 ? 'long' : 'short'">
Hold</button><p id="said" role="status">nothing</p>
<iframe name="ad" srcdoc="<label>Inner <input></label>"></iframe>
<div id="host"></div><script>document.getElementById('host').attachShadow({mode: 'open'}).innerHTML
 = '<button onclick="this.textContent = `tapped`">Deep</button>'</script>
<script>function bin() { document.getElementById('said').textContent = 'binned' }</script>
<div onmouseenter="this.innerHTML = '<i class=fa-bin onclick=bin()>&nbsp;</i>'">
<i class="fa-bin" style="cursor: pointer" onclick="return false">&nbsp;</i></div>
<div style="height: 3000px"></div><a href="/offers" target="_blank">All offers</a>"""


# Before any other: the browser of the module runs its own loop.
def test_without_chromium_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    with pytest.raises(ResourceError, match="there is no Chromium"), open_browser():
        pass
    with (
        pytest.raises(ResourceError, match="does not start"),
        open_browser(BrowserSettings(program="/bin/false")),
    ):
        pass


@pytest.fixture(scope="module")
def chromium() -> Iterator[ChromiumBrowser]:
    with chromium_or_skip() as browser:
        yield browser


@pytest.fixture(scope="module")
def site() -> Iterator[SmallSite]:
    with small_site() as site:
        site.extra |= {"/form": page("Form", FORM), "/slow": "<p>slow</p>"}
        yield site


@pytest.fixture
def driver(chromium: ChromiumBrowser, site: SmallSite) -> Iterator[ChromiumDriver]:
    with chromium.driver(allow_all) as driver:
        driver.open(f"{site.url}/form")
        yield driver


def said(driver: ChromiumDriver) -> str:
    (node,) = (one for one in driver.observe().nodes if one.role == "status")
    return node.text


def test_an_icon_that_is_drawn_anew_once_pointed_at_is_tapped(driver: ChromiumDriver) -> None:
    (icon,) = (one for one in driver.observe().nodes if "bin" in one.name)
    driver.tap(icon)
    assert said(driver) == "binned"


def test_fields_take_values(driver: ChromiumDriver) -> None:
    screen = driver.observe()
    assert (screen.title, screen.at_end) == ("Form", False)
    driver.set_text(node_of(screen, "textbox", "Note"), "two\nlines")
    driver.choose(node_of(screen, "combobox", "Kind"), "Bee")
    driver.choose(node_of(screen, "checkbox", "Active"), "true")
    inner = node_of(screen, "textbox", "Inner")
    driver.set_text(inner, "in a frame")
    after = driver.observe()
    values = {one.name: one.value for one in after.nodes if one.value}
    assert values == {
        **{"Note": "two\nlines", "Kind": "Bee", "Active": "true", "Inner": "in a frame"}
    }
    assert driver.read(node_of(after, "textbox", "Note")) == "two\nlines"
    assert driver.read(node_of(after, "checkbox", "Active")) == "true"


def test_taps_wait_for_what_they_cause(driver: ChromiumDriver) -> None:
    screen = driver.observe()
    driver.tap(node_of(screen, "button", "Work"))
    assert said(driver) == "done"
    driver.tap(node_of(screen, "button", "Deep"))
    assert node_of(driver.observe(), "button", "tapped").facts["tag"] == "button"
    driver.long_tap(node_of(screen, "button", "Hold"))
    assert said(driver) == "long"
    driver.tap(node_of(screen, "link", "All offers"))
    assert driver.observe().url.endswith("/offers")
    driver.back()
    assert driver.observe().title == "Form"


def test_dialogs_are_dismissed(
    driver: ChromiumDriver, chromium: ChromiumBrowser, site: SmallSite
) -> None:
    driver.tap(node_of(driver.observe(), "button", "Ask"))
    assert (said(driver), driver.dialogs) == ("no", ["Really?"])
    with chromium.driver(allow_all, DriverSettings(dialogs="accept")) as other:
        other.open(f"{site.url}/form")
        other.tap(node_of(other.observe(), "button", "Ask"))
        assert said(other) == "yes"


def test_scrolling_says_where_the_end_is(driver: ChromiumDriver) -> None:
    assert not driver.scroll(None, "down")
    for _ in range(20):
        if driver.scroll(None, "down"):
            break
    assert driver.observe().at_end
    assert driver.scroll(None, "left")


def test_secrets_are_on_no_picture(driver: ChromiumDriver) -> None:
    from PIL import Image

    screen = driver.observe()
    (secret,) = (one for one in screen.nodes if one.secret)
    assert (secret.value, driver.read(secret)) == ("", "")
    image = Image.open(io.BytesIO(driver.picture())).convert("RGB")
    assert image.size == (1280, 800)
    masked = (255, 0, 255)
    one = dict(map(reversed, image.getcolors(1 << 20)))[masked]
    note = node_of(screen, "textbox", "Note")
    more = Image.open(io.BytesIO(driver.picture((note,)))).convert("RGB")
    assert dict(map(reversed, more.getcolors(1 << 20)))[masked] > one > 500


def test_a_phone_is_narrow_and_has_touch(chromium: ChromiumBrowser, site: SmallSite) -> None:
    settings = DriverSettings(screen="phone", script="window.fixed = 7")
    with chromium.driver(allow_all, settings) as driver:
        driver.open(f"{site.url}/form")
        driver.tap(node_of(driver.observe(), "button", "Work"))
        assert said(driver) == "done"
        picture = driver.picture()
    assert int.from_bytes(picture[16:20], "big") == 780


def test_each_driver_is_fresh(chromium: ChromiumBrowser) -> None:
    with small_site(key=True) as site:
        for _ in range(2):
            with chromium.driver(allow_all) as driver:
                driver.open(site.url)
                screen = driver.observe()
                assert screen.title == "Sign in"
                driver.set_text(node_of(screen, "textbox", "User"), "ann")
                driver.set_text(node_of(screen, "textbox", "Password"), "correct horse")
                driver.enter()
                assert driver.observe().title == "Home"
                assert driver.fetch(f"{site.url}/offers").status == 200


def test_what_cannot_be_done_is_said(chromium: ChromiumBrowser, site: SmallSite) -> None:
    with chromium.driver(allow_all, DriverSettings(patience_seconds=0.3)) as driver:
        for url in ("file:///etc/passwd", "data:text/html,x", "javascript:1", "about:blank"):
            with pytest.raises(DriverError, match="only pages of a server"):
                driver.open(url)
        driver.open(f"{site.url}/form")
        screen = driver.observe()
        with pytest.raises(DriverError, match="button 'Never' cannot be tapped"):
            driver.tap(node_of(screen, "button", "Never"))
        with pytest.raises(DriverError, match="no list of the page's own"):
            driver.choose(node_of(screen, "button", "Work"), "A")
        with pytest.raises(DriverError, match="not on the screen"):
            driver.tap(ScreenNode("9:9", "button", "Gone"))
        with pytest.raises(DriverError, match="has no choice 'Cee'"):
            driver.choose(node_of(screen, "combobox", "Kind"), "Cee")
    with pytest.raises(ConfigError, match="screen"):
        DriverSettings(screen="watch")  # type: ignore[arg-type]


@dataclass
class Almanac:
    """Only what `pick_day` asks of a driver. last: the latest month that it turns to."""

    year: int = 2026
    month: int = 5
    last: tuple[int, int] = (2026, 12)
    is_open: bool = False
    taps: list[str] = field(default_factory=list)

    def tap(self, one: ScreenNode) -> None:
        self.taps.append(one.name)
        self.is_open = True
        step = {"Previous month": -1, "Next month": 1}.get(one.name, 0)
        place = min(self.year * 12 + self.month - 1 + step, self.last[0] * 12 + self.last[1] - 1)
        self.year, self.month = divmod(place, 12)
        self.month += 1

    def observe(self) -> Screen:
        day = date(self.year, self.month, 1)
        shown = [
            node("h", "generic", day.strftime("%B %Y")),
            node("p", "button", "Previous month"),
            node("n", "button", "Next month"),
            *(node(f"d{n}", "gridcell", str(n)) for n in (29, 30, *range(1, 29), 1, 2)),
        ]
        return screen(node("f", "textbox", "Arrival"), *(shown if self.is_open else ()))


def pick(almanac: Almanac, day: date) -> None:
    pick_day(almanac, node("f", "textbox", "Arrival"), day)  # type: ignore[arg-type]


def test_it_is_turned_to_the_month_and_the_day_is_tapped() -> None:
    almanac = Almanac()
    pick(almanac, date(2026, 3, 2))
    assert almanac.taps == ["Arrival", "Previous month", "Previous month", "2"]


def test_it_stops_where_it_cannot_be_turned_further() -> None:
    with pytest.raises(DriverError, match="2027-02-01"):
        pick(Almanac(), date(2027, 2, 1))


def test_without_a_calendar_nothing_is_tapped_but_the_field() -> None:
    almanac = Almanac()
    almanac.observe = lambda: screen(node("f", "textbox", "Arrival"))  # type: ignore[method-assign]
    with pytest.raises(DriverError, match="no calendar"):
        pick(almanac, date(2026, 5, 1))
    assert almanac.taps == ["Arrival"]


@pytest.mark.parametrize(
    "text",
    ["2026-03-31", "3/31/2026", "31/3/2026", "31.3.2026", "31 March 2026", "March 31, 2026"],
)
def test_one_day_in_many_forms(text: str) -> None:
    assert read_day(text) == date(2026, 3, 31)


@pytest.mark.parametrize(
    "text", ["", "31", "2026", "30.2.2026", "March", "12/2026", "room 31 of 4"]
)
def test_what_is_no_day(text: str) -> None:
    assert read_day(text) is None


def test_the_month_of_a_heading() -> None:
    assert month_in("October 2027") == (2027, 10)
    assert month_in("October") is None


def test_names_are_looked_up_by_the_way_out_alone() -> None:
    (rule,) = (one for one in launch_options("pin") if "resolver" in one)
    assert rule == "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
    with pytest.raises(ConfigError, match="is no address"):
        BrowserSettings(addresses={"shop.example": "other.example"})
    with pytest.raises(ConfigError, match="no name of a host"):
        BrowserSettings(addresses={"shop.example, EXCLUDE *": "127.0.0.1"})


def test_as_root_there_is_no_sandbox_and_else_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    for user, without in ((0, True), (1000, False)):
        monkeypatch.setattr("os.geteuid", lambda user=user: user)
        assert ("--no-sandbox" in launch_options("pin")) == without


@pytest.mark.parametrize("host", ["", "http://h", "h:80", "a b", "h, EXCLUDE *"])
def test_hosts_are_names(host: str) -> None:
    with pytest.raises(ConfigError, match="no name of a host"):
        BrowserSettings(hosts=(host,))


def test_chromium_reads_pages() -> None:
    own, asked = (inspect.signature(one.fetch) for one in (ChromiumDriver, FetchingDriver))
    assert own == asked
    assert FetchedPage("http://h/", 200, {"etag": "x"}, b"").headers["etag"] == "x"
