"""What the guard refuses: a table of cases, each with what it has to say."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.core.clock import FixedClock
from adwright.core.errors import ConfigError, DataError
from adwright.creative.editor.edit_kinds import Crop, EditContext, Exposure, FaceMove
from adwright.creative.editor.edit_plan import EditPlan, TextOverlay
from adwright.creative.editor.guard import EditGuard, EditLog, EditRequest
from adwright.creative.editor.guard_rules import (
    SKIN_LIMITS,
    AgeCheck,
    ConsentEntry,
    ConsentManifest,
    DirectionCard,
    DirectionRules,
    DriftCheck,
    ForbiddenWords,
    consent_manifest,
    crop_hash,
    forbidden_words,
    skin_tone,
    vector_hash,
)
from adwright.creative.editor.provenance import picture_hash
from adwright.creative.faces.aligning import FacePlace
from tests.support.creative.drawn_ads import photograph
from tests.support.creative.edited_pictures import (
    LOCKED,
    PLACES,
    VECTORS,
    ShadeMover,
    scene,
    scene_context,
)

NAMES = ("smile", "gaze", "glow", "calm", "pose", "age", "feminine")
CARDS = tuple(DirectionCard.of(name, "expression", VECTORS[name]) for name in NAMES[:4])
RULES = DirectionRules(CARDS, LOCKED, ("ethnicity",))
NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
NAME = picture_hash(scene())
BOXES = tuple(place.pixels((240, 320)) for place in PLACES)
FIRST, SECOND = (
    ConsentEntry("release", f"contract {at}", "declared", picture=NAME, box=box)
    for at, box in enumerate(BOXES)
)
BOTH = (FIRST, SECOND)
#: Half over the first face.
NEIGHBOUR = FacePlace.of_box(100, 60, 148, 108)
FAR = FacePlace.of_box(270, 20, 300, 50)


def move(face: int = 0, **amounts: float) -> FaceMove:
    names = tuple(amounts) or ("smile",)
    values = tuple(amounts.values()) or (0.5,)
    rows = [(0.0,) * len(names)] * face + [values]
    return FaceMove(names, tuple(rows))


def entry(**other: object) -> tuple[ConsentEntry, ...]:
    return (replace(FIRST, **other),)


def renamed(name: str, other: str) -> type[ShadeMover]:
    class Renamed(ShadeMover):
        def vector(self, asked: str) -> np.ndarray:
            return VECTORS[other if asked == name else asked]

    return Renamed


@dataclass(frozen=True)
class Case:
    """codes: what has to be refused, in this order; none where all is well."""

    name: str
    edits: tuple = (move(),)
    codes: tuple[str, ...] = ()
    entries: tuple[ConsentEntry, ...] | None = BOTH
    text: str = "Fresh bread"
    found: tuple[FacePlace, ...] = PLACES
    places: tuple[FacePlace, ...] = PLACES
    years: float | None = None
    mover: type[ShadeMover] = ShadeMover
    now: datetime = NOW
    picture: Callable[[], np.ndarray] = scene
    rules: DirectionRules = RULES
    span: tuple[int, int] | None = None


def darker() -> np.ndarray:
    return Exposure(-0.5).apply(scene(), EditContext())


def another_pixel() -> np.ndarray:
    made = scene()
    made[0, 0, 0] ^= 1
    return made


CASES = (
    # What passes.
    Case("one face with a release"),
    Case("both faces", (move(1, smile=0.3),)),
    Case("synthetic face", entries=entry(kind="synthetic", who="")),
    Case("own likeness", entries=entry(kind="own_likeness", who="me")),
    Case("several allowed directions", (move(smile=0.7, gaze=-0.6),)),
    Case("no face moved, no manifest", (Exposure(0.4), Crop(keep=0.9)), entries=None),
    Case("neutral move, no manifest", (FaceMove.neutral(("age", "smile"), 2),), entries=None),
    Case("an adult by estimate", entries=entry(adult="unknown"), years=31.0),
    Case("consent until today", entries=entry(until=date(2026, 11, 28))),
    Case("by crop, in another picture", entries=(
        ConsentEntry("synthetic", adult="declared", crop=crop_hash(scene(), PLACES[0])),),
        picture=another_pixel),
    Case("a face far away without consent", (move(),), entries=(FIRST,), found=(*PLACES, FAR)),
    Case("a box a little beside", places=(FacePlace.of_box(72, 58, 120, 106), PLACES[1])),
    Case("a small lean to a locked one", (move(glow=0.5),)),
    Case("two leans that cancel out", (move(glow=0.6, calm=-0.6),)),
    Case("words that only sound like it", text="Vote for your favourite flavour"),
    # Consent.
    Case("no manifest", codes=("no_manifest",), entries=None),
    Case("empty manifest", codes=("no_consent",), entries=()),
    Case("another picture's hash", codes=("no_consent",), entries=entry(picture="0" * 64)),
    Case("a pixel changed since", codes=("no_consent",), picture=another_pixel),
    Case("light changed since", codes=("no_consent",), picture=darker),
    Case("another face's box", codes=("no_consent",), entries=(SECOND,)),
    Case("a box over everything", codes=("no_consent",), entries=entry(box=(0, 0, 320, 240))),
    Case("a box far too small", codes=("no_consent",), entries=entry(box=(90, 80, 100, 90))),
    Case("another face's crop", codes=("no_consent",), entries=(
        ConsentEntry("synthetic", adult="declared", crop=crop_hash(scene(), PLACES[1])),)),
    Case("the second of two has none", (move(), move(1)), ("no_consent",), entries=(FIRST,)),
    Case("neither has", (move(), move(1)), ("no_consent", "no_consent"), entries=()),
    Case("a face nobody knows", (move(2),), ("no_consent",)),
    Case("a place moved onto another face", codes=("no_consent",), entries=(FIRST,),
         places=(PLACES[1], PLACES[0])),
    Case("ended yesterday and more", codes=("expired",), entries=entry(until=date(2026, 11, 26))),
    Case("ended long ago", codes=("expired",), entries=entry(until=date(2020, 1, 1))),
    Case("ends before the clock", codes=("expired",), entries=entry(until=date(2027, 1, 1)),
         now=datetime(2028, 1, 1, tzinfo=UTC)),
    # Minors.
    Case("a minor, declared", codes=("minor",), entries=entry(adult="minor")),
    Case("declared, whatever the estimate", codes=("minor",), entries=entry(adult="minor"),
         years=50.0),
    Case("a synthetic minor", codes=("minor",), entries=entry(kind="synthetic", adult="minor")),
    Case("a minor by estimate", codes=("minor",), entries=entry(adult="unknown"), years=12.0),
    Case("within the margin", codes=("minor",), entries=entry(adult="unknown"), years=24.9),
    Case("declared adult, looks like a child", codes=("minor",), years=10.9),
    Case("declared adult, looks young", years=15.0),
    Case("declared adult, no estimate", years=float("nan")),
    Case("just beyond the margin", entries=entry(adult="unknown"), years=25.0),
    Case("age neither declared nor estimated", codes=("age_unknown",),
         entries=entry(adult="unknown")),
    Case("an estimate that cannot tell", codes=("age_unknown",), entries=entry(adult="unknown"),
         years=float("nan")),
    # Others in the picture.
    Case("an unlisted face under the mask", codes=("other_face",), entries=(FIRST,),
         found=(*PLACES, NEIGHBOUR)),
    Case("an unlisted place under the mask", codes=("other_face",), entries=(FIRST,),
         places=(PLACES[0], NEIGHBOUR)),
    Case("the other's consent has ended", codes=("other_face",), entries=(
        FIRST, replace(SECOND, box=NEIGHBOUR.pixels((240, 320)), until=date(2020, 1, 1))),
        found=(*PLACES, NEIGHBOUR)),
    Case("the other has consent", entries=(
        FIRST, replace(SECOND, box=NEIGHBOUR.pixels((240, 320)))), found=(*PLACES, NEIGHBOUR)),
    # Words.
    Case("politics", codes=("political",), text="Vote for Ada", span=(0, 8)),
    Case("a health claim", codes=("health_claim",), text="It cures diabetes", span=(3, 17)),
    Case("without a face, too", (Exposure(0.2),), ("political",), text="Re-elect Ada Miller"),
    Case("in the text that is laid over", (TextOverlay("Burns belly fat", opacity=1.0),),
         ("health_claim",), span=(0, 15)),
    Case("in disguise", codes=("health_claim",), text="cu\u200bres d1abetes"),
    Case("words and no consent", codes=("political", "no_consent"), entries=(),
         text="The general election"),
    # Directions.
    Case("age", (move(age=0.2),), ("locked_direction",)),
    Case("gender under a made-up name", (move(feminine=0.2),), ("locked_direction",)),
    Case("age under the name of a smile", codes=("locked_direction",),
         mover=renamed("smile", "age")),
    Case("another vector under the name of a smile", codes=("renamed_direction",),
         mover=renamed("smile", "pose")),
    Case("not on the list", (move(pose=0.3),), ("not_allowed",)),
    Case("unknown to the model", (move(beauty=0.3),), ("unknown_direction",)),
    Case("a mixture", (move(glow=0.5, calm=0.5),), ("mixture",)),
    Case("a mixture over two edits", (move(glow=0.5), move(calm=0.5)), ("mixture",)),
    Case("two small locked steps", (move(age=0.05), move(age=0.05)), ("locked_direction",)),
    Case("a locked step taken back", (move(age=0.5), move(age=-0.5)), ("locked_direction",)),
    Case("too far in two edits", (move(smile=0.9), move(smile=0.9)), ("too_far",)),
    Case("an allowed one beside a locked one", (move(smile=0.5, age=0.5),), ("locked_direction",)),
    Case("the second face alone", (move(1, age=0.4),), ("locked_direction",)),
    Case("behind a crop", (Crop(keep=0.8), move(age=0.4)), ("locked_direction",)),
    Case("an empty list", codes=("not_allowed",),
         rules=DirectionRules((), LOCKED, ("ethnicity",))),
    Case("no consent and locked", (move(age=0.2),), ("no_consent", "locked_direction"),
         entries=()),
    Case("a minor and a mixture", (move(glow=0.5, calm=0.5),), ("minor", "mixture"),
         entries=entry(adult="minor")),
)  # fmt: skip


def asked(case: Case) -> tuple[EditGuard, EditRequest]:
    manifest = None if case.entries is None else ConsentManifest(case.entries)
    years = case.years
    ages = AgeCheck(None if years is None else lambda crop: years)
    context = replace(scene_context(), places=case.places, mover=case.mover(NAMES))
    request = EditRequest(case.picture(), EditPlan(case.edits), context, case.text, case.found)
    return EditGuard(case.rules, manifest, ages), request


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_each_case_is_refused_as_it_says(case: Case) -> None:
    guard, request = asked(case)
    verdict = guard.verdict(request, case.now)
    assert tuple(one.code for one in verdict.refusals) == case.codes
    if case.codes:
        done = guard.edited(request, FixedClock(case.now), approver="Ada")
        assert (done.done, done.record, done.seal) == (None, None, "")
        np.testing.assert_array_equal(request.picture, case.picture())
    assert verdict.allowed == (not case.codes)
    assert all(one.reason for one in verdict.refusals)
    if case.span is not None:
        assert verdict.refusals[0].span == case.span
    words = {"political", "health_claim"} & set(case.codes)
    if case.codes and not words:
        assert verdict.offered is not None
        assert verdict.offered.face_moves() == ()
        again = guard.verdict(replace(request, plan=verdict.offered), case.now)
        assert again.allowed
    else:
        assert verdict.offered is None


def test_a_finder_finds_what_a_request_leaves_out() -> None:
    guard, request = asked(Case("nobody named", found=(), places=PLACES[:1]))
    assert guard.verdict(request, NOW).allowed
    seen = replace(guard, finder=lambda picture: [*PLACES, NEIGHBOUR, NEIGHBOUR])
    assert [one.code for one in seen.verdict(request, NOW).refusals] == ["other_face"]


def world(log: EditLog | None, *, drift: DriftCheck | None = None) -> EditGuard:
    return EditGuard(RULES, ConsentManifest(BOTH), AgeCheck(), drift, log)


def request_of(plan: EditPlan, picture: np.ndarray, context: EditContext) -> EditRequest:
    return EditRequest(picture, plan, replace(context, mover=ShadeMover(NAMES)))


@pytest.fixture
def log(tmp_path: Path) -> EditLog:
    return EditLog(tmp_path / "edits.jsonl", FixedClock(NOW))


CLOCK = FixedClock(NOW)


def test_an_edit_is_made_and_recorded(log: EditLog) -> None:
    plan = EditPlan((Exposure(0.2), move(smile=0.5), Crop(keep=0.7, x=-1)))
    request = request_of(plan, scene(), scene_context())
    made = world(log).edited(request, CLOCK, approver="Ada", model="faces-1")
    assert made.done is not None
    wanted = plan.apply(scene(), request.context)
    np.testing.assert_array_equal(made.done.picture, wanted.picture)
    ((_, record),) = log.records()
    assert record == made.record
    assert (record.source, record.result) == (NAME, picture_hash(wanted.picture))
    assert (record.approver, record.model) == ("Ada", "faces-1")
    assert record.faces[0].moved == {"smile": 0.5}
    assert record.faces[0].consent == FIRST.digest
    assert record.faces[1].moved == {}
    assert log.check(head=made.seal).whole


def test_an_edit_of_an_edit_is_known_by_the_log_and_a_stranger_without(log: EditLog) -> None:
    first = EditPlan((Crop(keep=0.7, x=-1), move(smile=0.9)))
    made = world(log).edited(request_of(first, scene(), scene_context()), CLOCK, approver="Ada")
    assert made.done is not None
    done = made.done
    again = request_of(EditPlan((move(smile=0.5),)), done.picture, done.context)
    assert world(log).verdict(again, NOW).allowed
    further = replace(again, plan=EditPlan((move(smile=0.7),)))
    codes = [one.code for one in world(log).verdict(further, NOW).refusals]
    assert codes == ["too_far"]
    # Whoever cuts the statement out of the file changes no pixel: the log knows it all the same.
    assert [one.code for one in world(None).verdict(again, NOW).refusals] == ["no_consent"]


def test_two_small_steps_towards_a_locked_one_are_one_large_step(log: EditLog) -> None:
    guard, picture, context = world(log), scene(), scene_context()
    results = []
    for _ in range(3):
        request = request_of(EditPlan((move(glow=0.45),)), picture, context)
        made = guard.edited(request, CLOCK, approver="Ada")
        results.append(tuple(one.code for one in made.verdict.refusals))
        if made.done is not None:
            picture, context = made.done.picture, made.done.context
    assert results == [(), ("mixture",), ("mixture",)]


def test_a_search_asks_about_directions_alone(log: EditLog) -> None:
    guard = world(log)
    made = guard.edited(
        request_of(EditPlan((move(smile=0.9),)), scene(), scene_context()), CLOCK, approver="Ada"
    )
    assert made.done is not None
    first = request_of(EditPlan((move(smile=0.1),)), scene(), scene_context())
    again = request_of(EditPlan((move(smile=0.1),)), made.done.picture, made.done.context)
    for request in (first, again):
        allowed = guard.directions_allow(request)
        for amounts in ({"smile": 0.4}, {"smile": 0.7}, {"age": 0.1}, {"glow": 0.9, "calm": 0.9}):
            plan = EditPlan((move(**amounts),))
            wanted = guard.verdict(replace(request, plan=plan), NOW).allowed
            assert allowed(plan) == wanted, amounts
    nobody = FaceMove(("smile",), ((0.0,),) * 7 + ((0.1,),))
    assert not guard.directions_allow(first)(EditPlan((nobody,)))
    assert [trace.steps for trace in guard.traces(again)] == [1, 1]
    assert guard.directions_allow(first)(EditPlan((Exposure(0.3),)))


def redness(crop: np.ndarray) -> dict[str, float]:
    return {"skin": float(crop[..., 0].mean())}


def test_drift_stops_an_edit_and_adds_up_over_edits(log: EditLog) -> None:
    plan = EditPlan((Exposure(-0.3), move(smile=0.5)))
    request = request_of(plan, scene(), scene_context())
    strict = world(log, drift=DriftCheck(redness, {"skin": 5}))
    stopped = strict.edited(request, CLOCK, approver="Ada")
    assert [one.code for one in stopped.verdict.refusals] == ["drift"]
    assert stopped.done is None
    assert log.check().entries == 0
    wide = world(log, drift=DriftCheck(redness, {"skin": 25}))
    made = wide.edited(request, CLOCK, approver="Ada")
    assert made.done is not None
    assert made.record is not None
    moved = made.record.faces[0].drift["skin"]
    assert 10 < moved < 22  # of the smile alone, not of the light
    again = request_of(EditPlan((move(smile=0.5),)), made.done.picture, made.done.context)
    twice = wide.edited(again, CLOCK, approver="Ada")
    assert [one.code for one in twice.verdict.refusals] == ["drift"]


def test_a_broken_log_lets_no_face_pass(log: EditLog) -> None:
    request = request_of(EditPlan((move(),)), scene(), scene_context())
    world(log).edited(request, CLOCK, approver="Ada")
    log.path.write_bytes(log.path.read_bytes().replace(b"Ada", b"Eve"))
    assert [one.code for one in world(log).verdict(request, NOW).refusals] == ["log_broken"]
    light = replace(request, plan=EditPlan((Exposure(0.1),)))
    assert world(log).verdict(light, NOW).allowed
    with pytest.raises(DataError, match="the log is broken"):
        world(log).edited(light, CLOCK, approver="Ada")


def test_moves_that_could_not_be_made_are_not_recorded(log: EditLog) -> None:
    plan = EditPlan((move(smile=0.5), Exposure(0.1)))
    request = replace(request_of(plan, scene(), scene_context()))
    gone = (FacePlace.of_box(300, 220, 348, 268),)
    entries = (replace(FIRST, box=gone[0].pixels((240, 320))),)
    guard = EditGuard(RULES, ConsentManifest(entries), log=log)
    context = replace(request.context, places=gone)
    made = guard.edited(replace(request, context=context), CLOCK, approver="Ada")
    assert made.done is not None
    assert [one.kind for one in made.done.skipped] == ["face_move"]
    assert made.record is not None
    assert made.record.faces[0].moved == {}


CROP = np.zeros((64, 64, 3), np.uint8)


def test_margin_and_limit_count_and_are_checked() -> None:
    entry = ConsentEntry("synthetic", crop="0" * 64)
    estimate = 22.0
    assert AgeCheck(lambda crop: estimate, margin=4).refusal(entry, CROP, 0) is None
    assert AgeCheck(lambda crop: estimate, margin=5).refusal(entry, CROP, 0) is not None
    assert AgeCheck(lambda crop: estimate, margin=4, adult=21).refusal(entry, CROP, 0) is not None


FACE = np.asarray(photograph("astronaut.png"))[60:190, 160:290]
CHECK = DriftCheck(skin_tone, SKIN_LIMITS)


def lighter(by: float) -> np.ndarray:
    return np.clip(FACE * by, 0, 255).astype(np.uint8)


def test_skin_is_read_in_the_middle_of_the_crop() -> None:
    found = skin_tone(FACE)
    assert 0.3 < found["skin_light"] < 0.9
    assert found["skin_warm"] > 0.1
    other = FACE.copy()
    other[:10] = other[:, :10] = other[:, -10:] = 0
    assert skin_tone(other) == found
    assert skin_tone(np.full((1, 1, 3), 255, np.uint8))["skin_light"] == pytest.approx(1)


def test_lighter_skin_is_drift_and_a_smile_is_not() -> None:
    assert CHECK.measured(FACE, lighter(1.02)).over == ()
    assert "skin_light" in CHECK.measured(FACE, lighter(1.2)).over
    warmer = np.clip(FACE * np.array([1.15, 1, 0.85]), 0, 255).astype(np.uint8)
    assert "skin_warm" in CHECK.measured(FACE, warmer).over
    mouth = FACE.copy()
    mouth[88:96, 52:78] = [150, 40, 40]
    assert CHECK.measured(FACE, mouth).over == ()
    earlier = {"skin_light": 0.05}
    assert CHECK.measured(FACE, lighter(1.04), earlier).over == ("skin_light",)


def test_what_is_no_crop_is_refused() -> None:
    with pytest.raises(DataError):
        skin_tone(np.zeros((4, 4), np.uint8))


DARK, LIGHT = (np.full((8, 8, 3), value, np.uint8) for value in (100, 120))


def reader(crop: np.ndarray) -> dict[str, float]:
    return {"skin": float(crop.mean()), "age": 30.0}


def test_a_change_beyond_its_limit_stops() -> None:
    check = DriftCheck(reader, {"skin": 15, "age": 1})
    drift = check.measured(DARK, LIGHT)
    assert drift.changes == {"skin": 20, "age": 0}
    assert drift.over == ("skin",)
    refusal = check.refusal(drift, 4)
    assert refusal is not None
    assert (refusal.code, refusal.face) == ("drift", 4)
    assert "skin +20 (limit 15)" in refusal.reason
    wide = DriftCheck(reader, {"skin": 20})
    assert wide.refusal(wide.measured(DARK, LIGHT), 0) is None
    assert wide.measured(LIGHT, DARK).over == ()


def test_what_cannot_be_read_stops() -> None:
    missing = DriftCheck(lambda crop: {}, {"skin": 1})
    assert missing.measured(DARK, LIGHT).over == ("skin",)
    nan = DriftCheck(lambda crop: {"skin": math.nan}, {"skin": 1})
    assert nan.measured(DARK, DARK).over == ("skin",)
    assert "nan" in str(nan.refusal(nan.measured(DARK, DARK), 0))


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


BOX = PLACES[0].pixels(scene().shape)
ENTRY = ConsentEntry("release", "contract 7", "declared", picture=NAME, box=BOX)


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
