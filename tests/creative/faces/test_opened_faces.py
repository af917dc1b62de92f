from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from adwright.core.errors import ArtifactError, ConfigError
from adwright.creative.faces.fit import as_pictures
from adwright.creative.faces.opened_faces import OpenedFaces
from tests.support.models.small_faces import small_faces

CROPS = np.random.default_rng(1).integers(40, 200, (3, 16, 16, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> OpenedFaces:
    return OpenedFaces.load(*small_faces(tmp_path_factory.mktemp("faces")))


def test_crops_are_moved_inverted_and_named(opened: OpenedFaces) -> None:
    mover = opened.mover
    assert mover.names == ("smile", "turn")
    moved = mover.moved(CROPS, np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]))
    np.testing.assert_array_equal(moved[0], CROPS[0])
    assert opened.side == 16
    plus = opened.plus(CROPS)
    wanted = opened.encoder.invert(opened.faces, as_pictures(CROPS)).numpy()
    np.testing.assert_allclose(plus, wanted, rtol=1e-6)
    mean = opened.faces.generator.mean.numpy()
    np.testing.assert_allclose(opened.embedding(CROPS), (wanted - mean).reshape(3, -1), rtol=1e-5)


def test_latents_are_drawn_by_the_seed(opened: OpenedFaces) -> None:
    one, same, other = (opened.latents(5, seed=seed) for seed in (0, 0, 1))
    assert one.shape == (5, 8)
    np.testing.assert_array_equal(one, same)
    assert not np.allclose(one, other)
    with pytest.raises(ConfigError):
        opened.latents(0, seed=0)


def test_realness_of_a_crop_is_its_own(opened: OpenedFaces, tmp_path: Path) -> None:
    whole, alone = opened.realness(CROPS), opened.realness(CROPS[1:2])
    assert whole is not None
    assert alone is not None
    np.testing.assert_allclose(whole[1], alone[0], rtol=1e-5)
    without = OpenedFaces.load(*small_faces(tmp_path, discriminator=False))
    assert without.realness(CROPS) is None


def test_a_folder_that_lacks_a_part(tmp_path: Path) -> None:
    folder, directions = small_faces(tmp_path)
    shutil.rmtree(folder / "encoder")
    with pytest.raises(ArtifactError, match="no 'encoder'"):
        OpenedFaces.load(folder, directions)
    with pytest.raises(ArtifactError, match="no 'faces'"):
        OpenedFaces.load(folder / "nowhere", directions)
