from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from adwright.core.errors import ConfigError
from adwright.creative.faces.stylegan import (
    Discriminator,
    FittedEncoder,
    FittedFaces,
    Generator,
    GeneratorConfig,
    as_pictures,
)
from benchmarks.creative.faces_training.encoder_fit import (
    EncoderConfig,
    adversarial_loss,
    fit_encoder,
    latent_loss,
)
from benchmarks.creative.faces_training.faces_fit import (
    AugmentControl,
    FacesConfig,
    discriminator_loss,
    fit_faces,
    generator_loss,
    path_lengths,
    r1_penalty,
)
from benchmarks.creative.faces_training.keeping import errors as errors_of
from benchmarks.creative.faces_training.keeping import feature_distance, sample, save_faces
from benchmarks.creative.faces_training.measures import as_pixels


def test_logistic_losses() -> None:
    made, real = torch.tensor([0.5, -2.0]), torch.tensor([1.0, 3.0])
    literal = sum(math.log(1 + math.exp(-s)) for s in made.tolist()) / 2
    assert float(generator_loss(made)) == pytest.approx(literal)
    literal = sum(math.log(1 + math.exp(s)) for s in made.tolist()) / 2
    literal += sum(math.log(1 + math.exp(-s)) for s in real.tolist()) / 2
    assert float(discriminator_loss(made, real)) == pytest.approx(literal)


