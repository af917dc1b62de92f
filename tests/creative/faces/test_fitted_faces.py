from pathlib import Path

import pytest
import torch

from adwright.core.errors import ArtifactError
from adwright.creative.faces.fitted_faces import DRAWN, FACES_KIND, FittedFaces
from adwright.creative.faces.generator import Generator, GeneratorConfig


def test_an_artifact_of_another_shape_is_refused(tmp_path: Path) -> None:
    torch.manual_seed(0)
    faces = FittedFaces(Generator(GeneratorConfig(side=8, wide=8, layers=1, base=64, most=8)))
    assert len(faces.save(tmp_path / "faces")) == 64
    assert FittedFaces.load(tmp_path / "faces").generator.config == faces.generator.config
    assert FACES_KIND in (tmp_path / "faces" / "manifest.json").read_text("utf-8")
    with pytest.raises(ArtifactError):
        FittedFaces.load(tmp_path / "nothing")


def test_the_hash_is_of_the_weights(tmp_path: Path) -> None:
    torch.manual_seed(0)
    faces = FittedFaces(Generator(GeneratorConfig(side=8, wide=8, layers=1, base=64, most=8)))
    faces.save(tmp_path / "half", half=True)
    assert FittedFaces.load(tmp_path / "half").weights_hash == faces.weights_hash
    other = FittedFaces(Generator(faces.generator.config))
    assert other.weights_hash != faces.weights_hash


@pytest.mark.skipif(not (DRAWN / "faces").exists(), reason="no generator of portraits ships yet")
def test_what_ships_is_small_and_draws() -> None:
    faces = FittedFaces.load(DRAWN / "faces")
    assert faces.sample(2, seed=0).shape == (2, 3, 32, 32)
    assert faces.discriminator is None
    assert sum(p.stat().st_size for p in DRAWN.rglob("*") if p.is_file()) <= 6e6
    assert "what it is for" in (DRAWN / "README.md").read_text("utf-8").lower()
