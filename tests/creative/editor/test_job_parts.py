from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from adwright.core.errors import (
    AdwrightError,
    ConfigError,
    DataError,
    FileUnreadableError,
    ResourceError,
    ResumeError,
    SchemaError,
    ValueInvalidError,
)
from adwright.core.hashing import sha256_file
from adwright.creative.editor.edit_kinds import EditContext, Exposure
from adwright.creative.editor.edit_plan import EditedPicture, EditPlan, SkippedEdit
from adwright.creative.editor.fitness import EditedBatch, Weighted
from adwright.creative.editor.job import AdToEdit, JobTools, edit_ad, search_plan
from adwright.creative.editor.job_faces import ProtectedRegions, read_protected
from adwright.creative.editor.job_files import (
    EDITS,
    LIGHT,
    AdOutcome,
    EditJob,
    JobFolder,
    KeptFront,
    counted,
    decide,
    require_apart,
    shrunk,
    with_found,
    write_summary,
)
from adwright.creative.editor.job_judges import AskedJudges, JudgesOfAd
from adwright.creative.editor.provenance import ESTIMATE
from adwright.creative.editor.searches import FoundEdit, JudgedChange
from adwright.creative.faces.aligning import FacePlace
from adwright.creative.records.ad_record import AdRecord
from tests.support.creative.edited_pictures import scene, scene_context
from tests.support.creative.searches import ColourJudge
from tests.support.data.judged_pictures import shop_windows


def test_light_and_colours_are_the_default() -> None:
    plan = EditJob().plan()
    assert tuple(edit.kind for edit in plan.edits) == LIGHT
    assert all(edit.is_neutral() for edit in plan.edits)
    assert not plan.face_moves()


def test_every_edit_has_its_place_whatever_the_order() -> None:
    asked = EditJob(edits=tuple(reversed(EDITS)), line="Fresh today")
    kinds = [edit.kind for edit in asked.plan().edits]
    assert kinds == [*LIGHT, "background_blur", "crop", "text"]
    np.testing.assert_array_equal(asked.plan().neutral(), asked.plan().values())


@given(st.integers(12, 2000), st.sampled_from(["genetic", "pareto"]))
def test_generations_keep_to_the_calls(calls: int, method: str) -> None:
    found = EditJob(calls=calls, method=method).genetic()  # type: ignore[arg-type]
    pareto = found.population * (found.generations + 1)
    assert (pareto if method == "pareto" else found.calls) <= calls
    assert found.generations >= 1
    assert found.calls > 4


