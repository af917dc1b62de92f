from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor

from adwright.data.batches.jagged import Jagged
from adwright.data.sequences.stochastic_length import StochasticLength
from adwright.models.ranking import hstu_target as module
from adwright.models.ranking.hstu_target import Readings, candidate_attention, readings_of
from tests.support.models.small_batch import small_batch


class Operands(NamedTuple):
    """What the operator multiplies."""

    q: Tensor
    k: Tensor
    v: Tensor
    own_k: Tensor
    own_v: Tensor


#: Three readings: rows of three moments, one row, and rows of a reading without events.
READINGS = Readings(
    items=torch.arange(12),
    offsets=torch.tensor([0, 7, 12, 12]),
    rows=torch.tensor([0, 5, 6, 8]),
    end=torch.tensor([0, 3, 3, 5, 7, 5, 0, 0]),
)


def operands(readings: Readings, *, heads: int = 2, dtype: torch.dtype = torch.float64) -> Operands:
    generator = torch.Generator().manual_seed(3)
    events, rows = len(readings.items), len(readings.end)
    shapes = [(rows, heads, 3), (events, heads, 3), (events, heads, 4)]
    shapes += [(rows, heads, 3), (rows, heads, 4)]
    return Operands(*(torch.randn(s, generator=generator).to(dtype) for s in shapes))


def table(size: int = 5) -> Tensor:
    return torch.linspace(-1, 1, size, dtype=torch.float64) ** 3 - 0.3


def literal(x: Operands, readings: Readings, rab: Tensor | None) -> Tensor:
    """Row by row, event by event, head by head."""
    out = torch.zeros_like(x.own_v)
    for row, end in enumerate(readings.end.tolist()):
        reading = int(torch.searchsorted(readings.rows, row, right=True)) - 1
        start = int(readings.offsets[reading])
        for head in range(out.shape[1]):
            seen = [(x.k[start + j, head], x.v[start + j, head], end - j) for j in range(end)]
            for key, value, distance in [*seen, (x.own_k[row, head], x.own_v[row, head], 0)]:
                score = 0.5 * (x.q[row, head] * key).sum()
                if rab is not None:
                    score = score + rab[min(distance, len(rab) - 1)]
                out[row, head] += score * torch.sigmoid(score) * value / 10
    return out


def attended(x: Operands, readings: Readings, rab: Tensor | None) -> Tensor:
    return candidate_attention(*x, readings, scale=0.1, alpha=0.5, position_bias=rab)


@pytest.mark.parametrize("rab", [None, table(5), table(20)], ids=["none", "short", "long"])
def test_it_equals_the_formula(rab: Tensor | None) -> None:
    x = operands(READINGS)
    torch.testing.assert_close(attended(x, READINGS, rab), literal(x, READINGS, rab))


@pytest.mark.parametrize("tile", [1, 1 << 18])
def test_the_gradients_are_those_of_finite_differences(
    tile: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TILE", tile)
    inputs = [x.requires_grad_() for x in (*operands(READINGS, heads=1), table())]

    def function(*given: Tensor) -> Tensor:
        return attended(Operands(*given[:5]), READINGS, given[5])

    assert torch.autograd.gradcheck(function, inputs)


def test_nothing_of_the_size_of_the_pairs_is_kept() -> None:
    readings = Readings(
        torch.arange(200),
        torch.tensor([0, 200]),
        torch.tensor([0, 300]),
        torch.full((300,), 200),
    )
    x = Operands(*(part.requires_grad_() for part in operands(readings)))
    kept: list[int] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        attended(x, readings, table())
    assert max(kept) <= max(part.numel() for part in x) < 200 * 300


def test_rows_that_begin_together_share_a_reading() -> None:
    batch = small_batch()
    found = readings_of(batch, 100)
    # Person 0: rows 0 and 1 begin at event 0, row 2 at event 1. Person 1 has no history. Person 2:
    # row 4 begins at event 0, rows 5 and 6 at event 2.
    events = Jagged(found.items, found.offsets).to_lists()
    assert events == [[1, 2, 1, 3], [2, 1, 3, 9], [], [4, 5, 4], [4, 12, 0]]
    assert found.rows.tolist() == [0, 2, 3, 4, 5, 7]
    assert found.end.tolist() == [2, 4, 4, 0, 3, 2, 3]


def test_a_row_sees_its_latest_events() -> None:
    batch = small_batch()
    found = readings_of(replace(batch, begin=torch.zeros(7).long()), 3)
    events = Jagged(found.items, found.offsets).to_lists()
    assert events == [[1, 2], [2, 1, 3], [1, 3, 9], [], [4, 5, 4], [5, 4, 12], [4, 12, 0]]
    assert found.end.tolist() == [2, 3, 3, 0, 3, 3, 3]


@pytest.mark.parametrize("most", [1, 8, 100])
def test_parts_are_the_readings_in_pieces(most: int) -> None:
    parts = list(READINGS.parts(most))
    assert torch.equal(torch.cat([part.items for part in parts]), READINGS.items)
    assert torch.equal(torch.cat([part.end for part in parts]), READINGS.end)
    assert len(parts) == {1: 3, 8: 2, 100: 1}[most]
    x, rab = operands(READINGS), table()
    events = np.cumsum([0, *(len(part.items) for part in parts)])
    rows = np.cumsum([0, *(len(part.end) for part in parts)])
    alone = [
        attended(
            Operands(
                x.q[rows[n] : rows[n + 1]],
                x.k[events[n] : events[n + 1]],
                x.v[events[n] : events[n + 1]],
                x.own_k[rows[n] : rows[n + 1]],
                x.own_v[rows[n] : rows[n + 1]],
            ),
            part,
            rab,
        )
        for n, part in enumerate(parts)
    ]
    torch.testing.assert_close(torch.cat(alone), literal(x, READINGS, rab))


@pytest.mark.parametrize("choice", ["recency", "random", "weighted"])
def test_of_a_shortened_reading_a_row_sees_its_own_events_that_stay(choice: str) -> None:
    lengths = [60, 3, 0, 100]
    offsets = torch.tensor([0, 60, 63, 63, 163])
    readings = Readings(
        # An item is the number of its event: what stays tells where it was.
        torch.arange(163),
        offsets,
        torch.tensor([0, 3, 5, 6, 9]),
        torch.tensor([10, 40, 60, 0, 3, 0, 5, 50, 100]),
    )
    config = StochasticLength(1.0, choice)  # type: ignore[arg-type]
    found = readings.shortened(100, config, np.random.default_rng(1))
    kept = found.offsets[1:] - found.offsets[:-1]
    assert kept.tolist() == [10, 3, 0, 10], "th = 100 ^ (1 / 2)"
    assert bool((found.items[1:] > found.items[:-1]).all())
    assert torch.equal(found.rows, readings.rows)
    for row, end in enumerate(readings.end.tolist()):
        reading = int(torch.searchsorted(readings.rows, row, right=True)) - 1
        start = int(found.offsets[reading])
        mine = found.items[start : start + int(found.end[row])].tolist()
        every = found.items[start : int(found.offsets[reading + 1])].tolist()
        assert mine == [event for event in every if event < int(offsets[reading]) + end]
    whole = readings.shortened(100, StochasticLength(2.0), np.random.default_rng(1))
    assert torch.equal(whole.items, readings.items)
    assert torch.equal(whole.end, readings.end)
    assert sum(lengths) == len(whole.items)
