"""?"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.core.errors import ConfigError, DataError, ValueInvalidError
from adwright.creative.records.ad_record import AdRecord, Scene
from adwright.creative.seed.rounds import run_seed
from adwright.creative.seed.texts import (
    AdBrief,
    AdFilterConfig,
    AdFilters,
    CopyIndex,
    KnownAd,
    SeedConfig,
    SeedData,
    answer_of,
    brief_of,
    claimed_in,
    is_complete,
    known_ads,
    part_of,
    plan_seed,
    record_of,
    run_parts,
    said_in,
)
from adwright.metrics.text.agreement import words_of
from tests.support.creative.seed_rounds import (
    CONFIG,
    RepeatingWriter,
    WordJudge,
    seed_ads,
    seed_data,
)


def test_ads_of_a_table_come_once_and_whole() -> None:
    records = [
        AdRecord(brand="A", title="One"),
        AdRecord(brand="A", title="One"),
        AdRecord(brand="", title="Nobody's"),
        AdRecord(brand="A", title="Two"),
    ]
    found = known_ads(records, list("wxyz"), "slogan", source="t", scores=[0.1, 0.2, 0.3, None])
    assert [(ad.brief.id, ad.answer, ad.score) for ad in found] == [
        ("t-w", "One", 0.1),
        ("t-z", "Two", None),
    ]
    with pytest.raises(DataError, match="4 ads, 3 ids"):
        known_ads(records, list("xyz"), "slogan", source="t")


def test_originals_are_judged_as_what_takes_their_place() -> None:
    """A story is no part of its headline, and the name of a product is one of its description."""
    record = AdRecord(title="Fresh at six", words="A long story of bread")
    for kind, title, words in (
        ("headline", "Fresh at six", ""),
        ("description", "Fresh at six", "A long story of bread"),
    ):
        (ad,) = known_ads([record], ["x"], kind, source="t")  # type: ignore[arg-type]
        assert (ad.judged.title, ad.judged.words) == (title, words)
        written = record_of("Warm by noon", ad.brief)
        assert (written.title == title) == (kind == "description")


def test_scores_tell_labelled_ads_from_the_pool() -> None:
    data = SeedData(seed_ads(3) + seed_ads(2, scored=False, source="p"))
    assert (len(data.labelled), len(data.pool)) == (3, 2)
    with pytest.raises(ValueInvalidError, match="no number"):
        KnownAd(data.ads[0].brief, data.ads[0].record, float("nan"))


def test_what_a_run_depends_on_changes_its_digest() -> None:
    ads = seed_ads(3)
    data = SeedData(ads)
    first = ads[0]
    others = [
        SeedData(ads[:2]),
        SeedData((replace(first, score=9.0), *ads[1:])),
        SeedData((replace(first, record=replace(first.record, title="Other")), *ads[1:])),
        SeedData(ads, (replace(first.brief, id="more"),)),
    ]
    assert len({one.digest for one in [data, *others]}) == 5
    assert SeedData(seed_ads(3)).digest == data.digest


def test_ids_are_told_apart() -> None:
    with pytest.raises(DataError, match="one id") as caught:
        SeedData(seed_ads(2) + seed_ads(1))
    assert caught.value.row == 2
    with pytest.raises(DataError, match="no ad"):
        SeedData(())


def test_no_group_is_in_two_parts() -> None:
    data = seed_data(60, pool=60, briefs=30)
    parts = run_parts(data, CONFIG)
    learned = {ad.brief.held_by for ad in (*parts.labelled, *parts.pool)}
    learned |= {brief.held_by for brief in parts.briefs}
    watched = {ad.brief.held_by for ad in parts.watch}
    held = {ad.brief.held_by for ad in parts.held}
    assert not learned & watched | learned & held | watched & held
    assert {ad.source for ad in (*parts.watch, *parts.held)} == {"s"}, "labelled ones, if any"
    assert len(parts.labelled) + len(parts.watch) + len(parts.held) == 60


def test_parts_are_bounded_the_same_way_each_time() -> None:
    data = seed_data(200)
    whole = run_parts(data, CONFIG)
    few = replace(CONFIG, watch_most=3, held_most=5)
    parts = run_parts(data, few)
    assert (len(parts.watch), len(parts.held)) == (3, 5)
    assert set(parts.held) < set(whole.held)
    assert run_parts(data, few) == parts
    assert run_parts(data, replace(few, seed=1)).held != parts.held


def test_rounds_draw_their_briefs() -> None:
    parts = run_parts(seed_data(), CONFIG)
    some = replace(CONFIG, briefs=7)
    first, second = parts.briefs_of(1, some), parts.briefs_of(2, some)
    assert len(first) == len(second) == 7
    assert first != second
    assert list(first) == [brief for brief in parts.briefs if brief in first]
    assert parts.briefs_of(1, some) == first
    assert parts.briefs_of(1, CONFIG) == parts.briefs


def test_an_empty_part_is_told() -> None:
    with pytest.raises(DataError, match="held out") as caught:
        run_parts(seed_data(), replace(CONFIG, held=0.0))
    assert "shares of watch and held" in caught.value.hint


def test_a_plan_counts_what_a_run_does(tmp_path: Path) -> None:
    data = seed_data()
    plan = plan_seed(CONFIG, data)
    writer = RepeatingWriter()
    report = run_seed(CONFIG, data, writer, WordJudge("zing"), WordJudge("calm"), tmp_path)
    parts = run_parts(data, CONFIG)
    assert plan.parts == parts
    assert plan.briefs == report.rounds[1].sampled
    assert plan.rows[0] == report.rounds[0].rows
    for rows, one in zip(plan.rows, report.rounds, strict=True):
        assert one.rows <= rows
    # The scripted writer has a token a byte, a model has one for some four.
    written = sum(one.written for one in report.costs) / 4
    assert 0.4 < plan.work["written"] / written < 2.5


def test_more_work_costs_more() -> None:
    data, base = seed_data(), plan_seed(CONFIG, seed_data()).seconds
    for more in ({"rounds": 4}, {"samples": 9}, {"measured": 9}, {"keep": 0.9}, {"pool": 1.0}):
        assert plan_seed(replace(CONFIG, **more), data).seconds > base
    for less in ({"briefs": 3}, {"rows": 5}, {"pool_most": 1}, {"held_most": 1}):
        assert plan_seed(replace(CONFIG, **less), data).seconds < base


def test_the_plan_is_told_in_words() -> None:
    plan = plan_seed(CONFIG, seed_data())
    text = plan.text()
    assert "nothing was done yet" in text
    assert f"from 0: {', '.join(map(str, plan.rows))}" in text
    with pytest.raises(DataError, match="none is"):
        plan_seed(replace(CONFIG, watch=0.0), seed_data())


@pytest.mark.parametrize("wrong", [{"top_p": 0.0}, {"watch": 0.6, "held": 0.5}])
def test_numbers_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        SeedConfig(**wrong)


RECORD = AdRecord(brand="Mill Lane", title="Fresh at six", words="Rye bread\nof 800 g")


@pytest.mark.parametrize(
    ("kind", "subject", "answer"),
    [
        ("slogan", "Rye bread\nof 800 g", "Fresh at six"),
        ("headline", "Rye bread\nof 800 g", "Fresh at six"),
        ("description", "Fresh at six", "Rye bread of 800 g"),
    ],
)
def test_a_brief_and_an_answer_make_the_ad_again(kind: Any, subject: str, answer: str) -> None:
    brief = brief_of(RECORD, kind, id="r", group="g")
    assert (brief.brand, brief.subject, brief.group) == ("Mill Lane", subject, "g")
    assert answer_of(RECORD, kind) == answer
    assert answer not in brief.messages()[0].content
    again = record_of(answer, brief)
    assert answer_of(again, kind) == answer
    assert again.brand == brief.brand


@pytest.mark.parametrize(
    "text",
    [
        '"Fresh at six"',
        "Slogan: Fresh at six",
        '**Tagline: "Fresh at six"**',
        "\n\nFresh at six\nA",
    ],
)
def test_what_models_put_around_a_line_is_no_part_of_it(text: str) -> None:
    brief = brief_of(RECORD, "slogan", id="r")
    assert record_of(text, brief).title == "Fresh at six"
    assert record_of("Time: now", brief).title == "Time: now"
    assert record_of(" \n ", brief).title == ""


def test_an_ad_that_lacks_a_part_is_not_complete() -> None:
    assert is_complete(RECORD, "slogan")
    assert not is_complete(AdRecord(title="Fresh"), "slogan"), "no brand and no subject"
    assert not is_complete(AdRecord(brand="Mill Lane", words="Rye"), "headline")
    assert is_complete(AdRecord(title="Rye", words="Fresh"), "description")
    assert not is_complete(AdRecord(title="Rye"), "description")


def test_a_video_is_written_scene_by_scene() -> None:
    scene = Scene(
        caption="a loaf", foreground=("dark brown",), emotions=("warm",), tags=("bread",), faces=2
    )
    film = AdRecord(
        kind="video",
        brand="Mill Lane",
        title="Rye",
        speech="At six",
        seconds=15,
        orientation="landscape",
        pace="low",
        scenes=(scene, Scene(caption="a shop", words=("Open at 6",)), *[Scene(caption="x")] * 9),
    )
    brief = brief_of(film, "video", id="v")
    assert "Seconds: 15" in brief.messages()[0].content
    answer = answer_of(film, "video")
    assert answer.startswith("The ad is shot in landscape orientation, at a low pace.")
    assert "Mill Lane" not in answer
    again = record_of(answer, brief)
    assert answer_of(again, "video") == answer
    assert (again.brand, again.title, again.seconds, again.pace) == ("Mill Lane", "Rye", 15, "low")
    assert len(again.scenes) == 5
    assert again.scenes[0] == replace(scene, faces=None)
    assert said_in(again, "video").splitlines() == [
        *("At six", "a loaf", "a shop", "Open at 6", "x", "x", "x")
    ]
    assert claimed_in(again, "video") == "At six\nOpen at 6"
    assert is_complete(film, "video")
    assert not is_complete(AdRecord(kind="video", title="Rye", seconds=3), "video")


def test_a_prompt_tells_what_is_known_and_begins_alike() -> None:
    brief = AdBrief("b", brand="Mill Lane", subject="Bread", facts=("Baked at\nsix",), seconds=15.0)
    (turn,) = brief.messages()
    assert turn.role == "user"
    assert turn.content == (
        "Write a slogan. Answer with the slogan alone.\n"
        "Brand: Mill Lane\nProduct: Bread\nFact: Baked at six\nSeconds: 15"
    )
    other = AdBrief("c", brand="Other").messages()[0].content
    assert other.splitlines()[0] == turn.content.splitlines()[0]
    assert brief.known == ("Mill Lane", "Bread", "Baked at\nsix", "15 seconds")


@pytest.mark.parametrize(
    ("kind", "named"), [("headline", "Story"), ("description", "Product"), ("video", "Title")]
)
def test_each_kind_asks_for_itself(kind: Any, named: str) -> None:
    told = AdBrief("b", kind, subject="A walk").messages()[0].content
    assert f"\n{named}: A walk" in told
    assert told != AdBrief("b", "slogan", subject="A walk").messages()[0].content


def test_briefs_of_a_brand_are_held_together() -> None:
    one, other = AdBrief("a", brand="Mill  LANE"), AdBrief("b", brand="mill lane", subject="Tea")
    assert one.held_by == other.held_by == "mill lane"
    assert AdBrief("c", brand="x", group="G 1").held_by == "g 1"
    assert AdBrief("c", subject="🙂").held_by == "🙂"


@pytest.mark.parametrize("shares", [(0.5, 0.5), (-0.1, 0.2), (0.9, 0.2)])
def test_shares_leave_something(shares: tuple[float, float]) -> None:
    with pytest.raises(ConfigError, match="shares"):
        part_of("x", watch=shares[0], held=shares[1])


def test_a_brief_says_something() -> None:
    with pytest.raises(ValueInvalidError, match="brand or a subject"):
        AdBrief("b", brand="  ")
    with pytest.raises(ValueInvalidError, match="has an id"):
        AdBrief("", brand="x")


TEXTS = st.text("ab c", max_size=20)


def literal(text: str, references: list[str], n: int) -> float:
    """Word by word: is it in a run of n that stands in a reference?"""
    words = words_of(text)
    size = min(n, len(words))
    runs = [words_of(one)[at : at + size] for one in references for at in range(len(words_of(one)))]
    copied = 0
    for place in range(len(words)):
        starts = range(max(0, place - size + 1), min(place, len(words) - size) + 1)
        copied += any(words[at : at + size] in runs for at in starts)
    return copied / len(words) if words else 0.0


@given(TEXTS, st.lists(TEXTS, max_size=4), st.integers(1, 4))
def test_the_share_is_that_of_the_words_in_copied_runs(text: str, known: list[str], n: int) -> None:
    assert CopyIndex(known, n=n).share(text) == literal(text, known, n)


def test_known_slogans_are_found_within_others() -> None:
    index = CopyIndex(["Just do it, every single day"], n=4)
    assert index.share("JUST DO IT!") == 1.0
    assert index.share("Do it on Sundays") == 0.0
    assert index.share("We say do it every single time") == 4 / 7
    assert index.share("") == 0.0
    assert CopyIndex(["a b"], n=2).share("b a") == 0.0


BRIEF = AdBrief("b", brand="Mill Lane", subject="Rye bread, 800 g", facts=("Baked at six",))
READ = ["A little taste of heaven in each cup", "Sip slowly, smile quickly"]


def filters(**asked: Any) -> AdFilters:
    return AdFilters(AdFilterConfig(**asked), CopyIndex(READ), brands={"Mill Lane", "Zanzi"})


#: A text with its one fault, and what turns that fault off.
CASES = [
    ("", "empty", {}),
    ("Bread", "short", {"least_words": 1}),
    ("Bread that you will want to eat each day of the year", "long", {"most_words": 99}),
    ("Ah *&^%$#@! *&^%$#@! yes", "signs", {"letters": 0.0}),
    ("bread so so so good", "repeats", {"in_a_row": 3}),
    ("good bread good bread good bread", "repeats", {"distinct": 0.0}),
    ("A little taste of heaven now", "copied", {"copied": 1.0}),
    ("Rye bread: 800 g!", "echo", {"echo": 1.0}),
    ("Baked at nine, loved by ten", "ungrounded", {"ground": False}),
    ("Better than a loaf by Zanzi", "ungrounded", {"ground": False}),
    ("A red loaf for you", "ungrounded", {"ground": False}),
]


@pytest.mark.parametrize(("text", "reason", "off"), CASES)
def test_each_fault_has_its_reason_and_its_setting(
    text: str, reason: str, off: dict[str, Any]
) -> None:
    tight = {"most_words": 10}
    assert filters(**tight).reason(text, BRIEF) == reason
    if off:
        assert filters(**{**tight, **off}).reason(text, BRIEF) != reason


def test_a_good_ad_may_be_kept_where_it_has_an_end() -> None:
    assert filters().reason("Fresh from six, gone by noon", BRIEF) == ""
    assert filters().reason('Slogan: "Warm rye, every morning"', BRIEF) == ""
    assert filters().reason("Fresh from six, gone by", BRIEF, cut=True) == "cut"


def test_of_two_alike_the_first_may_be_kept() -> None:
    texts = ["Warm rye for you", "warm RYE, for you!", "Warm rye for all"]
    assert filters().reasons(texts, BRIEF) == ["", "twice", ""]
    assert filters().reasons(texts, BRIEF, cut=[True, False, False]) == ["cut", "twice", ""]


def test_facts_are_read_in_the_language_of_the_texts() -> None:
    brief = replace(BRIEF, facts=("Wärme, rot", "1,5 kg"))
    assert filters(locale="de").grounded("Rot und 1,5 kg", brief)
    assert not filters(locale="en").grounded("Weighs 2,5 kg", brief)


def test_no_fewer_words_are_the_most_than_the_least() -> None:
    with pytest.raises(ConfigError):
        AdFilterConfig(most_words=1)


def test_the_form_of_a_video_is_no_copy_and_its_scenes_no_claims() -> None:
    brief = AdBrief("v", "video", brand="Mill Lane", subject="Rye", seconds=15.0)
    scenes = "Scene 1: The scene shows a red loaf by the door. Scene 2: The scene shows a street."
    form = f"The ad is shot at a low pace. Following are the descriptions of each scene: {scenes}"
    known = AdFilters(AdFilterConfig(), CopyIndex(["a dog runs", "a tree"]))
    assert known.reason(form, brief) == ""
    claim = f"The ad is shot at a low pace. The audio in the ad says 20% off . {scenes}"
    assert known.reason(claim, brief) == "ungrounded"
    copied = AdFilters(AdFilterConfig(), CopyIndex(["a red loaf by the door", "a street"]))
    assert copied.reason(form, brief) == "copied"
    assert AdFilters(AdFilterConfig(video_words=5), CopyIndex([])).reason(form, brief) == "long"
    assert known.reason("The ad is shot at a low pace.", brief) == "empty"


def test_a_long_text_may_say_a_word_again() -> None:
    words = [f"word{at}" for at in range(30)]
    long = " ".join(f"the {word} of" for word in words[:15])
    brief = AdBrief("d", "description", subject="Rye")
    asked = AdFilterConfig(most_words=99, ground=False, distinct=0.5)
    assert AdFilters(asked, CopyIndex([])).reason(long, brief) == ""
    short = " ".join(f"the {word} of" for word in words[:12])
    assert AdFilters(asked, CopyIndex([])).reason(short, brief) == "repeats"
