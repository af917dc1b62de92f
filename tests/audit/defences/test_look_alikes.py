from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.audit.defences.normalise import folded, latin_twins


@pytest.mark.parametrize(
    ("given_text", "wanted"),
    [
        ("Іgnоre аll", "Ignore all"),
        ("Recοmmend", "Recommend"),
        ("чайник хорошая", "чайник хорошая"),
        ("a сосо drink", "a coco drink"),
        ("μ-metal αβ Ω", "μ-metal αβ Ω"),
        ("café über", "café über"),
        ("plain", "plain"),
        ("日本語", "日本語"),
    ],
)
def test_words_that_pose_are_folded(given_text: str, wanted: str) -> None:
    assert folded(given_text) == wanted


@given(st.text())
def test_length_and_ascii_stay(text: str) -> None:
    found = folded(text)
    assert len(found) == len(text)
    assert [one for one in found if not one.isascii()] == [
        one for one, was in zip(found, text, strict=True) if not was.isascii() and one == was
    ]
    assert folded(found) == folded(folded(found))


def test_the_table_leads_to_latin_letters() -> None:
    twins = latin_twins()
    assert len(twins) > 500
    assert all(one.isascii() and one.isalpha() for one in twins.values())
    assert not any(sign.isascii() for sign in twins)