def test_the_papers_budget_is_the_papers_settings() -> None:
    found = EditJob(calls=130).genetic()
    assert (found.population, found.generations, found.parents) == (30, 5, 10)


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ({"edits": ()}, "no edit"),
        ({"edits": ("crop", "crop")}, "twice"),
        ({"line": "Fresh"}, "go together"),
        ({"edits": ("text",)}, "go together"),
        ({"edits": ("text",), "line": "a\nb"}, "control"),
    ],
)
def test_what_is_no_job_is_refused(told: dict, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        EditJob(**told)


ASKED = {"settings": {"calls": 30}, "judges": ["a"]}


def opened(path: Path, asked: dict = ASKED, *, write: bool = True) -> JobFolder:
    return JobFolder.opened(path, asked, form="JPEG", write=write)


def test_what_is_kept_is_found_while_the_source_is_the_same(tmp_path: Path) -> None:
    source = tmp_path / "0.png"
    source.write_bytes(b"one")
    folder = opened(tmp_path / "job")
    done = AdOutcome("a/b c", str(source), sha256_file(source), "edited", "Worth a test.")
    kept = folder.keep(done, b"picture")
    assert (folder.path / kept.output).read_bytes() == b"picture"
    assert kept.output.endswith(".jpg")
    again = opened(tmp_path / "job")
    assert again.outcome("a/b c", source) == kept
    assert again.outcome("a/b-c", source) is None
    source.write_bytes(b"two")
    assert again.outcome("a/b c", source) is None
    source.write_bytes(b"one")
    (folder.path / kept.output).unlink()
    assert again.outcome("a/b c", source) is None


def test_what_failed_or_is_damaged_is_done_again(tmp_path: Path) -> None:
    source = tmp_path / "0.png"
    source.write_bytes(b"one")
    folder = opened(tmp_path / "job")
    done = AdOutcome("a", str(source), sha256_file(source), "unchanged", "It stays.")
    folder.keep(replace(done, status="failed"), None)
    assert folder.outcome("a", source) is None
    folder.keep(done, None)
    assert folder.outcome("a", source) == done
    (record,) = (folder.path / "ads").glob("*.json")
    record.write_text(record.read_text("utf-8")[:40], "utf-8")
    assert folder.outcome("a", source) is None


def test_another_job_and_other_folders_are_refused(tmp_path: Path) -> None:
    opened(tmp_path / "job")
    with pytest.raises(ResumeError, match="another judges"):
        opened(tmp_path / "job", {**ASKED, "judges": ["b"]})
    (tmp_path / "job" / "job.json").write_text("no", "utf-8")
    with pytest.raises(ResumeError, match="cannot be read"):
        opened(tmp_path / "job")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("a", "utf-8")
    with pytest.raises(ResourceError, match="no job"):
        opened(tmp_path / "notes")
    with pytest.raises(ResourceError, match="no job"):
        opened(tmp_path / "notes" / "a.txt")
    opened(tmp_path / "dry", write=False)
    assert not (tmp_path / "dry").exists()


def test_pictures_lie_apart_from_what_is_written(tmp_path: Path) -> None:
    ads = tmp_path / "ads"
    ads.mkdir()
    require_apart(tmp_path / "edits", ads, [ads / "0.png"])
    with pytest.raises(ConfigError, match="among the ads"):
        require_apart(ads / "edits", ads, [])
    with pytest.raises(ConfigError, match="folder of the edited"):
        require_apart(tmp_path / "edits", None, [tmp_path / "edits" / "pictures" / "0.png"])


CHANGE = JudgedChange("click_rate", 0.02, 0.03, 0.001, 0.02)
BLANK = AdOutcome("w0", "shop/0.png", "ab" * 32, "edited", "Worth a test.")


def test_it_is_read_back_as_it_was() -> None:
    picture = np.zeros((4, 4, 3), np.uint8)
    plan = EditPlan((Exposure(0.5),))
    done = EditedPicture(picture, EditContext(), (SkippedEdit(0, "crop", "no: room"),))
    found = FoundEdit(
        plan, "genetic", picture, done, CHANGE, None, {"fine_noise": 0.1}, 0.2, 130, 6, 1.5
    )
    outcome = with_found(BLANK, found)
    assert (outcome.calls, outcome.batches, outcome.score_gain) == (130, 6, 0.2)
    assert outcome.skipped == ("crop: no: room",)
    assert EditPlan.of_json(outcome.plan) == plan
    front = KeptFront(("a", "b"), ((1.0, 2.0), (2.0, 1.0)), (0.0, 0.0), 120)
    whole = AdOutcome(**{**vars(outcome), "front": front, "others": (CHANGE,)})
    assert AdOutcome.of_json(whole.to_json(), source="x") == whole


def test_a_row_says_how_to_go_back_and_that_it_is_an_estimate() -> None:
    row = AdOutcome(**{**vars(BLANK), "first": CHANGE}).as_row()
    assert row["note"] == ESTIMATE
    assert "shop/0.png" in row["undo"]
    assert row["first"]["change"] == pytest.approx(0.01)
    assert ESTIMATE in row["first"]["said"]
    same = AdOutcome(**{**vars(BLANK), "status": "unchanged"})
    assert same.undo == ""


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"ad": 3}', "{" * 9999])
def test_what_is_no_outcome_is_refused(text: str) -> None:
    with pytest.raises(AdwrightError):
        AdOutcome.of_json(text, source="w0.json")


BEFORE = np.zeros((4, 4, 3), np.uint8)


def found(first: JudgedChange, second: JudgedChange | None = None) -> FoundEdit:
    return FoundEdit(
        plan=EditPlan((Exposure(0.5),)),
        method="genetic",
        original=BEFORE,
        done=EditedPicture(BEFORE + 1, EditContext()),
        first=first,
        second=second,
        penalties={},
        score_gain=0.1,
        calls=9,
        batches=3,
        cpu_seconds=0.1,
    )


def one(after: float) -> JudgedChange:
    return JudgedChange("click_rate", 0.02, after)


def several(low: float) -> JudgedChange:
    return JudgedChange("click_rate", 0.02, 0.025, low, 0.01)


