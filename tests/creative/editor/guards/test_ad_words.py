from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.core.errors import ConfigError
from adwright.creative.editor.guards.ad_words import ForbiddenWords, forbidden_words

FOUND = [
    ("political", "Vote for change on Tuesday", "Vote for"),
    ("political", "Please vote yes on Proposition 12", "vote yes"),
    ("political", "Re-elect Maria Lopez", "Re-elect Maria"),
    ("political", "Ready for the general election?", "general election"),
    ("political", "The Labour Party needs you", "Labour Party"),
    ("political", "Our next mayor", "mayor"),
    ("political", "Ban guns now", "Ban guns"),
    ("political", "Donate to a political campaign", "political campaign"),
    ("political", "Your ballot counts", "ballot"),
    ("health_claim", "Cures diabetes in 7 days", "Cures diabetes"),
    ("health_claim", "This tea prevents the flu", "prevents the flu"),
    ("health_claim", "Natural remedy for joint pain", "remedy for joint pain"),
    ("health_claim", "Lowers your cholesterol", "Lowers your cholesterol"),
    ("health_claim", "Lose 10 kg by summer", "Lose 10 kg"),
    ("health_claim", "Burns belly fat", "Burns belly fat"),
    ("health_claim", "Clinically proven serum", "Clinically proven"),
    ("health_claim", "Dermatologists recommend it", "Dermatologists recommend"),
    ("health_claim", "Boosts your immune system", "Boosts your immune system"),
    ("health_claim", "A miracle pill", "miracle pill"),
    ("health_claim", "No prescription needed", "No prescription"),
]
FREE = [
    "Fresh bread every day",
    "A healthy breakfast for busy mornings",
    "Vote for your favourite flavour",
    "Elect to receive our newsletter",
    "Fight boredom with our new games",
    "Treat yourself to chocolate",
    "The party starts here: 20% off",
    "Cured ham, aged 18 months",
    "Painless returns within 30 days",
    "Lose yourself in music",
    "Our candidates' favourite: oak desks",
    "",
]


@pytest.mark.parametrize(("kind", "text", "words"), FOUND, ids=[one[2] for one in FOUND])
def test_what_is_plainly_said_is_found_with_its_place(kind: str, text: str, words: str) -> None:
    found = forbidden_words(text)
    assert [(one.kind, one.words) for one in found] == [(kind, words)]
    start, end = found[0].span
    assert text[start:end] == words


@pytest.mark.parametrize("text", FREE)
def test_what_is_no_claim_is_not_found(text: str) -> None:
    assert forbidden_words(text) == ()


@pytest.mark.parametrize(
    "text",
    [
        "CURES   DIABETES",
        "cures\u00a0diabetes",
        "cu\u200bres dia\u00adbetes",
        "ｃｕｒｅｓ ｄｉａｂｅｔｅｓ",
        "сurеs diаbеtеs",  # Cyrillic letters among them
        "cur3s d1abet3s",
        "cúres díabetes",
        "cures\ndiabetes",
    ],
)
def test_disguises_are_seen_through(text: str) -> None:
    (found,) = forbidden_words(f"Now: {text}!")
    assert found.kind == "health_claim"
    assert found.words == text
    assert found.span == (5, 5 + len(text))


def test_several_are_found_in_their_order() -> None:
    text = "Vote for Ada: she cures cancer, and cures diabetes. Elections: a ballot."
    kinds = [one.kind for one in forbidden_words(text)]
    assert kinds == ["political", "health_claim", "health_claim", "political"]
    with pytest.raises(ConfigError, match="kind"):
        ForbiddenWords("rude", (0, 1), "x")  # type: ignore[arg-type]


@given(text=st.text(max_size=200))
def test_any_text_can_be_read(text: str) -> None:
    for one in forbidden_words(text):
        assert text[slice(*one.span)] == one.words
