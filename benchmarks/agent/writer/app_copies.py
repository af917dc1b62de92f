"""The shop's dashboard and the store's pages as apps that are thrown away.

    with copies("admin", browser, folder) as found:
        found.document, found.app       # to be given to `synthesise`

Instead of starting a server anew, its database is put back as it was, while the server runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from adwright.agent.document.elements import AppDocument
from adwright.agent.drivers.chromium import ChromiumBrowser
from adwright.agent.drivers.protocol import RequestGate, ScreenDriver
from benchmarks.agent.synthesis.disposable import StoredState, sqlite_state
from benchmarks.agent.tasks._apps import AppName, TaskApp, open_app


class CopiedApp:
    """A `DisposableApp` over an app of the benchmark that runs."""

    def __init__(self, app: TaskApp) -> None:
        self._app = app
        self._stack = ExitStack()

    @property
    def name(self) -> str:
        return self._app.name

    def start(self) -> str:
        self._app.restore()
        return self._app.url

    def open(self, gate: RequestGate) -> ScreenDriver:
        return self._app.open(gate, self._stack)

    def snapshot(self) -> StoredState:
        return sqlite_state(self._app.database)

    def stop(self) -> None:
        self._stack.close()
        self._stack = ExitStack()


@dataclass(frozen=True)
class AppCopies:
    """An app, and what is known of it."""

    app: CopiedApp
    document: AppDocument


@contextmanager
def copies(name: AppName, browser: ChromiumBrowser, folder: Path) -> Iterator[AppCopies]:
    """The app of a name, until the block ends."""
    with open_app(name, folder, browser) as opened:
        yield AppCopies(CopiedApp(opened), opened.document)