@pytest.mark.parametrize(
    ("edit", "keeps", "says"),
    [
        (found(several(0.001)), True, "no second judge"),
        (found(several(0.0)), False, "lower bound"),
        (found(several(-0.001), one(0.03)), False, "lower bound"),
        (found(several(0.001), one(0.021)), True, "two opinions"),
        (found(several(0.001), one(0.02)), False, "second judge"),
        (found(one(0.0203)), True, "no second judge"),
        (found(one(0.0201)), False, "less than the 1.0%"),
        (found(one(0.019)), False, "-5.0%"),
        (found(JudgedChange("recall", 0.0, 0.4)), False, "+0.4"),
    ],
)
def test_an_edit_has_to_beat_none_by_the_lower_bound(
    edit: FoundEdit, keeps: bool, says: str
) -> None:
    kept, reason = decide(edit, EditJob(), checked=True)
    assert kept is keeps
    assert says in reason
    assert reason.startswith("The ad stays as it is") is not kept
    assert (ESTIMATE in reason) is kept


def test_an_edit_that_changes_nothing_is_none() -> None:
    edit = replace(found(several(1.0)), done=EditedPicture(BEFORE, EditContext()))
    assert "no edit was found" in decide(edit, EditJob())[1]


def test_judges_that_say_the_same_are_one() -> None:
    alike = JudgedChange("click_rate", 0.02, 0.0201, 0.0001 - 1e-12, 0.0001 + 1e-12)
    kept, reason = decide(found(alike), EditJob())
    assert not kept
    assert "members differ" in reason
    assert decide(found(replace(alike, after=0.03)), EditJob())[0]


def test_a_verdict_needs_a_second_judge_and_a_look_at_the_design() -> None:
    both = found(several(0.001), one(0.021))
    assert decide(both, EditJob(), checked=True)[1].startswith("Worth a test")
    for edit, checked in ((both, False), (found(several(0.001)), True), (found(one(0.03)), True)):
        kept, reason = decide(edit, EditJob(), checked=checked)
        assert kept
        assert "Worth" not in reason


def test_a_single_judge_has_to_see_more_than_its_own_error() -> None:
    edit = found(one(0.0203))
    assert decide(edit, EditJob(), error=0.01)[0]
    kept, reason = decide(edit, EditJob(), error=0.3)
    assert not kept
    assert "less than its own error of 30.0%" in reason


def test_the_least_share_is_the_users() -> None:
    assert not decide(found(one(0.0203)), EditJob(least=0.05))[0]
    assert decide(found(one(0.0201)), EditJob(least=0.0))[0]


IDS = ("spring", "summer/a.png")
HEAD = "ad,left,top,right,bottom,what\n"


def written(folder: Path, text: str) -> Path:
    path = folder / "stays.csv"
    path.write_text(text, "utf-8")
    return path


def test_boxes_of_one_ad_and_of_all(tmp_path: Path) -> None:
    path = written(tmp_path, HEAD + "spring,1,2,5,4,logo\n,0,8,10,10,legal\n")
    found = read_protected(path, IDS)
    mask = found.mask("spring", (10, 12, 3))
    assert mask is not None
    wanted = np.zeros((10, 12), bool)
    wanted[2:4, 1:5] = wanted[8:10, 0:10] = True
    np.testing.assert_array_equal(mask, wanted)
    other = found.mask("summer/a.png", (10, 12, 3))
    assert other is not None
    assert other.sum() == 20
    assert found.digest
    assert ProtectedRegions().mask("spring", (4, 4, 3)) is None


def test_ad_and_what_may_be_left_out(tmp_path: Path) -> None:
    found = read_protected(written(tmp_path, "left,top,right,bottom\n0,0,2,2\n"), IDS)
    assert found.boxes[""][0].what == "other"


def test_masks_of_a_folder(tmp_path: Path) -> None:
    seen = np.zeros((6, 8, 3), np.uint8)
    seen[2:4, 3:5] = 255
    Image.fromarray(seen).save(tmp_path / "spring.png")
    (tmp_path / "summer").mkdir()
    Image.fromarray(seen[:, ::-1].copy()).save(tmp_path / "summer" / "a.png")
    found = read_protected(tmp_path, IDS)
    for ad, columns in (("spring", slice(3, 5)), ("summer/a.png", slice(3, 5))):
        mask = found.mask(ad, (6, 8, 3))
        assert mask is not None
        assert mask[2:4, columns].all()
        assert mask.sum() == 4
    with pytest.raises(DataError, match="8 x 6"):
        found.mask("spring", (5, 8, 3))
    changed = found.digest
    seen[0] = 255
    Image.fromarray(seen).save(tmp_path / "spring.png")
    assert read_protected(tmp_path, IDS).digest != changed