def test_r1_is_the_squared_slope_at_real_pictures() -> None:
    torch.manual_seed(0)
    real = torch.randn(3, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(3, 4, 4, dtype=torch.float64)

    def score(x: torch.Tensor) -> torch.Tensor:
        return (torch.sin(x) * weight).sum((1, 2, 3))

    found = r1_penalty(score(real), real, 0.3)
    literal = ((torch.cos(real) * weight) ** 2).sum() / 3 * 0.3 / 2
    torch.testing.assert_close(found, literal)
    assert found.requires_grad


def test_path_lengths_by_differences() -> None:
    torch.manual_seed(0)
    rows, wide, numbers = 3, 4, 2 * 5 * 5
    maps = torch.randn(rows * wide, numbers, dtype=torch.float64)
    plus = torch.randn(2, rows, wide, dtype=torch.float64, requires_grad=True)
    direction = torch.randn(2, 2, 5, 5, dtype=torch.float64)

    def pictures(w: torch.Tensor) -> torch.Tensor:
        return torch.tanh(w.reshape(2, -1) @ maps).view(2, 2, 5, 5)

    found = path_lengths(pictures(plus), plus, direction)
    eps, literal = 1e-6, []
    for at in range(2):
        jacobian = torch.zeros(rows, wide, dtype=torch.float64)
        for row in range(rows):
            for number in range(wide):
                step = torch.zeros_like(plus)
                step[at, row, number] = eps
                up, down = pictures(plus + step), pictures(plus - step)
                slope = ((up - down)[at] / (2 * eps)).detach()
                jacobian[row, number] = (slope * direction[at] / math.sqrt(25)).sum()
        literal.append(math.sqrt(float((jacobian**2).sum(1).mean())))
    torch.testing.assert_close(found, torch.tensor(literal, dtype=torch.float64), rtol=1e-5, atol=0)


SURE, UNSURE = torch.full((32,), 2.0), torch.tensor([1.0, -1.0] * 16)


def test_p_grows_where_the_discriminator_is_sure_and_falls_where_it_is_not() -> None:
    control = AugmentControl()
    for _ in range(3):
        control.seen(SURE)
    assert control.p == 0
    control.seen(SURE)
    assert control.p == pytest.approx(4 * 32 / 500_000)
    for _ in range(4):
        control.seen(UNSURE)
    assert control.p == 0
    for _ in range(4):
        control.seen(UNSURE)
    assert control.p == 0


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
    assert sample(faces, 3, seed=0).shape == (3, 3, 8, 8)
    assert torch.equal(sample(faces, 3, seed=0), sample(faces, 3, seed=0))
    assert not torch.equal(sample(faces, 3, seed=0), sample(faces, 3, seed=1))


def test_what_is_saved_is_read_back(trained: tuple[Path, FittedFaces], tmp_path: Path) -> None:
    faces = trained[1]
    save_faces(faces, tmp_path / "whole")
    again = FittedFaces.load(tmp_path / "whole")
    assert torch.equal(sample(again, 3, seed=0), sample(faces, 3, seed=0))
    assert again.discriminator is not None
    assert (again.about, again.records) == ("flat colours", tuple(faces.records))
    save_faces(faces, tmp_path / "half", half=True, discriminator=False)
    small = FittedFaces.load(tmp_path / "half")
    assert small.discriminator is None
    torch.testing.assert_close(
        sample(small, 3, seed=0), sample(faces, 3, seed=0), atol=0.02, rtol=0
    )


def test_a_run_that_was_cut_off_ends_with_the_same_bits(
    trained: tuple[Path, FittedFaces],
    pictures: np.ndarray,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from benchmarks.creative.faces_training import faces_fit as fit

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


def test_augmentation_is_controlled_and_goes_on_with_the_same_bits(
    trained: tuple[Path, FittedFaces], pictures: np.ndarray, tmp_path: Path
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


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


def test_features_are_compared_by_their_direction_at_each_pixel() -> None:
    torch.manual_seed(0)
    a, b = ([torch.randn(2, 3, 2, 2), torch.randn(2, 5, 1, 1)] for _ in range(2))
    for at in range(2):
        layers = []
        for one, other in zip(a, b, strict=True):
            pixels = []
            for y in range(one.shape[2]):
                for x in range(one.shape[3]):
                    f, g = one[at, :, y, x], other[at, :, y, x]
                    pixels.append(float(((f / f.norm() - g / g.norm()) ** 2).sum()))
            layers.append(sum(pixels) / len(pixels))
        assert float(feature_distance(a, b)[at]) == pytest.approx(sum(layers) / 2, rel=1e-4)
    torch.testing.assert_close(feature_distance(a, a), torch.zeros(2))
    torch.testing.assert_close(feature_distance([3 * f for f in a], b), feature_distance(a, b))


def test_what_the_latent_discriminator_and_the_encoder_want() -> None:
    made, real = [0.5, -1.0], [2.0, 0.0]
    a, b = torch.tensor(made), torch.tensor(real)
    literal = sum(map(softplus, made)) / 2 + sum(softplus(-x) for x in real) / 2
    assert float(latent_loss(a, b)) == pytest.approx(literal, rel=1e-5)
    rows = torch.tensor([[0.5, -1.0, 2.0], [0.0, 1.0, -2.0]])
    literal = sum(softplus(-x) for x in rows.flatten().tolist()) / 6
    assert float(adversarial_loss(rows)) == pytest.approx(literal, rel=1e-5)


SHAPE = GeneratorConfig(side=16, wide=8, layers=1, base=64, most=8)
SMALL_ENCODER_FIT = EncoderConfig(
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
    return as_pixels(sample(faces, 24, seed=3))


@pytest.fixture(scope="module")
def trained_encoder_fit(faces: FittedFaces, pixels: np.ndarray) -> FittedEncoder:
    return fit_encoder(faces, pixels[8:], pixels[:8], SMALL_ENCODER_FIT, about="noise")


def test_it_learns_on_pairs_then_on_pictures(
    trained_encoder_fit: FittedEncoder, faces: FittedFaces, pixels: np.ndarray
) -> None:
    lines = list(trained_encoder_fit.records)
    assert [line["steps"] for line in lines] == [10, 20, 30, 40]
    assert ["pairs" in line for line in lines] == [True, True, False, False]
    assert [line.get("unlocked") for line in lines] == [None, None, 3.0, 5.0]
    assert {"own", "offsets", "adversarial", "latents"} <= set(lines[-1])
    assert lines[-1]["pairs" if "pairs" in lines[-1] else "l2"] < lines[0]["l2"]
    errors = errors_of(faces, trained_encoder_fit, as_pictures(pixels[:8]))
    assert float(errors.mean()) == pytest.approx(min(line["l2"] for line in lines), rel=0.05)


def test_a_run_that_was_cut_off_ends_with_the_same_bits_encoder_fit(
    trained_encoder_fit: FittedEncoder, faces: FittedFaces, pixels: np.ndarray, tmp_path: Path
) -> None:
    class Cut(Exception):
        pass

    for last in (6, 27):

        def cut(steps: int, last: int = last) -> None:
            if steps == last:
                raise Cut

        out = tmp_path / f"run-{last}"
        with pytest.raises(Cut):
            fit_encoder(faces, pixels[8:], pixels[:8], SMALL_ENCODER_FIT, out=out, on_step=cut)
        again = fit_encoder(faces, pixels[8:], pixels[:8], SMALL_ENCODER_FIT, out=out, resume=True)
        assert again.records == trained_encoder_fit.records
        for name, value in trained_encoder_fit.encoder.state_dict().items():
            assert torch.equal(again.encoder.state_dict()[name], value), name


def test_each_loss_takes_part(faces: FittedFaces, pixels: np.ndarray) -> None:
    quick = replace(SMALL_ENCODER_FIT, pair_steps=0, steps=4, validate_every=4, unlock_start=0)

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
