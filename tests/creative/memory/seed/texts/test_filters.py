from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from adwright.core.errors import ConfigError
from adwright.creative.memory.seed.texts.brief import AdBrief
from adwright.creative.memory.seed.texts.copying import CopyIndex
from adwright.creative.memory.seed.texts.filters import REASONS, AdFilters, FilterConfig

BRIEF = AdBrief("b", brand="Mill Lane", subject="Rye bread, 800 g", facts=("Baked at six",))
READ = ["A little taste of heaven in each cup", "Sip slowly, smile quickly"]


def filters(**asked: Any) -> AdFilters:
    return AdFilters(FilterConfig(**asked), CopyIndex(READ), brands={"Mill Lane", "Zanzi"})


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


def test_a_good_ad_may_be_kept() -> None:
    assert filters().reason("Fresh from six, gone by noon", BRIEF) == ""
    assert filters().reason('Slogan: "Warm rye, every morning"', BRIEF) == ""


def test_what_has_no_end_is_cut() -> None:
    assert filters().reason("Fresh from six, gone by", BRIEF, cut=True) == "cut"


def test_of_two_alike_the_first_may_be_kept() -> None:
    texts = ["Warm rye for you", "warm RYE, for you!", "Warm rye for all"]
    assert filters().reasons(texts, BRIEF) == ["", "twice", ""]
    assert filters().reasons(texts, BRIEF, cut=[True, False, False]) == ["cut", "twice", ""]


def test_runs_have_their_length() -> None:
    text = "Sip slowly, smile tomorrow, dear friend"
    index = CopyIndex(READ, n=2)
    assert AdFilters(FilterConfig(copied=0.3), index).reason(text, BRIEF) == "copied"
    assert filters(copied=0.3).reason(text, BRIEF) == ""


def test_facts_are_read_in_the_language_of_the_texts() -> None:
    brief = replace(BRIEF, facts=("Wärme, rot", "1,5 kg"))
    assert filters(locale="de").grounded("Rot und 1,5 kg", brief)
    assert not filters(locale="en").grounded("Weighs 2,5 kg", brief)


def test_reasons_are_known_by_name() -> None:
    assert {reason for _, reason, _ in CASES} | {"cut", "twice", "unlike"} == set(REASONS)


@pytest.mark.parametrize(
    "wrong",
    [{"least_words": 0}, {"most_words": 1}, {"copied": 1.1}, {"echo": -1.0}, {"in_a_row": 0}],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        FilterConfig(**wrong)


def test_the_form_of_a_video_is_no_copy_and_its_scenes_no_claims() -> None:
    brief = AdBrief("v", "video", brand="Mill Lane", subject="Rye", seconds=15.0)
    scenes = "Scene 1: The scene shows a red loaf by the door. Scene 2: The scene shows a street."
    form = f"The ad is shot at a low pace. Following are the descriptions of each scene: {scenes}"
    known = AdFilters(FilterConfig(), CopyIndex(["a dog runs", "a tree"]))
    assert known.reason(form, brief) == ""
    claim = f"The ad is shot at a low pace. The audio in the ad says 20% off . {scenes}"
    assert known.reason(claim, brief) == "ungrounded"
    copied = AdFilters(FilterConfig(), CopyIndex(["a red loaf by the door", "a street"]))
    assert copied.reason(form, brief) == "copied"
    assert AdFilters(FilterConfig(video_words=5), CopyIndex([])).reason(form, brief) == "long"
    assert known.reason("The ad is shot at a low pace.", brief) == "empty"


def test_a_long_text_may_say_a_word_again() -> None:
    words = [f"word{at}" for at in range(30)]
    long = " ".join(f"the {word} of" for word in words[:15])
    brief = AdBrief("d", "description", subject="Rye")
    asked = FilterConfig(most_words=99, ground=False, distinct=0.5)
    assert AdFilters(asked, CopyIndex([])).reason(long, brief) == ""
    short = " ".join(f"the {word} of" for word in words[:12])
    assert AdFilters(asked, CopyIndex([])).reason(short, brief) == "repeats"
