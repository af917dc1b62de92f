"""The document of a shop made by reading alone: seconds, rows written, refresh (5 minutes).

A shop of django-oscar with 200 products of Complete Journey runs on loopback. Its dashboard is
explored in Chromium, signed in as its administrator, through a gate that lets nothing but GET and
HEAD pass. Every row of the database is compared with before. Then one page is changed, in the
database, and the exploration is brought up to date. The document is written and read again, and
each state's way from the start is looked for.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from adwright.agent.document.elements import AppDocument, find_route
from adwright.agent.document.text_format import document_changes, document_text, parse_document
from adwright.agent.drivers.chromium import ChromiumBrowser, open_browser
from adwright.agent.drivers.protocol import GateDecision, PendingRequest
from adwright.agent.explore.explorer import (
    ExploreBounds,
    PageRecords,
    ReadingGate,
    build_document,
    explore,
    refresh,
    sign_in,
)
from adwright.core.clock import SystemClock
from adwright.core.hashing import content_hash
from benchmarks.agent._written import rows_of, rows_written
from benchmarks.agent.apps.shop import EMAIL, PASSWORD, OscarShop, oscar
from benchmarks.common.result import RESULTS, write_result

NAME = "explore"
#: Far below the bound of pages, so that it is the shop that ends the exploration.
PAGES = 200


@dataclass(frozen=True)
class _Run:
    seconds: float
    unsafe: int
    refresh_seconds: float
    rows: int
    sent: int
    refused: int
    document: AppDocument
    records: int
    changed: int
    changes: int


def _bounds(shop: OscarShop) -> ExploreBounds:
    # The pages that ask whether to delete are forms of their own; the database is a copy.
    return ExploreBounds(
        start=f"{shop.url}/dashboard/", paths=("/dashboard/",), pages=PAGES, cautious=False
    )


def _explored(shop: OscarShop, browser: ChromiumBrowser, folder: Path) -> _Run:
    clock = SystemClock()
    login = f"{shop.url}/dashboard/login/"
    gate = ReadingGate((shop.url,), sign_in=(login,))
    unsafe: list[str] = []

    def watched(request: PendingRequest) -> GateDecision:
        decision = gate(request)
        if decision.allowed and request.method not in ("GET", "HEAD"):
            unsafe.append(request.url)
        return decision

    with browser.driver(watched) as driver:
        sign_in(driver, login, {"username": EMAIL, "password": PASSWORD})
        gate.seal()
        unsafe.clear()
        before = rows_of(shop.database)
        start = clock.monotonic()
        records = PageRecords(folder)
        explore(driver, records, _bounds(shop))
        first = build_document("Mill Lane", records.all, (shop.url,))
        seconds = clock.monotonic() - start
        rows = rows_written(before, rows_of(shop.database))
        pages = len(records)
        _change(shop.database)
        start = clock.monotonic()
        found = refresh(driver, records, _bounds(shop))
        second = build_document("Mill Lane", records.all, (shop.url,), version="2")
        refresh_seconds = clock.monotonic() - start
    return _Run(
        seconds,
        len(unsafe),
        refresh_seconds,
        rows,
        gate.sent,
        gate.refused.total(),
        first,
        pages,
        len(found.changed),
        len(document_changes(first, second)),
    )


def _change(database: Path) -> None:
    """Another template of messages: one page gets another line."""
    with closing(sqlite3.connect(database, timeout=30)) as opened:
        opened.execute("UPDATE communication_communicationeventtype SET name = name || ' (new)'")
        opened.commit()


def _cpu_seconds() -> float:
    """Of this process, and of the shop and the browser, which have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def _row(run: _Run) -> dict[str, Any]:
    document = run.document
    text = document_text(document)
    start = document.start
    return {
        "app": "django-oscar 4.2.1, dashboard",
        "seconds": round(run.seconds, 1),
        "pages": run.records,
        "states": len(document.states),
        "elements": len(document.elements),
        "edges": len(document.edges) + sum(one.target is not None for one in document.elements),
        "reachable": sum(
            find_route(document, start, one.name) is not None for one in document.states
        ),
        "kilobytes": round(len(text.encode()) / 1e3, 1),
        "rows_written": run.rows,
        "requests_sent": run.sent,
        "requests_refused": run.refused,
        "refresh_seconds": round(run.refresh_seconds, 1),
        "pages_changed": run.changed,
        "same_after_reading": parse_document(text) == document,
    }


def main() -> None:
    """Explore, look at the database, refresh, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", type=Path, help="a folder for the document and the records")
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    with TemporaryDirectory() as scratch, open_browser() as browser:
        folder = Path(scratch)
        with oscar(folder / "shop") as shop:
            run = _explored(shop, browser, folder / "records")
        if arguments.keep is not None:
            arguments.keep.mkdir(parents=True, exist_ok=True)
            shutil.copytree(folder / "records", arguments.keep, dirs_exist_ok=True)
            (arguments.keep / "document.txt").write_text(document_text(run.document), "utf-8")
    # What else ran on the machine: seconds are those of a clock.
    row = _row(run) | {"load": round(os.getloadavg()[1], 1), "cpu_seconds": round(_cpu_seconds())}
    write_result(
        NAME,
        protocol=" ".join((__doc__ or "").split()),
        data=content_hash([one.skeleton for one in run.document.states]),
        seeds=[0],
        rows=[row],
        figures={
            "document_seconds_oscar": run.seconds,
            "document_writes": run.rows,
            "refresh_seconds": run.refresh_seconds,
            "document_states": row["states"],
            "document_elements": row["elements"],
            "document_kilobytes": row["kilobytes"],
            "document_unsafe_sent": run.unsafe,
        },
        folder=arguments.results,
    )


if __name__ == "__main__":
    main()
