import pytest
import torch

from adwright.core.errors import ConfigError, DataError
from adwright.creative.faces.layouts.reading import Named
from adwright.creative.faces.layouts.rosinality import ROSINALITY_MARKER, rosinality_generator
from benchmarks.creative._face_layouts import (
    random_rosinality,
    rosinality_latents,
    rosinality_pictures,
)


@torch.no_grad()
def test_pictures_are_those_of_the_layout() -> None:
    state = random_rosinality(32, 8, 3)
    assert ROSINALITY_MARKER in state
    generator = rosinality_generator(Named(state), torch.arange(8.0))
    config = generator.config
    assert (config.side, config.wide, config.layers, config.rows) == (32, 8, 3, 8)
    torch.manual_seed(0)
    z, plus = torch.randn(3, 8), torch.randn(3, 8, 8)
    torch.testing.assert_close(
        generator.latents(z), rosinality_latents(state, z), atol=1e-5, rtol=1e-5
    )
    literal = rosinality_pictures(state, plus)
    torch.testing.assert_close(generator.pictures(plus), literal, atol=1e-4, rtol=0)
    assert torch.equal(generator.mean, torch.arange(8.0))
    # A wrong flip or a wrong row would show.
    turned = dict(state)
    turned["convs.0.conv.weight"] = state["convs.0.conv.weight"].flip(3, 4)
    assert (rosinality_pictures(turned, plus) - literal).abs().max() > 0.1
    moved = plus.clone()
    moved[:, 3] += 1
    assert (rosinality_pictures(state, moved) - literal).abs().max() > 0.1


def test_what_a_file_may_leave_out() -> None:
    state = random_rosinality(16, 8, 2)
    for name in [one for one in state if one.startswith("noises.")]:
        del state[name]
    generator = rosinality_generator(Named(state))
    assert not generator.convs[1].noise.fixed.any()
    w = rosinality_latents(state, torch.randn(4000, 8))
    torch.testing.assert_close(generator.mean, w.mean(0), atol=0.1, rtol=0)
    rows = torch.arange(12.0).view(6, 2).repeat(1, 4)
    assert torch.equal(rosinality_generator(Named(state), rows).mean, rows.mean(0))


def test_generators_of_another_form() -> None:
    state = random_rosinality(16, 8, 2)
    lacking = {name: value for name, value in state.items() if name != "to_rgb1.bias"}
    with pytest.raises(DataError, match=r"lacks a tensor.*to_rgb1.bias"):
        rosinality_generator(Named(lacking, "file.pt"))
    with pytest.raises(DataError, match="5 axes"):
        rosinality_generator(Named({**state, "conv1.conv.weight": torch.zeros(3, 3)}))
    with pytest.raises(DataError, match="16 x 16"):
        rosinality_generator(Named({**state, "noises.noise_3": torch.zeros(1, 1, 8, 8)}))
    with pytest.raises(ConfigError, match="mapping makes 8 numbers of 9"):
        rosinality_generator(Named({**state, "style.1.weight": torch.zeros(8, 9)}))
    other = {**state, "convs.0.conv.blur.kernel": torch.ones(4, 4)}
    with pytest.raises(ConfigError, match=r"\[1, 3, 3, 1\]"):
        rosinality_generator(Named(other))
