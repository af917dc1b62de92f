"""Which faces of a drawn scene may be moved; a detector of people sees none of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import adwright
from adwright.core.clock import FixedClock, SystemClock
from adwright.core.errors import ArtifactError, ConfigError, DataError, ResumeError
from adwright.core.hashing import sha256_file
from adwright.creative.editor.edit_kinds import EditContext, Exposure, FaceMove, ProtectedBox
from adwright.creative.editor.edit_plan import EditPlan
from adwright.creative.editor.fitness import EnsembleJudge, edited_batch
from adwright.creative.editor.guard import EditLog, EditRequest
from adwright.creative.editor.guard_rules import (
    AgeCheck,
    ConsentEntry,
    ConsentManifest,
    DriftCheck,
    consent_manifest,
)
from adwright.creative.editor.job import (
    AdToEdit,
    FaceFiles,
    JobTools,
    checked_ad,
    edit_ad,
    edit_ads,
    noted_faces,
    prepared_job,
)
from adwright.creative.editor.job_faces import (
    FaceDrift,
    FaceRealnessDrop,
    FacesOfAd,
    FaceTools,
    ProtectedRegions,
    faces_of_ad,
    plain_guard,
)
from adwright.creative.editor.job_files import EditJob
from adwright.creative.editor.job_judges import (
    AdOnPictures,
    AskedJudges,
    PictureEyes,
    Unlikeness,
    opened_judges,
    sees_pictures,
)
from adwright.creative.editor.provenance import (
    SigningKey,
    made_test_key,
    picture_hash,
    read_credentials,
)
from adwright.creative.faces.aligning import (
    AlignedFaces,
    FaceAligner,
    FacePlace,
    SkippedFace,
    cut_at,
)
from adwright.creative.faces.opened import OpenedFaces
from adwright.creative.judges import open_judge
from adwright.creative.judging import IMAGE, Judgements
from adwright.creative.records.ad_record import AdRecord, Scene
from adwright.creative.records.ads_table import AdTable, read_ads
from adwright.creative.records.encoders import opened_image
from adwright.creative.records.looking import colours_of
from adwright.creative.response.fit import ClickRateConfig, fit_click_rate
from adwright.creative.response.inputs import encoded_texts
from tests.support.creative.drawn_ads import photograph
from tests.support.creative.edited_pictures import PLACES, scene
from tests.support.data.judged_pictures import Brightness, picture_judges, shop_windows
from tests.support.data.small_creatives import small_creatives
from tests.support.models.small_faces import small_faces

PICTURES = shop_windows(3, seed=1)
RECORD = AdRecord(
    kind="image", title="Bread", scenes=(Scene(tone="cool", words=("38% off",), faces=2),)
)


class Tones:
    """Says 1 of a warm ad, and keeps what it was asked."""

    name = "recall"

    def __init__(self) -> None:
        self.asked: list[AdRecord] = []

    def judge(self, ads: Sequence[AdRecord], /) -> Judgements:
        self.asked += ads
        value = np.array([ad.scenes[0].tone == "warm" for ad in ads], np.float32)
        return Judgements(value, value, value, value > 0)


def test_every_picture_is_encoded_once_and_judged_as_the_judge_would(
    bright_runs: dict[str, Path],
) -> None:
    judge, encoder = open_judge(bright_runs["a"]), Brightness()
    eyes = PictureEyes(encoder, colours=False)
    asked = AdOnPictures("click_rate", judge, RECORD, eyes)
    found = asked.judge(PICTURES[[0, 1, 0]])
    vectors = encoder.encode_pictures([Image.fromarray(one) for one in PICTURES[[0, 1, 0]]], 3)
    wanted = judge.judge([RECORD] * 3, {IMAGE: vectors}).value  # type: ignore[call-arg]
    np.testing.assert_allclose(found, wanted, rtol=1e-6)
    assert found[0] != found[1]
    assert eyes.looked == 2
    again = AdOnPictures("click_rate", open_judge(bright_runs["b"]), RECORD, eyes)
    assert not np.allclose(again.judge(PICTURES), asked.judge(PICTURES), rtol=1e-9)
    assert eyes.looked == 3


def test_the_record_shows_the_new_colours_and_keeps_its_words() -> None:
    judge = Tones()
    asked = AdOnPictures("recall", judge, RECORD, PictureEyes(None))
    warm = np.full((32, 32, 3), (220, 120, 40), np.uint8)
    cool = np.full((32, 32, 3), (40, 90, 200), np.uint8)
    assert asked.judge(np.stack([warm, cool, warm])).tolist() == [1, 0, 1]
    assert len(judge.asked) == 2
    (scene,) = judge.asked[0].scenes
    seen = colours_of(Image.fromarray(warm))
    assert (scene.foreground, scene.tone) == (seen.foreground, "warm")
    assert (scene.words, scene.faces, judge.asked[0].title) == (("38% off",), 2, "Bread")
    assert asked.unlike(np.stack([cool, warm])).tolist() == [False, True]
    blank = AdOnPictures("recall", Tones(), AdRecord(title="Bread"), PictureEyes(None))
    assert blank.judge(warm[None]).tolist() == [1]


def test_an_edit_that_makes_it_unlike_costs() -> None:
    class Bright(Tones):
        def judge(self, ads: Sequence[AdRecord], /) -> Judgements:
            value = np.zeros(len(ads), np.float32)
            odd = ["white" in ad.scenes[0].foreground for ad in ads]
            return Judgements(value, value, value, np.array(odd, bool))

    picture = np.full((32, 32, 3), 185, np.uint8)
    white = AdOnPictures("recall", Bright(), RECORD, PictureEyes(None))
    never = AdOnPictures("recall", Tones(), RECORD, PictureEyes(None))
    batch = edited_batch(EditPlan((Exposure(),)), np.array([[0.0], [1.0]]), picture)
    penalty = Unlikeness((white, never))
    lost = penalty.of(batch)
    seen = white.unlike(np.stack([batch.original, *batch.pictures]))
    np.testing.assert_array_equal(lost, (seen[1:].astype(float) - float(seen[0])).clip(0) / 2)
    assert lost.tolist() == [0.0, 0.5]
    assert penalty.name == "unlikeness"


def test_a_judge_of_texts_alone_is_blind(bright_runs: dict[str, Path]) -> None:
    seen = sees_pictures(open_judge(bright_runs["a"]), "a")
    assert seen == {"vectors": True, "colours": False}
    assert sees_pictures(Tones(), "b") == {"vectors": False, "colours": True}
    config = ClickRateConfig()
    words = fit_click_rate(small_creatives(), config, texts=encoded_texts("hashed"))
    with pytest.raises(ConfigError, match="does not look at pictures"):
        sees_pictures(words, "runs/words")


BREAD = AdRecord(kind="image", title="Bread")


def test_several_of_a_name_are_an_ensemble(bright: AskedJudges) -> None:
    pictures = shop_windows(2, seed=3)
    found = bright.of(BREAD)
    (ensemble,) = found.objectives
    assert isinstance(ensemble, EnsembleJudge)
    assert bright.several
    assert bright.names == ("click_rate",)
    members = ensemble.members(pictures)
    assert members.shape == (3, 2)
    np.testing.assert_allclose(ensemble.judge(pictures), members.mean(0))
    assert found.second is not None
    assert not np.allclose(found.second.judge(pictures), members.mean(0))
    assert len(found.searched) == 3
    assert found.second not in found.searched


def test_runs_are_opened(bright_runs: dict[str, Path]) -> None:
    with opened_judges([bright_runs["a"]], bright_runs["b"]) as one:
        assert not one.several
        assert not one.colours
        assert one.encoder is not None
        assert one.second is not None
        assert not isinstance(one.of(BREAD).objectives[0], EnsembleJudge)
        digest = one.digest
    with opened_judges([bright_runs["a"] / "model"]) as same:
        assert same.digest == (digest[0], "")
        assert same.of(BREAD).second is None


@pytest.mark.parametrize(
    ("names", "second", "several", "says"),
    [
        ((), None, False, "no judge"),
        (("a", "a"), None, False, "twice"),
        (("a", "b"), "b", False, "one of those"),
        (("a", "b"), None, True, "pareto takes"),
    ],
)
def test_judges_that_do_not_go_together_are_refused(
    bright_runs: dict[str, Path],
    names: tuple[str, ...],
    second: str | None,
    several: bool,
    says: str,
) -> None:
    folders = [bright_runs[name] for name in names]
    last = None if second is None else bright_runs[second] / "model"
    with (
        pytest.raises(ConfigError, match=says),
        opened_judges(folders, last, several_objectives=several),
    ):
        pass


def test_a_folder_without_a_judge(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no judge"), opened_judges([tmp_path]):
        pass


PICTURE = scene()
MOVE = EditPlan((FaceMove(("smile", "turn"), ((0.4, 0.0),)),))


class NoFinder:
    """In the place of a finder of faces, which finds no drawn one."""

    def places(self, picture: np.ndarray) -> tuple:
        return ()


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> OpenedFaces:
    return OpenedFaces.load(*small_faces(tmp_path_factory.mktemp("faces")))


@pytest.fixture
def face_tools(opened: OpenedFaces) -> FaceTools:
    boxes = [place.pixels(PICTURE.shape) for place in PLACES[:1]]
    entries = [
        ConsentEntry("synthetic", adult="declared", picture=picture_hash(PICTURE), box=box)
        for box in boxes
    ]
    return FaceTools.of(opened, ConsentManifest(tuple(entries)), NoFinder())  # type: ignore[arg-type]


def codes(face_tools: FaceTools, plan: EditPlan, log: EditLog, *, faces: bool = True) -> list[str]:
    guard = face_tools.guard(log) if faces else plain_guard(log)
    context = EditContext(places=PLACES, mover=face_tools.opened.mover)
    found = guard.verdict(EditRequest(PICTURE, plan, context), SystemClock().now())
    return [one.code for one in found.refusals]


def test_consent_and_directions_are_asked_for(face_tools: FaceTools, tmp_path: Path) -> None:
    log = EditLog(tmp_path / "edits.jsonl", SystemClock())
    assert codes(face_tools, MOVE, log) == []
    assert codes(face_tools, MOVE, log, faces=False) == ["no_manifest"]
    other = EditPlan((FaceMove(("smile", "turn"), ((0.0, 0.0), (0.4, 0.0))),))
    assert "no_consent" in codes(face_tools, other, log)
    assert set(codes(face_tools, EditPlan((FaceMove(("age",), ((0.4,),)),)), log)) & {
        "locked_direction",
        "unknown_direction",
    }
    assert face_tools.rules().unknown == ("gender", "age", "ethnicity")
    drift = face_tools.guard(log).drift
    assert drift is not None
    assert "skin_light" in drift.limits


def test_moves_cost(face_tools: FaceTools) -> None:
    penalties = face_tools.penalties(PICTURE, PLACES[:1], EditJob())
    names = [one.penalty.name for one in penalties]
    assert names == ["latent_distance", "identity_distance", "face_drift", "face_realness_drop"]
    context = EditContext(places=PLACES[:1], mover=face_tools.opened.mover)
    batch = edited_batch(MOVE, np.array([[0.0, 0.0], [1.5, 1.5]]), PICTURE, context)
    for one in penalties:
        lost = one.penalty.of(batch)
        assert lost[0] == pytest.approx(0, abs=1e-9)
        assert lost[1] >= 0
    assert penalties[1].penalty.of(batch)[1] > 0


def test_drift_counts_near_its_limit_as_the_guard_measures_it(opened: OpenedFaces) -> None:
    plan = EditPlan((MOVE.edits[0], Exposure(0.2)))
    vectors = np.array([[0.0, 0.0, 0.3], [0.2, 0.0, 0.3], [1.5, 0.0, 0.3]])
    batch = edited_batch(plan, vectors, PICTURE, EditContext(places=PLACES, mover=opened.mover))
    still = EditPlan((Exposure(0.3),)).apply(PICTURE).picture

    def read(crop: np.ndarray) -> dict[str, float]:
        return {"red": float(crop[..., 0].mean())}

    crops = [PLACES[0].cut(one, 64) for one in (still, *batch.pictures)]
    first, *others = [read(crop)["red"] for crop in crops]
    far = abs(others[2] - first)
    assert far > 1e-3
    found = FaceDrift(DriftCheck(read, {"red": far})).of(batch)
    np.testing.assert_allclose(found, [0, 0, 1], atol=0.01)
    assert FaceDrift(DriftCheck(read, {"red": 2 * far})).of(batch).tolist() == [0, 0, 0]
    before = FaceDrift(DriftCheck(read, {"red": far}), ({"red": 5 * far},)).of(batch)
    assert before[0] == 0
    assert (before[1:] > 3).all()


def test_realness_is_the_discriminators(opened: OpenedFaces) -> None:
    penalty = FaceRealnessDrop(opened)
    context = EditContext(places=PLACES[:1], mover=opened.mover)
    batch = edited_batch(MOVE, np.array([[0.0, 0.0], [-1.5, 1.5]]), PICTURE, context)
    crops = [PLACES[0].cut(one, opened.side) for one in (PICTURE, *batch.pictures)]
    said = opened.realness(np.stack(crops))
    assert said is not None
    np.testing.assert_allclose(penalty.of(batch), np.maximum(said[0] - said[1:], 0), atol=1e-6)
    plain = edited_batch(MOVE, np.array([[0.0, 0.0]]), PICTURE, EditContext())
    assert penalty.of(plain).tolist() == [0.0]


NAME = picture_hash(PICTURE)
PLAIN = EditJob(edits=("exposure",)).plan()
FIRST, SECOND = (place.pixels(PICTURE.shape) for place in PLACES)


@dataclass
class Sees:
    """In the place of an aligner: it sees what it is told."""

    faces: tuple[FacePlace, ...] = ()
    skipped: tuple[SkippedFace, ...] = ()

    def aligned(self, picture: np.ndarray, pixels: int) -> AlignedFaces:
        return AlignedFaces(cut_at(picture, self.faces, pixels).faces, self.skipped)

    def places(self, picture: np.ndarray) -> tuple[FacePlace, ...]:
        return self.faces


def entry(box: tuple[int, int, int, int], adult: str = "declared") -> ConsentEntry:
    return ConsentEntry("synthetic", adult=adult, picture=NAME, box=box)  # type: ignore[arg-type]


def asked(
    opened: OpenedFaces,
    *entries: ConsentEntry,
    sees: Sees | None = None,
    mask: np.ndarray | None = None,
    ages: AgeCheck | None = None,
) -> FacesOfAd:
    manifest = ConsentManifest(entries)
    tools = FaceTools.of(opened, manifest, sees or Sees(), ages=ages)  # type: ignore[arg-type]
    guard = tools.guard(EditLog(Path("nowhere.jsonl"), SystemClock()))
    now = SystemClock().now()
    return faces_of_ad(PICTURE, EditContext(mask), PLAIN, "Bread", tools, guard, now)


def boxes(found: FacesOfAd) -> list[tuple[int, ...]]:
    return [place.pixels(PICTURE.shape) for place in found.context.places]


def test_a_face_that_the_manifest_names_by_its_box_is_moved(opened: OpenedFaces) -> None:
    found = asked(opened, entry(SECOND))
    assert (boxes(found), found.notes) == ([SECOND], ())
    move = found.plan.edits[0]
    assert isinstance(move, FaceMove)
    assert len(move.amounts) == 1
    moved = replace(move, amounts=((1.5, 0.0),)).apply(PICTURE, found.context)
    assert (moved != PICTURE).any()
    away = entry((300, 200, 400, 300))
    assert asked(opened, away).notes == ("no face was found that could be moved",)
    assert boxes(asked(opened, entry(FIRST), sees=Sees(PLACES[:1]))) == [FIRST]


def test_faces_that_may_be_moved_come_first_and_others_are_told(opened: OpenedFaces) -> None:
    found = asked(opened, entry(SECOND), sees=Sees(PLACES))
    assert boxes(found) == [SECOND, FIRST]
    (note,) = found.notes
    assert note == (
        "face 0 stays: no entry of the manifest names this face: "
        f'picture = "{NAME}", box = {list(FIRST)}'
    )
    assert len(found.plan.face_moves()) == 0
    assert [edit.kind for edit in found.plan.edits] == ["face_move", "exposure"]


def test_what_a_note_says_is_what_a_manifest_takes(opened: OpenedFaces, tmp_path: Path) -> None:
    (note,) = asked(opened, sees=Sees(PLACES[:1])).notes
    picture, box = note.partition("face: ")[2].split(", ", 1)
    path = tmp_path / "consent.toml"
    lines = ["[[entries]]", 'kind = "synthetic"', 'adult = "declared"', picture, box]
    path.write_text("\n".join(lines), "utf-8")
    entries = consent_manifest(path).entries
    assert asked(opened, *entries, sees=Sees(PLACES[:1])).notes == ()


def test_nothing_is_passed_over_in_silence(opened: OpenedFaces) -> None:
    small = SkippedFace(tuple(map(float, FIRST)), "small", "6.0 pixels")  # type: ignore[arg-type]
    found = asked(opened, entry(FIRST), sees=Sees(skipped=(small,)))
    assert found.plan == PLAIN
    assert found.notes[0].endswith("it is small, 6.0 pixels")
    unsure = replace(small, reason="unsure")
    assert boxes(asked(opened, entry(FIRST), sees=Sees(skipped=(unsure,)))) == [FIRST]
    mask = np.zeros(PICTURE.shape[:2], bool)
    mask[FIRST[1] : FIRST[3], FIRST[0] : FIRST[2]] = True
    covered = asked(opened, entry(FIRST), mask=mask)
    assert covered.plan == PLAIN
    assert covered.notes == ("face 0 stays: what is protected covers it",)


def test_a_picture_without_room_for_the_label_keeps_its_faces(opened: OpenedFaces) -> None:
    mask = np.ones(PICTURE.shape[:2], bool)
    mask[FIRST[1] : FIRST[3], FIRST[0] : FIRST[2]] = False
    found = asked(opened, entry(FIRST), mask=mask)
    assert found.plan == PLAIN
    (note,) = found.notes
    assert note.startswith("no face is moved: there is no room for the label")


def test_ages_are_looked_at(opened: OpenedFaces) -> None:
    notes = asked(opened, entry(FIRST), ages=AgeCheck(lambda crop: 9.0)).notes
    assert "looks like 9 years" in "".join(notes)
    assert asked(opened, entry(FIRST, "unknown"), ages=AgeCheck(lambda crop: 40.0)).notes == ()


ASTRONAUT = np.asarray(photograph("astronaut.png"))
JOB = EditJob(calls=40, coverage=0.5)


def ad(shop: Path, name: str = "0.png", title: str = "Window") -> AdToEdit:
    return AdToEdit(name, shop / name, AdRecord(kind="image", title=title))


def pixels(data: bytes | None) -> np.ndarray:
    assert data is not None
    return np.asarray(opened_image(data), np.uint8)


def test_an_ad_is_edited_signed_and_logged(shop: Path, tools: JobTools) -> None:
    before = (shop / "0.png").read_bytes()
    done, data = edit_ad(ad(shop), tools, JOB)
    assert done.status == "edited"
    assert done.first is not None
    assert done.first.low is not None
    assert done.first.low > 0
    assert done.second is not None
    assert done.second.change > 0
    assert (shop / "0.png").read_bytes() == before
    told = read_credentials(data or b"")
    assert told.whole
    assert told.details["log_head"] == done.seal
    plan = EditPlan.of_json(done.plan)
    np.testing.assert_array_equal(pixels(data), plan.apply(pixels(before)).picture)
    assert edit_ad(ad(shop), tools, JOB)[0].plan == done.plan


def test_what_is_protected_stays(shop: Path, tools: JobTools) -> None:
    regions = ProtectedRegions({"0.png": (ProtectedBox(5, 6, 30, 40, "price"),)})
    done, data = edit_ad(ad(shop), replace(tools, regions=regions), JOB)
    assert done.status == "edited"
    old, new = pixels((shop / "0.png").read_bytes()), pixels(data)
    np.testing.assert_array_equal(old[6:40, 5:30], new[6:40, 5:30])
    assert (old != new).any()
    away = ProtectedRegions({"0.png": (ProtectedBox(5, 6, 300, 40),)})
    wrong = edit_ad(ad(shop), replace(tools, regions=away), JOB)[0]
    assert (wrong.status, "outside" in wrong.reason) == ("failed", True)


def test_the_ad_stays_where_nothing_is_better_by_the_lower_bound(
    shop: Path, tools: JobTools
) -> None:
    sure = replace(JOB, coverage=0.9999)
    done, data = edit_ad(ad(shop), tools, sure)
    assert done.status == "unchanged"
    assert data is None
    assert "lower bound" in done.reason
    log = tools.editor.guard.log
    assert log is not None
    assert log.check().entries == 0


def test_words_animations_and_broken_files_are_told(shop: Path, tools: JobTools) -> None:
    political = ad(shop, title="Vote for Ada")
    done = edit_ad(political, tools, JOB)[0]
    assert done.status == "refused"
    assert done.refusals[0].startswith("political")
    assert "political" in checked_ad(political, tools, JOB)
    frames = [Image.new("RGB", (32, 32), colour) for colour in ("red", "blue")]
    frames[0].save(shop / "moves.gif", save_all=True, append_images=frames[1:])
    for name, says in (("moves.gif", "animation"), ("bad.png", "read"), ("nowhere.png", "read")):
        found = edit_ad(ad(shop, name), tools, JOB)[0]
        assert (found.status, says in found.reason) == ("failed", True), found.reason
        assert checked_ad(ad(shop, name), tools, JOB)
    assert checked_ad(ad(shop), tools, JOB) == ""


def test_what_is_wrong_with_all_ads_is_raised(shop: Path, tools: JobTools) -> None:
    key = tools.editor.key
    wrong = SigningKey(key.chain, made_test_key(tools.clock).private)
    broken = replace(tools, editor=replace(tools.editor, key=wrong))
    with pytest.raises(ConfigError, match="cannot be signed"):
        edit_ad(ad(shop), broken, JOB)


def test_a_line_that_claims_health_is_refused(shop: Path, tools: JobTools) -> None:
    job = replace(JOB, edits=("exposure", "text"), line="Cures diabetes")
    done = edit_ad(ad(shop), tools, job)[0]
    assert (done.status, done.calls) == ("refused", 0)
    assert done.refusals[0].startswith("health_claim")
    assert "health_claim" in checked_ad(ad(shop), tools, job)
    fresh = edit_ad(ad(shop), tools, replace(job, line="Fresh today"))[0]
    assert fresh.status in ("edited", "unchanged")
    assert "text" in fresh.plan


@pytest.fixture(scope="module")
def moving(tmp_path_factory: pytest.TempPathFactory) -> FaceTools:
    """Of a generator that was never trained, with consent for an astronaut's face."""
    opened = OpenedFaces.load(*small_faces(tmp_path_factory.mktemp("faces")))
    aligner = FaceAligner()
    box = aligner.places(ASTRONAUT)[0].pixels(ASTRONAUT.shape)
    entry = ConsentEntry("release", "NASA", "declared", picture=picture_hash(ASTRONAUT), box=box)
    return FaceTools.of(opened, ConsentManifest((entry,)), aligner)


