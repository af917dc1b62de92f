"""Operands are laid out as the products read them."""

from __future__ import annotations

import numpy as np
import torch

from adwright.models.kernels.packing import Numbers, pack, packed, store

HEADS, TOKENS, SIZE = 2, 19, 5
FIRST, ROUNDED, WIDTH = 3, 32, 16


def test_pairs_of_rows_and_of_columns() -> None:
    x = torch.arange(1, 25 * HEADS * SIZE + 1).view(25, HEADS, SIZE).to(torch.bfloat16)
    numbers = Numbers(np.empty((0, 1, 1), np.float32), x.view(torch.int16).numpy())
    room = packed(48, HEADS, SIZE, True)
    pack(room, numbers, HEADS, FIRST, TOKENS, ROUNDED, True, True, True)
    wanted = torch.zeros(HEADS, ROUNDED, WIDTH, dtype=torch.bfloat16)
    wanted[:, :TOKENS, :SIZE] = x[FIRST : FIRST + TOKENS].transpose(0, 1)
    size = wanted.numel() // 2
    rows = torch.from_numpy(room.rows[:size]).view(torch.bfloat16)
    assert torch.equal(rows.view(HEADS, ROUNDED, WIDTH), wanted)
    panels = torch.from_numpy(room.panels[:size]).view(HEADS, 2, WIDTH // 2, 16)
    words = wanted.view(torch.int32).view(HEADS, 2, 16, WIDTH // 2)
    assert torch.equal(panels, words.transpose(2, 3))
    steps = torch.from_numpy(room.steps[:size]).view(torch.bfloat16)
    by_two = wanted.view(HEADS, ROUNDED // 2, 2, WIDTH).transpose(2, 3)
    assert torch.equal(steps.view(HEADS, ROUNDED // 2, WIDTH, 2), by_two)


def test_sums_are_rounded_to_the_nearest() -> None:
    torch.manual_seed(0)
    sums = torch.randn(TOKENS, WIDTH)
    out = torch.zeros(25, HEADS, SIZE, dtype=torch.bfloat16)
    numbers = Numbers(np.empty((0, 1, 1), np.float32), out.view(torch.int16).numpy())
    store(numbers, sums.numpy().ravel(), 1, FIRST, TOKENS, WIDTH, np.float32(1), True)
    assert torch.equal(out[FIRST : FIRST + TOKENS, 1], sums[:, :SIZE].bfloat16())
    assert not out[:, 0].any()
    assert not out[:FIRST].any()
