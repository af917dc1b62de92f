from __future__ import annotations

from pathlib import Path

from adwright.authoring.checks.limits import Finding
from adwright.authoring.checks.verdict import Repaired
from adwright.authoring.tasks import Product
from adwright.demos.ads_page import AdCounts, ad_rows, marked, told, write_ads_page
from adwright.demos.ads_program import ProductAd, WrittenText

NUMBER = Finding("grounding/number", 4, 6, "error", "no fact has this number")
BEST = Finding("policy/superlative", 5, 11, "error", "a superlative needs proof by somebody else")
WHOLE = Finding("limits/too-long", 0, 11, "error", "too long")
AD = ProductAd(
    Product("1", "Tea <bags>", attributes=(("Size", "20 ct"),)),
    (
        WrittenText("headline", "Now 24 bags", Repaired("Now bags", (NUMBER,), (), True)),
        WrittenText("text", "Tea & bags", Repaired("Tea & bags", (), (), False)),
        WrittenText("description", "", Repaired("", (WHOLE,), (WHOLE,), True), "it fell"),
    ),
)
COUNTS = AdCounts(3, 2, 3, 1, 2, 2)


def test_what_is_wrong_is_marked() -> None:
    text = "Now 24 bags"
    assert marked(text, ()) == ((text, ""),)
    assert marked(text, (NUMBER,)) == (("Now ", ""), ("24", "grounding/number"), (" bags", ""))
    assert marked(text, (WHOLE,)) == ((text, ""),)
    overlapping = marked(text, (NUMBER, BEST))
    assert "".join(piece for piece, _ in overlapping) == text
    assert overlapping[1:3] == (("24", "grounding/number"), (" bags", "policy/superlative"))
    assert marked("", (NUMBER,)) == ()


def test_findings_are_told_once() -> None:
    assert told(()) == "nothing found"
    assert told((NUMBER, NUMBER, BEST)).count("no fact has this number") == 1


def test_rows_for_a_terminal() -> None:
    assert ad_rows(AD) == [
        ("headline", "Now [[24]] bags", "grounding/number", "Now bags"),
        ("text", "Tea & bags", "", ""),
        ("description", "", "it fell", "(nothing that may be shown)"),
    ]


def test_the_page_says_what_was_found(tmp_path: Path) -> None:
    path = tmp_path / "ads.html"
    write_ads_page(path, (AD,), COUNTS, model="a <model>", seconds={"write": 1.25})
    page = path.read_text("utf-8")
    assert '<mark title="grounding/number">24</mark>' in page
    assert "Tea &lt;bags&gt;" in page
    assert "a &lt;model&gt;" in page
    assert COUNTS.sentence() in page
    assert "as written" in page
    assert "nothing that may be shown" in page
    assert "<script" not in page
    assert "1.2 s" in page
    assert "Of 3 texts, 2 say only what the facts support, and 1" in COUNTS.sentence()
