"""The applications of the tasks, started once and put back between tasks, and their documents.

with open_app("oscar", folder, browser) as app:
    app.document             # explored once by reading alone, then kept in the cache
    app.restore()            # the database as it was, while the server runs
    driver = app.open(gate, stack)      # signed in

A task gets a database that nobody has changed: SQLite's own backup writes the rows of a copy over
those of the file that the server reads.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast, get_args

from adwright.agent.document.elements import AppDocument
from adwright.agent.drivers.chromium import ChromiumBrowser, ChromiumDriver, DriverSettings
from adwright.agent.drivers.protocol import GateDecision, PendingRequest, RequestGate
from adwright.agent.explore.explorer import (
    ExploreBounds,
    PageRecords,
    ReadingGate,
    build_document,
    explore,
    sign_in,
)
from adwright.core.assets import derived
from adwright.core.hashing import content_hash
from benchmarks.agent.apps import shop, store_pages
from benchmarks.common.result import ROOT

AppName: TypeAlias = Literal["oscar", "storefront", "admin"]
APPS: tuple[AppName, ...] = get_args(AppName)
#: Given the address of an app, what browsers go to in its place, while it lasts.
AppFronts: TypeAlias = Callable[[str], AbstractContextManager[str]]
_PATIENCE = 6.0


@dataclass(frozen=True)
class _About:
    """start, login: paths; fields: what is typed where one signs in, nothing for a stranger; first:
    a path that is read before all others, a search that finds something."""

    title: str
    start: str
    paths: tuple[str, ...]
    login: str = ""
    fields: tuple[tuple[str, str], ...] = ()
    screen: Literal["desktop", "phone"] = "desktop"
    first: str = ""


_ABOUT: dict[AppName, _About] = {
    "oscar": _About(
        "Mill Lane",
        "/dashboard/",
        ("/dashboard/",),
        "/dashboard/login/",
        (("username", shop.EMAIL), ("password", shop.PASSWORD)),
    ),
    "storefront": _About("Mill Lane shop", "/", ("/",), screen="phone", first="/search/?q=Cookies"),
    "admin": _About(
        "Campaign store",
        "/admin/",
        ("/admin/",),
        "/admin/login",
        (("username", "ann"), ("password", store_pages.PASSWORD)),
    ),
}


class _Door:
    """Lets the form of signing in through, and then asks the gate of the run."""

    def __init__(self, first: RequestGate, gate: RequestGate) -> None:
        self._first: RequestGate | None = first
        self._gate = gate

    def shut(self, gate: RequestGate) -> None:
        """Signed in: from now on this gate is asked."""
        self._first, self._gate = None, gate

    def __call__(self, request: PendingRequest) -> GateDecision:
        return (self._first or self._gate)(request)


class _NotClosed:
    """A screen that outlives the run that it is given to."""

    def __init__(self, driver: ChromiumDriver) -> None:
        self._driver = driver

    def __getattr__(self, name: str) -> Any:
        return getattr(self._driver, name)

    def close(self) -> None:
        """Nothing: another run goes on with it."""


class TaskApp:
    """An application that runs. document: its origin is where it runs now."""

    def __init__(self, name: AppName, url: str, database: Path, browser: ChromiumBrowser) -> None:
        self.name, self.url, self.database = name, url, database
        self._browser, self._about = browser, _ABOUT[name]
        self._kept = ExitStack()
        self._signed_in: tuple[ChromiumDriver, _Door] | None = None
        self._pristine = database.with_suffix(".pristine")
        shutil.copyfile(database, self._pristine)
        self.document = self._explored()

    @property
    def start(self) -> str:
        """The address at which it begins."""
        return self.url + self._about.start

    @property
    def pristine(self) -> Path:
        """The database that nobody has changed."""
        return self._pristine

    @property
    def sign_in(self) -> tuple[str, dict[str, str]]:
        """The address at which one signs in, and what is typed there; of a stranger nothing."""
        return self.url + self._about.login, dict(self._about.fields)

    def restore(self) -> None:
        """The database as it was at first."""
        with (
            closing(sqlite3.connect(self._pristine)) as before,
            closing(sqlite3.connect(self.database, timeout=30)) as now,
        ):
            before.backup(now)

    def open(self, gate: RequestGate, stack: ExitStack) -> ChromiumDriver:
        """A screen whose requests `gate` decides on: of a stranger a fresh one, else one that
        signed in and is kept, since its cookies hold nothing but who it is. Where the run before
        signed out, it signs in anew."""
        about = self._about
        settings = DriverSettings(screen=about.screen, patience_seconds=_PATIENCE)
        if not about.fields:
            return stack.enter_context(self._browser.driver(gate, settings))
        login = self.url + about.login
        if self._signed_in is not None:
            driver, door = self._signed_in
            door.shut(ReadingGate((self.url,)))
            driver.open(self.start)
            if driver.observe().url.startswith(login):
                self.close()
        if self._signed_in is None:
            door = _Door(ReadingGate((self.url,), sign_in=(login,)), gate)
            driver = self._kept.enter_context(self._browser.driver(door, settings))
            sign_in(driver, login, dict(about.fields))
            self._signed_in = driver, door
        driver, door = self._signed_in
        driver.requests()
        door.shut(gate)
        return cast(ChromiumDriver, _NotClosed(driver))

    def close(self) -> None:
        """Give the signed-in screen back; another one signs in anew."""
        self._kept.close()
        self._signed_in = None

    def _explored(self) -> AppDocument:
        folder = derived(f"agent-pages-{self.name}-{_key(self.name)}", self._explore)
        records = PageRecords(folder)
        return build_document(self._about.title, records.all, (self.url,))

    def _explore(self, folder: Path) -> None:
        gate = ReadingGate((self.url,))
        start = self.url + self._about.start
        # Pages that ask whether to delete are only opened, and the database is a copy.
        bounds = ExploreBounds(start=start, paths=self._about.paths, pages=250, cautious=False)
        with ExitStack() as stack:
            first = (start, self.url + self._about.first) if self._about.first else ()
            explore(self.open(gate, stack), PageRecords(folder), bounds, first=first)


@contextmanager
def open_app(
    name: AppName, folder: Path, browser: ChromiumBrowser, front: AppFronts = nullcontext
) -> Iterator[TaskApp]:
    """The application on loopback over a fresh database in `folder`, until the block ends.

    front: what stands between it and browsers; the app lives at the address that this gives.
    """
    with ExitStack() as stack:
        served: store_pages.StorePages | shop.OscarShop
        if name == "admin":
            served = stack.enter_context(store_pages.store_pages(folder))
        else:
            served = stack.enter_context(shop.oscar(folder))
        url = stack.enter_context(front(served.url))
        yield stack.enter_context(closing(TaskApp(name, url, served.database, browser)))


def _key(name: AppName) -> str:
    """What the records of an exploration depend on: the app's data, and how pages are read."""
    agent = ROOT / "src" / "adwright" / "agent"
    files = [*sorted((ROOT / "benchmarks" / "agent" / "apps").glob("*.py"))]
    files += [agent / "drivers" / one for one in ("snapshot.py", "dom.py")]
    files += [agent / "document" / one for one in ("groups.py", "naming.py", "urls.py")]
    files += [agent / "explore" / one for one in ("explorer.py", "describe.py", "effects.py")]
    return content_hash([repr(_ABOUT[name]), *(one.read_text("utf-8") for one in files)])[:12]
