"""?"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from adwright.lm.serving import paged_attention
from adwright.lm.serving.adapter_model import PagedNetwork
from adwright.lm.serving.paged_attention import FusedDecoder, PagedAttention, RowNorm, Sequenced
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
def test_one_row_is_what_transformers_gives(made: Any) -> None:
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


H, G, D, T = 6, 2, 4, 3
SCALE = 0.4


def literally(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """One token's query [H, D] over keys and values [G, S, D]."""
    heads = []
    for head in range(H):
        group = head // (H // G)
        weights = torch.softmax(SCALE * keys[group] @ query[head], 0)
        heads.append(weights @ values[group])
    return torch.stack(heads)


class Kept:
    """Keys and values of rows in a pool, and beside it in plain tensors."""

    def __init__(self, rows: int, longest: int) -> None:
        self.pool = PagePool(PageShape(2, G, D, T), 1 + rows * -(-longest // T))
        self.pool.tensor.normal_(generator=torch.Generator().manual_seed(9))
        order = torch.randperm(self.pool.capacity, generator=torch.Generator().manual_seed(1)) + 1
        self.pages = order.view(rows, -1).tolist()
        self.plain = [torch.zeros(2, 2, G, 0, D) for _ in range(rows)]
        self.random = torch.Generator().manual_seed(4)

    def run(self, rows: list[int], new: list[int], written: int) -> None:
        """One pass of these rows, compared."""
        past = [self.plain[row].shape[3] for row in rows]
        some = [Sequenced(self.pages[r], p, n) for r, p, n in zip(rows, past, new, strict=True)]
        attention = PagedAttention(self.pool, some, written, H // G)
        for layer in (0, 1):
            query = torch.randn(1, H, sum(new), D, generator=self.random)
            key, value = torch.randn(2, 1, G, sum(new), D, generator=self.random)
            found = attention.attend(layer, query, key, value, SCALE)
            start = 0
            for row, p, n in zip(rows, past, new, strict=True):
                both = torch.stack([key[0, :, start : start + n], value[0, :, start : start + n]])
                old = self.plain[row]
                if layer == 0:
                    self.plain[row] = torch.cat([old, torch.zeros(2, 2, G, n, D)], 3)
                self.plain[row][layer, :, :, p:] = both
                for at in range(n):
                    k, v = self.plain[row][layer, :, :, : p + at + 1]
                    wanted = literally(query[0, :, start + at], k, v)
                    assert torch.allclose(found[0, start + at], wanted, atol=1e-5)
                start += n


def test_prompts_then_one_token_each() -> None:
    kept = Kept(4, 12)
    kept.run([0, 1, 2], [5, 1, 3], written=0)
    for _ in range(4):
        kept.run([2, 0, 1], [1, 1, 1], written=3)
    # A newcomer beside rows that are written.
    kept.run([0, 1, 3], [1, 1, 7], written=2)


def test_a_prompt_in_pieces() -> None:
    kept = Kept(2, 14)
    kept.run([0, 1], [4, 2], written=0)
    kept.run([1, 0], [1, 5], written=1)
    kept.run([1, 0], [1, 3], written=1)
    kept.run([0, 1], [1, 1], written=2)


@pytest.mark.parametrize("most", [1, 200, 1 << 22])
def test_rows_of_very_different_length(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    monkeypatch.setattr(paged_attention, "_MOST", most)
    lengths = [40, 2, 3, 1, 38, 9, 1, 1]
    kept = Kept(8, 45)
    kept.run(list(range(8)), lengths, written=0)
    for _ in range(3):
        kept.run([3, 0, 1, 2, 7, 4, 5, 6], [1] * 8, written=8)


def test_buckets_hold_every_row_once_and_little_padding() -> None:
    shape = PageShape(2, G, D, T)
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        lengths = (torch.rand(32, generator=generator) ** 6 * 600).int().tolist()
        rows = [Sequenced([], past, 1) for past in lengths]
        found = list(paged_attention._buckets(rows, list(range(32)), 0, shape))
        assert sorted(at for own in found for at in own) == list(range(32))
        sizes = [shape.blocks(past + 1) for past in lengths]
        picked = sum(max(sizes[at] for at in own) * len(own) for own in found)
        assert picked <= 2 * sum(sizes) + paged_attention._FEW * 32


@pytest.mark.parametrize("most", [1, 60, 1 << 22])
def test_rows_that_begin_alike(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    monkeypatch.setattr(paged_attention, "_MOST", most)
    monkeypatch.setattr(paged_attention, "SAVED_BLOCKS", 1)
    kept = Kept(7, 30)
    kept.run([0, 4], [10, 7], written=0)
    # Rows 1 to 3 have three pages of row 0, and row 5 two of row 4; row 6 has its own.
    for row, of, pages in ((1, 0, 3), (2, 0, 3), (3, 0, 3), (5, 4, 2)):
        kept.pages[row][:pages] = kept.pages[of][:pages]
        kept.plain[row] = kept.plain[of][:, :, :, : pages * T].clone()
    kept.run([0, 4, 1, 2, 3, 5, 6], [1, 1, 2, 11, 1, 4, 1], written=2)
    for _ in range(4):
        kept.run([3, 5, 0, 1, 6, 2, 4], [1] * 7, written=7)


def test_rows_are_grouped_by_the_pages_they_begin_with() -> None:
    shape = PageShape(2, G, D, T)
    pages = [[1, 2, 3, 4], [1, 2, 3, 5], [6, 7], [1, 2, 8, 9], [6, 7]]
    rows = [Sequenced(own, len(own) * T - 1, 1) for own in pages]
    # Row 4 has one full page, since its second one is being written.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paged_attention, "SAVED_BLOCKS", 2)
        assert paged_attention.begun_alike(rows, shape) == [([0, 1, 3], 2), ([2, 4], 0)]
        patch.setattr(paged_attention, "SAVED_BLOCKS", 1)
        assert paged_attention.begun_alike(rows, shape)[1] == ([2, 4], 1)


def test_a_pass_without_pages_is_a_fault() -> None:
    with pytest.raises(RuntimeError, match="without them"):
        paged_attention._attend(torch.nn.Module(), *torch.zeros(3, 1, 1, 1, 4), None)
