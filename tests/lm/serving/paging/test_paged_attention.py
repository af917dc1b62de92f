from __future__ import annotations

import pytest
import torch
from torch import Tensor

from adwright.lm.serving import paged_attention
from adwright.lm.serving.paged_attention import PagedAttention, Sequenced
from adwright.lm.serving.prefixes import PagePool, PageShape

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
