from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from adwright.core.errors import ArtifactError, ConfigError, DataError
from adwright.creative.faces.opened import Directions, GeneratorMover, OpenedFaces
from adwright.creative.faces.stylegan import Generator, GeneratorConfig, as_pictures
from benchmarks.creative.faces_training.measures import random_directions
from tests.support.models.small_faces import small_faces

NAMES = ("smile", "turn")


@pytest.fixture(scope="module")
def generator() -> Generator:
    torch.manual_seed(0)
    made = Generator(GeneratorConfig(side=16, wide=16, base=128, most=16)).eval()
    return made


@pytest.fixture(scope="module")
def directions(generator: Generator) -> Directions:
    return random_directions(16, 2, (1, 2), seed=3)


def inverted(pictures: torch.Tensor) -> torch.Tensor:
    return pictures.mean((1, 2, 3))[:, None, None].expand(-1, 6, 16)


def crops(count: int) -> np.ndarray:
    return np.random.default_rng(1).integers(40, 200, (count, 16, 16, 3), dtype=np.uint8)


def test_it_adds_what_the_generator_changes(generator: Generator, directions: Directions) -> None:
    mover = GeneratorMover(generator, inverted, directions, names=NAMES)
    given, amounts = crops(3), np.array([[0.0, 0.0], [2.0, 0.0], [0.0, -2.0]])
    moved = mover.moved(given, amounts)
    np.testing.assert_array_equal(moved[0], given[0])
    with torch.no_grad():
        x = torch.from_numpy(given[1]).permute(2, 0, 1)[None].float() / 127.5 - 1
        plus = inverted(x)
        new = plus.clone()
        new[:, [1, 2]] += 2 * directions.vectors[0]
        wanted = x + generator.pictures(new) - generator.pictures(plus)
    wanted_pixels = ((wanted[0].permute(1, 2, 0) + 1) * 127.5).clamp(0, 255).numpy()
    assert np.abs(moved[1] - wanted_pixels).max() <= 1
    assert not np.array_equal(moved[1], given[1])


def test_a_face_that_is_asked_about_many_times_is_inverted_once(
    generator: Generator, directions: Directions
) -> None:
    seen = []

    def counted(pictures: torch.Tensor) -> torch.Tensor:
        seen.append(len(pictures))
        return inverted(pictures)

    mover = GeneratorMover(generator, counted, directions, names=NAMES)
    given = np.concatenate([crops(2), crops(2), crops(1)])
    amounts = np.random.default_rng(0).uniform(-1.5, 1.5, (5, 2))
    moved = mover.moved(given, amounts)
    assert seen == [2]
    np.testing.assert_array_equal(mover.moved(given, amounts), moved)
    assert seen == [2]
    for at in range(5):
        alone = mover.moved(given[at : at + 1], amounts[at : at + 1])[0]
        assert np.abs(alone.astype(int) - moved[at]).max() <= 1


def test_names_and_shapes_are_checked(generator: Generator, directions: Directions) -> None:
    mover = GeneratorMover(generator, inverted, directions, names=NAMES)
    np.testing.assert_allclose(mover.vector("turn"), directions.vectors[1].numpy(), atol=1e-7)
    with pytest.raises(ConfigError, match="no direction 'age'"):
        mover.vector("age")
    with pytest.raises(DataError, match="amounts of shape"):
        mover.moved(crops(2), np.zeros((2, 3)))
    with pytest.raises(ConfigError, match="1 different names"):
        GeneratorMover(generator, inverted, directions, names=("smile", "smile"))


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
