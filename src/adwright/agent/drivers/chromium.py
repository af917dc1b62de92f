"""A `ScreenDriver` over Chromium: what accessibility tools see, and a gate at the network.

    with open_browser() as browser, browser.driver(gate) as driver:
        driver.open("http://127.0.0.1:8000/offers")
        screen = driver.observe()

Nothing waits for a fixed time: after each act the driver looks, frame by frame, until nothing is
navigated and no answer is open, or until `rest_seconds` are over. What stands in password fields is
neither read nor shown on pictures. Dialogs of scripts are dismissed unless the settings say else.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import field
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urljoin

from adwright.agent.drivers.calendar import pick_day, read_day
from adwright.agent.drivers.protocol import (
    Direction,
    DriverError,
    FetchedPage,
    PendingRequest,
    RequestGate,
    Screen,
    ScreenNode,
    SeenRequest,
)
from adwright.agent.drivers.snapshot import STYLES, NodePlace, read_snapshot
from adwright.agent.drivers.way_out import GatedNetwork, WayOut, way_out
from adwright.core.clock import Clock, SystemClock
from adwright.core.config import settings
from adwright.core.errors import ConfigError, MissingExtraError, ResourceError

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page


#: Two frames more, and as long as something moves into its place, such as a dialog: at most 0.9 s.
_LOOK = """() => new Promise(done => {
  const ends = performance.now() + 900;
  const moves = one => one.playState === 'running' && one.effect
    && isFinite(one.effect.getComputedTiming().endTime);
  const look = still => requestAnimationFrame(() => {
    const quiet = document.getAnimations().some(moves) ? 0 : still + 1;
    if (quiet > 1 + 2 * waited || performance.now() > ends) done(); else look(quiet);
    waited = waited || quiet === 0;
  });
  let waited = false;
  look(0);
})"""
_SCROLL = """(at, [x, y]) => {
  const box = at === document.documentElement ? document.scrollingElement : at;
  box.scrollBy({left: x * box.clientWidth * .9, top: y * box.clientHeight * .9,
                behavior: 'instant'});
  return x + y > 0 ? (x ? box.scrollLeft + box.clientWidth >= box.scrollWidth - 1
                        : box.scrollTop + box.clientHeight >= box.scrollHeight - 1)
                   : (x ? box.scrollLeft : box.scrollTop) <= 0;
}"""
_STEPS: dict[Direction, tuple[int, int]] = {
    "up": (0, -1),
    "down": (0, 1),
    "left": (-1, 0),
    "right": (1, 0),
}
_LONG_TAP_MS = 1000
_LONGEST_DIALOG = 500
_MOST_REDIRECTS = 10
_PHONE: dict[str, Any] = {
    "viewport": {"width": 390, "height": 844},
    "device_scale_factor": 2,
    "is_mobile": True,
    "has_touch": True,
}


@settings
class DriverSettings:
    """screen: "desktop" (1280 x 800) or "phone" (390 x 844, touch: emulated by Chromium).
    patience_seconds: for a page or an element to come. rest_seconds: for a page to come to rest
    after an act. language: what pages are asked for. script: runs before those of each page, for
    a fixed clock or seed in a test."""

    screen: Literal["desktop", "phone"] = "desktop"
    patience_seconds: float = 15.0
    rest_seconds: float = 5.0
    language: str = "en-GB"
    script: str = ""


class ChromiumDriver:
    """One page of a fresh context. `dialogs` are the texts of those that scripts have opened: of
    one that asks yes or no the gate is asked, as of a request."""

    def __init__(
        self,
        browser: Browser,
        gate: RequestGate,
        way: WayOut,
        settings: DriverSettings,
        *,
        clock: Clock,
    ) -> None:
        size = (
            _PHONE if settings.screen == "phone" else {"viewport": {"width": 1280, "height": 800}}
        )
        self._settings, self._clock, self._way = settings, clock, way
        self._context = browser.new_context(
            accept_downloads=False, service_workers="block", locale=settings.language, **size
        )
        self._context.set_default_timeout(settings.patience_seconds * 1000)
        if settings.script:
            self._context.add_init_script(settings.script)
        self._gate = gate
        self._network = GatedNetwork(self._context, gate, way)
        self._page: Page = self._context.new_page()
        self._session = self._context.new_cdp_session(self._page)
        self._navigating: set[str] = set()
        self._places: Mapping[str, NodePlace] = {}
        self._screen = Screen("about:blank", "", ())
        self.dialogs: list[str] = []
        for name in ("frameRequestedNavigation", "frameStartedLoading"):
            self._session.on(f"Page.{name}", lambda event: self._navigating.add(event["frameId"]))
        for name in ("frameStoppedLoading", "frameDetached"):
            self._session.on(
                f"Page.{name}", lambda event: self._navigating.discard(event["frameId"])
            )
        self._session.send("Page.enable")
        self._network.watch(self._page, self._session)
        self._page.on("dialog", self._on_dialog)

    def observe(self) -> Screen:
        """What is there, once the screen is at rest."""
        self.rest()
        for again in (True, True, False):
            try:
                return self._look()
            except _playwright_error() as error:
                # A page that comes in the midst of it.
                if not again:
                    raise _driver_error("the page cannot be looked at", error) from error
                self.rest()
        raise DriverError("the page cannot be looked at")

    def _look(self) -> Screen:
        options = {"computedStyles": list(STYLES), "includeDOMRects": False}
        snapshot = self._session.send("DOMSnapshot.captureSnapshot", options)
        trees = {}
        for one in snapshot["documents"]:
            frame = snapshot["strings"][one["frameId"]]
            answer = self._session.send("Accessibility.getFullAXTree", {"frameId": frame})
            trees[frame] = answer["nodes"]
        seen = read_snapshot(snapshot, trees)
        self._places = seen.places
        main = snapshot["documents"][0]
        height = (self._page.viewport_size or {"height": 0})["height"]
        end = main.get("scrollOffsetY", 0) + height >= main.get("contentHeight", 0) - 1
        title = snapshot["strings"][main["title"]] if main["title"] >= 0 else ""
        self._screen = Screen(self._page.url, title, seen.nodes, at_end=end)
        return self._screen

    def open(self, url: str) -> None:
        """Go to a URL, through the gate; of a server, and to nothing else."""
        if not url.startswith(("http://", "https://")):
            raise DriverError(
                "only pages of a server are opened", where=url[:200], hint="use http or https"
            )
        with self._acting(f"{url[:200]} does not open"):
            self._page.goto(url, wait_until="commit")

    def tap(self, node: ScreenNode) -> None:
        """A tap or click on it; a link that would open another page opens in this one."""
        link = node.facts.get("href", "")
        if link and node.facts.get("target", "_self") not in ("", "_self"):
            return self.open(link)
        at = self._at(node)
        with self._acting(f"{_named(node)} cannot be tapped"):
            if self._settings.screen == "phone":
                at.tap(no_wait_after=True)
            else:
                if node.role == "generic" and not node.text:
                    at.hover()  # icons are often drawn anew once they are pointed at
                    self.rest()
                # What it leads to is waited for below: the gate may ask a person first, and that
                # may take longer than a page may.
                at.click(no_wait_after=True)

    def long_tap(self, node: ScreenNode) -> None:
        """A tap that lasts a second."""
        with self._acting(f"{_named(node)} cannot be tapped"):
            self._at(node).click(delay=_LONG_TAP_MS, no_wait_after=True)

    def set_text(self, node: ScreenNode, text: str) -> None:
        """Make `text` all that stands in a field; where that takes no typing but opens a calendar,
        choose the day that the text is."""
        day = read_day(text) if "readonly" in node.facts else None
        if day is not None:
            return pick_day(self, node, day)
        with self._acting(f"{_named(node)} takes no such text"):
            self._at(node).fill(text)

    def choose(self, node: ScreenNode, option: str) -> None:
        """Choose one of a list by its label, besides those chosen where it takes several; of a
        switch "true" or "false"."""
        with self._acting(f"{_named(node)} has no choice {option[:80]!r}"):
            if node.options or node.facts.get("tag") == "select":
                several = node.value.split(", ") if "multiple" in node.facts and node.value else []
                self._at(node).select_option(label=[*several, option])
            elif option in ("true", "false"):
                self._at(node).set_checked(option == "true")
            else:
                raise DriverError(
                    f"{_named(node)} is no list of the page's own",
                    where=option[:80],
                    hint="tap it, and tap the choice that it shows",
                )

    def scroll(self, node: ScreenNode | None, direction: Direction) -> bool:
        """Most of a page further; true where the end is reached."""
        at = self._page.locator(":root") if node is None else self._at(node)
        with self._acting("it cannot be scrolled"):
            return bool(at.evaluate(_SCROLL, _STEPS[direction]))

    def back(self) -> None:
        """To where one came from."""
        with self._acting("there is no page to go back to"):
            self._page.go_back(wait_until="commit")

    def enter(self) -> None:
        """The key Enter, to what has the focus."""
        with self._acting("Enter does nothing here"):
            self._page.keyboard.press("Enter")

    def read(self, node: ScreenNode) -> str:
        """The text in it, or the value of a field, now; never what a password field holds."""
        if node.secret:
            return ""
        at = self._at(node)
        with self._acting(f"{_named(node)} cannot be read"):
            if node.facts.get("tag") in ("input", "textarea", "select"):
                if node.role in ("checkbox", "radio", "switch"):
                    return "true" if at.is_checked() else "false"
                return at.input_value()
            return at.inner_text()

    def requests(self) -> tuple[SeenRequest, ...]:
        """All requests decided on since the last call, in order."""
        return self._network.take()

    def picture(self, masked: tuple[ScreenNode, ...] = ()) -> bytes:
        """The screen as PNG; these nodes, and fields for passwords, are painted over."""
        hidden = [*masked, *(one for one in self._screen.nodes if one.secret)]
        covers = [self._at(one) for one in hidden if one.key in self._places]
        covers.append(self._page.locator("input[type=password]"))
        with self._acting("there is no picture"):
            return self._page.screenshot(mask=covers, animations="disabled")

    def fetch(self, url: str, headers: Mapping[str, str] | None = None) -> FetchedPage:
        """A page by GET with the context's cookies, through the gate, without showing it.

        Raises DriverError where the gate refuses a step of it, or nobody answers.
        """
        before = ""
        for _ in range(_MOST_REDIRECTS):
            kind: Literal["page", "redirect"] = "redirect" if before else "page"
            if not self._network.ask(
                PendingRequest("GET", url, kind, redirected_from=before)
            ).allowed:
                raise DriverError("the gate refuses it", where=url[:200])
            try:
                # The way out checks the server's certificate, and shows its own.
                answer = self._context.request.get(
                    url, headers=dict(headers or {}), max_redirects=0, ignore_https_errors=True
                )
            except _playwright_error() as error:
                raise _driver_error(f"{url[:200]} does not answer", error) from error
            self._network.note_status(answer.status)
            if not (300 <= answer.status < 400 and "location" in answer.headers):
                return FetchedPage(url, answer.status, answer.headers, answer.body())
            before, url = url, urljoin(url, answer.headers["location"])
        raise DriverError("it is redirected without an end", where=url[:200])

    def close(self) -> None:
        """Give everything back; any number of times."""
        self._way.clear()  # nothing that a page sends as it is left
        with suppress(Exception):
            self._context.close()

    def rest(self) -> None:
        """Wait until nothing is navigated and no answer is open, or `rest_seconds` are over."""
        ends = self._clock.monotonic() + self._settings.rest_seconds
        while True:
            try:
                self._page.evaluate(_LOOK)
            except _playwright_error():
                # Another page came in the midst of it; of a page that is gone `observe` speaks.
                if self._page.is_closed() or self._clock.monotonic() > ends:
                    return
                with suppress(_playwright_error()):
                    self._page.wait_for_load_state("domcontentloaded")
                continue
            at_rest = not self._network.busy and not self._navigating
            if at_rest or self._clock.monotonic() > ends:
                break
        self._navigating.clear()
        self._network.rest()
        if not self._page.url.startswith(("http://", "https://", "about:blank")):
            # A page that came from no server: nothing on it is looked at.
            with suppress(_playwright_error()):
                self._page.goto("about:blank")

    def _at(self, node: ScreenNode) -> Locator:
        place = self._places.get(node.key)
        if place is None:
            raise DriverError(
                f"{_named(node)} is not on the screen", where=node.key, hint="observe it anew"
            )
        inside: Any = self._page
        for path in place.frames:
            inside = inside.frame_locator(f"xpath={path}")
        if place.path:
            found: Locator = inside.locator(f"xpath={place.path}")
            return found
        alike: Locator = inside.get_by_role(node.role, name=node.name, exact=True)
        return alike.nth(node.nth)

    @contextmanager
    def _acting(self, what: str) -> Iterator[None]:
        """An act, after which the page comes to rest; Playwright's errors become ours."""
        self._way.failure = ""
        try:
            yield
        except _playwright_error() as error:
            raise _driver_error(what, self._way.failure or error) from error
        self.rest()

    def _on_dialog(self, dialog: Any) -> None:
        text = dialog.message[:_LONGEST_DIALOG]
        self.dialogs.append(text)
        # One that only tells something takes no other answer, and nobody else edits this page.
        yes = dialog.type in ("alert", "beforeunload")
        if dialog.type == "confirm":
            asked = PendingRequest("ASK", self._page.url, "dialog", fields={"message": text})
            with suppress(Exception):
                yes = self._gate(asked).allowed
        with suppress(_playwright_error()):
            (dialog.accept if yes else dialog.dismiss)()


