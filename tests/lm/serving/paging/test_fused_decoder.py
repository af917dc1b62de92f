"""Fewer calls, the same hidden states; and only for decoders of Llama's form."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from adwright.lm.serving.paged_attention import FusedDecoder, PagedAttention, Sequenced
from adwright.lm.serving.paged_network import PagedNetwork
from adwright.lm.serving.prefixes import PagePool, PageShape
from adwright.tuning.modules import Sizes
from tests.support.lm.tiny_llama import tiny_llama


def hidden(fused: FusedDecoder, model: Any, pieces: tuple[int, ...]) -> torch.Tensor:
    """Of the tokens 7, 8, ..., in pieces; a piece of one token is a row that writes."""
    sizes = Sizes.of(model)
    pool = PagePool(PageShape.of(sizes, 4), 6)
    folds, past, found = sizes.heads // sizes.kv_heads, 0, []
    for new in pieces:
        rows = [Sequenced([3, 1, 4], past, new)]
        own = PagedAttention(pool, rows, int(new == 1), folds)
        at = torch.arange(past, past + new)
        found.append(fused.hidden(at + 7, at, own))
        past += new
    return torch.cat(found)


@pytest.mark.parametrize("pieces", [(9,), (4, 1, 1, 3)])
@torch.inference_mode()
def test_is_what_transformers_gives(pieces: tuple[int, ...]) -> None:
    model: Any = tiny_llama()
    fused = FusedDecoder.of(model.get_decoder())
    assert fused is not None
    wanted = model.get_decoder()(input_ids=torch.arange(7, 16)[None])[0][0]
    torch.testing.assert_close(hidden(fused, model, pieces), wanted, atol=2e-5, rtol=1e-4)


def tiny(kind: str, **further: Any) -> Any:
    import transformers

    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(
        vocab_size=50,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        **further,
    )
    return getattr(transformers, f"{kind}ForCausalLM")(config).eval()


@pytest.mark.parametrize(
    ("kind", "further", "has"),
    [
        ("Qwen2", {}, True),  # biases
        ("Granite", {"residual_multiplier": 0.3}, False),  # the same modules, another function
        ("Qwen3", {"head_dim": 4}, False),  # norms of queries and keys
        ("Cohere", {}, False),  # one norm
    ],
)
def test_only_decoders_of_this_form(kind: str, further: dict[str, Any], has: bool) -> None:
    assert (PagedNetwork(tiny(kind, **further)).fused is not None) == has
