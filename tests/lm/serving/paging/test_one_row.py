"""One token of one row gives what a pass over all tokens gives, in the row's own way."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from adwright.lm.serving.paged_attention import PagedAttention, RowNorm, Sequenced
from adwright.lm.serving.paged_network import PagedNetwork
from adwright.lm.serving.prefixes import PagePool, PageShape
from adwright.tuning.modules import Sizes
from tests.support.lm.tiny_llama import tiny_llama


def by_row(network: PagedNetwork, model: Any, ids: torch.Tensor, read: int) -> torch.Tensor:
    """Hidden states of `ids`, the first `read` in one pass and the others row by row."""
    sizes, found = Sizes.of(model), []
    kind = next(model.parameters()).dtype
    pool = PagePool(PageShape.of(sizes, 4), 6, kind)
    fused, past = network.fused, 0
    assert fused is not None
    for new in (read, *[1] * (len(ids) - read)):
        rows = [Sequenced([3, 1, 4], past, new)]
        pages = PagedAttention(pool, rows, int(past > 0), sizes.heads // sizes.kv_heads)
        own, at = ids[past : past + new], torch.arange(past, past + new)
        made = fused.row_hidden(own, at, pages) if past else fused.hidden(own, at, pages)
        assert made is not None
        found.append(made)
        past += new
    return torch.cat(found)


def qwen() -> Any:
    import transformers

    torch.manual_seed(0)
    config = transformers.Qwen2Config(
        vocab_size=50,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    model = transformers.Qwen2ForCausalLM(config).eval()
    for name, bias in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(bias)
    return model


@pytest.mark.parametrize("made", [tiny_llama, qwen])
@torch.inference_mode()
def test_is_what_transformers_gives(made: Any) -> None:
    model = made()
    ids = torch.arange(7, 17)
    wanted = model.get_decoder()(input_ids=ids[None])[0][0]
    found = by_row(PagedNetwork(model), model, ids, 4)
    torch.testing.assert_close(found, wanted, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("made", [tiny_llama, qwen])
@torch.inference_mode()
def test_in_bfloat16_it_is_near(made: Any) -> None:
    model = made()
    ids = torch.arange(7, 17)
    wanted = model.get_decoder()(input_ids=ids[None])[0][0]
    model = model.bfloat16()
    theirs = model.get_decoder()(input_ids=ids[None])[0][0]
    found = by_row(PagedNetwork(model), model, ids, 4)
    assert found.dtype == torch.bfloat16
    assert (found - wanted).norm() <= 1.5 * (theirs - wanted).norm()


@torch.inference_mode()
def test_only_one_token_of_one_row_takes_this_way() -> None:
    model = tiny_llama()
    fused, sizes = PagedNetwork(model).fused, Sizes.of(model)
    assert fused is not None
    pool = PagePool(PageShape.of(sizes, 4), 6)
    two = [Sequenced([1], 1, 1), Sequenced([2], 1, 1)]
    for rows, written in ((two, 2), (two, 1), (two[:1], 0)):
        pages = PagedAttention(pool, rows, written, sizes.heads // sizes.kv_heads)
        at = torch.ones(len(rows), dtype=torch.long)
        assert fused.row_hidden(at, at, pages) is None


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e3])
def test_the_norm_of_a_row_and_its_negative(size: float) -> None:
    generator = torch.Generator().manual_seed(0)
    x = size * (torch.randn(1, 48, generator=generator) + 0.5)
    norm = RowNorm(torch.rand(48, generator=generator), 1e-5)
    wanted = x * (x.square().mean() + 1e-5).rsqrt() * norm.weight
    torch.testing.assert_close(norm.mirrored(torch.cat([x, -x]))[0], wanted)
    torch.testing.assert_close(norm(x), wanted)
