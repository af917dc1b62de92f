"""Where the maps of a model lie, and how large they are."""

from __future__ import annotations

import pytest
import torch

from adwright.core.errors import ConfigError
from adwright.tuning.modules import ATTENTION, LINEAR, MLP, Sizes, decoder_layers, places
from tests.support.lm.tuning_methods import tiny_llama


def test_sizes_are_those_of_the_config() -> None:
    model = tiny_llama()
    sizes = Sizes.of(model)
    assert (sizes.layers, sizes.width, sizes.vocabulary) == (2, 32, 64)
    assert (sizes.heads, sizes.kv_heads, sizes.head_width) == (4, 2, 8)
    assert sizes.shapes["k_proj"] == (16, 32)
    assert sizes.shapes["down_proj"] == (32, 48)
    assert sizes.parameters == model.num_parameters()
    assert sizes.linear_bias == ()
    assert sizes.of_linear(("q_proj", "up_proj")) == [(32, 32), (48, 32)] * 2


def test_places_name_the_maps() -> None:
    model = tiny_llama()
    found = list(places(model, LINEAR))
    assert len(found) == 14
    assert ATTENTION + MLP == LINEAR
    for place in found:
        assert model.get_submodule(place.name) is place.linear
    other = torch.nn.Identity()
    found[3].put(other)
    assert model.model.layers[0].self_attn.o_proj is other


def test_another_model_is_refused() -> None:
    with pytest.raises(ConfigError, match="not a Llama-type"):
        decoder_layers(torch.nn.Linear(2, 2))
    model = tiny_llama()
    del model.model.layers[1].mlp.up_proj
    with pytest.raises(ConfigError, match="layer 1 has no up_proj"):
        list(places(model, LINEAR))