def test_a_face_is_moved_with_consent_alone(shop: Path, tools: JobTools, moving: FaceTools) -> None:
    Image.fromarray(ASTRONAUT).save(shop / "face.png")
    log = tools.editor.guard.log
    assert log is not None
    editor = replace(
        tools.editor,
        guard=moving.guard(log),
        model="m",
        aligner=moving.aligner,
        mover=moving.opened.mover,
    )
    job = EditJob(edits=("exposure", "faces"), calls=12, coverage=0.5, side=128)
    told = replace(tools, editor=editor, faces=moving)
    done = edit_ad(ad(shop, "face.png"), told, job)[0]
    assert "face_move" in done.plan
    assert done.status in ("edited", "unchanged", "refused")
    assert done.notes == ()
    assert {"latent_distance", "identity_distance"} <= done.penalties.keys()
    nobody = replace(moving, manifest=ConsentManifest())
    stranger = replace(told, editor=replace(editor, guard=nobody.guard(log)), faces=nobody)
    left = edit_ad(ad(shop, "face.png"), stranger, job)[0]
    assert "face_move" not in left.plan
    assert "exposure" in left.plan
    (note,) = left.notes
    assert note.startswith("face 0 stays: no entry of the manifest names this face: picture = ")
    assert noted_faces(ad(shop, "face.png"), stranger, job) == left.notes
    assert noted_faces(ad(shop, "face.png"), told, replace(job, edits=("exposure",))) == ()
    none = edit_ad(ad(shop), told, job)[0]
    assert none.notes == ("no face was found that could be moved",)


