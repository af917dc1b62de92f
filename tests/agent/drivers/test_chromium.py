"""In Chromium: acting on a page, waiting for it, and pictures without secrets."""

from __future__ import annotations

import inspect
import io
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.agent.drivers.calendar import month_in, pick_day, read_day
from adwright.agent.drivers.chromium import (
    BrowserSettings,
    ChromiumBrowser,
    ChromiumDriver,
    DriverSettings,
    launch_options,
    open_browser,
)
from adwright.agent.drivers.phone_check import AdbSettings, PhoneCheck, PhoneReport, check_phone
from adwright.agent.drivers.protocol import (
    DriverError,
    FetchedPage,
    FetchingDriver,
    GateDecision,
    PendingRequest,
    Screen,
    ScreenNode,
    body_fields,
    kind_of,
)
from adwright.agent.drivers.snapshot import (
    ELEMENT,
    STYLES,
    TEXT,
    DomDocument,
    NodePlace,
    PageNodes,
    blocks_of,
    hint_of,
    nearby_label,
    read_documents,
    read_snapshot,
)
from adwright.core.errors import ConfigError, ResourceError
from tests.support.agent.site.browsing import allow_all, node_of
from tests.support.agent.site.pages import page as pages_page
from tests.support.agent.site.recorded import recorded_page
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
def site() -> Iterator[SmallSite]:
    with small_site() as site:
        site.extra |= {"/form": pages_page("Form", FORM), "/slow": "<p>slow</p>"}
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


def test_the_gate_answers_dialogs(
    driver: ChromiumDriver, chromium: ChromiumBrowser, site: SmallSite
) -> None:
    driver.tap(node_of(driver.observe(), "button", "Ask"))
    assert (said(driver), driver.dialogs) == ("yes", ["Really?"])

    def gate(request: PendingRequest) -> GateDecision:
        if request.kind == "dialog":
            raise ValueError(request.fields["message"])
        return allow_all(request)

    with chromium.driver(gate) as other:
        other.open(f"{site.url}/form")
        other.tap(node_of(other.observe(), "button", "Ask"))
        assert (said(other), other.dialogs) == ("no", ["Really?"])


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
        # What it waits for is tested elsewhere, and a busy machine may be late with it.
        ends = time.monotonic() + 5.0
        while said(driver) != "done" and time.monotonic() < ends:
            time.sleep(0.05)
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
    "text", ["2026-03-31", "3/31/2026", "31/3/2026", "31.3.2026", "31 March 2026", "March 31, 2026"]
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


VIEWS = '<hierarchy><node package="com.shop.ads" text="Save" /></hierarchy>'
#: An `adb` that runs what it is asked to on this machine, in the place of a phone.
LOCAL = """#!/bin/sh
shift 4
case "$1" in
  get-state) echo device ;;
  shell|exec-out) cd {folder}; PATH="{folder}:$PATH" exec sh -c "$2" ;;
esac
"""
PROGRAMS = {
    "getprop": "echo 14",
    "wm": "echo Physical size: 1080x2400",
    "uiautomator": 'cp view.xml "$2"; echo "UI hierchary dumped to: $2"',
    "screencap": "printf '\\211PNG\\r\\n\\032\\n'",
    "input": "echo input >> touched",
    "am": "echo am >> touched",
    "dumpsys": "echo mInputShown=false",
}


def scripted(folder: Path, **other: str) -> AdbSettings:
    for name, body in (PROGRAMS | other).items():
        (folder / name).write_text(f"#!/bin/sh\n{body}\n")
        (folder / name).chmod(0o755)
    (folder / "view.xml").write_text(VIEWS)
    (folder / "adb").write_text(LOCAL.format(folder=folder))
    (folder / "adb").chmod(0o755)
    return AdbSettings("R5CT", program=str(folder / "adb"), folder=str(folder))


