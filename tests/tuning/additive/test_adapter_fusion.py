"""AdapterFusion against its formula."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from adwright.core.errors import ConfigError
from adwright.tuning.additive.adapters import AdapterFusion, FusedLinear, SerialAdapter
from adwright.tuning.methods import apply
from adwright.tuning.storage import read_tuned
from tests.support.lm.literal_llama import literal_logits
from tests.support.lm.tuning_methods import attached, logits_of, saved, shake, tiny_llama


def test_is_the_formula(tmp_path: Path) -> None:
    tuned = attached(AdapterFusion(adapters=3, size=4), tmp_path)
    shake(tuned)
    states = [read_tuned(tmp_path / str(at)).tensors for at in range(3)]

    def sublayer(layer: int, kind: str, x: Tensor, h: Tensor) -> Tensor:
        if kind == "attention":
            return h
        own = tuned.layers()[layer].mlp.down_proj
        assert isinstance(own, FusedLinear)
        outputs, scores = [], []
        for state in states:
            start = f"model.model.layers.{layer}.mlp.down_proj.adapter."
            down, up, inner_bias, outer_bias = (
                state[start + name] for name in ("down", "up", "inner_bias", "outer_bias")
            )
            z = h + torch.clamp(h @ down.T + inner_bias, min=0) @ up.T + outer_bias
            outputs.append(z @ own.value.T)
            scores.append(((h @ own.query.T) * (z @ own.key.T)).sum(-1))
        weights = torch.stack(scores).softmax(0)
        return sum(w[..., None] * out for w, out in zip(weights, outputs, strict=True))

    assert torch.allclose(logits_of(tuned), literal_logits(sublayer=sublayer), atol=1e-4)


@pytest.mark.parametrize("identity", [0.01, 0.5, 0.0])
def test_the_penalty_holds_the_values_near_the_identity(identity: float, tmp_path: Path) -> None:
    tuned = attached(AdapterFusion(size=4, identity=identity), tmp_path)
    assert tuned.loss_extra().item() == 0
    shake(tuned)
    wanted = 0.0
    for layer in tuned.layers():
        value = layer.mlp.down_proj.value.tolist()
        for row in range(32):
            for column in range(32):
                wanted += identity * (float(row == column) - value[row][column]) ** 2
    assert tuned.loss_extra().item() == pytest.approx(wanted, rel=1e-5)
    if identity:
        tuned.loss_extra().backward()
        value = tuned.layers()[0].mlp.down_proj.value
        assert torch.allclose(value.grad, 2 * identity * (value - torch.eye(32)), atol=1e-6)


def test_the_penalty_is_the_authors() -> None:
    assert AdapterFusion().identity == 0.01
    with pytest.raises(ConfigError, match="identity must not be negative"):
        AdapterFusion(identity=-1.0)


def test_sources_have_to_fit(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="2 sources are needed"):
        apply(tiny_llama(), AdapterFusion())
    wrong = saved(SerialAdapter(size=4), tmp_path / "houlsby", 0)
    with pytest.raises(ConfigError, match="not a SerialAdapter"):
        apply(tiny_llama(), AdapterFusion(adapters=1, size=4), sources=[wrong])
