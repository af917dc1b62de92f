"""The mask of HSTU attention, token by token, and the buckets of its time bias."""

from __future__ import annotations

import math

import torch

from adwright.models.kernels.attention_spec import (
    CAUSAL,
    TIME_BUCKETS,
    AttentionSpec,
    Bounds,
    bucket_starts,
    pairs,
    time_bucket,
)


def drawn(length: int, spec: AttentionSpec) -> list[str]:
    """One line a query: x where it sees the key."""
    bounds = Bounds.of(torch.tensor([0, length]), spec)
    place = torch.arange(length)
    admitted, _ = pairs(place, place, Bounds(*(x[0] for x in bounds)), spec.window)
    return ["".join("x" if cell else "." for cell in row) for row in admitted.tolist()]


def test_masks_look_like_this() -> None:
    one, two = torch.tensor([1]), torch.tensor([2])
    assert drawn(4, CAUSAL) == ["x...", "xx..", "xxx.", "xxxx"]
    contexts = AttentionSpec(contexts=two)
    assert drawn(4, contexts) == ["xx..", "xx..", "xxx.", "xxxx"]
    targets = AttentionSpec(targets=two)
    assert drawn(5, targets) == ["x....", "xx...", "xxx..", "xxxx.", "xxx.x"]
    assert drawn(5, AttentionSpec(window=2)) == ["x....", "xx...", ".xx..", "..xx.", "...xx"]
    prefixed = AttentionSpec(window=2, prefix=1)
    assert drawn(5, prefixed) == ["x....", "xx...", "xxx..", "x.xx.", "x..xx"]
    # Contexts are seen from beyond the window, and every candidate stands right after history.
    both = AttentionSpec(contexts=one, targets=two, window=2)
    assert drawn(6, both) == ["x.....", "xx....", "xxx...", "x.xx..", "x..xx.", "x..x.x"]


def test_distances_know_one_place_for_all_candidates_and_no_way_forward() -> None:
    spec = AttentionSpec(contexts=torch.tensor([2]), targets=torch.tensor([2]))
    bounds = Bounds(*(x[0] for x in Bounds.of(torch.tensor([0, 5]), spec)))
    _, distance = pairs(torch.arange(5), torch.arange(5), bounds, 0)
    assert distance[0].tolist() == [0, 0, 0, 0, 0]
    assert distance[3].tolist() == [3, 2, 1, 0, 0]
    assert distance[4].tolist() == [3, 2, 1, 0, 0]


def test_buckets_start_where_the_formula_says() -> None:
    starts = torch.tensor(bucket_starts())
    assert starts.shape == (TIME_BUCKETS,)
    # 35,000 years; among much longer times two neighbours have the same logarithm.
    exact = starts[starts < 1 << 40]
    by_start = torch.searchsorted(exact, torch.cat([exact, exact - 1]), right=True) - 1
    assert torch.equal(by_start.clamp(min=0), time_bucket(torch.cat([exact, exact - 1])))
    for seconds in (0, 1, 2, 3, 59, 3600, 86_400, 10**9):
        wanted = math.floor(math.log(max(1, seconds)) / 0.301)
        assert int(time_bucket(torch.tensor(seconds))) == wanted
        assert int(time_bucket(torch.tensor(-seconds))) == wanted
    assert int(time_bucket(torch.tensor(1 << 62))) == TIME_BUCKETS - 1
