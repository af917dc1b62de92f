from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from adwright.core.clock import SystemClock
from adwright.creative.editor.edits.context import EditContext
from adwright.creative.editor.edits.face_moves import FaceMove
from adwright.creative.editor.edits.plan import EditPlan
from adwright.creative.editor.edits.tones import Exposure
from adwright.creative.editor.guards.consent import ConsentEntry, ConsentManifest
from adwright.creative.editor.guards.drift import DriftCheck
from adwright.creative.editor.guards.guard import EditRequest
from adwright.creative.editor.job.face_model import (
    FaceDrift,
    FaceRealnessDrop,
    FaceTools,
    plain_guard,
)
from adwright.creative.editor.job.settings import EditJob
from adwright.creative.editor.provenance.edit_log import EditLog
from adwright.creative.editor.provenance.hashes import picture_hash
from adwright.creative.editor.search.population import edited_batch
from adwright.creative.faces.opened import OpenedFaces
from tests.support.creative.edited_pictures import PLACES, scene
from tests.support.models.small_faces import small_faces

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
def tools(opened: OpenedFaces) -> FaceTools:
    boxes = [place.pixels(PICTURE.shape) for place in PLACES[:1]]
    entries = [
        ConsentEntry("synthetic", adult="declared", picture=picture_hash(PICTURE), box=box)
        for box in boxes
    ]
    return FaceTools.of(opened, ConsentManifest(tuple(entries)), NoFinder())  # type: ignore[arg-type]


def codes(tools: FaceTools, plan: EditPlan, log: EditLog, *, faces: bool = True) -> list[str]:
    guard = tools.guard(log) if faces else plain_guard(log)
    context = EditContext(places=PLACES, mover=tools.opened.mover)
    found = guard.verdict(EditRequest(PICTURE, plan, context), SystemClock().now())
    return [one.code for one in found.refusals]


def test_consent_and_directions_are_asked_for(tools: FaceTools, tmp_path: Path) -> None:
    log = EditLog(tmp_path / "edits.jsonl", SystemClock())
    assert codes(tools, MOVE, log) == []
    assert codes(tools, MOVE, log, faces=False) == ["no_manifest"]
    other = EditPlan((FaceMove(("smile", "turn"), ((0.0, 0.0), (0.4, 0.0))),))
    assert "no_consent" in codes(tools, other, log)
    assert set(codes(tools, EditPlan((FaceMove(("age",), ((0.4,),)),)), log)) & {
        "locked_direction",
        "unknown_direction",
    }
    assert tools.rules().unknown == ("gender", "age", "ethnicity")
    drift = tools.guard(log).drift
    assert drift is not None
    assert "skin_light" in drift.limits


def test_moves_cost(tools: FaceTools) -> None:
    penalties = tools.penalties(PICTURE, PLACES[:1], EditJob())
    names = [one.penalty.name for one in penalties]
    assert names == ["latent_distance", "identity_distance", "face_drift", "face_realness_drop"]
    context = EditContext(places=PLACES[:1], mover=tools.opened.mover)
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