JOB_RUN = EditJob(calls=12, coverage=0.5)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return picture_judges(tmp_path_factory.mktemp("runs"))


@pytest.fixture
def table(shop: Path) -> AdTable:
    return read_ads(shop / "ads.csv")


def test_a_job_goes_on_where_it_was_killed(
    table: AdTable, runs: dict[str, Path], tmp_path: Path
) -> None:
    out, ticks = tmp_path / "edits", iter([0.0, 1.0, 2.0])
    told = {"approver": "Ada", "second": runs["c"], "job": JOB_RUN}

    def killed() -> float:
        try:
            return next(ticks)
        except StopIteration:
            raise KeyboardInterrupt from None

    before = {path: path.read_bytes() for path in table.media if path is not None}
    with prepared_job(table, [runs["a"], runs["b"]], out, **told) as ready:
        said = "\n".join(ready.sentences())
        assert not out.exists()
        assert "3 ads would be searched" in said
        assert "39 in all" in said
        assert "political" in said
        assert "nobody trusts" in said
        with pytest.raises(KeyboardInterrupt):
            ready.run(cpu=killed)
        assert len(list((out / "ads").iterdir())) == 1
        assert "1 are done already" in "\n".join(ready.sentences())
        run = ready.run()
    assert run.before == 1
    assert [one.status for one in run.outcomes][3:] == ["failed", "refused"]
    assert {path: path.read_bytes() for path in before} == before
    edited = [one for one in run.outcomes if one.status == "edited"]
    log = EditLog(out / "edits.jsonl", SystemClock())
    assert log.check().whole
    assert log.check().entries == len(edited)
    again = adwright.edit_ads(table, [runs["a"], runs["b"]], out, **told)
    assert again.outcomes == run.outcomes
    assert again.before == 4
    assert log.check().entries == len(edited)
    assert json.loads((out / "edits.json").read_text("utf-8"))["counts"]["refused"] == 1
    assert "5 ads" in again.text()
    children = read_ads(out / "creatives.parquet")
    assert children.frame["parent"].to_list() == [one.ad for one in edited]
    hashes = [sha256_file(out / one.output) for one in edited]
    assert children.frame["image_hash"].to_list() == hashes
    with pytest.raises(ResumeError, match="another settings"):
        edit_ads(table, [runs["a"], runs["b"]], out, approver="Ada", second=runs["c"])