def test_a_phone_that_works_is_looked_at_and_not_touched(tmp_path: Path) -> None:
    report = check_phone(scripted(tmp_path))
    assert report.works, report.text()
    names = ("connection", "phone", "quoting", "status", "screen", "views", "picture")
    assert tuple(one.name for one in report.checks) == (*names, "commands", "keyboard")
    lines = report.text().splitlines()
    assert "ok   screen: 1080 x 2400 pixels" in lines
    assert "ok   views: 1 of com.shop.ads" in lines
    assert lines[-1] == "R5CT can be driven"
    assert not (tmp_path / "touched").exists()
    assert not (tmp_path / "adwright-view.xml").exists()


@pytest.mark.parametrize(
    ("name", "body", "check"),
    [
        ("wm", "echo no", "screen"),
        ("uiautomator", "echo ERROR: null root node", "views"),
        ("screencap", "echo no", "picture"),
        ("dumpsys", "true", "keyboard"),
        ("getprop", "exit 1", "phone"),
        ("false", "true", "status"),
        ("printf", "echo other", "quoting"),
        ("which", "exit 1", "commands"),
    ],
)
def test_what_does_not_work_is_named(tmp_path: Path, name: str, body: str, check: str) -> None:
    settings = scripted(tmp_path, **{name: body})
    if name in ("false", "printf"):
        # Parts of the shell itself.
        adb = tmp_path / "adb"
        adb.write_text(adb.read_text().replace('"$2"', f'"command {tmp_path}/$2"'))
    report = check_phone(settings)
    failed = {one.name for one in report.checks if not one.works}
    assert check in failed
    assert name in ("false", "printf") or failed == {check}
    assert f"FAIL {check}: " in report.text()
    assert report.text().endswith("R5CT cannot be driven as it is")


def test_without_a_phone_there_is_one_line(tmp_path: Path) -> None:
    report = check_phone(AdbSettings("R5CT", program=str(tmp_path / "adb")))
    (only,) = report.checks
    assert (only.name, only.works) == ("connection", False)
    assert "install Android's platform tools" in only.said
    assert PhoneReport("a", (PhoneCheck("b", True, "c"),)).works


@pytest.fixture(scope="module")
def page() -> PageNodes:
    return read_snapshot(*recorded_page())


def named(page: PageNodes, name: str) -> ScreenNode:
    (found,) = (one for one in page.nodes if one.name == name)
    return found


def test_names_and_roles_are_the_browsers(page: PageNodes) -> None:
    found = {one.name: one.role for one in page.nodes if one.name}
    assert found == {
        **{"Title": "textbox", "Kind": "combobox", "Key": "textbox", "Active": "checkbox"},
        **{"Words": "textbox", "Save": "button", "Late": "button", "Next": "link"},
        **{"Top": "link", "Chart": "img", "Bar": "button", "Deep": "button", "inner": "textbox"},
    }
    assert STYLES == ("visibility",)


def test_fields_that_shadow_properties_hide_nothing(page: PageNodes) -> None:
    save = named(page, "Save")
    assert (save.facts["method"], save.facts["action"]) == ("GET", "http://shop.example/other")
    title = named(page, "Title")
    assert (title.facts["method"], title.facts["action"]) == ("POST", "http://shop.example/save")
    assert (title.facts["name"], title.facts["maxlength"]) == ("name", "9")
    assert "required" in title.facts
    assert title.facts["label"] == "Ti tle"
    assert save.facts["test_id"] == "go"


def test_values(page: PageNodes) -> None:
    values = {one: named(page, one).value for one in ("Title", "Kind", "Active", "Words")}
    assert values == {"Title": "tea", "Kind": "Bee", "Active": "true", "Words": "two\nlines"}
    assert named(page, "Kind").options == ("A", "Bee")
    assert not named(page, "Late").enabled


def test_secrets_are_not_read(page: PageNodes) -> None:
    key = named(page, "Key")
    assert (key.secret, key.value, key.text) == (True, "", "")
    assert "hush" not in repr(page)


def test_hidden_parts_and_frames_of_no_server_are_left_out(page: PageNodes) -> None:
    shown = " ".join(f"{one.name} {one.text}" for one in page.nodes)
    assert not any(word in shown for word in ("Hidden", "Unseen", "Trap", "gone"))
    assert "onetwo" not in shown


