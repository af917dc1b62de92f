from collections.abc import Sequence
from pathlib import Path

import numpy as np

from adwright.creative.judging.ad_vectors import WithVectors
from adwright.creative.judging.judgement import Judgements
from adwright.creative.judging.nearest import PastAd
from adwright.creative.pages.explained import answers_table, judged_by, shown_ads
from adwright.creative.records.verbal.ads_table import read_ads
from adwright.creative.records.verbal.record import AdRecord


class Length:
    """Longer titles are clicked more often; vectors add their sum."""

    name = "click_rate"

    def judge(self, ads: Sequence[AdRecord], vectors: dict | None = None) -> Judgements:
        value = np.array([len(ad.title) / 1000 for ad in ads], np.float32)
        for some in (vectors or {}).values():
            value = value + some.sum(1)
        return Judgements(value, value / 2, 2 * value, value == 0)

    def nearest(
        self, ads: Sequence[AdRecord], count: int = 3, vectors: dict | None = None
    ) -> list[tuple[PastAd, ...]]:
        return [(PastAd("p", f"like {ad.title}", 0.5, 10, 0.1),) * count for ad in ads]


class Plain:
    name = "memorability"

    def judge(self, ads: Sequence[AdRecord], /) -> Judgements:
        value = np.full(len(ads), 0.5, np.float32)
        return Judgements(value, value, value, np.zeros(len(ads), bool), 0.8)


def table(tmp_path: Path) -> object:
    path = tmp_path / "ads.csv"
    path.write_text("id,title,brand\na,Fresh bread,Mill\nb,Tea,Leaf\n", "utf-8")
    return read_ads(path)


def test_ads_with_answers_and_reasons(tmp_path: Path) -> None:
    ads = table(tmp_path)
    judges = {"click_rate": Length(), "memorability": Plain()}
    found = judged_by(judges, ads)
    shown = shown_ads(ads, judges, found, explain=1, near=2)
    rate, recall = shown[0].answers
    assert (rate.percent, recall.percent, recall.coverage) == (True, False, 0.8)
    assert rate.moved[0].part == "title"
    assert rate.moved[0].change == np.float32(0.011)
    assert [one.text for one in rate.near] == ["like Fresh bread"] * 2
    assert recall.near == ()
    assert shown[1].answers[0].moved == shown[1].answers[0].near == ()


def test_vectors_go_with_their_ads(tmp_path: Path) -> None:
    ads = table(tmp_path)
    judge = WithVectors(Length(), {"image": np.array([[0.25], [0.5]], np.float32)})
    found = judged_by({"click_rate": judge}, ads)
    np.testing.assert_allclose(found["click_rate"].value, [0.261, 0.503], rtol=1e-5)
    moved = shown_ads(ads, {"click_rate": judge}, found, explain=2)[1].answers[0].moved
    assert abs(moved[0].change - 0.003) < 1e-6


def test_the_table_has_a_row_an_ad(tmp_path: Path) -> None:
    ads = table(tmp_path)
    frame = answers_table(ads, judged_by({"memorability": Plain()}, ads))
    assert frame.columns == [
        "creative_id",
        "title",
        "memorability",
        "memorability_low",
        "memorability_high",
        "memorability_unlike",
    ]
    assert frame["creative_id"].to_list() == ["a", "b"]
