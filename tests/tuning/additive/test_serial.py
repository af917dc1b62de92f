"""Serial adapters against their formula."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from adwright.tuning.additive.adapters import Placement, SerialAdapter, activated, bottleneck_count
from adwright.tuning.methods import apply
from tests.support.lm.literal_llama import literal_logits
from tests.support.lm.tuning_methods import logits_of, shake, tiny_llama


@pytest.mark.parametrize("placement", ["houlsby", "pfeiffer"])
def test_is_the_formula(placement: Placement) -> None:
    method = SerialAdapter(size=4, placement=placement)
    tuned = apply(tiny_llama(), method)
    shake(tuned, size=0.2)
    places = {"o_proj": "attention", "down_proj": "mlp"}
    adapters = {(p.layer, places[p.target]): p.linear.adapter for p in tuned.places(method.targets)}

    def sublayer(layer: int, kind: str, x: Tensor, h: Tensor) -> Tensor:
        if (layer, kind) not in adapters:
            return h
        own = adapters[layer, kind]
        inner = torch.clamp(h @ own.down.T + own.inner_bias, min=0)
        return h + inner @ own.up.T + own.outer_bias

    assert torch.allclose(logits_of(tuned), literal_logits(sublayer=sublayer), atol=1e-5)
    assert len(adapters) == (4 if placement == "houlsby" else 2)


def test_activations_and_count() -> None:
    x = torch.linspace(-2, 2, 5)
    assert torch.equal(activated(x, "relu"), functional.relu(x))
    assert torch.equal(activated(x, "gelu"), functional.gelu(x))
    assert torch.equal(activated(x, "silu"), functional.silu(x))
    assert bottleneck_count(32, 4) == 2 * 4 * 32 + 4 + 32
