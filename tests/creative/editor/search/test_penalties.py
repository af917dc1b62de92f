from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from adwright.core.errors import ConfigError, DataError
from adwright.creative.editor.edits.face_moves import FaceMove
from adwright.creative.editor.edits.plan import EditPlan
from adwright.creative.editor.edits.tones import Contrast, Exposure
from adwright.creative.editor.search.latent_cloud import LatentCloud
from adwright.creative.editor.search.penalties import FineNoise, IdentityDistance, LatentDistance
from adwright.creative.editor.search.population import EditedBatch, edited_batch
from tests.support.creative.edited_pictures import PLACES, VECTORS, scene, scene_context

PLAN = EditPlan((FaceMove.neutral(("smile", "gaze"), 2),))
RNG = np.random.default_rng(1)
MOVES = np.array([[0.0] * 4, [1.0, 0, 0, 0], [0.5, -0.5, 1.5, 0.2]])


def faces_moved() -> EditedBatch:
    return edited_batch(PLAN, MOVES, scene(), scene_context())


def test_latent_distance_is_the_literal_formula() -> None:
    sample, faces = RNG.normal(size=(60, 8)), RNG.normal(size=(2, 3, 8))
    cloud = LatentCloud.of(sample)
    found = LatentDistance(cloud, faces, VECTORS, (1, 2)).of(faces_moved())
    for at, values in enumerate(MOVES):
        worst = 0.0
        for face in range(2):
            moved = faces[face].copy()
            for row in (1, 2):
                moved[row] += values[2 * face] * VECTORS["smile"]
                moved[row] += values[2 * face + 1] * VECTORS["gaze"]
            before = cloud.distance(faces[face][None])[0]
            worst = max(worst, cloud.distance(moved[None])[0] - before)
        assert found[at] == pytest.approx(worst)
    assert found[0] == 0 < found[2]
    assert not LatentDistance(cloud, faces[:0], VECTORS, ()).of(faces_moved()).any()
    with pytest.raises(DataError, match="gaze"):
        LatentDistance(cloud, faces, {"smile": VECTORS["smile"]}, (1,)).of(faces_moved())
    with pytest.raises(ConfigError, match="rows"):
        LatentDistance(cloud, faces, VECTORS, (3,))


def test_identity_distance_is_one_less_the_cosine_of_the_face_changed_most() -> None:
    seen = []

    def embed(crops: np.ndarray) -> np.ndarray:
        seen.append(crops.shape)
        return crops.reshape(len(crops), -1, 3).mean(1)

    batch = faces_moved()
    found = IdentityDistance(embed, side=16).of(batch)
    assert seen == [(2 + 6, 16, 16, 3)]
    for at, done in enumerate(batch.done):
        worst = 0.0
        for place in PLACES:
            a, b = (embed(place.cut(one, 16)[None])[0] for one in (scene(), done.picture))
            cosine = sum(x * y for x, y in zip(a, b, strict=True)) / (
                math.hypot(*a) * math.hypot(*b)
            )
            worst = max(worst, 1 - cosine)
        assert found[at] == pytest.approx(worst, abs=1e-9)
    assert found[0] == pytest.approx(0, abs=1e-9)
    assert found[2] > 1e-4
    bare = edited_batch(EditPlan((Exposure(),)), np.array([[0.5]]), scene())
    assert not IdentityDistance(embed).of(bare).any()
    with pytest.raises(DataError, match="embedding"):
        IdentityDistance(lambda crops: np.zeros(3)).of(batch)


def test_fine_noise_is_the_growth_of_the_share_of_detail() -> None:
    batch = edited_batch(EditPlan((Contrast(),)), np.array([[0.0], [0.2]]), scene())
    assert FineNoise().of(batch)[0] == 0
    grainy = np.clip(scene() + RNG.integers(-60, 61, scene().shape), 0, 255).astype(np.uint8)
    noisy = EditedBatch(
        scene(), batch.context, batch.plans[:1], batch.done[:1], grainy[None], scene()
    )
    for sigma in (1.0, 2.0):
        shares = []
        for picture in (scene(), grainy):
            luma = picture[..., 0] * 0.2126 + picture[..., 1] * 0.7152 + picture[..., 2] * 0.0722
            fine = luma - cv2.GaussianBlur(luma, (0, 0), sigma)
            shares.append(((fine * fine).mean() + 1) / (luma.var() + 1))
        found = FineNoise(sigma).of(noisy)[0]
        assert found == pytest.approx(math.log(shares[1] / shares[0]))
        assert found > 0.5
    # Contrast alone adds little.
    assert FineNoise().of(batch)[1] < 0.1
    with pytest.raises(ConfigError, match="sigma"):
        FineNoise(0)
