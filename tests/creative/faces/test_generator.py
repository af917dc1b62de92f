from dataclasses import replace

import pytest
import torch

from adwright.core.errors import ConfigError
from adwright.creative.faces.generator import Generator, GeneratorConfig, channels_at

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


@torch.no_grad()
def test_truncation_and_the_mean() -> None:
    generator = Generator(SMALL)
    w = generator.latents(torch.randn(64, 8))
    for _ in range(2000):
        generator.follow_mean(w)
    torch.testing.assert_close(generator.mean, w.mean(0), rtol=1e-3, atol=1e-3)
    z = torch.randn(4, 8)
    half, whole = generator.latents(z, truncation=0.5), generator.latents(z)
    torch.testing.assert_close(half, (generator.mean + whole) / 2)


def test_channels() -> None:
    assert [channels_at(side, 1024, 128) for side in (4, 8, 16, 32)] == [128, 128, 64, 32]


@pytest.mark.parametrize(
    "wrong",
    [{"side": 4}, {"side": 48}, {"wide": 0}, {"layers": 0}, {"base": 8}, {"mean_decay": 1.0}],
)
def test_what_is_no_generator(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        GeneratorConfig(**wrong)
