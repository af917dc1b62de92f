from __future__ import annotations

from pathlib import Path

import pytest
import torch

from adwright.core.errors import ArtifactError, ConfigError
from adwright.creative.faces.stylegan import (
    DRAWN,
    FACES_KIND,
    FaceEncoder,
    FittedEncoder,
    FittedFaces,
    Generator,
    GeneratorConfig,
)
from benchmarks.creative.faces_training.keeping import errors as errors_of
from benchmarks.creative.faces_training.keeping import (
    pixel_error,
    refined,
    sample,
    save_encoder,
    save_faces,
)


def test_an_artifact_of_another_shape_is_refused(tmp_path: Path) -> None:
    torch.manual_seed(0)
    faces = FittedFaces(Generator(GeneratorConfig(side=8, wide=8, layers=1, base=64, most=8)))
    assert len(save_faces(faces, tmp_path / "faces")) == 64
    assert FittedFaces.load(tmp_path / "faces").generator.config == faces.generator.config
    assert FACES_KIND in (tmp_path / "faces" / "manifest.json").read_text("utf-8")
    with pytest.raises(ArtifactError):
        FittedFaces.load(tmp_path / "nothing")


def test_the_hash_is_of_the_weights(tmp_path: Path) -> None:
    torch.manual_seed(0)
    faces = FittedFaces(Generator(GeneratorConfig(side=8, wide=8, layers=1, base=64, most=8)))
    save_faces(faces, tmp_path / "half", half=True)
    assert FittedFaces.load(tmp_path / "half").weights_hash == faces.weights_hash
    other = FittedFaces(Generator(faces.generator.config))
    assert other.weights_hash != faces.weights_hash


@pytest.mark.skipif(not (DRAWN / "faces").exists(), reason="no generator of portraits ships yet")
def test_what_ships_is_small_and_draws() -> None:
    faces = FittedFaces.load(DRAWN / "faces")
    assert sample(faces, 2, seed=0).shape == (2, 3, 32, 32)
    assert faces.discriminator is None
    assert sum(p.stat().st_size for p in DRAWN.rglob("*") if p.is_file()) <= 6e6
    assert "what it is for" in (DRAWN / "README.md").read_text("utf-8").lower()


SMALL = GeneratorConfig(side=16, wide=8, layers=1, base=64, most=8)


@pytest.fixture(scope="module")
def pair() -> tuple[FittedFaces, FittedEncoder]:
    torch.manual_seed(0)
    faces = FittedFaces(Generator(SMALL).requires_grad_(False))
    encoder = FaceEncoder(SMALL, width=8)
    return faces, FittedEncoder(encoder, faces.weights_hash, 8, 3, about="noise")


def test_pictures_come_back_as_latents(pair: tuple[FittedFaces, FittedEncoder]) -> None:
    faces, encoder = pair
    pictures = torch.randn(70, 3, 16, 16)
    plus = encoder.invert(faces, pictures)
    assert plus.shape == (70, SMALL.rows, 8)
    torch.testing.assert_close(plus[68:], encoder.invert(faces, pictures[68:]))
    errors = errors_of(faces, encoder, pictures[:4])
    literal = (faces.generator.pictures(plus[:4]) - pictures[:4]).square().mean((1, 2, 3))
    torch.testing.assert_close(errors, literal)
    better = faces.generator.pictures(refined(faces, encoder, pictures[:4], steps=5))
    assert bool((pixel_error(better, pictures[:4]) < errors).all())


def test_what_is_saved_is_read_back(
    pair: tuple[FittedFaces, FittedEncoder], tmp_path: Path
) -> None:
    faces, encoder = pair
    pictures = torch.randn(2, 3, 16, 16)
    save_encoder(encoder, tmp_path / "whole")
    again = FittedEncoder.load(tmp_path / "whole")
    assert torch.equal(again.invert(faces, pictures), encoder.invert(faces, pictures))
    assert (again.about, again.width, again.unlocked) == ("noise", 8, 3)
    save_encoder(encoder, tmp_path / "half", half=True)
    small = FittedEncoder.load(tmp_path / "half")
    expected = encoder.invert(faces, pictures)
    torch.testing.assert_close(small.invert(faces, pictures), expected, atol=0.02, rtol=0.02)
    sizes = [(tmp_path / name / "tensors.safetensors").stat().st_size for name in ("half", "whole")]
    assert sizes[0] < 0.75 * sizes[1]
    save_faces(faces, tmp_path / "faces", half=True)
    halved = FittedFaces.load(tmp_path / "faces")
    assert halved.weights_hash == faces.weights_hash
    with pytest.raises(ArtifactError):
        FittedEncoder.load(tmp_path / "faces")


def test_another_generator_or_size_is_refused(pair: tuple[FittedFaces, FittedEncoder]) -> None:
    faces, encoder = pair
    torch.manual_seed(9)
    with pytest.raises(ConfigError, match="another generator"):
        encoder.invert(FittedFaces(Generator(SMALL)), torch.randn(1, 3, 16, 16))
    for shape in ((1, 3, 8, 8), (3, 16, 16), (0, 3, 16, 16)):
        with pytest.raises(ConfigError, match="shape"):
            encoder.invert(faces, torch.zeros(shape))
