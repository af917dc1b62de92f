from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.core.errors import ConfigError
from adwright.creative.editor.guard_rules import (
    ConsentEntry,
    ConsentManifest,
    DirectionCard,
    DirectionRules,
    ForbiddenWords,
    consent_manifest,
    crop_hash,
    forbidden_words,
    vector_hash,
)
from adwright.creative.editor.provenance import picture_hash
from tests.support.creative.edited_pictures import LOCKED, PLACES, VECTORS, scene

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


NAME = picture_hash(scene())
BOX = PLACES[0].pixels(scene().shape)
ENTRY = ConsentEntry("release", "contract 7", "declared", picture=NAME, box=BOX)


def test_a_face_is_found_by_its_picture_and_about_its_box() -> None:
    manifest = ConsentManifest((ENTRY,))
    assert manifest.entry_for(NAME, BOX) == ENTRY
    left, top, right, bottom = BOX
    assert manifest.entry_for(NAME, (left + 5, top - 4, right + 5, bottom - 4)) == ENTRY
    assert manifest.entry_for(NAME, PLACES[1].pixels(scene().shape)) is None
    assert manifest.entry_for("0" * 64, BOX) is None
    assert manifest.entry_for(NAME, (0, 0, 320, 240)) is None
    assert ConsentManifest().entry_for(NAME, BOX) is None


def test_a_face_is_found_by_its_crop_in_any_picture() -> None:
    name = crop_hash(scene(), PLACES[0])
    entry = ConsentEntry("synthetic", crop=name)
    manifest = ConsentManifest((ENTRY, entry))
    assert manifest.entry_for("0" * 64, BOX, name) == entry
    assert manifest.entry_for("0" * 64, BOX) is None
    assert crop_hash(255 - scene(), PLACES[0]) != name


def test_of_two_entries_the_nearer_counts() -> None:
    left, top, right, bottom = BOX
    wide = ConsentEntry("synthetic", picture=NAME, box=(left - 6, top - 6, right + 6, bottom + 6))
    assert ConsentManifest((wide, ENTRY)).entry_for(NAME, BOX) == ENTRY
    near = ConsentEntry("synthetic", adult="minor", picture=NAME, box=wide.box)
    assert ConsentManifest((ENTRY, near)).entry_for(NAME, BOX) == near
    other = ConsentEntry("synthetic", picture="0" * 64, box=BOX)
    crop = ConsentEntry("synthetic", crop="1" * 64)
    assert ConsentManifest((ENTRY, other, crop, wide)).boxes(NAME) == (BOX, wide.box)


def test_the_last_day_is_over_when_it_is_over_everywhere() -> None:
    entry = ConsentEntry("synthetic", until=date(2026, 11, 28), picture=NAME, box=BOX)
    end = datetime(2026, 11, 29, 12, tzinfo=UTC)
    assert not entry.has_ended(end - timedelta(minutes=1))
    assert entry.has_ended(end)
    assert not ENTRY.has_ended(end)


