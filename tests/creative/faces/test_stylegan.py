from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from adwright.core.errors import ConfigError
from adwright.creative.faces.stylegan import (
    Discriminator,
    EqualConv,
    EqualLinear,
    Generator,
    GeneratorConfig,
    ModulatedConv,
    Noise,
    blurred,
    channels_at,
    doubled,
    group_deviation,
    leaky,
)


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


SMALL = GeneratorConfig(side=16, wide=8, layers=2, base=64, most=8)


@torch.no_grad()
def test_rows_of_the_extended_latents() -> None:
    """Each row moves what reads it, and nothing of lower resolution."""
    torch.manual_seed(0)
    generator = Generator(SMALL)
    assert SMALL.rows == 6
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
    generator = Generator(replace(SMALL, noise=False))
    assert not any("noise" in name for name in generator.state_dict())
    w, random = generator.latents(torch.randn(2, 8)), torch.Generator().manual_seed(1)
    assert torch.equal(generator.pictures(w, random), generator.pictures(w, random))
    # Its strength begins at 0, so both kinds begin as the same function.
    noisy = Generator(SMALL)
    noisy.load_state_dict(generator.state_dict(), strict=False)
    torch.testing.assert_close(noisy.pictures(w), generator.pictures(w))


@torch.no_grad()
def test_pictures() -> None:
    torch.manual_seed(0)
    generator, random = Generator(SMALL), torch.Generator().manual_seed(1)
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


@pytest.mark.parametrize(
    "wrong",
    [{"side": 4}, {"side": 48}, {"wide": 0}, {"layers": 0}, {"base": 8}, {"mean_decay": 1.0}],
)
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
    config = GeneratorConfig(side=16, wide=8, base=64, most=8)
    network = Discriminator(config)
    pictures = torch.randn(4, 3, 16, 16)
    assert network(pictures).shape == (4,)
    assert [tuple(one.shape) for one in network.features(pictures)] == [(4, 8, 8, 8), (4, 8, 4, 4)]
    assert not torch.equal(network(pictures), network(pictures.flip(3)))
    for at, alone in enumerate(network(pictures, group=1)):
        copies = pictures[at : at + 1].expand(4, -1, -1, -1)
        torch.testing.assert_close(network(copies)[0], alone, atol=1e-5, rtol=0)