def test_links_are_whole_and_places_in_the_page_apart(page: PageNodes) -> None:
    assert named(page, "Next").facts["href"] == "http://shop.example/offers/7/page?x=1#y"
    assert named(page, "Top").facts["anchor"] == "#top"
    assert "href" not in named(page, "Top").facts
    (tap,) = (one for one in page.nodes if one.role == "generic")
    assert (tap.text, tap.facts["clickable"]) == ("Tap me", "true")


def test_places_lead_through_frames_and_not_into_shadows(page: PageNodes) -> None:
    inner = named(page, "inner")
    assert inner.frame == "ad"
    assert page.places[inner.key] == NodePlace(
        ("/html[1]/body[1]/iframe[1]",), "/html[1]/body[1]/input[1]"
    )
    assert page.places[named(page, "Deep").key].path == ""


def test_alike_nodes_are_numbered(page: PageNodes) -> None:
    items = [one for one in page.nodes if one.role == "listitem"]
    assert [(one.text, one.nth, one.of) for one in items] == [("one", 0, 2), ("two", 1, 2)]
    assert all(one.parent in page.places for one in items)


@pytest.fixture(scope="module")
def dom_page() -> DomDocument:
    return read_documents(recorded_page()[0])[0]


def element(dom_page: DomDocument, tag: str, **attributes: str) -> int:
    (found,) = (
        node
        for node, own in enumerate(dom_page.attributes)
        if dom_page.tags[node] == tag and attributes.items() <= own.items()
    )
    return found


def test_attributes_are_read_and_not_properties(dom_page: DomDocument) -> None:
    form = element(dom_page, "form")
    assert dom_page.attributes[form] == {"id": "f12345", "action": "/save", "method": "post"}
    assert dom_page.values[element(dom_page, "input", name="name")] == "tea"
    assert dom_page.url == "http://shop.example/offers/7/"
    assert dom_page.title == "Édit"


def test_paths_and_selectors(dom_page: DomDocument) -> None:
    title = element(dom_page, "input", name="name")
    assert dom_page.path(title) == "/html[1]/body[1]/form[1]/input[1]"
    assert dom_page.path(element(dom_page, "rect")).endswith(
        "/*[name()='g'][1]/*[name()='rect'][1]"
    )
    assert dom_page.selector(title) == 'input[id="t"]'
    assert dom_page.selector(element(dom_page, "textarea")) == 'textarea[name="text"]'
    # Numbers in an id are not lasting, and a shadow tree has no path.
    assert dom_page.selector(element(dom_page, "form")) == ""
    deep = next(
        node
        for node, tag in enumerate(dom_page.tags)
        if tag == "button" and dom_page.text(node) == "Deep"
    )
    assert dom_page.path(deep) == ""


def test_labels_options_and_forms(dom_page: DomDocument) -> None:
    kind = element(dom_page, "select")
    assert dom_page.label(kind) == "Kind"
    assert (dom_page.options[kind], dom_page.chosen[kind]) == (["A", "Bee"], ["Bee"])
    assert dom_page.label(element(dom_page, "form")) == ""
    late = element(dom_page, "button", form="f12345")
    assert dom_page.form(late) == element(dom_page, "form")
    assert dom_page.form(element(dom_page, "svg")) is None


def test_what_is_seen_and_tapped(dom_page: DomDocument) -> None:
    assert element(dom_page, "div", id="c") in dom_page.clickable
    assert element(dom_page, "select") in dom_page.visible
    hidden = element(dom_page, "p", hidden="")
    assert hidden not in dom_page.visible
    assert sorted(dom_page.frames.values()) == [1, 2]


Tree: TypeAlias = "tuple[str, dict[str, str], list[Tree | str]]"


def dom(tree: Tree) -> DomDocument:
    parents: list[int] = []
    kinds: list[int] = []
    none = frozenset[int]()
    page = DomDocument("", "", "", "", parents, kinds, [], [], [], {}, {}, {}, none, none, none)

    def add(one: Tree | str, parent: int) -> None:
        number = len(page.tags)
        is_text = isinstance(one, str)
        parents.append(parent)
        kinds.append(TEXT if is_text else ELEMENT)
        page.tags.append("#text" if isinstance(one, str) else one[0])
        page.texts.append(one if isinstance(one, str) else "")
        page.attributes.append({} if isinstance(one, str) else one[1])
        for inner in () if isinstance(one, str) else one[2]:
            add(inner, number)

    add(tree, -1)
    return page


