"""What moved a judge, part by part."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from adwright.core.artifacts import save_artifact
from adwright.core.config import from_jsonable, to_jsonable
from adwright.core.errors import ArtifactError, ConfigError, DataError, ValueInvalidError
from adwright.creative.judges import JUDGES, open_judge
from adwright.creative.judging import (
    IMAGE,
    ConformalInterval,
    Judgements,
    Novelty,
    PartEffect,
    PastAd,
    PastAds,
    ResidualScale,
    WithVectors,
    ablate,
    image_vectors,
    leave_out,
    parts_of,
)
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
from adwright.creative.records.encoders import VectorStore

FILM = AdRecord(
    kind="video",
    brand="Mill Lane",
    title="Fresh",
    words="one\n\ntwo words",
    seconds=0.0,
    scenes=(Scene(caption="a loaf", faces=0), Scene(tags=("shop",), start=3.0)),
)


class Letters:
    """Judges by letters: title 10 each, other words 1, a scene 0.5."""

    name = "letters"

    def judge(self, ads: Sequence[AdRecord]) -> Judgements:
        value = np.array(
            [10 * len(ad.title) + len(ad.words) + len(ad.scenes) / 2 for ad in ads], np.float32
        )
        return Judgements(value, value, value, np.zeros(len(ads), bool))


def test_parts_are_those_the_ad_has() -> None:
    assert parts_of(FILM) == (
        *("brand", "title", "words", "seconds", "paragraph 1", "paragraph 2", "scene 1"),
        *("scene 2", "scenes: caption", "scenes: faces", "scenes: tags"),
    )
    assert parts_of(AdRecord(words="one")) == ("words",)
    assert parts_of(AdRecord()) == ()


def test_a_part_is_left_out_and_nothing_else() -> None:
    assert leave_out(FILM, "title") == replace(FILM, title="")
    assert leave_out(FILM, "seconds").seconds is None
    assert leave_out(FILM, "paragraph 1").words == "two words"
    assert leave_out(FILM, "scene 1").scenes == FILM.scenes[1:]
    bare = leave_out(FILM, "scenes: tags").scenes
    assert bare == (FILM.scenes[0], replace(FILM.scenes[1], tags=()))


def test_effects_are_what_the_judge_answers_without() -> None:
    effects = ablate(Letters(), FILM)
    assert [one.part for one in effects][:2] == ["title", "words"]
    by = {one.part: one.change for one in effects}
    assert (by["title"], by["words"], by["scene 2"], by["brand"]) == (50, 14, 0.5, 0)
    only = ablate(Letters(), FILM, ["scene 1"])
    assert [(one.part, one.value, one.without) for one in only] == [("scene 1", 65, 64.5)]
    assert ablate(Letters(), AdRecord()) == ()


@given(st.sampled_from(parts_of(FILM)))
def test_what_is_left_out_is_no_part_any_more(part: str) -> None:
    left = leave_out(FILM, part)
    assert left != FILM
    if part[-1] not in "12":
        assert part not in parts_of(left)


def test_a_part_it_lacks_is_refused() -> None:
    for part in ("speech", "scene 9", "paragraph 3", "scenes: words"):
        with pytest.raises(ConfigError, match="no such part"):
            leave_out(FILM, part)


pytest.importorskip("PIL", reason="the extra creative is not installed")


class Sum:
    name = "sum"

    def judge(self, ads: Sequence[AdRecord], vectors: dict | None = None) -> Judgements:
        value = np.zeros(len(ads), np.float32) + sum(one.sum(1) for one in vectors.values())
        return Judgements(value, value, value, np.zeros(len(ads), bool))

    def nearest(
        self, ads: Sequence[AdRecord], count: int = 3, vectors: dict | None = None
    ) -> list[float]:
        return vectors[IMAGE][:, 0].tolist()


def test_each_ad_keeps_its_vectors() -> None:
    vectors = {IMAGE: np.array([[1, 2], [3, 4]], np.float32)}
    judge = WithVectors(Sum(), vectors)
    ads = [AdRecord(title="a"), AdRecord(title="b")]
    assert judge.judge(ads).value.tolist() == [3, 7]
    assert judge.of_row(1).judge([AdRecord()] * 3).value.tolist() == [7, 7, 7]
    assert judge.nearest(ads[:1]) == [1]
    assert judge.name == judge.of_row(0).name == "sum"


def test_vectors_of_images_among_files(tmp_path: Path) -> None:
    data = io.BytesIO()
    Image.new("RGB", (32, 32), "red").save(data, "PNG")
    (tmp_path / "a.png").write_bytes(data.getvalue())
    (tmp_path / "b.png").write_bytes(b"no picture")
    store = VectorStore(tmp_path / "kept")
    media = [tmp_path / "a.png", None, tmp_path / "b.png", tmp_path / "c.mp4", tmp_path / "d.png"]
    found = image_vectors(media, store)[IMAGE]
    assert found.shape == (5, 1280)
    assert np.isnan(found).any(1).tolist() == [False, True, True, True, True]
    assert image_vectors([None, tmp_path / "b.png"], store) == {}


def test_bounds_are_the_residuals_of_their_ranks() -> None:
    found = np.arange(99.0)
    made = ConformalInterval.fit(np.zeros(99), found, coverage=0.9)
    assert (made.below, made.above, made.count) == (4.0, 94.0, 99)
    scaled = ConformalInterval.fit(np.zeros(99), found, np.full(99, 2.0), coverage=0.9)
    assert (scaled.below, scaled.above) == (2.0, 47.0)
    low, high = scaled.bounds([1.0], [4.0])
    assert (low.tolist(), high.tolist()) == ([1.0], [189.0])


@given(st.integers(0, 10_000), st.sampled_from([0.5, 0.8, 0.9]))
def test_of_exchangeable_ads_the_promised_share_is_covered(seed: int, coverage: float) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=4000)
    found = values + rng.gamma(0.5, size=4000) * np.exp(values)
    made = ConformalInterval.fit(values[:2000], found[:2000], coverage=coverage)
    low, high = made.bounds(values[2000:])
    inside = ((low <= found[2000:]) & (found[2000:] <= high)).mean()
    # What covers less than is asked for by 5 standard errors is wrong; values inside may add.
    assert inside > coverage - 5 * np.sqrt(2 * coverage * (1 - coverage) / 2000)


def test_a_scale_makes_intervals_as_wide_as_ads_need() -> None:
    rng = np.random.default_rng(0)
    values = rng.uniform(1, 5, 4000)
    found = values + values * rng.normal(size=4000)
    scale = ResidualScale.fit(values, found)
    assert scale(5.0) / scale(1.0) == pytest.approx(5, rel=0.25)
    made = ConformalInterval.fit(values, found, scale(values))
    low, high = made.bounds(values, scale(values))
    inside = (low <= found) & (found <= high)
    for part in (values < 2, values > 4):
        assert inside[part].mean() == pytest.approx(0.9, abs=0.03)
    assert (scale([-100.0, 100.0]) > 0).all()


def test_they_are_stored_as_plain_values() -> None:
    made = ConformalInterval.fit(np.zeros(30), np.arange(30.0))
    assert from_jsonable(ConformalInterval, to_jsonable(made)) == made
    scale = ResidualScale.fit([1.0, 1.0], [2.0, 0.0])
    assert from_jsonable(ResidualScale, to_jsonable(scale)) == scale
    assert scale([3.0]).tolist() == [1.0]


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(DataError, match="takes 19"):
        ConformalInterval.fit(np.zeros(18), np.arange(18.0))
    assert ConformalInterval.fit(np.zeros(19), np.arange(19.0)).above == 18
    with pytest.raises(ConfigError):
        ConformalInterval.fit(np.zeros(30), np.zeros(30), coverage=1.0)
    with pytest.raises(DataError):
        ConformalInterval.fit(np.zeros(30), np.zeros(29))
    with pytest.raises(DataError, match="scales"):
        ConformalInterval.fit(np.zeros(30), np.zeros(30), np.zeros(30))
    with pytest.raises(ValueInvalidError) as caught:
        ResidualScale.fit([0.0, np.nan], [0.0, 1.0])
    assert caught.value.row == 1


ONE, TWO = np.ones(1, np.float32), np.ones(2, np.float32)


@pytest.mark.parametrize(
    ("low", "value", "high", "says"),
    [
        (ONE, TWO, TWO, "low"),
        (TWO, TWO, TWO[:, None], "high"),
        (2 * ONE, ONE, ONE, "low"),
        (ONE, 2 * ONE, ONE, "low"),
        (ONE, np.full(1, np.nan, np.float32), ONE, "value"),
    ],
)
def test_what_is_no_judgement(
    low: np.ndarray, value: np.ndarray, high: np.ndarray, says: str
) -> None:
    with pytest.raises(ValueInvalidError, match=says):
        Judgements(value, low, high, np.zeros(len(value), bool))


PLACES = np.arange(12, dtype=np.float32)[:, None]
NOVELTY = Novelty.fit(PLACES, k=2)
TITLES = tuple(f"ad {n // 2}" for n in range(12))
PAST = PastAds(NOVELTY, tuple("abcdefghijkl"), TITLES, np.linspace(0, 1, 12), np.full(12, 100.0))


def test_the_nearest_come_first_and_a_title_once() -> None:
    (found,) = PAST.nearest(np.array([[4.1]], np.float32), 3)
    assert [one.id for one in found] == ["e", "d", "g"]
    assert found[0].title == "ad 2"
    assert found[0].value == pytest.approx(4 / 11)
    assert found[0].weight == 100
    assert found[0].distance == pytest.approx(0.1, abs=1e-2)
    assert len(PAST.nearest(PLACES, 99)[0]) == 6


def test_each_kept_ad_needs_its_outcome() -> None:
    with pytest.raises(DataError, match="that are kept"):
        PastAds(NOVELTY, ("a",), TITLES, np.zeros(12), np.zeros(12))


RNG = np.random.default_rng(0)
ADS = RNG.normal(size=(400, 6)).astype(np.float32)
STORIES = np.arange(400) // 4


def test_distances_are_those_of_a_loop() -> None:
    made = Novelty.fit(ADS, STORIES, k=3)
    asked = RNG.normal(size=(5, 6)).astype(np.float32)
    for row, found in zip(asked, made.distance(asked), strict=True):
        each = sorted(float(np.linalg.norm(row - one)) for one in made.kept.astype(np.float32))
        assert found == pytest.approx(each[2], abs=1e-3)
    places, distances = made.nearest(asked, 2)
    assert places.shape == distances.shape == (5, 2)
    first = made.kept[places[0, 0]].astype(np.float32)
    assert np.linalg.norm(asked[0] - first) == pytest.approx(distances[0, 0], abs=1e-3)


def test_new_ads_of_the_same_kind_are_seldom_unlike() -> None:
    made = Novelty.fit(ADS, STORIES, quantile=0.95)
    new = RNG.normal(size=(1000, 6)).astype(np.float32)
    assert 0.01 < made.unlike(new).mean() < 0.12
    assert made.unlike(new + 10).all()


def test_variants_of_one_story_do_not_make_new_stories_unlike() -> None:
    centres = RNG.normal(size=(60, 6))
    ads = (np.repeat(centres, 8, axis=0) + RNG.normal(size=(480, 6)) * 0.01).astype(np.float32)
    new = RNG.normal(size=(300, 6)).astype(np.float32)
    blind = Novelty.fit(ads, k=5).unlike(new).mean()
    told = Novelty.fit(ads, np.arange(480) // 8, k=5).unlike(new).mean()
    assert blind > 0.95
    assert told < 0.2


def test_settings_are_used_and_checked() -> None:
    few = Novelty.fit(ADS, most=50, seed=1)
    assert few.kept.shape == (50, 6)
    np.testing.assert_allclose(few.kept, ADS[few.rows], atol=1e-2)
    assert (few.rows != Novelty.fit(ADS, most=50, seed=2).rows).any()
    assert Novelty.fit(ADS, k=1).threshold < Novelty.fit(ADS, k=20).threshold
    for bad in ({"k": 0}, {"most": 0}, {"quantile": 0.0}):
        with pytest.raises(ConfigError):
            Novelty.fit(ADS, **bad)
    with pytest.raises(DataError, match="of other stories"):
        Novelty.fit(ADS, np.zeros(400, np.int64))
    with pytest.raises(DataError, match="group of each"):
        Novelty.fit(ADS, np.zeros(3, np.int64))


def test_what_judges_no_ads_is_refused(tmp_path: Path) -> None:
    assert set(JUDGES) == {"click_rate", "memorability", "lifetime"}
    save_artifact(tmp_path / "other" / "model", kind="ranker", config={}, tensors={})
    with pytest.raises(ArtifactError, match="judges no ads"):
        open_judge(tmp_path / "other")
    with pytest.raises(ArtifactError):
        open_judge(tmp_path / "nothing")


def test_a_language_form_is_told_by_its_record(tmp_path: Path) -> None:
    (tmp_path / "memory.json").write_text(json.dumps({"form": "language"}), "utf-8")
    with pytest.raises(ArtifactError, match="no language form"):
        open_judge(tmp_path)


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
