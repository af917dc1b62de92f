from __future__ import annotations

from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest

from adwright.audit.report.audit_report import AuditReport, GateBounds, judge
from adwright.audit.report.page import audit_page, write_report
from adwright.audit.report.trials import AUDIT_MARK, SellerText
from adwright.core.errors import ResourceError
from tests.audit.report.test_audit_report import report_of
from tests.support.audit.texts import FIELD, HOSTILE, praise, quiet


class Skeleton(HTMLParser):
    """The tags of a page with their attributes, and its texts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        assert not any(name.startswith("on") for name, _ in attrs)

    def handle_data(self, data: str) -> None:
        self.texts.append(data.strip())


def of_text(text: str, tier: str = "T0") -> AuditReport:
    return report_of(SellerText("Teapot", FIELD, text, tier), deaf=True)


@pytest.fixture(scope="module")
def plain() -> Skeleton:
    return Skeleton(audit_page(of_text("plain")))


def test_a_page_tells_what_was_found(tmp_path: Path) -> None:
    report = report_of(praise("Steel Kettle"), quiet("Samovar"))
    verdict = judge(report, GateBounds(20))
    paths = write_report(report, tmp_path / "out", verdict=verdict)
    assert [path.name for path in paths] == ["report.json", "report.csv", "report.html"]
    page = unescape(paths[2].read_text("utf-8"))
    for told in (AUDIT_MARK, "gullible", "Gate: failed", "100.0", "control truthful", "the best"):
        assert told in page
    assert "<script" not in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert AuditReport.from_json(paths[0].read_text("utf-8")) == report
    assert "Gate" not in audit_page(report)


@pytest.mark.parametrize("hostile", HOSTILE)
def test_a_text_cannot_change_the_page_that_is_about_it(plain: Skeleton, hostile: str) -> None:
    found = Skeleton(audit_page(of_text(hostile)))
    assert found.tags == plain.tags
    changed = [
        (one, other) for one, other in zip(found.texts, plain.texts, strict=True) if one != other
    ]
    assert len(changed) == 1
    assert changed[0][1] == "plain"


@pytest.mark.parametrize("hostile", HOSTILE[:3])
def test_the_name_of_a_tier_cannot_either(plain: Skeleton, hostile: str) -> None:
    found = Skeleton(audit_page(of_text("plain", tier=hostile)))
    assert [tag for tag in found.tags if tag in ("script", "style", "h2", "table")] == [
        tag for tag in plain.tags if tag in ("script", "style", "h2", "table")
    ]


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("", "utf-8")
    with pytest.raises(ResourceError):
        write_report(of_text("plain"), tmp_path / "out")
