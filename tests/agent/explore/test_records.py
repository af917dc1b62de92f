"""Pages that were seen, kept on the disk."""

from __future__ import annotations

from pathlib import Path

from adwright.agent.document.elements import Element, Locator
from adwright.agent.explore.describe import SeenElement
from adwright.agent.explore.records import PageRecord, PageRecords


def record(url: str, title: str = "T", **more: object) -> PageRecord:
    element = Element("page__a", "page", "link", "A", (Locator("role", "A", role="link"),))
    seen = (SeenElement(element, href="http://h/b", leads_to="/b"),)
    return PageRecord(url, url, "/a", "1", title, seen, **more)  # type: ignore[arg-type]


def test_records_come_back(tmp_path: Path) -> None:
    first = PageRecords(tmp_path / "run")
    first.add(record("http://h/a", etag='"x"'))
    first.add(record("http://h/a", tapped=("page__more",)))
    first.add(record("http://h/a", "new"))
    again = PageRecords(tmp_path / "run")
    assert again.all == first.all
    assert [one.title for one in again.all] == ["new", "T"]
    assert "http://h/a page__more" in again
    assert len(again) == 2


def test_half_a_line_is_one_page_less(tmp_path: Path) -> None:
    records = PageRecords(tmp_path)
    for name in "ab":
        records.add(record(f"http://h/{name}"))
    path = tmp_path / "pages.jsonl"
    path.write_bytes(path.read_bytes()[:-30])
    assert [one.url for one in PageRecords(tmp_path).all] == ["http://h/a"]
    PageRecords(tmp_path).add(record("http://h/c"))
    assert [one.url for one in PageRecords(tmp_path).all] == ["http://h/a", "http://h/c"]


def test_a_page_is_forgotten_with_what_was_tapped_on_it(tmp_path: Path) -> None:
    records = PageRecords(tmp_path)
    for name in "abc":
        records.add(record(f"http://h/{name}"))
        records.add(record(f"http://h/{name}", tapped=("page__more",)))
    records.drop("http://h/b")
    records.reorder(["http://h/c"])
    urls = [one.url for one in PageRecords(tmp_path).all]
    assert urls == ["http://h/c", "http://h/c", "http://h/a", "http://h/a"]
    assert PageRecords(None).all == ()
