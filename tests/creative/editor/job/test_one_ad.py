from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adwright.core.errors import ConfigError
from adwright.creative.editor.edits.context import ProtectedBox
from adwright.creative.editor.edits.plan import EditPlan
from adwright.creative.editor.guards.consent import ConsentEntry, ConsentManifest
from adwright.creative.editor.job.face_model import FaceTools
from adwright.creative.editor.job.one_ad import AdToEdit, JobTools, checked_ad, edit_ad, noted_faces
from adwright.creative.editor.job.protected import ProtectedRegions
from adwright.creative.editor.job.settings import EditJob
from adwright.creative.editor.provenance.content_credentials import read_credentials
from adwright.creative.editor.provenance.hashes import picture_hash
from adwright.creative.editor.provenance.signing_keys import SigningKey, made_test_key
from adwright.creative.faces.aligning import FaceAligner
from adwright.creative.faces.opened import OpenedFaces
from adwright.creative.records.encoders.images import opened_image
from adwright.creative.records.verbal.record import AdRecord
from tests.support.creative.drawn_ads import photograph
from tests.support.models.small_faces import small_faces

ASTRONAUT = np.asarray(photograph("astronaut.png"))
JOB = EditJob(calls=40, coverage=0.5)


def ad(shop: Path, name: str = "0.png", title: str = "Window") -> AdToEdit:
    return AdToEdit(name, shop / name, AdRecord(kind="image", title=title))


def pixels(data: bytes | None) -> np.ndarray:
    assert data is not None
    return np.asarray(opened_image(data), np.uint8)


def test_an_ad_is_edited_signed_and_logged(shop: Path, tools: JobTools) -> None:
    before = (shop / "0.png").read_bytes()
    done = edit_ad(ad(shop), tools, JOB)
    assert done.outcome.status == "edited"
    assert done.outcome.first is not None
    assert done.outcome.first.low is not None
    assert done.outcome.first.low > 0
    assert done.outcome.second is not None
    assert done.outcome.second.change > 0
    assert (shop / "0.png").read_bytes() == before
    told = read_credentials(done.data or b"")
    assert told.whole
    assert told.details["log_head"] == done.outcome.seal
    plan = EditPlan.of_json(done.outcome.plan)
    np.testing.assert_array_equal(pixels(done.data), plan.apply(pixels(before)).picture)
    assert edit_ad(ad(shop), tools, JOB).outcome.plan == done.outcome.plan


def test_what_is_protected_stays(shop: Path, tools: JobTools) -> None:
    regions = ProtectedRegions({"0.png": (ProtectedBox(5, 6, 30, 40, "price"),)})
    done = edit_ad(ad(shop), replace(tools, regions=regions), JOB)
    assert done.outcome.status == "edited"
    old, new = pixels((shop / "0.png").read_bytes()), pixels(done.data)
    np.testing.assert_array_equal(old[6:40, 5:30], new[6:40, 5:30])
    assert (old != new).any()
    away = ProtectedRegions({"0.png": (ProtectedBox(5, 6, 300, 40),)})
    wrong = edit_ad(ad(shop), replace(tools, regions=away), JOB).outcome
    assert (wrong.status, "outside" in wrong.reason) == ("failed", True)


def test_the_ad_stays_where_nothing_is_better_by_the_lower_bound(
    shop: Path, tools: JobTools
) -> None:
    sure = replace(JOB, coverage=0.9999)
    done = edit_ad(ad(shop), tools, sure)
    assert done.outcome.status == "unchanged"
    assert done.data is None
    assert "lower bound" in done.outcome.reason
    log = tools.editor.guard.log
    assert log is not None
    assert log.check().entries == 0


def test_words_animations_and_broken_files_are_told(shop: Path, tools: JobTools) -> None:
    political = ad(shop, title="Vote for Ada")
    done = edit_ad(political, tools, JOB).outcome
    assert done.status == "refused"
    assert done.refusals[0].startswith("political")
    assert "political" in checked_ad(political, tools, JOB)
    frames = [Image.new("RGB", (32, 32), colour) for colour in ("red", "blue")]
    frames[0].save(shop / "moves.gif", save_all=True, append_images=frames[1:])
    for name, says in (("moves.gif", "animation"), ("bad.png", "read"), ("nowhere.png", "read")):
        found = edit_ad(ad(shop, name), tools, JOB).outcome
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
    done = edit_ad(ad(shop), tools, job).outcome
    assert (done.status, done.calls) == ("refused", 0)
    assert done.refusals[0].startswith("health_claim")
    assert "health_claim" in checked_ad(ad(shop), tools, job)
    fresh = edit_ad(ad(shop), tools, replace(job, line="Fresh today")).outcome
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
    done = edit_ad(ad(shop, "face.png"), told, job).outcome
    assert "face_move" in done.plan
    assert done.status in ("edited", "unchanged", "refused")
    assert done.notes == ()
    assert {"latent_distance", "identity_distance"} <= done.penalties.keys()
    nobody = replace(moving, manifest=ConsentManifest())
    stranger = replace(told, editor=replace(editor, guard=nobody.guard(log)), faces=nobody)
    left = edit_ad(ad(shop, "face.png"), stranger, job).outcome
    assert "face_move" not in left.plan
    assert "exposure" in left.plan
    (note,) = left.notes
    assert note.startswith("face 0 stays: no entry of the manifest names this face: picture = ")
    assert noted_faces(ad(shop, "face.png"), stranger, job) == left.notes
    assert noted_faces(ad(shop, "face.png"), told, replace(job, edits=("exposure",))) == ()
    none = edit_ad(ad(shop), told, job).outcome
    assert none.notes == ("no face was found that could be moved",)
