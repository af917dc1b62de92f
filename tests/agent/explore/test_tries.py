"""In Chromium: parts of unknown effect are tried where asked for, and what sends is left alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from adwright.agent.drivers.browser import ChromiumBrowser
from adwright.agent.explore.explorer import ExploreBounds, explore
from adwright.agent.explore.reading_gate import ReadingGate
from adwright.agent.explore.records import PageRecord, PageRecords
from tests.support.agent.site.browsing import chromium_or_skip
from tests.support.agent.site.pages import page
from tests.support.agent.site.server import SmallSite, small_site

NOTES = """<div id="notes"></div><script>
function show(inner) { document.getElementById('notes').innerHTML = inner }
function list() { show('<button type="button" onclick="one()">Tea</button>' +
  '<span onclick="send()" style="cursor: pointer">Cup</span>') }
function one() { show('<h2>About tea</h2><button type="button" onclick="two()">Origin</button>') }
function two() { show('<h2>From Assam</h2>') }
function send() { fetch('/offers/1', {method: 'POST', body: 'price=1'}); show('<h2>Sent</h2>') }
list()</script>"""


@pytest.fixture(scope="module")
def chromium() -> Iterator[ChromiumBrowser]:
    with chromium_or_skip() as browser:
        yield browser


@pytest.fixture(scope="module")
def site() -> Iterator[SmallSite]:
    with small_site() as site:
        site.extra |= {"/notes": page("Notes", NOTES)}
        yield site


def explored(
    chromium: ChromiumBrowser, site: SmallSite, folder: Path, tries: int
) -> tuple[PageRecord, ...]:
    bounds = ExploreBounds(f"{site.url}/notes", paths=("/notes",), tries=tries)
    with chromium.driver(ReadingGate((site.url,))) as driver:
        return explore(driver, PageRecords(folder), bounds).records.all


@pytest.mark.parametrize(("tries", "deep"), [(0, 0), (1, 1), (2, 2)])
def test_parts_are_tried_so_many_taps_deep(
    chromium: ChromiumBrowser, site: SmallSite, tmp_path: Path, tries: int, deep: int
) -> None:
    found = explored(chromium, site, tmp_path, tries)
    # The menu that all pages have is opened whatever the bounds say.
    taps = [name for one in found for name in one.tapped[-1:] if "more" not in name.lower()]
    assert len(taps) >= deep
    assert bool(taps) == bool(deep)
    assert max(len(one.tapped) for one in found) == max(deep, 1)
    labels = {one.element.label for record in found for one in record.elements}
    assert ("Origin" in labels) == (tries > 0)


def test_what_sends_is_never_a_page_of_its_own(
    chromium: ChromiumBrowser, site: SmallSite, tmp_path: Path
) -> None:
    found = explored(chromium, site, tmp_path, 2)
    assert site.written == []
    assert not any("cup" in name.lower() for record in found for name in record.tapped)
