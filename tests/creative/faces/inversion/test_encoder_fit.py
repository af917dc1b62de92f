from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from adwright.core.errors import ConfigError, DataError
from adwright.creative.faces.discriminator import Discriminator
from adwright.creative.faces.fit import as_pictures
from adwright.creative.faces.fitted_faces import FittedFaces
from adwright.creative.faces.generator import Generator, GeneratorConfig
from adwright.creative.faces.inversion.encoder_fit import EncoderConfig, fit_encoder
from adwright.creative.faces.inversion.fitted_encoder import FittedEncoder
from adwright.creative.faces.sheets import as_pixels

SHAPE = GeneratorConfig(side=16, wide=8, layers=1, base=64, most=8)
SMALL = EncoderConfig(
    width=8,
    pair_steps=20,
    steps=20,
    batch=4,
    rate=5e-3,
    latent_rate=1e-3,
    lite0=0.0,
    r1_every=3,
    pool=6,
    unlock_start=2,
    unlock_every=3,
    validate_every=10,
    checkpoint_every=4,
    samples=8,
)


@pytest.fixture(scope="module")
def faces() -> FittedFaces:
    torch.manual_seed(0)
    return FittedFaces(Generator(SHAPE), Discriminator(SHAPE))


@pytest.fixture(scope="module")
def pixels(faces: FittedFaces) -> np.ndarray:
    return as_pixels(faces.sample(24, seed=3))


@pytest.fixture(scope="module")
def trained(faces: FittedFaces, pixels: np.ndarray) -> FittedEncoder:
    return fit_encoder(faces, pixels[8:], pixels[:8], SMALL, about="noise")


def test_it_learns_on_pairs_then_on_pictures(
    trained: FittedEncoder, faces: FittedFaces, pixels: np.ndarray
) -> None:
    lines = list(trained.records)
    assert [line["steps"] for line in lines] == [10, 20, 30, 40]
    assert ["pairs" in line for line in lines] == [True, True, False, False]
    assert [line.get("unlocked") for line in lines] == [None, None, 3.0, 5.0]
    assert {"own", "offsets", "adversarial", "latents"} <= set(lines[-1])
    assert lines[-1]["pairs" if "pairs" in lines[-1] else "l2"] < lines[0]["l2"]
    errors = trained.errors(faces, as_pictures(pixels[:8]))
    assert float(errors.mean()) == pytest.approx(min(line["l2"] for line in lines), rel=0.05)


def test_a_run_that_was_cut_off_ends_with_the_same_bits(
    trained: FittedEncoder, faces: FittedFaces, pixels: np.ndarray, tmp_path: Path
) -> None:
    class Cut(Exception):
        pass

    for last in (6, 27):

        def cut(steps: int, last: int = last) -> None:
            if steps == last:
                raise Cut

        out = tmp_path / f"run-{last}"
        with pytest.raises(Cut):
            fit_encoder(faces, pixels[8:], pixels[:8], SMALL, out=out, on_step=cut)
        again = fit_encoder(faces, pixels[8:], pixels[:8], SMALL, out=out, resume=True)
        assert again.records == trained.records
        for name, value in trained.encoder.state_dict().items():
            assert torch.equal(again.encoder.state_dict()[name], value), name


def test_rows_that_were_never_let_in_stay_without_offset(
    faces: FittedFaces, pixels: np.ndarray
) -> None:
    few = replace(SMALL, pair_steps=2, steps=8, unlock_start=3, unlock_every=4)
    found = fit_encoder(faces, pixels[8:], pixels[:8], few)
    assert found.unlocked == few.unlocked(10, SHAPE.rows) == 2
    plus = found.invert(faces, as_pictures(pixels[:8]))
    assert not torch.equal(plus[:, 2], plus[:, 0])
    assert torch.equal(plus[:, 3:], plus[:, :1].expand(-1, SHAPE.rows - 3, -1))


def test_each_loss_takes_part(faces: FittedFaces, pixels: np.ndarray) -> None:
    quick = replace(SMALL, pair_steps=0, steps=4, validate_every=4, unlock_start=0)

    def weights(config: EncoderConfig, identity: bool = False) -> torch.Tensor:
        embed = (lambda p: p.flatten(1)[:, ::7]) if identity else None
        fitted = fit_encoder(faces, pixels[8:], pixels[:8], config, identity=embed)
        return torch.cat([p.flatten() for p in fitted.encoder.parameters()]).detach()

    plain = weights(quick)
    for changed in ({"l2": 3.0}, {"own": 0.0}, {"offsets": 5.0}, {"adversarial": 0.0}):
        assert not torch.equal(plain, weights(replace(quick, **changed))), changed
    assert not torch.equal(plain, weights(quick, identity=True))
    assert torch.equal(plain, weights(replace(quick, identity=0.0), identity=True))
    # R1 and the pools change D_w, and with the next step the encoder.
    assert not torch.equal(plain, weights(replace(quick, r1=0.0)))
    assert not torch.equal(plain, weights(replace(quick, pool=1)))


def test_features_of_efficientnet_take_part(faces: FittedFaces, pixels: np.ndarray) -> None:
    quick = replace(SMALL, pair_steps=0, steps=1, batch=2, validate_every=1, samples=2)
    with_it = replace(quick, lite0=0.4, lite0_side=32)
    found = fit_encoder(faces, pixels[8:], pixels[:8], with_it).records[0]
    assert found["lite0"] > 0
    assert "lite0" not in fit_encoder(faces, pixels[8:], pixels[:8], quick).records[0]


def test_what_cannot_be_trained(faces: FittedFaces, pixels: np.ndarray) -> None:
    with pytest.raises(DataError, match="held_out have shape"):
        fit_encoder(faces, pixels, pixels[:, :8], SMALL)
    with pytest.raises(ConfigError, match="no discriminator"):
        fit_encoder(FittedFaces(faces.generator), pixels, pixels, SMALL)
    for wrong in ({"steps": 0}, {"rate": 0.0}, {"lite0_side": 8}, {"own": -1.0}):
        with pytest.raises(ConfigError):
            replace(SMALL, **wrong)
