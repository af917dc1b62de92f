import pytest
import torch

from adwright.core.errors import ConfigError, DataError
from adwright.creative.faces.layouts.nvidia import NVIDIA_MARKER, nvidia_generator
from adwright.creative.faces.layouts.reading import Named
from benchmarks.creative._face_layouts import nvidia_latents, nvidia_pictures, random_nvidia


@torch.no_grad()
def test_pictures_are_those_of_the_layout() -> None:
    state = random_nvidia(32, 8, 2)
    assert NVIDIA_MARKER in state
    generator = nvidia_generator(Named(state))
    config = generator.config
    assert (config.side, config.wide, config.layers, config.rows) == (32, 8, 2, 8)
    torch.manual_seed(0)
    z, plus = torch.randn(3, 8), torch.randn(3, 8, 8)
    torch.testing.assert_close(generator.latents(z), nvidia_latents(state, z), atol=1e-5, rtol=1e-5)
    literal = nvidia_pictures(state, plus)
    torch.testing.assert_close(generator.pictures(plus), literal, atol=1e-4, rtol=0)
    assert torch.equal(generator.mean, state["mapping.w_avg"])


def test_generators_of_another_form() -> None:
    state = random_nvidia(16, 8, 2)
    without = {name: value for name, value in state.items() if name != "mapping.w_avg"}
    with pytest.raises(DataError, match=r"lacks a tensor.*w_avg"):
        nvidia_generator(Named(without))
    only = {name: value for name, value in state.items() if ".b8." not in name}
    with pytest.raises(DataError, match="b8"):
        nvidia_generator(Named(only))
    for more, said in (
        ({"mapping.embed.weight": torch.zeros(8, 3)}, "wants labels"),
        ({"synthesis.b8.skip.weight": torch.zeros(1)}, "residual"),
        ({"mapping.fc0.weight": torch.zeros(8, 16)}, "8 numbers of 16"),
        ({"synthesis.b8.resample_filter": torch.ones(2, 2)}, r"\[1, 3, 3, 1\]"),
    ):
        with pytest.raises(ConfigError, match=said):
            nvidia_generator(Named({**state, **more}))
