"""Operands are laid out as the products read them."""

from __future__ import annotations

import numpy as np
import torch

from adwright.models.kernels.attention_spec import Numbers, pack, packed, store

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


def test_words_of_rows_and_panels() -> None:
    x = torch.arange(1.0, 25 * HEADS * SIZE + 1).view(25, HEADS, SIZE)
    numbers = Numbers(x.numpy(), np.empty((0, 1, 1), np.int16))
    room = packed(48, HEADS, SIZE, False)
    pack(room, numbers, HEADS, FIRST, TOKENS, ROUNDED, False, True, True)
    wanted = torch.zeros(HEADS, ROUNDED, WIDTH)
    wanted[:, :TOKENS, :SIZE] = x[FIRST : FIRST + TOKENS].transpose(0, 1)
    size = wanted.numel()
    rows = torch.from_numpy(room.rows[:size]).view(torch.float32)
    assert torch.equal(rows.view(HEADS, ROUNDED, WIDTH), wanted)
    panels = torch.from_numpy(room.panels[:size]).view(torch.float32)
    panels = panels.view(HEADS, ROUNDED // 16, WIDTH, 16)
    assert torch.equal(panels, wanted.view(HEADS, ROUNDED // 16, 16, WIDTH).transpose(2, 3))
    # Single words need no other order for the steps of a product.
    assert room.steps is room.rows or np.shares_memory(room.steps, room.rows)


def test_a_shorter_sequence_leaves_nothing_of_a_longer_one() -> None:
    x = torch.ones(25, HEADS, SIZE)
    numbers = Numbers(x.numpy(), np.empty((0, 1, 1), np.int16))
    room = packed(48, HEADS, SIZE, False)
    pack(room, numbers, HEADS, 0, 25, 32, False, True, True)
    pack(room, numbers, HEADS, 0, 2, 16, False, True, True)
    rows = torch.from_numpy(room.rows[: HEADS * 16 * WIDTH]).view(torch.float32)
    rows = rows.view(HEADS, 16, WIDTH)
    assert rows[:, :2, :SIZE].all()
    assert not rows[:, 2:].any()
    assert not rows[:, :, SIZE:].any()


def test_sums_are_stored_with_their_factor() -> None:
    sums = torch.arange(TOKENS * WIDTH, dtype=torch.float32)
    out = torch.full((25, HEADS, SIZE), -1.0)
    numbers = Numbers(out.numpy(), np.empty((0, 1, 1), np.int16))
    store(numbers, sums.numpy(), 0, FIRST, TOKENS, WIDTH, np.float32(0.5), False)
    assert torch.equal(out[FIRST : FIRST + TOKENS, 0], 0.5 * sums.view(TOKENS, WIDTH)[:, :SIZE])
    assert (out[:, 1] == -1).all()
    assert (out[FIRST + TOKENS :] == -1).all()
