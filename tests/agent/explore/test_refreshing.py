"""In Chromium: only pages that have changed are read anew."""

from __future__ import annotations

from pathlib import Path

from adwright.agent.document.text_format import document_changes
from adwright.agent.explore.explorer import ExploreBounds, ReadingGate, build_document, explore
from adwright.agent.explore.records import PageRecords
from adwright.agent.explore.refreshing import refresh
from tests.support.agent.site.browsing import chromium_or_skip
from tests.support.agent.site.pages import page
from tests.support.agent.site.server import small_site


def test_a_changed_page_is_read_anew_and_no_other(tmp_path: Path) -> None:
    with chromium_or_skip() as browser, small_site() as site:
        bounds = ExploreBounds(start=f"{site.url}/")
        records = PageRecords(tmp_path)
        with browser.driver(ReadingGate((site.url,))) as driver:
            explore(driver, records, bounds)
            first = build_document("Small", records.all, (site.url,))
            same = refresh(driver, records, bounds)
            assert (same.changed, same.gone) == ((), ())
            assert document_changes(first, build_document("Small", records.all, (site.url,))) == ()
            site.extra["/reports"] = page(
                "Reports", '<button>Export</button><a href="/fresh">Fresh</a>'
            )
            site.extra["/fresh"] = page("Fresh", "<label>Day <input name='day'></label>")
            before = len(site.asked)
            found = refresh(driver, records, bounds)
            assert found.changed == (f"{site.url}/reports",)
            second = build_document("Small", PageRecords(tmp_path).all, (site.url,))
            told = [str(one) for one in document_changes(first, second)]
            assert told[0] == "added state fresh"
            assert "added element reports__export" in told
            assert "changed state reports: skeleton" in " ".join(told)
            # Each page was asked for once, and two were shown.
            assert len(site.asked) - before <= found.asked + 5
            del site.extra["/fresh"]
            gone = refresh(driver, records, bounds)
            assert f"{site.url}/fresh" in gone.gone
        assert site.written == []
