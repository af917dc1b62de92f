from __future__ import annotations

import json

from adwright.audit.defences.normalise import normalised
from adwright.audit.defences.stack import Inspection
from adwright.audit.watch import TextEdit, WatchAlert, WatchReport


def alert(text: str, before: float | None = None, after: float | None = None) -> WatchAlert:
    edit = TextEdit(0, "Alpha", "one", "Description", "was", text, "changed")
    found = Inspection("Alpha", "Description", text, text, normalised(text), None)
    return WatchAlert(edit, found, before, after, 2.0)


def test_what_is_worth_a_look() -> None:
    assert not alert("Fine.").suspicious
    assert alert("Fine.<!-- first -->").suspicious
    assert alert("Fine.", 5.0, 3.0).suspicious
    assert not alert("Fine.", 5.0, 3.5).suspicious
    assert alert("Fine.").gain == 0


def test_it_can_be_read_whatever_the_text() -> None:
    said = alert("Fine\n\u202e<!-- first -->", 5.0, 3.0).in_words()
    assert "hidden: 'first'" in said
    assert "rank 5.0 before, 3.0 with it" in said
    assert "\n" not in said
    assert said.isascii()


def test_a_report_as_text_and_json() -> None:
    report = WatchReport(
        "kettles", False, 4, ("Old",), (alert("Fine.<!-- first -->"), alert("Fine."))
    )
    head, line = report.text().splitlines()
    assert head == "kettles: 4 products, 2 texts changed, 1 suspicious, 1 products gone"
    assert line.startswith("  Alpha of one, Description: the text is changed")
    found = json.loads(report.to_json())
    assert [one["suspicious"] for one in found["texts"]] == [True, False]
    assert found["texts"][0]["hidden"] == ["first"]
    assert "first time" in WatchReport("k", True, 4, (), ()).text()