def _named(node: ScreenNode) -> str:
    return f"{node.role} {node.name[:60]!r}"


def _driver_error(what: str, error: Exception | str) -> DriverError:
    said = str(error).strip().splitlines()
    return DriverError(what, where=(said[0] if said else "")[:200])


def _playwright_error() -> type[Exception]:
    from playwright.sync_api import Error

    return Error


# --------------------------------------------------------------------------------------------------
# The distribution's Chromium, with nothing of a person's in it.
#
#     with open_browser() as browser:
#         with browser.driver(gate) as driver:
#             driver.open("http://127.0.0.1:8000/")
#
# One process, and for each driver a context of its own: no cookies, no files, no permission. The
# process is started without a shell. It looks up no names, and its only way to the network is
# `way_out`, which sends what the gate has allowed and knows the hosts that are listed. It has a
# sandbox of its own, but not as root, where Chromium refuses to start with it.

_PROGRAMS = ("chromium", "chromium-browser")
_OPTIONS = (
    # One process for all frames of a page: the gate and the snapshot then see each of them.
    "--disable-site-isolation-trials",
    # And nothing is fetched or drawn before it is asked for.
    "--disable-features=IsolateOrigins,site-per-process,SpareRendererForSitePerProcess,MediaRouter,"
    "SpeculationRulesPrefetchProxy,Prerender2,NoStatePrefetch,PreloadingHeuristics",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-domain-reliability",
    "--disable-quic",
    "--no-pings",
    "--dns-prefetch-disable",
    # The one name or the other, by the version: a page's UDP would pass by the way out.
    "--webrtc-ip-handling-policy=disable_non_proxied_udp",
    "--force-webrtc-ip-handling-policy=disable_non_proxied_udp",
    # The way out alone; the first rule that fits a name counts.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)


@settings
class BrowserSettings:
    """program: of Chromium; empty for the one that the system has. hosts: the only names that are
    looked up. addresses: names that are not looked up, each with the address that it stands for.
    Where both are empty any name is, and then the gate alone says what is reached. Raises
    ConfigError for a host that is none."""

    program: str = ""
    hosts: tuple[str, ...] = ()
    addresses: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for address in self.addresses.values():
            _require_address(address)
        for host in (*self.hosts, *self.addresses):
            if not host or not host.replace("-", "").replace(".", "").isalnum():
                raise ConfigError(
                    f"{host!r} is no name of a host",
                    where="BrowserSettings.hosts",
                    hint="write it without a scheme or port, as in ads.example",
                )


class ChromiumBrowser:
    """A process of Chromium; makes drivers, each as fresh as the first."""

    def __init__(self, browser: Browser, way: WayOut, clock: Clock) -> None:
        self._browser = browser
        self._way = way
        self._clock = clock

    @contextmanager
    def driver(
        self, gate: RequestGate, settings: DriverSettings | None = None
    ) -> Iterator[ChromiumDriver]:
        """A driver with an empty profile, closed when the block ends."""
        driver = ChromiumDriver(
            self._browser, gate, self._way, settings or DriverSettings(), clock=self._clock
        )
        try:
            yield driver
        finally:
            driver.close()


@contextmanager
def open_browser(
    settings: BrowserSettings | None = None, *, clock: Clock | None = None
) -> Iterator[ChromiumBrowser]:
    """Chromium, until the block ends.

    Raises MissingExtraError without Playwright, ResourceError where there is no Chromium or it does
    not start.
    """
    settings = settings or BrowserSettings()
    try:
        from playwright.sync_api import Error, sync_playwright
    except ImportError as error:
        raise MissingExtraError("driving a browser", "agent") from error
    program = settings.program or next(filter(None, map(shutil.which, _PROGRAMS)), None)
    if program is None:
        raise ResourceError(
            "there is no Chromium on this machine",
            where=" or ".join(_PROGRAMS),
            hint="install the distribution's, as `make browser` does, or name its program",
        )
    clock = clock or SystemClock()
    addresses = {one: one for one in settings.hosts} | dict(settings.addresses)
    with way_out(addresses, clock) as way, sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(
                executable_path=program, args=launch_options(way.pin), proxy={"server": way.url}
            )
        except Error as error:
            raise ResourceError(
                f"Chromium does not start: {error.message.splitlines()[0]}",
                where=program,
                hint="start it by hand to see why",
            ) from error
        try:
            yield ChromiumBrowser(browser, way, clock)
        finally:
            browser.close()


def launch_options(pin: str) -> list[str]:
    """The options that Chromium is started with; pin: the hash of the key of its way out."""
    options = [*_OPTIONS, f"--ignore-certificate-errors-spki-list={pin}"]
    if os.geteuid() == 0:
        options.append("--no-sandbox")
    return options


def _require_address(text: str) -> None:
    try:
        ip_address(text)
    except ValueError:
        raise ConfigError(
            f"{text!r} is no address", where="BrowserSettings.addresses", hint="write an IP address"
        ) from None
