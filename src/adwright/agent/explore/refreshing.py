"""Explore anew what has changed in an app, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass

from adwright.agent.drivers.protocol import DriverError, FetchingDriver
from adwright.agent.explore.describe import page_content
from adwright.agent.explore.explorer import ExploreBounds, Explored, explore, state_keys
from adwright.agent.explore.records import PageRecord, PageRecords
from adwright.core.clock import Clock

# --------------------------------------------------------------------------------------------------
# Brings an exploration up to date: asks each page whether it has changed, and reads it if so.
#
#     found = refresh(driver, records, bounds)
#     found.changed                       # URLs whose pages were read anew
#
# Asked is the first page of each state, by one GET without a browser's work, with the ETag of the
# last answer where there was one. An answer 304, or one with the same text but for tokens that are
# new each time, is no change. A page that is gone is forgotten; links to pages that are new are
# followed, within the bounds.


@dataclass(frozen=True)
class Refreshed:
    """asked: so many pages. changed: URLs read anew; gone: URLs that no longer answer; explored:
    what reading them has found, new pages among it."""

    asked: int
    changed: tuple[str, ...]
    gone: tuple[str, ...]
    explored: Explored


def refresh(
    driver: FetchingDriver,
    records: PageRecords,
    bounds: ExploreBounds,
    *,
    clock: Clock | None = None,
) -> Refreshed:
    """Bring `records` up to date. Raises what `explore` raises."""
    pages = [one for one in records.all if not one.tapped]
    changed: list[str] = []
    gone: list[str] = []
    # The first page of each state is the one that a document describes.
    keys = state_keys(records.all)
    asked = list({keys[one.key]: one for one in reversed(pages)}.values())
    for record in reversed(asked):
        state = _state_asked(driver, record)
        if state == "gone":
            gone.append(record.url)
        elif state == "changed":
            changed.append(record.url)
    for url in (*changed, *gone):
        records.drop(url)
    explored = explore(driver, records, bounds, clock=clock, first=tuple(changed))
    records.reorder([one.url for one in pages])
    return Refreshed(len(asked), tuple(changed), tuple(gone), explored)


def _state_asked(driver: FetchingDriver, record: PageRecord) -> str:
    headers = {"If-None-Match": record.etag} if record.etag else {}
    try:
        answer = driver.fetch(record.url, headers)
    except DriverError:
        return "gone"
    if answer.status == 304:
        return "same"
    if answer.status >= 400:
        return "gone"
    return "same" if page_content(answer.body) == record.content else "changed"
