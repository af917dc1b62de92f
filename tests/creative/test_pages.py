from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adwright.core.errors import DataError
from adwright.creative.judging import Judgements, PartEffect, PastAd, WithVectors
from adwright.creative.pages import (
    ShownAd,
    ShownAnswer,
    answers_table,
    judged_by,
    record_facts,
    shown_ads,
    thumbnail,
    write_ads_page,
)
from adwright.creative.records.ad_record import AdRecord, Scene
from adwright.creative.records.ads_table import read_ads

SCENE = Scene(
    caption="A loaf on a board",
    foreground=("brown",),
    background=("white", "grey"),
    tone="warm",
    complexity="low",
    emotions=("calm",),
    faces=0,
    tags=("bread",),
    words=("38% off", "today"),
)
RECORD = AdRecord(
    kind="video",
    brand="Mill <b>Lane</b>",
    title="Fresh bread",
    words="Baked at six.",
    seconds=16,
    orientation="landscape",
    pace="low",
    scenes=(SCENE,) * 14,
    absent=(("speech", "nobody listened"),),
)
CLICKS = ShownAnswer(
    "click_rate",
    0.0213,
    0.0101,
    0.0402,
    unlike=True,
    moved=(PartEffect("title", 0.02, 0.016), PartEffect("faces", 0.02, 0.022)),
    near=(PastAd("p", "Warm rolls <i>daily</i>", 0.03, 10, 0.91),),
)
RECALL = ShownAnswer("memorability", 0.61, 0.5, 0.7, percent=False)


@pytest.fixture
def ads_page(tmp_path: Path) -> Callable[..., str]:
    def written(ads: Sequence[ShownAd], **told: object) -> str:
        write_ads_page(tmp_path / "ads.html", ads, **told)  # type: ignore[arg-type]
        return (tmp_path / "ads.html").read_text("utf-8")

    return written


def test_the_page_shows_the_record_the_answers_and_what_moved_them(
    ads_page: Callable[..., str],
) -> None:
    ads = [ShownAd("a1", RECORD, "data:image/jpeg;base64,AAAA", (CLICKS, RECALL))]
    page = ads_page(ads, title="Two ads", sentences=("Both are new.",), facts={"model": "m1"})
    for text in (
        "Mill &lt;b&gt;Lane&lt;/b&gt;",
        "16 s",
        "scene 1",
        "2 more scenes",
        "A loaf on a board; foreground: brown; background: white, grey",
        "no speech",
        "2.13%",
        "90% interval: 1.01% to 4.02%",
        "0.61",
        "unlike anything seen in training",
        "+0.40%",
        "-0.20%",
        "Warm rolls &lt;i&gt;daily&lt;/i&gt;",
        "Both are new.",
    ):
        assert text in page, text
    assert page.count("unlike anything") == 1
    assert "<script" not in page
    assert re.findall(r'width: (\d+)%"', page) == ["100", "50"]


def test_several_ads_share_a_chart_of_each_judge(ads_page: Callable[..., str]) -> None:
    ads = [ShownAd(f"a{at}", AdRecord(title="Bread"), "", (CLICKS,)) for at in range(3)]
    page = ads_page(ads, title="Ads")
    assert page.count("<svg") == 1
    assert "Bread (a2)" in page
    assert "<svg" not in ads_page(ads[:1], title="One")


def test_only_so_many_are_shown_in_full(ads_page: Callable[..., str]) -> None:
    ads = [ShownAd(f"a{at}", AdRecord(title=f"Bread {at}")) for at in range(53)]
    page = ads_page(ads, title="Many")
    assert "3 more ads are in the table" in page
    with pytest.raises(DataError, match="no ad"):
        ads_page([], title="None")


def test_facts_of_a_record() -> None:
    assert record_facts(AdRecord(title="Bread")) == [("kind", "text")]
    facts = dict(record_facts(AdRecord(kind="image", scenes=(SCENE,))))
    assert "words: 38% off / today" in facts["shows"]
    assert "faces: 0" in facts["shows"]
    empty = dict(record_facts(AdRecord(kind="image", scenes=(Scene(),))))
    assert empty["shows"] == "nothing that was looked for"


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
    assert [one.title for one in rate.near] == ["like Fresh bread"] * 2
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


def test_answers_are_said_in_their_unit() -> None:
    rate = ShownAnswer("click_rate", 0.1, 0.0, 1.0)
    score = ShownAnswer("d", 0.1, 0, 1, percent=False)
    assert (rate.said(0.01234), score.said(1.23456)) == ("1.23%", "1.23")


pytest.importorskip("PIL", reason="the extra creative is not installed")


def png(width: int, height: int) -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (width, height), "red").save(data, "PNG")
    return data.getvalue()


def test_a_thumbnail_is_small_and_part_of_the_page(tmp_path: Path) -> None:
    path = tmp_path / "ad.png"
    path.write_bytes(png(1600, 800))
    address = thumbnail(path)
    kind, _, data = address.partition(",")
    assert kind == "data:image/jpeg;base64"
    assert Image.open(io.BytesIO(base64.b64decode(data))).size == (320, 160)
    assert thumbnail(tmp_path / "film.mp4", [png(100, 50)]).startswith(kind)


def test_what_cannot_be_shown_is_left_out(tmp_path: Path) -> None:
    assert thumbnail(None) == ""
    path = tmp_path / "ad.jpg"
    path.write_bytes(b"%PDF-1.7")
    assert thumbnail(path) == ""
