"""What moved a judge, part by part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.core.errors import ConfigError
from adwright.creative.judging.ablation import ablate, leave_out, parts_of
from adwright.creative.judging.judgement import Judgements
from adwright.creative.records.verbal.record import AdRecord, Scene

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
