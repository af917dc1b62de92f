from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("transformers", reason="the extra lm is not installed")

from adwright.authoring.checks.verdict import Repaired
from adwright.authoring.tasks import Product
from adwright.demos.ads_judged import JUDGES, judge_ads
from adwright.demos.ads_program import ProductAd, WrittenText


def ad(id: str, headline: str, text: str = "Baked at six.") -> ProductAd:
    def written(slot: str, said: str) -> WrittenText:
        return WrittenText(slot, said, Repaired(said, (), (), changed=False))

    texts = (written("headline", headline), written("text", text))
    return ProductAd(Product(id, "Bread", brand="Mill Lane"), texts)


def test_ads_are_judged_by_what_ships(tmp_path: Path) -> None:
    assert "CC BY 4.0" in (JUDGES / "README.md").read_text("utf-8")
    page = tmp_path / "judged.html"
    found = judge_ads([ad("p1", "Fresh bread"), ad("p2", ""), ad("p3", "Rolls")], page)
    assert found is not None
    assert found.titles == ("Fresh bread", "Rolls")
    assert set(found.found) == {"click_rate", "memorability"}
    rows = found.rows()
    assert [row[0] for row in rows] == ["Fresh bread", "Rolls"]
    assert len(rows[0]) == len(found.header()) == 3
    text = page.read_text("utf-8")
    assert "no person was asked" in text
    assert "Mill Lane" in text


def test_no_headline_no_page(tmp_path: Path) -> None:
    assert judge_ads([ad("p1", "")], tmp_path / "judged.html") is None
    assert not (tmp_path / "judged.html").exists()
