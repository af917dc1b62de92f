"""The applications of the tasks, started once and put back between tasks, and their documents.

with open_app("oscar", folder, browser) as app:
    app.document             # explored once by reading alone, then kept in the cache
    app.restore()            # the database as it was, while the server runs
    driver = app.open(gate)  # a fresh profile, signed in

A task gets a database that nobody has changed: SQLite's own backup writes the rows of a copy over
those of the file that the server reads.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from adwright.agent.document.elements import AppDocument
from adwright.agent.drivers.browser import ChromiumBrowser
from adwright.agent.drivers.chromium import ChromiumDriver, DriverSettings
from adwright.agent.drivers.protocol import (
    GateDecision,
    PendingRequest,
    RequestGate,
)
from adwright.agent.explore.building import build_document
from adwright.agent.explore.explorer import ExploreBounds, explore, sign_in
from adwright.agent.explore.reading_gate import ReadingGate
from adwright.agent.explore.records import PageRecords
from adwright.core.assets import derived
from adwright.core.hashing import content_hash
from benchmarks.agent.apps import shop, store_pages
from benchmarks.common.result import ROOT

__all__ = ["APPS", "AppName", "TaskApp", "open_app"]

AppName: TypeAlias = Literal["oscar", "storefront", "admin"]
APPS: tuple[AppName, ...] = get_args(AppName)
_PATIENCE = 6.0


@dataclass(frozen=True)
class _About:
    """start, login: paths; fields: what is typed where one signs in, nothing for a stranger."""

    title: str
    start: str
    paths: tuple[str, ...]
    login: str = ""
    fields: tuple[tuple[str, str], ...] = ()
    screen: Literal["desktop", "phone"] = "desktop"


_ABOUT: dict[AppName, _About] = {
    "oscar": _About(
        "Mill Lane",
        "/dashboard/",
        ("/dashboard/",),
        "/dashboard/login/",
        (("username", shop.EMAIL), ("password", shop.PASSWORD)),
    ),
    "storefront": _About("Mill Lane shop", "/", ("/",), screen="phone"),
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

    def shut(self) -> None:
        """Signed in."""
        self._first = None

    def __call__(self, request: PendingRequest) -> GateDecision:
        return (self._first or self._gate)(request)


class TaskApp:
    """An application that runs. document: its origin is where it runs now."""

    def __init__(self, name: AppName, url: str, database: Path, browser: ChromiumBrowser) -> None:
        self.name, self.url, self.database = name, url, database
        self._browser, self._about = browser, _ABOUT[name]
        self._pristine = database.with_suffix(".pristine")
        shutil.copyfile(database, self._pristine)
        self.document = self._explored()

    def restore(self) -> None:
        """The database as it was at first."""
        with (
            closing(sqlite3.connect(self._pristine)) as before,
            closing(sqlite3.connect(self.database, timeout=30)) as now,
        ):
            before.backup(now)

    def open(self, gate: RequestGate, stack: ExitStack) -> ChromiumDriver:
        """A screen with a fresh profile, signed in, whose requests `gate` decides on."""
        about = self._about
        login = self.url + about.login
        door = _Door(ReadingGate((self.url,), sign_in=(login,)), gate)
        settings = DriverSettings(screen=about.screen, patience_seconds=_PATIENCE)
        driver = stack.enter_context(self._browser.driver(door, settings))
        if about.fields:
            sign_in(driver, login, dict(about.fields))
        driver.requests()
        door.shut()
        return driver

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
            explore(self.open(gate, stack), PageRecords(folder), bounds)


@contextmanager
def open_app(name: AppName, folder: Path, browser: ChromiumBrowser) -> Iterator[TaskApp]:
    """The application on loopback over a fresh database in `folder`, until the block ends."""
    if name == "admin":
        with store_pages.store_pages(folder) as pages:
            yield TaskApp(name, pages.url, pages.database, browser)
    else:
        with shop.oscar(folder) as served:
            yield TaskApp(name, served.url, served.database, browser)


def _key(name: AppName) -> str:
    """What the records of an exploration depend on: the app's data, and how pages are read."""
    agent = ROOT / "src" / "adwright" / "agent"
    files = [*sorted((ROOT / "benchmarks" / "agent" / "apps").glob("*.py"))]
    files += [agent / "drivers" / one for one in ("snapshot.py", "dom.py")]
    files += [agent / "document" / one for one in ("groups.py", "naming.py", "urls.py")]
    files += [agent / "explore" / one for one in ("explorer.py", "describe.py", "effects.py")]
    return content_hash([repr(_ABOUT[name]), *(one.read_text("utf-8") for one in files)])[:12]
