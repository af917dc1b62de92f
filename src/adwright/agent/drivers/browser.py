"""The distribution's Chromium, with nothing of a person's in it.

    with open_browser() as browser:
        with browser.driver(gate) as driver:
            driver.open("http://127.0.0.1:8000/")

One process, and for each driver a context of its own: no cookies, no files, no permission. The
process is started without a shell. It looks up no names, and its only way to the network is
`way_out`, which sends what the gate has allowed and knows the hosts that are listed. It has a
sandbox of its own, but not as root, where Chromium refuses to start with it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import field
from ipaddress import ip_address
from typing import TYPE_CHECKING

from adwright.agent.drivers.chromium import ChromiumDriver, DriverSettings
from adwright.agent.drivers.protocol import RequestGate
from adwright.agent.drivers.way_out import WayOut, way_out
from adwright.core.clock import Clock, SystemClock
from adwright.core.config import settings
from adwright.core.errors import ConfigError, MissingExtraError, ResourceError

if TYPE_CHECKING:
    from playwright.sync_api import Browser

__all__ = ["BrowserSettings", "ChromiumBrowser", "launch_options", "open_browser"]

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
