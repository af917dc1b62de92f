"""SQLAdmin over adwright's own campaign store, with campaigns and creatives of made-up sales.

    with store_pages(folder) as admin:
        admin.url                # http://127.0.0.1:PORT, its pages are below /admin
        admin.database           # the SQLite file of this run alone

Sign in with any name and the password "admin".
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from adwright.campaigns.store.store import Store
from benchmarks.agent.apps.packages import environment_with, packages
from benchmarks.agent.apps.process import running

PASSWORD = "admin"
_PROGRAM = Path(__file__).resolve().parent / "_store_pages.py"
_SALES = ("spring sale", "summer sale", "back to school", "harvest", "winter sale", "clearance")
_GOODS = ("Assam tea", "blue enamel mug", "oak lamp", "wool blanket", "rye bread", "olive oil")


@dataclass(frozen=True)
class StorePages:
    """Pages that run: their address, and the store's database."""

    url: str
    database: Path


@contextmanager
def store_pages(folder: Path) -> Iterator[StorePages]:
    """The pages on loopback over a fresh store in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    database = folder / "store.sqlite3"
    _fill(database)

    def command(descriptor: int) -> list[str]:
        return [sys.executable, str(_PROGRAM), str(descriptor), str(database)]

    environment = environment_with(packages("sqladmin"))
    with running(command, environment, log=folder / "pages.log", path="/admin/login") as url:
        yield StorePages(url, database)


def _fill(database: Path) -> None:
    first = datetime(2026, 1, 5, tzinfo=UTC)
    with Store.open(f"sqlite:///{database.resolve()}") as store:
        store.create_tenant("mill-lane")
        for number, name in enumerate(_SALES):
            start = first + timedelta(days=30 * number)
            store.put_campaign(
                "mill-lane",
                {
                    "campaign_id": name.replace(" ", "-"),
                    "start": start,
                    "end": start + timedelta(days=20),
                    "type": "email" if number % 2 else "display",
                },
            )
        store.put_creatives(
            "mill-lane",
            [
                {
                    "creative_id": f"creative-{number}",
                    "item_id": f"item-{number % len(_GOODS)}",
                    "campaign_id": _SALES[number % len(_SALES)].replace(" ", "-"),
                    "text": f"{_GOODS[number % len(_GOODS)].capitalize()}: {number + 1} left",
                    "image_hash": None,
                }
                for number in range(24)
            ],
        )