@pytest.mark.parametrize(
    ("attributes", "hint"),
    [
        ({"class": "fa fa-archive active"}, "archive"),
        ({"id": "openDrawer"}, "drawer"),
        ({"class": "icon btn", "title": "Pin to top"}, "pin to"),
        ({"class": "icon-lg"}, ""),
    ],
)
def test_icons_are_called_after_their_class(attributes: dict[str, str], hint: str) -> None:
    assert hint_of(dom(("i", attributes, [])), 0) == hint


def test_fields_are_called_after_what_stands_before_them() -> None:
    row: Tree = ("tr", {}, [("th", {}, ["Colour"]), ("td", {}, [("input", {}, [])])])
    page = dom(row)
    assert nearby_label(page, page.tags.index("input")) == "Colour"
    pair: Tree = ("p", {}, [("label", {}, ["Nickname"]), ("input", {}, []), ("input", {}, [])])
    page = dom(pair)
    first = page.tags.index("input")
    assert (nearby_label(page, first), nearby_label(page, first + 1)) == ("Nickname", "")


def card(text: str, inner: str = "span") -> Tree:
    return ("div", {"class": "card"}, [("p", {}, [text]), (inner, {"class": "pin"}, [])])


def pins(page: DomDocument) -> list[int]:
    return [n for n, one in enumerate(page.attributes) if one.get("class") == "pin"]


def test_boxes_that_are_alike_are_records() -> None:
    page = dom(("main", {}, [card("Oats"), card("Rye"), ("div", {}, ["end"])]))
    boxes = [n for n, one in enumerate(page.attributes) if one.get("class") == "card"]
    assert blocks_of(page, pins(page)) == frozenset(boxes)


def test_a_single_box_or_one_with_a_field_is_no_record() -> None:
    alone = dom(("main", {}, [card("Oats"), ("div", {"class": "card"}, ["Rye"])]))
    assert blocks_of(alone, pins(alone)) == frozenset()
    form = dom(("main", {}, [card("Oats", "input"), card("Rye", "input")]))
    assert blocks_of(form, pins(form)) == frozenset()


def test_kinds() -> None:
    assert kind_of("document", navigates=True, is_main=True) == "page"
    assert kind_of("document", navigates=True, is_main=False) == "frame"
    words = ("xhr", "fetch", "EventSource", "script", "ping", "websocket", "image", "what")
    kinds = [kind_of(one, navigates=False, is_main=True) for one in words]
    assert kinds == [
        *("fetch", "fetch", "fetch", "script", "beacon", "socket", "resource", "resource")
    ]


MULTIPART = (
    b'--b\r\nContent-Disposition: form-data; name="title"\r\n\r\nTea\r\n'
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n'
    b"Content-Type: text/csv\r\n\r\nx,y\r\n--b--\r\n"
)


@pytest.mark.parametrize(
    ("body", "kind", "fields"),
    [
        (b"a=1&b=&a=2", "application/x-www-form-urlencoded; charset=utf-8", {"a": "1, 2", "b": ""}),
        (b'{"a": "x", "n": 3, "l": [1]}', "application/json", {"a": "x", "n": "3", "l": "[1]"}),
        (b'{"a": 1}', "application/vnd.api+json", {"a": "1"}),
        (b"[1]", "application/json", {}),
        (b"{", "application/json", {}),
        (b"a=1", "text/plain", {}),
        (b"", "application/json", {}),
        (
            MULTIPART,
            "multipart/form-data; boundary=b",
            {"title": "Tea", "file": "file a.csv, 3 bytes"},
        ),
    ],
)
def test_fields(body: bytes, kind: str, fields: dict[str, str]) -> None:
    assert body_fields(body, kind) == fields


@given(
    st.binary(max_size=80),
    st.sampled_from(
        ["application/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=b"]
    ),
)
def test_no_body_is_an_error(body: bytes, kind: str) -> None:
    assert all(isinstance(one, str) for one in body_fields(body, kind).values())
