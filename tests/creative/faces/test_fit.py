import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from adwright.core.errors import ConfigError, DataError
from adwright.creative.faces.fit import FacesConfig, as_pictures, fit_faces
from adwright.creative.faces.fitted_faces import FittedFaces
from adwright.creative.faces.generator import GeneratorConfig

SMALL = FacesConfig(
    generator=GeneratorConfig(side=8, wide=8, layers=1, base=64, most=8),
    kimg=0.08,
    batch=8,
    r1_every=2,
    path_every=2,
    validate_kimg=0.04,
    checkpoint_kimg=0.016,
    samples=6,
)


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    rng = np.random.default_rng(0)
    flat = rng.integers(0, 256, (40, 1, 1, 3), np.uint8)
    return np.broadcast_to(flat, (40, 8, 8, 3)).copy()


@pytest.fixture(scope="module")
def trained(
    pictures: np.ndarray, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, FittedFaces]:
    out = tmp_path_factory.mktemp("faces") / "run"
    return out, fit_faces(pictures[8:], pictures[:8], SMALL, about="flat colours", out=out)


def test_a_run_leaves_samples_and_measures(trained: tuple[Path, FittedFaces]) -> None:
    out, faces = trained
    assert len(list((out / "samples").glob("*.png"))) == 2
    assert [line["kimg"] for line in faces.records] == [0.04, 0.08]
    assert all({"kid_lite0", "r1", "path", "discriminator"} <= set(line) for line in faces.records)
    assert faces.sample(3, seed=0).shape == (3, 3, 8, 8)
    assert torch.equal(faces.sample(3, seed=0), faces.sample(3, seed=0))
    assert not torch.equal(faces.sample(3, seed=0), faces.sample(3, seed=1))
    assert not torch.equal(faces.sample(3, seed=0), faces.sample(3, seed=0, truncation=0.5))


def test_what_is_saved_is_read_back(trained: tuple[Path, FittedFaces], tmp_path: Path) -> None:
    faces = trained[1]
    faces.save(tmp_path / "whole")
    again = FittedFaces.load(tmp_path / "whole")
    assert torch.equal(again.sample(3, seed=0), faces.sample(3, seed=0))
    assert again.discriminator is not None
    assert (again.about, again.records) == ("flat colours", tuple(faces.records))
    faces.save(tmp_path / "half", half=True, discriminator=False)
    small = FittedFaces.load(tmp_path / "half")
    assert small.discriminator is None
    torch.testing.assert_close(small.sample(3, seed=0), faces.sample(3, seed=0), atol=0.02, rtol=0)


def test_a_run_that_was_cut_off_ends_with_the_same_bits(
    trained: tuple[Path, FittedFaces],
    pictures: np.ndarray,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from adwright.creative.faces import fit

    class Cut(Exception):
        pass

    steps = 0

    def penalty(*given: object) -> torch.Tensor:
        nonlocal steps
        steps += 1
        if steps == 4:
            raise Cut
        return real(*given)

    real = fit.r1_penalty
    monkeypatch.setattr(fit, "r1_penalty", penalty)
    with pytest.raises(Cut):
        fit_faces(pictures[8:], pictures[:8], SMALL, out=tmp_path / "run")
    monkeypatch.undo()
    again = fit_faces(pictures[8:], pictures[:8], SMALL, out=tmp_path / "run", resume=True)
    for name, value in trained[1].generator.state_dict().items():
        assert torch.equal(again.generator.state_dict()[name], value), name


def test_a_discriminator_that_has_won_sends_the_run_back(pictures: np.ndarray) -> None:
    lost = replace(SMALL, runaway=1e-3)
    with pytest.raises(ConfigError, match="no longer a finite number"):
        fit_faces(pictures[8:], pictures[:8], lost)


def test_pictures_of_another_size(pictures: np.ndarray) -> None:
    with pytest.raises(DataError, match="shape"):
        fit_faces(pictures[:, :4], pictures[:8], SMALL)
    with pytest.raises(DataError, match="held_out are fewer than two"):
        fit_faces(pictures, pictures[:1], SMALL)
    assert as_pictures(pictures[:2]).shape == (2, 3, 8, 8)


def test_augmentation_is_controlled_and_goes_on_with_the_same_bits(
    trained: tuple[Path, FittedFaces],
    pictures: np.ndarray,
    tmp_path: Path,
) -> None:
    augment = replace(SMALL, augment=True, augment_kimg=0.1, augment_target=-1.0)
    whole = fit_faces(pictures[8:], pictures[:8], augment)
    assert 0 < whole.records[0]["augment_p"] < whole.records[1]["augment_p"] <= 1
    plain = trained[1].generator.state_dict()
    assert any(not torch.equal(v, plain[k]) for k, v in whole.generator.state_dict().items())

    def stop(steps: int) -> None:
        if steps == 7:
            raise KeyboardInterrupt

    out = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        fit_faces(pictures[8:], pictures[:8], augment, out=out, on_step=stop)
    again = fit_faces(pictures[8:], pictures[:8], augment, out=out, resume=True)
    assert again.records == whole.records
    for name, value in whole.generator.state_dict().items():
        assert torch.equal(again.generator.state_dict()[name], value), name
    with pytest.raises(ConfigError):
        replace(SMALL, augment_target=2.0)


def test_a_run_may_be_asked_for_more(
    trained: tuple[Path, FittedFaces], pictures: np.ndarray, tmp_path: Path
) -> None:
    shutil.copytree(trained[0], tmp_path / "run")
    more = replace(SMALL, kimg=0.12)
    longer = fit_faces(pictures[8:], pictures[:8], more, out=tmp_path / "run", resume=True)
    assert [line["kimg"] for line in longer.records] == [0.04, 0.08, 0.12]