@pytest.mark.parametrize(
    ("text", "error", "says"),
    [
        (HEAD, FileUnreadableError, "no box|no rows|empty"),
        ("ad,left\nspring,1\n", SchemaError, "column"),
        (HEAD + "sprig,1,2,5,4,logo\n", ValueInvalidError, "no such ad"),
        (HEAD + "spring,1,2,5,4,hat\n", ValueInvalidError, "no protected box"),
        (HEAD + "spring,5,2,5,4,logo\n", ValueInvalidError, "no protected box"),
        (HEAD + "spring,1.5,2,5,4,logo\n", ValueInvalidError, "whole number"),
        (HEAD + "spring,-1,2,5,4,logo\n", ValueInvalidError, "whole number"),
        (HEAD + "spring,1,2,,4,logo\n", ValueInvalidError, "whole number"),
    ],
)
def test_what_is_no_region_is_refused(
    tmp_path: Path, text: str, error: type[AdwrightError], says: str
) -> None:
    with pytest.raises(error, match=says):
        read_protected(written(tmp_path, text), IDS)


def test_a_mask_of_no_ad_and_a_box_outside_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileUnreadableError, match="no mask"):
        read_protected(tmp_path, IDS)
    for name in ("spring", "sprig"):
        Image.new("RGB", (4, 4)).save(tmp_path / f"{name}.png")
    with pytest.raises(FileUnreadableError, match="belongs to no ad"):
        read_protected(tmp_path, IDS)
    away = tmp_path / "boxes"
    away.mkdir()
    found = read_protected(written(away, HEAD + "spring,1,2,50,4,logo\n"), IDS)
    with pytest.raises(DataError, match="outside"):
        found.mask("spring", (10, 10, 3))


def test_a_small_picture_stays_as_it_is() -> None:
    picture, context = scene(), scene_context()
    small, known = shrunk(picture, context, side=320)
    assert small is picture
    assert known is context


