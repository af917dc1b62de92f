"""Batches are divided so that all processes have about as much to do."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from adwright.models.sequential.hstu import HSTU, HSTUConfig
from adwright.models.sequential.hstu_ranker import HSTURanker, HSTURankerConfig
from adwright.models.sequential.losses import LossConfig
from adwright.models.sequential.sasrec import SASRec, SASRecConfig
from adwright.training.sequential.fit import SequenceCost, cost_of, divided, people_of
from tests.support.data.small_sequences import small_sequences


def largest(cost: np.ndarray, parts: list[np.ndarray]) -> float:
    """The largest load, relative to the mean."""
    loads = [cost[part].sum() for part in parts]
    return float(max(loads) / np.mean(loads))


@given(
    st.lists(st.floats(0, 100), max_size=20).map(np.array),
    st.integers(1, 5),
)
def test_every_sequence_goes_to_one_process(cost: np.ndarray, processes: int) -> None:
    cost = cost.astype(np.float64)
    parts = divided(cost, processes)
    assert len(parts) == processes
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(cost)))
    assert all(np.array_equal(part, np.sort(part)) for part in parts)
    again = divided(cost, processes)
    assert all(np.array_equal(a, b) for a, b in zip(parts, again, strict=True))


@pytest.mark.parametrize("seed", range(8))
def test_no_division_is_better_by_more_than_the_bound(seed: int) -> None:
    cost, processes = np.random.default_rng(seed).integers(1, 30, 7).astype(np.float64), 3
    best = min(
        max(cost[np.array(owner) == p].sum() for p in range(processes))
        for owner in product(range(processes), repeat=len(cost))
    )
    loads = [cost[part].sum() for part in divided(cost, processes)]
    assert max(loads) <= best * (4 / 3 - 1 / (3 * processes)) + 1e-9


@pytest.mark.parametrize("processes", [2, 8])
def test_loads_are_nearer_to_their_mean_than_at_random(processes: int) -> None:
    """128 sequences of lengths as on MovieLens 1M: many short ones, many cut at 200."""
    rng = np.random.default_rng(0)
    ours, theirs = [], []
    for _ in range(20):
        lengths = np.minimum(rng.pareto(1.2, 128) * 40 + 20, 200).astype(np.int64)
        cost = SequenceCost(1.0, 1e-3).of(lengths)
        ours.append(largest(cost, divided(cost, processes)))
        theirs.append(largest(cost, np.array_split(rng.permutation(128), processes)))
    assert np.mean(theirs) > 1.05
    assert np.mean(ours) < 1.005
    assert max(ours) < 1.02
    # Where one sequence costs more than a share of all, it is alone.
    cost = np.array([50.0, *[1.0] * 20])
    parts = divided(cost, processes)
    assert any(part.tolist() == [0] for part in parts)


def test_sequences_without_cost_are_shared_out_evenly() -> None:
    assert [len(part) for part in divided(np.zeros(8), 4)] == [2, 2, 2, 2]
    assert [len(part) for part in divided(np.ones(3), 5)] == [1, 1, 1, 0, 0]


def test_cost_is_a_sum_of_events_and_pairs() -> None:
    assert SequenceCost(2.0, 0.5).of(np.array([0, 1, 10])).tolist() == [0.0, 2.5, 70.0]


@pytest.mark.parametrize("name", ["hstu", "sasrec", "ranker"])
def test_the_cost_of_a_model_follows_its_sizes(name: str) -> None:
    def cost(blocks: int = 2, width: int = 16, items: int = 9, **loss: object) -> SequenceCost:
        kind = LossConfig(**loss)  # type: ignore[arg-type]
        size = {"blocks": blocks, "width": width, "loss": kind}
        heads = {**size, "qk_width": width, "v_width": width}
        match name:
            case "hstu":
                return cost_of(HSTU(HSTUConfig(**heads), items))  # type: ignore[arg-type]
            case "sasrec":
                return cost_of(SASRec(SASRecConfig(**size), items))  # type: ignore[arg-type]
            case _:
                return cost_of(HSTURanker(HSTURankerConfig(**heads), items))  # type: ignore[arg-type]

    base = cost()
    assert 0 < base.pair < base.event
    assert cost(blocks=4).pair == 2 * base.pair
    assert cost(blocks=4).event > base.event
    assert cost(width=32).pair == 2 * base.pair
    assert cost(width=32).event > 2 * base.event
    more = cost(items=1000).event - base.event
    assert more == (0 if name == "ranker" else 991 * 16)
    if name != "ranker":
        for kind, candidates in (("shared", 50), ("per_position", 7), ("exact", 9)):
            found = cost(kind=kind, shared=50, negatives=7).event - base.event
            assert found == (candidates - 9) * 16
        large = cost(items=50_000, shared=50).event - base.event
        assert large == (50 - 9) * 16


def test_the_chosen_sequences_are_the_same_as_before() -> None:
    data = small_sequences()
    first, end = data.windows(10)
    batch = data.batch(first[:6], end[:6])
    rows = np.array([1, 4, 5])
    ours, theirs = people_of(batch, rows), data.batch(first[rows], end[rows])
    for name in ("target", "time", "next_time", "action", "context"):
        assert torch.equal(getattr(ours, name), getattr(theirs, name)), name
    assert torch.equal(ours.items.values, theirs.items.values)
    assert torch.equal(ours.items.offsets, theirs.items.offsets)
    none = people_of(batch, rows[:0])
    assert len(none) == 0
    assert none.items.values.numel() == 0
