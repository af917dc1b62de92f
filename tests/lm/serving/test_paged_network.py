from __future__ import annotations

import pytest
import torch

from adwright.core.errors import ConfigError
from adwright.lm.serving.adapter_cache import BaseMaps
from adwright.lm.serving.paged_attention import PagedAttention, Sequenced
from adwright.lm.serving.paged_network import PagedNetwork
from adwright.lm.serving.prefixes import PagePool, PageShape
from adwright.tuning.methods import apply
from adwright.tuning.modules import Sizes
from adwright.tuning.reparameterised.lora import LoRA
from tests.support.lm.tiny_llama import tiny_llama

IDS = torch.randint(400, (11,), generator=torch.Generator().manual_seed(0))


def hidden_of(network: PagedNetwork, model: torch.nn.Module) -> torch.Tensor:
    """Two prompts of 7 and 4 tokens end to end."""
    pool = PagePool(PageShape.of(Sizes.of(model), 4), 5)
    rows = [Sequenced([1, 2], 0, 7), Sequenced([3], 0, 4)]
    positions = torch.cat([torch.arange(7), torch.arange(4)])
    with torch.no_grad():
        return network.hidden(IDS, positions, PagedAttention(pool, rows, 0, 2), None)


def test_is_the_plain_network_and_shares_its_weights() -> None:
    model = tiny_llama()
    network = PagedNetwork(model)
    found = hidden_of(network, model)
    with torch.no_grad():
        first = model.model(IDS[None, :7]).last_hidden_state[0]
        second = model.model(IDS[None, 7:]).last_hidden_state[0]
    assert torch.allclose(found, torch.cat([first, second]), atol=1e-5)
    for name, linear in network.maps.items():
        assert linear.base.weight is model.get_submodule(name).weight


def test_the_model_may_be_tuned_meanwhile() -> None:
    model = tiny_llama()
    base = BaseMaps.of(model)
    network = PagedNetwork(model)
    before = hidden_of(network, tiny_llama())
    tuned = apply(model, LoRA(rank=2), seed=0)
    tuned(IDS[None]).sum().backward()
    with torch.no_grad():
        for parameter in tuned.parameters():
            parameter.add_(1.0)
    assert torch.equal(hidden_of(network, tiny_llama()), before)
    with pytest.raises(ConfigError, match="not plain"):
        BaseMaps.of(model)
    assert base.base == BaseMaps.of(tiny_llama()).base


def test_a_weight_in_the_place_of_the_bases() -> None:
    model = tiny_llama()
    network = PagedNetwork(model)
    before = hidden_of(network, model)
    own = network.maps["model.layers.1.mlp.up_proj"]
    own.merged = own.base.weight + 0.1
    assert not torch.allclose(hidden_of(network, model), before, atol=1e-3)
    own.merged = None
    assert torch.equal(hidden_of(network, model), before)


def test_windows_are_refused() -> None:
    from transformers import MistralConfig, MistralForCausalLM

    config = MistralConfig(
        vocab_size=50,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        sliding_window=8,
    )
    with pytest.raises(ConfigError, match="cannot be paged"):
        PagedNetwork(MistralForCausalLM(config))