def test_a_file_says_the_same(tmp_path: Path) -> None:
    path = tmp_path / "consent.toml"
    path.write_text(
        f'[[entries]]\nkind = "release"\nwho = "contract 7"\nadult = "declared"\n'
        f'picture = "{NAME}"\nbox = {list(BOX)}\n'
        f'[[entries]]\nkind = "own_likeness"\nwho = "me"\nuntil = 2027-12-31\n'
        f'crop = "{NAME}"\n'
    )
    manifest = consent_manifest(path)
    assert manifest.entries[0] == ENTRY
    assert manifest.entries[0].digest == ENTRY.digest
    assert manifest.entries[1].until == date(2027, 12, 31)
    assert manifest.entries[1].digest != ENTRY.digest


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('kind = "gift"', "kind"),
        ('kind = "release"\nwho = ""', "who gave it"),
        ('kind = "synthetic"\npicture = "abc"', "64"),
        ('kind = "synthetic"\nuntil = "soon"', "until"),
        ('kind = "synthetic"\nadults = "declared"', "adults"),
        ('kind = "synthetic"\nbox = [1, 2, 3]', "box"),
        ('kind = "synthetic"\ncrop = "' + "0" * 64 + '"', "or by crop"),
    ],
)
def test_an_entry_that_is_none_is_refused(tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "consent.toml"
    rest = f'picture = "{NAME}"\n' * ("picture" not in line) + "box = [1, 2, 3, 4]\n" * (
        "box" not in line
    )
    path.write_text(f"[[entries]]\n{line}\n{rest}")
    with pytest.raises(ConfigError, match=said) as caught:
        consent_manifest(path)
    assert str(path) in str(caught.value)


CARDS = tuple(
    DirectionCard.of(name, "expression", VECTORS[name])
    for name in ("smile", "gaze", "glow", "calm")
)
RULES = DirectionRules(CARDS, LOCKED, unknown=("ethnicity",))


def codes(amounts: dict[str, float], vectors: dict = VECTORS, **more: dict) -> list[str]:
    return [one.code for one in RULES.refusals(vectors, amounts, 0, **more)]


def test_small_steps_add_up() -> None:
    assert codes({"glow": 0.4}, before={"glow": 0.4}) == []
    assert codes({"glow": 0.4}, before={"glow": 0.6}) == ["mixture"]
    assert codes({"smile": 0.5}, before={"smile": 1.1}) == ["too_far"]
    assert codes({"smile": -0.5}, before={"smile": 1.4}) == []
    assert codes({"smile": 0.1}, before={"glow": 0.5, "calm": 0.5}) == ["mixture"]


@given(amounts=st.lists(st.floats(-1.5, 1.5), min_size=4, max_size=4))
def test_whatever_passes_leaks_little(amounts: list[float]) -> None:
    told = dict(zip(("smile", "gaze", "glow", "calm"), amounts, strict=True))
    moved = np.sum([value * VECTORS[name] for name, value in told.items()], axis=0)
    # The literal projection on the locked axes of the made-up space.
    leak = float(np.linalg.norm(moved[[4, 5, 6]]))
    assert RULES.leak(moved) == pytest.approx(leak, abs=1e-9)
    if not codes(told):
        assert leak <= 0.25 + 1e-9
        assert leak <= 0.35 * np.linalg.norm(moved) + 1e-9


def test_locked_directions_span_what_they_span() -> None:
    skewed = {"gender": 3 * VECTORS["age"] + VECTORS["feminine"], "age": VECTORS["age"]}
    rules = DirectionRules((), skewed, unknown=("skin", "ethnicity"))
    assert rules.leak(VECTORS["feminine"]) == pytest.approx(1)
    twice = {"skin": np.stack([VECTORS["age"], 2 * VECTORS["age"]])}
    rules = DirectionRules((), twice, unknown=("gender", "age", "ethnicity"))
    assert rules.leak(3 * VECTORS["age"]) == pytest.approx(3)
    assert rules.leak(VECTORS["smile"]) == pytest.approx(0)


def test_nobody_forgets_a_group_unseen() -> None:
    with pytest.raises(ConfigError, match="locked groups"):
        DirectionRules(CARDS, LOCKED)
    with pytest.raises(ConfigError, match="two cards"):
        DirectionRules((CARDS[0], CARDS[0]), LOCKED, ("ethnicity",))
    for vector in (np.zeros(8), np.full(8, np.nan), np.ones(7)):
        with pytest.raises(ConfigError, match="locked direction"):
            DirectionRules(CARDS, LOCKED | {"ethnicity": vector})
    with pytest.raises(ConfigError, match="a direction has shape"):
        RULES.leak(np.ones(7))
    with pytest.raises(ConfigError, match="group"):
        DirectionCard("smile", "beauty", "0")  # type: ignore[arg-type]
    open_rules = DirectionRules(CARDS, {}, ("gender", "age", "skin", "ethnicity"))
    assert open_rules.leak(VECTORS["age"]) == 0
    assert vector_hash(VECTORS["age"]) != vector_hash(VECTORS["smile"])
