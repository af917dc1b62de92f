"""The network of faces and its training, against their formulas."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from adwright.core.errors import ConfigError
from adwright.creative.faces.stylegan import (
    Discriminator,
    EqualConv,
    EqualLinear,
    FaceEncoder,
    FittedEncoder,
    FittedFaces,
    Generator,
    GeneratorConfig,
    ModulatedConv,
    Noise,
    as_pictures,
    blurred,
    channels_at,
    doubled,
    group_deviation,
    leaky,
)
from benchmarks.creative.faces_training.encoder_fit import (
    EncoderConfig,
    adversarial_loss,
    delta_size,
    fit_encoder,
    latent_loss,
    unlocked_rows,
)
from benchmarks.creative.faces_training.faces_fit import (
    FacesConfig,
    discriminator_loss,
    fit_faces,
    generator_loss,
    path_lengths,
    r1_penalty,
)
from benchmarks.creative.faces_training.keeping import errors as errors_of
from benchmarks.creative.faces_training.keeping import (
    feature_distance,
    pixel_error,
    refine,
    sample,
    save_faces,
)
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
QUICK = EncoderConfig(
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
def fitted(faces: FittedFaces, pixels: np.ndarray) -> FittedEncoder:
    return fit_encoder(faces, pixels[8:], pixels[:8], QUICK, about="noise")


def test_it_learns_on_pairs_then_on_pictures(
    fitted: FittedEncoder, faces: FittedFaces, pixels: np.ndarray
) -> None:
    lines = list(fitted.records)
    assert [line["steps"] for line in lines] == [10, 20, 30, 40]
    assert ["pairs" in line for line in lines] == [True, True, False, False]
    assert [line.get("unlocked") for line in lines] == [None, None, 3.0, 5.0]
    assert {"own", "offsets", "adversarial", "latents"} <= set(lines[-1])
    assert lines[-1]["pairs" if "pairs" in lines[-1] else "l2"] < lines[0]["l2"]
    errors = errors_of(faces, fitted, as_pictures(pixels[:8]))
    assert float(errors.mean()) == pytest.approx(min(line["l2"] for line in lines), rel=0.05)


def test_a_run_that_was_cut_off_ends_with_the_same_bits(
    fitted: FittedEncoder, faces: FittedFaces, pixels: np.ndarray, tmp_path: Path
) -> None:
    class Cut(Exception):
        pass

    for last in (6, 27):

        def cut(steps: int, last: int = last) -> None:
            if steps == last:
                raise Cut

        out = tmp_path / f"run-{last}"
        with pytest.raises(Cut):
            fit_encoder(faces, pixels[8:], pixels[:8], QUICK, out=out, on_step=cut)
        again = fit_encoder(faces, pixels[8:], pixels[:8], QUICK, out=out, resume=True)
        assert again.records == fitted.records
        for name, value in fitted.encoder.state_dict().items():
            assert torch.equal(again.encoder.state_dict()[name], value), name


def literal_filter(x: Tensor, pad: tuple[int, int], gain: float) -> Tensor:
    """One sum a pixel, with the outer product of [1, 3, 3, 1] / 8."""
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
    both = torch.outer(taps, taps) * gain
    x = functional.pad(x, (*pad, *pad))
    height, width = x.shape[2] - 3, x.shape[3] - 3
    made = torch.zeros(*x.shape[:2], height, width)
    for i in range(height):
        for j in range(width):
            made[:, :, i, j] = (x[:, :, i : i + 4, j : j + 4] * both).sum((2, 3))
    return made


def literal_convolution(x: Tensor, weight: Tensor) -> Tensor:
    """Of one image [I, H, W] by [O, I, k, k], zeros around it, one sum a number."""
    o, _, kernel, _ = weight.shape
    x = functional.pad(x, (kernel // 2,) * 4)
    height, width = x.shape[1] - kernel + 1, x.shape[2] - kernel + 1
    made = torch.zeros(o, height, width)
    for at in range(o):
        for i in range(height):
            for j in range(width):
                made[at, i, j] = (x[:, i : i + kernel, j : j + kernel] * weight[at]).sum()
    return made


def literal_modulation(layer: ModulatedConv, x: Tensor, latent: Tensor) -> Tensor:
    """Weights of their own for each image, as the formulas of the paper are written."""
    affine, made = layer.affine, []
    for image, w in zip(x, latent, strict=True):
        style = affine.weight @ w / math.sqrt(len(w)) + affine.bias
        fan_in = layer.weight[0].numel()
        weight = layer.weight / math.sqrt(fan_in) * style[None, :, None, None]
        if layer.demodulate:
            for o in range(len(weight)):
                weight[o] = weight[o] / math.sqrt(float((weight[o] ** 2).sum()) + 1e-8)
        if layer.up:
            spread = torch.zeros(image.shape[0], 2 * image.shape[1] + 1, 2 * image.shape[2] + 1)
            spread[:, 1::2, 1::2] = image
            found = literal_convolution(spread, weight)
            made.append(literal_filter(found[None], (1, 1), 4.0)[0])
        else:
            made.append(literal_convolution(image, weight))
    return torch.stack(made)


@torch.no_grad()
def test_modulated_convolutions() -> None:
    torch.manual_seed(0)
    x, latent = torch.randn(3, 4, 6, 6), torch.randn(3, 7)
    for demodulate, up, kernel in ((True, False, 3), (True, True, 3), (False, False, 1)):
        layer = ModulatedConv(4, 5, kernel, 7, demodulate=demodulate, up=up)
        literal = literal_modulation(layer, x, latent)
        torch.testing.assert_close(layer(x, latent), literal, rtol=1e-5, atol=1e-5)


def test_filters() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 5, 4)
    for pad, gain in (((1, 1), 4.0), ((2, 2), 1.0), ((2, 1), 1.0)):
        torch.testing.assert_close(blurred(x, pad, gain), literal_filter(x, pad, gain))
    found = blurred(x, (1, 1), step=2)
    torch.testing.assert_close(found, literal_filter(x, (1, 1), 1.0)[:, :, ::2, ::2])
    spread = torch.zeros(2, 3, 10, 8)
    spread[:, :, ::2, ::2] = x
    torch.testing.assert_close(doubled(x), literal_filter(spread, (2, 1), 4.0))
    flat = doubled(torch.ones(1, 1, 8, 8))
    torch.testing.assert_close(flat[:, :, 2:-2, 2:-2], torch.ones(1, 1, 12, 12))


def test_the_rate_is_equal_in_all_layers() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 6)
    layer = EqualLinear(6, 3, bias=0.5, rate=0.01)
    assert float(layer.weight.detach().std()) > 20
    literal = x @ layer.weight.T * 0.01 / math.sqrt(6) + 0.5
    torch.testing.assert_close(layer(x), literal)
    active = EqualLinear(6, 3, activate=True)
    active.load_state_dict(layer.state_dict())
    assert active(x).shape == (2, 3)
    large = EqualLinear(512, 512)
    assert abs(float(large(torch.randn(64, 512)).detach().std()) - 1) < 0.05


@torch.no_grad()
def test_convolutions_of_the_discriminator() -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 3, 8, 8)
    plain = EqualConv(3, 2, 3)
    literal = leaky(literal_convolution(x[0], plain.weight / math.sqrt(27)))
    torch.testing.assert_close(plain(x)[0], literal, rtol=1e-5, atol=1e-5)
    for kernel, pad in ((3, (2, 2)), (1, (1, 1))):
        down = EqualConv(3, 2, kernel, down=True, activate=False)
        before = literal_filter(x, pad, 1.0)
        weight = down.weight / math.sqrt(3 * kernel * kernel)
        found = functional.conv2d(before, weight)[:, :, ::2, ::2]
        torch.testing.assert_close(down(x), found, rtol=1e-5, atol=1e-5)
        assert down(x).shape == (1, 2, 4, 4)


def test_noise_begins_without_strength() -> None:
    layer, x, drawn = Noise(4), torch.zeros(2, 3, 4, 4), torch.ones(2, 1, 4, 4)
    assert not layer(x, drawn).any()
    with torch.no_grad():
        layer.strength.fill_(2.0)
    assert layer(x, drawn).eq(2).all()
    torch.testing.assert_close(layer(x, None)[0, 1], layer.fixed * 2)


DEEP = GeneratorConfig(side=16, wide=8, layers=2, base=64, most=8)


@torch.no_grad()
def test_rows_of_the_extended_latents() -> None:
    """Each row moves what reads it, and nothing of lower resolution."""
    torch.manual_seed(0)
    generator = Generator(DEEP)
    assert DEEP.rows == 6
    seen: dict[str, torch.Tensor] = {}
    for at, conv in enumerate(generator.convs):
        conv.register_forward_hook(lambda _m, _i, o, at=at: seen.__setitem__(f"conv{at}", o))
    for at, colour in enumerate(generator.colours):
        colour.register_forward_hook(lambda _m, _i, o, at=at: seen.__setitem__(f"rgb{at}", o))
    plus = torch.randn(1, 6, 8)
    generator.pictures(plus)
    before = dict(seen)
    first = {
        0: {"conv0"},
        1: {"rgb0", "conv1"},
        2: {"conv2"},
        3: {"rgb1", "conv3"},
        4: {"conv4"},
        5: {"rgb2"},
    }
    reached = ["conv0", "rgb0", "conv1", "conv2", "rgb1", "conv3", "conv4", "rgb2"]
    for row, readers in first.items():
        changed = plus.clone()
        changed[:, row] += 1
        generator.pictures(changed)
        moved = {name for name, value in seen.items() if not torch.equal(value, before[name])}
        assert readers <= moved
        earliest = min(reached.index(name) for name in readers)
        assert not moved & set(reached[:earliest])


@torch.no_grad()
def test_without_noise_the_latent_alone_makes_the_picture() -> None:
    generator = Generator(replace(DEEP, noise=False))
    assert not any("noise" in name for name in generator.state_dict())
    w, random = generator.latents(torch.randn(2, 8)), torch.Generator().manual_seed(1)
    assert torch.equal(generator.pictures(w, random), generator.pictures(w, random))
    # Its strength begins at 0, so both kinds begin as the same function.
    noisy = Generator(DEEP)
    noisy.load_state_dict(generator.state_dict(), strict=False)
    torch.testing.assert_close(noisy.pictures(w), generator.pictures(w))


@torch.no_grad()
def test_pictures() -> None:
    torch.manual_seed(0)
    generator, random = Generator(DEEP), torch.Generator().manual_seed(1)
    z = torch.randn(3, 8)
    w = generator.latents(z)
    torch.testing.assert_close(generator.latents(5 * z), w)
    made = generator.pictures(w)
    assert made.shape == (3, 3, 16, 16)
    assert torch.equal(made, generator.pictures(generator.rows_of(w)))
    torch.testing.assert_close(made[1:2], generator.pictures(w[1:2]))
    for conv in generator.convs:
        conv.noise.strength.fill_(1.0)
    assert not torch.equal(generator.pictures(w, random), generator.pictures(w, random))
    assert torch.equal(generator.pictures(w), generator.pictures(w))
    sides = [1, 2, 2, 4, 4]
    drawn = [torch.randn(3, 1, 4 * s, 4 * s) for s in sides]
    assert torch.equal(generator.pictures(w, drawn), generator.pictures(w, drawn))
    with pytest.raises(ConfigError, match="6 rows"):
        generator.pictures(torch.randn(1, 5, 8))


def test_channels() -> None:
    assert [channels_at(side, 1024, 128) for side in (4, 8, 16, 32)] == [128, 128, 64, 32]


@pytest.mark.parametrize("wrong", [{"side": 4}, {"side": 48}, {"base": 8}])
def test_what_is_no_generator(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        GeneratorConfig(**wrong)


def test_the_deviation_of_a_group() -> None:
    torch.manual_seed(0)
    x = torch.randn(6, 3, 4, 4)
    found = group_deviation(x, 4)
    assert found.shape == (6, 4, 4, 4)
    # The nearest divisor is 3: groups are 0, 2, 4 and 1, 3, 5.
    for group in ((0, 2, 4), (1, 3, 5)):
        some = x[list(group)]
        literal = ((some - some.mean(0)) ** 2).mean(0).add(1e-8).sqrt().mean()
        for at in group:
            torch.testing.assert_close(found[at, 3], literal.expand(4, 4))
    assert torch.equal(found[:, :3], x)


@torch.no_grad()
def test_scores() -> None:
    torch.manual_seed(0)
    network = Discriminator(SHAPE)
    pictures = torch.randn(4, 3, 16, 16)
    assert network(pictures).shape == (4,)
    assert [tuple(one.shape) for one in network.features(pictures)] == [(4, 8, 8, 8), (4, 8, 4, 4)]
    assert not torch.equal(network(pictures), network(pictures.flip(3)))
    for at, alone in enumerate(network(pictures, group=1)):
        copies = pictures[at : at + 1].expand(4, -1, -1, -1)
        torch.testing.assert_close(network(copies)[0], alone, atol=1e-5, rtol=0)


WIDE = GeneratorConfig(side=32, wide=8, layers=1, base=256, most=8)


@torch.no_grad()
def test_rows_are_a_latent_and_offsets() -> None:
    torch.manual_seed(0)
    encoder = FaceEncoder(WIDE, width=8).eval()
    pictures, mean = torch.randn(3, 3, 32, 32), torch.randn(8)
    plus = encoder(pictures, mean=mean)
    assert plus.shape == (3, WIDE.rows, 8)
    some = encoder(pictures, mean=mean, unlocked=2)
    torch.testing.assert_close(some[:, :3], plus[:, :3])
    assert torch.equal(some[:, 3:], some[:, :1].expand(-1, WIDE.rows - 3, -1))
    none = encoder(pictures, mean=mean, unlocked=0)
    assert float(delta_size(none)) < 1e-4 < float(delta_size(plus))
    torch.testing.assert_close(encoder(pictures, mean=mean + 1), plus + 1)
    torch.testing.assert_close(encoder(pictures[1:2], mean=mean)[0], plus[1], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_small_pictures_have_a_smaller_pyramid() -> None:
    encoder = FaceEncoder(SHAPE, width=8).eval()
    assert encoder.sides == [4, 4, 4, 8, 8, 8]
    assert encoder(torch.randn(2, 3, 16, 16), mean=torch.zeros(8)).shape == (2, 6, 8)


def test_the_size_of_offsets_is_the_literal_sum() -> None:
    torch.manual_seed(0)
    plus = torch.randn(4, 5, 8)
    literal = sum(
        sum(float((plus[b, row] - plus[b, 0]).norm()) for b in range(4)) / 4 for row in range(1, 5)
    )
    assert float(delta_size(plus)) == pytest.approx(literal, rel=1e-5)


def test_rows_are_let_in_one_by_one() -> None:
    found = [unlocked_rows(step, 20, 5, 4) for step in (0, 19, 20, 24, 25, 30, 1000)]
    assert found == [0, 0, 1, 1, 2, 3, 3]


def test_pictures_that_are_too_small() -> None:
    with pytest.raises(ConfigError, match="below 16"):
        FaceEncoder(GeneratorConfig(side=8, wide=8, layers=1, base=64, most=8))


@pytest.fixture(scope="module")
def generator() -> Generator:
    torch.manual_seed(0)
    return Generator(SHAPE).requires_grad_(False)


def test_refinement_comes_nearer(generator: Generator) -> None:
    torch.manual_seed(1)
    true = generator.rows_of(generator.latents(torch.randn(3, 8)))
    pictures = generator.pictures(true)
    start = true + 0.3 * torch.randn_like(true)
    found = refine(generator, pictures, start, steps=30, rate=0.05, stay=0.0)
    torch.testing.assert_close(found.before, pixel_error(generator.pictures(start), pictures))
    torch.testing.assert_close(found.after, pixel_error(generator.pictures(found.plus), pictures))
    assert bool((found.after < 0.6 * found.before).all())
    none = refine(generator, pictures, start, steps=0)
    assert torch.equal(none.plus, start)
    assert torch.equal(none.before, none.after)
    near = refine(generator, pictures, start, steps=30, rate=0.05, stay=10.0)
    assert (near.plus - start).norm() < (found.plus - start).norm()
    # One picture does not change what another becomes.
    alone = refine(generator, pictures[1:2], start[1:2], steps=30, rate=0.05, stay=0.0)
    torch.testing.assert_close(alone.plus[0], found.plus[1], atol=1e-3, rtol=1e-3)