def test_all_that_is_known_shrinks_along() -> None:
    picture, context = scene(), scene_context()
    small, known = shrunk(picture, context, side=160)
    assert small.shape == (120, 160, 3)
    assert known.protected is not None
    assert known.subject is not None
    assert known.subject.shape == (120, 160)
    assert known.mover is context.mover
    place, moved = context.places[0], known.places[0]
    assert moved.pixels((120, 160)) == tuple(n // 2 for n in place.pixels((240, 320)))
    before, after = place.cut(picture, 24), moved.cut(small, 24)
    assert np.abs(before.astype(int) - after).mean() < 12


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 60), st.randoms())
def test_no_protected_pixel_is_lost(high: int, wide: int, side: int, random: object) -> None:
    rng = np.random.default_rng(random.randrange(1 << 30))  # type: ignore[attr-defined]
    mask = rng.random((high, wide)) < 0.02
    _, known = shrunk(np.zeros((high, wide, 3), np.uint8), EditContext(mask), side=side)
    small_mask = known.protected
    assert small_mask is not None
    for row, column in zip(*np.nonzero(mask), strict=True):
        assert small_mask[row * small_mask.shape[0] // high, column * small_mask.shape[1] // wide]
    assert small_mask.any() == mask.any()


def test_outlines_and_wrong_sizes() -> None:
    place = FacePlace((50.0, 40.0), 30.0, 10.0, ((40.0, 30.0), (60.0, 30.0), (50.0, 55.0)))
    _, known = shrunk(np.zeros((100, 100, 3), np.uint8), EditContext(places=(place,)), side=50)
    (moved,) = known.places
    assert moved.side == 15.0
    assert moved.turn == 10.0
    assert moved.outline[0] == (19.75, 14.75)
    with pytest.raises(ConfigError):
        shrunk(scene(), EditContext(), side=0)
    with pytest.raises(DataError):
        shrunk(scene(), EditContext(np.zeros((3, 3), bool)), side=10)


JOB = EditJob(calls=30, coverage=0.5)


def outcomes(shop: Path, tools: JobTools, folder: JobFolder) -> list[AdOutcome]:
    made = []
    for name, title in (("1.png", "Vote for Ada"), ("0.png", "Window <b>"), ("bad.png", "Bad")):
        ad = AdToEdit(name, shop / name, AdRecord(kind="image", title=title))
        made.append(folder.keep(*edit_ad(ad, tools, JOB)))
    return made


def test_all_is_told_and_the_edited_come_first(shop: Path, tools: JobTools, tmp_path: Path) -> None:
    folder = JobFolder.opened(tmp_path / "out", {}, form="PNG")
    found = outcomes(shop, tools, folder)
    front = KeptFront(("clicks", "recall"), ((1.0, 2.0), (2.0, 1.0)), (0.5, 0.5), 60)
    found[1] = replace(found[1], front=front)
    assert counted(found) == ["1 edited", "1 refused by the guard", "1 could not be read"]
    made = write_summary(folder, found, ["A rule."])
    told = json.loads(made.table.read_text("utf-8"))
    assert told["note"] == ESTIMATE
    assert [one["status"] for one in told["ads"]] == ["refused", "edited", "failed"]
    assert made.page is not None
    page = made.page.read_text("utf-8")
    assert "A rule." in page
    assert ESTIMATE in page
    assert found[1].reason in page
    assert "<svg" in page
    assert made.sheet is not None
    with Image.open(made.sheet) as sheet:
        assert sheet.width > 640


def test_where_nothing_was_edited_there_is_no_sheet(
    shop: Path, tools: JobTools, tmp_path: Path
) -> None:
    folder = JobFolder.opened(tmp_path / "out", {}, form="PNG")
    failed = AdOutcome("a", str(shop / "bad.png"), "", "failed", "It cannot be read.")
    made = write_summary(folder, [failed])
    assert (made.page, made.sheet) == (None, None)
    ad = AdToEdit("0.png", shop / "0.png", AdRecord(kind="image", title="Window"))
    kept = folder.keep(*edit_ad(ad, tools, replace(JOB, coverage=1 - 1e-12)))
    made = write_summary(folder, [kept])
    assert made.page is not None
    assert "stays as it is" in made.page.read_text("utf-8"), (kept.status, kept.reason)
    assert made.sheet is None
    gone = replace(kept, source=str(shop / "gone.png"))
    assert write_summary(folder, [gone]).page is None


SMALL = shop_windows(1, seed=5)[0], EditContext()


class Forbidding:
    name = "forbidding"

    def of(self, batch: EditedBatch) -> np.ndarray:
        return np.array([float(np.abs(plan.values()).sum()) for plan in batch.plans])


def searched(bright: AskedJudges, **told: object) -> object:
    job = EditJob(calls=60, **told)  # type: ignore[arg-type]
    judges = bright.of(AdRecord(kind="image", title="Bread"))
    return search_plan(*SMALL, job.plan(), judges, job)[0]


@pytest.mark.parametrize("method", ["genetic", "random", "ascent"])
def test_each_method_finds_something_better_within_its_calls(
    bright: AskedJudges, method: str
) -> None:
    found = searched(bright, method=method)
    assert found.method == method  # type: ignore[attr-defined]
    assert found.score_gain > 0  # type: ignore[attr-defined]
    assert found.calls <= 60  # type: ignore[attr-defined]
    assert found.changed  # type: ignore[attr-defined]
    again = searched(bright, method=method)
    assert again.plan == found.plan  # type: ignore[attr-defined]


def test_seed_and_weights_change_what_is_found(bright: AskedJudges) -> None:
    plans = [searched(bright).plan, searched(bright, seed=1).plan]  # type: ignore[attr-defined]
    assert plans[0] != plans[1]
    job = EditJob(calls=60)
    judges = bright.of(AdRecord(kind="image", title="Bread"))
    held, _ = search_plan(*SMALL, job.plan(), judges, job, (Weighted(Forbidding(), 100.0),))
    assert not held.changed
    nothing, _ = search_plan(
        *SMALL, job.plan(), judges, job, allowed=lambda plan: plan == job.plan()
    )
    assert not nothing.changed
    noisy = searched(bright, noise=10.0)
    assert noisy.penalties["fine_noise"] <= 0.02  # type: ignore[attr-defined]


def test_the_front_gives_what_no_judge_likes_less() -> None:
    red, blue = ColourJudge(220, 0, "red"), ColourJudge(40, 2, "blue")
    judges = JudgesOfAd((red, blue), None, ())
    job = EditJob(calls=90, method="pareto", noise=0.0, unlike=0.0)
    found, front = search_plan(*SMALL, EditPlan(job.plan().edits), judges, job)
    assert front is not None
    assert front.names == ("red", "blue")
    pair = np.stack([found.original, found.done.picture])
    for judge in (red, blue):
        before, after = judge.judge(pair)
        assert after >= before
    assert found.method == "pareto"
    best = front.values[(front.values >= front.unedited).all(1), 0].max()
    assert found.score_gain == pytest.approx(best - front.unedited[0])
