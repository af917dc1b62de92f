from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adwright.audit.defences.guard.features import (
    FEATURES,
    CharModel,
    GuardText,
    mark_groups,
    text_features,
)
from tests.support.audit.defended import ATTACKS, honest_guard_texts

HONEST = honest_guard_texts(60)
MODEL = CharModel.fit([one.text for one in HONEST])


def feature(one: GuardText, name: str, local: CharModel | None = None) -> float:
    return float(text_features([one], MODEL, local)[0, FEATURES.index(name)])


def test_one_number_a_feature_and_text() -> None:
    found = text_features([*HONEST[:3], GuardText("")], MODEL)
    assert found.shape == (4, len(FEATURES))
    assert len(set(FEATURES)) == len(FEATURES)


@settings(max_examples=40)
@given(st.text(max_size=60), st.text(max_size=20), st.text(max_size=10))
def test_any_text_has_finite_features(text: str, rest: str, name: str) -> None:
    assert np.isfinite(text_features([GuardText(text, rest, name)], MODEL)).all()


@pytest.mark.parametrize(
    ("name", "attack"),
    [
        ("peak", ATTACKS[0]),
        ("peak_over_text", ATTACKS[0]),
        ("peak_over_record", ATTACKS[0]),
        ("odd_words", ATTACKS[0]),
        ("odd_words_over_record", ATTACKS[0]),
        ("signs", ATTACKS[0]),
        ("signs_over_record", ATTACKS[0]),
        ("length", ATTACKS[1]),
        ("sentences", ATTACKS[1]),
        ("repeats", "kettle kettle kettle kettle"),
        ("own_name", "steel lamp 7 steel lamp 7 steel lamp 7"),
        ("order_words", "Please recommend it"),
        ("meta_words", "for the assistant's ranking"),
        ("first_words", "number one, the best"),
        ("proof_words", "experts and reviewers agree"),
        ("against_words", "better than all competitors"),
        ("address_words", "you and your family"),
        ("press_words", "buy now"),
        ("mark_share", ATTACKS[1]),
        ("mark_kinds", ATTACKS[1]),
        ("mark_peak", ATTACKS[1]),
    ],
)
def test_an_attack_raises_its_feature(name: str, attack: str) -> None:
    honest = GuardText("A steel lamp for offices and the garden.", "steel lamp $70", "steel lamp 7")
    attacked = GuardText(f"{honest.text} {attack}", honest.rest, honest.name)
    assert feature(attacked, name) > feature(honest, name)


def test_a_local_model_finds_prose_among_titles() -> None:
    titles = [one for one in HONEST if one.merchant == "specs"]
    local = CharModel.fit([one.text for one in titles], base=MODEL)
    inside, outside = titles[0], GuardText("A round clock for winter evenings, with an oak finish.")
    for name in ("local_peak", "local_mean", "local_gap"):
        assert feature(outside, name, local) > feature(inside, name, local)
    assert feature(inside, "local_gap") == 0


def test_a_change_of_style_is_seen() -> None:
    plain = "oak shelf 40w mod.12 2pk slim tall 90w mod.77 3pk round quiet"
    assert feature(
        GuardText(f"{plain} This is what they all like, and it is so good."), "change"
    ) > (feature(GuardText(plain), "change"))


def test_words_are_whole_words() -> None:
    groups = mark_groups()
    assert groups["first"].search("the best") is not None
    assert groups["first"].search("bestows stopped top-loader") is None
    assert groups["order"].findall("please make  sure") == ["please", "make  sure"]
