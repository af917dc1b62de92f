"""Attention of packed texts in blocks, against each text by itself."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from adwright.tuning.packing import attention as packed_attention
from adwright.tuning.packing.attention import Blocks, block_attention

transformers = pytest.importorskip("transformers")

from adwright.tuning.packing.attention import attends_in_blocks  # noqa: E402
from tests.support.lm.tiny_llama import tiny_llama  # noqa: E402

H, G, WIDTH = 6, 2, 4


def literal(query: Tensor, key: Tensor, value: Tensor, lengths: list[int], scale: float) -> Tensor:
    """Head by head, token by token."""
    found = torch.zeros_like(query)
    start = 0
    for length in lengths:
        for head in range(query.shape[1]):
            group = head * key.shape[1] // query.shape[1]
            for t in range(start, start + length):
                scores = torch.stack(
                    [
                        scale * (query[0, head, t] * key[0, group, u]).sum()
                        for u in range(start, t + 1)
                    ]
                )
                share = scores.exp() / scores.exp().sum()
                found[0, head, t] = (share[:, None] * value[0, group, start : t + 1]).sum(0)
        start += length
    return found


def drawn(lengths: list[int]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """query, key, value in float64, and offsets."""
    torch.manual_seed(0)
    total = sum(lengths)
    query = torch.randn(1, H, total, WIDTH, dtype=torch.float64, requires_grad=True)
    key, value = (
        torch.randn(1, G, total, WIDTH, dtype=torch.float64, requires_grad=True) for _ in range(2)
    )
    return query, key, value, torch.tensor([0, *lengths]).cumsum(0)


@pytest.mark.parametrize(
    "lengths", [[3], [4, 4, 4], [5, 3, 4], [1, 12, 2, 11, 3], [2, 0, 3]], ids=str
)
def test_each_text_attends_to_itself(lengths: list[int]) -> None:
    query, key, value, offsets = drawn(lengths)
    blocks = Blocks.of(offsets, H, G)
    found = block_attention(query, key, value, blocks, 0.5)
    wanted = literal(query, key, value, lengths, 0.5)
    torch.testing.assert_close(found, wanted)
    up = torch.randn_like(found)
    mine = torch.autograd.grad(found, (query, key, value), up)
    theirs = torch.autograd.grad(wanted, (query, key, value), up)
    for one, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one, other)


def test_it_is_the_same_however_texts_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    query, key, value, offsets = drawn([9, 7, 12, 1, 10])
    up = torch.randn(1, H, 39, WIDTH, dtype=torch.float64)

    def read() -> list[Tensor]:
        blocks = Blocks.of(offsets, H, G)
        found = block_attention(query, key, value, blocks, 0.3)
        return [found, *torch.autograd.grad(found, (query, key, value), up)]

    wanted = read()
    for name, number in (("_SCORES", 1), ("_LIKE", 100.0), ("LONG", 3)):
        monkeypatch.setattr(packed_attention, name, number)
        for one, other in zip(read(), wanted, strict=True):
            torch.testing.assert_close(one, other)


def test_long_texts_are_computed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    query, key, value, offsets = drawn([40, 30])
    blocks = Blocks.of(offsets, H, G)
    assert blocks.blocks[0].longest > 2 * WIDTH
    found = block_attention(query, key, value, blocks, 0.3)
    monkeypatch.setattr(packed_attention, "LONG", 1)
    other = block_attention(query, key, value, Blocks.of(offsets, H, G), 0.3)
    up = torch.randn_like(found)
    for one, two in zip(
        torch.autograd.grad(found, (query, key, value), up),
        torch.autograd.grad(other, (query, key, value), up),
        strict=True,
    ):
        torch.testing.assert_close(one, two)


def test_blocks_hold_texts_of_like_length_and_not_too_many() -> None:
    lengths = [10] * 5 + [100] * 3
    offsets = torch.tensor([0, *lengths]).cumsum(0)
    assert [(b.texts, b.longest) for b in Blocks.of(offsets, H, G).blocks] == [(3, 100), (5, 10)]
    room = math.floor(packed_attention._SCORES / (H * 500**2))
    many = torch.arange(0, 500 * 8, 500)
    assert max(block.texts for block in Blocks.of(many, H, G).blocks) == room


def test_a_decoder_attends_by_it() -> None:
    model = tiny_llama()
    lengths = [7, 4, 9]
    ids = torch.randint(2, 300, (20,), generator=torch.Generator().manual_seed(1))
    places = torch.cat([torch.arange(n) for n in lengths])
    before = model.config._attn_implementation
    with torch.no_grad(), attends_in_blocks(model):
        found = model.get_decoder()(
            input_ids=ids[None],
            position_ids=places[None],
            use_cache=False,
            blocks=Blocks.of(torch.tensor([0, 7, 11, 20]), 4, 2),
        ).last_hidden_state[0]
    assert model.config._attn_implementation == before
    with torch.no_grad():
        wanted = [
            model.get_decoder()(input_ids=part[None]).last_hidden_state[0]
            for part in ids.split(lengths)
        ]
    torch.testing.assert_close(found, torch.cat(wanted), rtol=1e-4, atol=1e-5)
