import re
from pathlib import Path

import pytest

from adwright.core.errors import DataError
from adwright.creative.pages.ads_page import ads_page, record_facts, write_ads_page
from adwright.creative.pages.shown import Answer, Moved, Neighbour, ShownAd
from adwright.creative.records.verbal.record import AdRecord, Scene

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
CLICKS = Answer(
    "click_rate",
    0.0213,
    0.0101,
    0.0402,
    unlike=True,
    better=0.8,
    moved=(Moved("title", 0.004), Moved("faces", -0.002)),
    near=(Neighbour("Warm rolls <i>daily</i>", 0.03, 0.91),),
)
RECALL = Answer("memorability", 0.61, 0.5, 0.7, percent=False)


def test_the_page_shows_the_record_the_answers_and_what_moved_them() -> None:
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
        "Higher than 80%",
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


def test_several_ads_share_a_chart_of_each_judge(tmp_path: Path) -> None:
    ads = [ShownAd(f"a{at}", AdRecord(title="Bread"), "", (CLICKS,)) for at in range(3)]
    path = tmp_path / "ads.html"
    write_ads_page(path, ads, title="Ads")
    page = path.read_text("utf-8")
    assert page.count("<svg") == 1
    assert "Bread (a2)" in page
    assert "<svg" not in ads_page(ads[:1], title="One")


def test_only_so_many_are_shown_in_full() -> None:
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