@pytest.mark.parametrize(
    ("told", "error", "says"),
    [
        ({"approver": " "}, ConfigError, "nobody approves"),
        ({"job": EditJob(edits=("faces",))}, ConfigError, "faces are moved with"),
        ({"faces": FaceFiles(Path(), Path(), Path())}, ConfigError, "faces are moved with"),
        ({"protected": Path("nowhere.csv")}, DataError, "nowhere"),
        ({"job": EditJob(method="pareto")}, ConfigError, "pareto takes"),
    ],
)
def test_what_cannot_be_done_is_refused_first(
    table: AdTable,
    runs: dict[str, Path],
    tmp_path: Path,
    told: dict,
    error: type[Exception],
    says: str,
) -> None:
    with (
        pytest.raises(error, match=says),
        prepared_job(table, [runs["a"]], tmp_path / "new", **{"approver": "Ada", **told}),
    ):
        pass
    assert not (tmp_path / "new").exists()


def test_ads_without_a_picture_and_a_folder_among_the_ads(
    shop: Path, runs: dict[str, Path], tmp_path: Path
) -> None:
    (shop / "texts.csv").write_text("id,headline\na,Bread\n", "utf-8")
    with (
        pytest.raises(DataError, match="no ad has a picture"),
        prepared_job(shop / "texts.csv", [runs["a"]], tmp_path / "new", approver="Ada"),
    ):
        pass
    clock = FixedClock(SystemClock().now())
    told = {"approver": "Ada", "job": JOB_RUN, "clock": clock, "offline": True}
    with prepared_job(read_ads(shop / "0.png"), [runs["a"]], tmp_path / "new", **told) as ready:
        said = "\n".join(ready.sentences())
        assert "1.0% or more" in said
        assert "no edit is then said to be worth a test" in said
        assert len(ready.ads) == 1
