from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("transformers", reason="the extra lm is not installed")

import torch

from adwright.lm.engine.generation import GenerationConfig
from adwright.lm.torch_engine.folded_attention import folded_attention
from adwright.lm.torch_engine.model import TorchModel
from tests.support.lm.tiny_llama import tiny_llama, tiny_tokens


@pytest.mark.parametrize("prompts", [["the best", "the best"], ["a", "buy two packs"]])
def test_it_is_the_attention_of_transformers(
    prompts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = GenerationConfig(max_tokens=12, logprobs=True, temperature=1.0)
    plain = TorchModel(tiny_llama(), tiny_tokens(), name="plain").generate(prompts, config)
    model = tiny_llama()
    model.set_attn_implementation(folded_attention())
    shapes: list[torch.Size] = []
    attend = torch.nn.functional.scaled_dot_product_attention

    def seen(query: torch.Tensor, *args: object, **rest: object) -> torch.Tensor:
        shapes.append(query.shape)
        found: torch.Tensor = attend(query, *args, **rest)  # type: ignore[arg-type]
        return found

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", seen)
    folded = TorchModel(model, tiny_tokens(), name="folded").generate(prompts, config)
    for ours, theirs in zip(folded, plain, strict=True):
        assert ours.token_ids == theirs.token_ids
        assert ours.logprobs == pytest.approx(theirs.logprobs, abs=1e-4)
    # Four query heads on two of keys: two queries a head in one product.
    assert torch.Size((2, 2, 2, 12)) in shapes


def test_models_that_are_opened_use_it(tmp_path: Path) -> None:
    from adwright.lm.torch_engine.config import TorchConfig
    from tests.support.lm.tiny_llama import save_tiny

    config = TorchConfig(str(save_tiny(tmp_path / "tiny")), dtype="float32", threads=1)
    opened = TorchModel.open(config)
    assert opened._network is not None
    assert opened._network._config._attn_implementation == folded_attention()
