"""The mask of HSTU attention, token by token, and the buckets of its time bias."""

from __future__ import annotations

import math

import pytest
import torch

from adwright.core.errors import ConfigError, ValueInvalidError
from adwright.models.kernels.attention_spec import (
    CAUSAL,
    TIME_BUCKETS,
    AttentionSpec,
    Bounds,
    bucket_starts,
    pairs,
    time_bucket,
    time_cells,
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


@pytest.mark.parametrize(
    "spec",
    [
        AttentionSpec(),
        AttentionSpec(contexts=torch.tensor([3])),
        AttentionSpec(targets=torch.tensor([4])),
        AttentionSpec(window=3),
        AttentionSpec(window=3, prefix=2),
        AttentionSpec(torch.tensor([2]), torch.tensor([3]), window=4, prefix=1),
    ],
    ids=["causal", "contexts", "targets", "window", "prefix", "all"],
)
def test_pairs_follow_the_rules_token_by_token(spec: AttentionSpec) -> None:
    """Each rule of `AttentionSpec` in plain Python: without any one of them a case differs."""
    length = 11
    contexts = 0 if spec.contexts is None else int(spec.contexts[0])
    history = length - (0 if spec.targets is None else int(spec.targets[0]))
    bounds = Bounds.of(torch.tensor([0, length]), spec)
    place = torch.arange(length)
    admitted, distance = pairs(place, place, Bounds(*(x[0] for x in bounds)), spec.window)
    for i in range(length):
        for j in range(length):
            apart = min(i, history) - min(j, history)
            seen = j <= i and (j < history or j == i)
            if spec.window and j >= max(contexts, spec.prefix):
                seen = seen and apart < spec.window
            seen = seen or (i < contexts and j < contexts)
            assert bool(admitted[i, j]) == seen, (i, j)
            assert int(distance[i, j]) == max(apart, 0), (i, j)


def test_places_beyond_the_sequence_are_seen_by_nothing_in_it() -> None:
    bounds = Bounds.of(torch.tensor([0, 4]), CAUSAL)
    place = torch.arange(7)
    admitted, _ = pairs(place, place, Bounds(*(x[0] for x in bounds)), 0)
    assert not admitted[:4, 4:].any()


def test_many_sequences_are_each_by_themselves() -> None:
    contexts, targets = torch.tensor([0, 2, 1]), torch.tensor([1, 0, 2])
    offsets = torch.tensor([0, 4, 9, 15])
    spec = AttentionSpec(contexts, targets, window=3)
    together = Bounds.of(offsets, spec)
    place = torch.arange(6)
    admitted, distance = pairs(place, place, together, spec.window)
    assert admitted.shape == distance.shape == (3, 6, 6)
    for u in range(3):
        alone = AttentionSpec(contexts[u : u + 1], targets[u : u + 1], window=3)
        mine = Bounds.of(torch.tensor([0, int(offsets[u + 1] - offsets[u])]), alone)
        one, apart = pairs(place, place, Bounds(*(x[0] for x in mine)), 3)
        assert torch.equal(admitted[u], one)
        assert torch.equal(distance[u], apart)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"window": -1}, "must not be negative"),
        ({"window": 4, "prefix": -2}, "must not be negative"),
        ({"prefix": 3}, "no meaning without a window"),
    ],
)
def test_a_spec_that_means_nothing_is_refused(changes: dict[str, int], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        AttentionSpec(**changes)


@pytest.mark.parametrize(
    ("contexts", "targets", "words"),
    [
        ([3, 0], [2, 0], r"row 0.*3 \+ 2 of 4 tokens"),
        ([0, -1], [0, 0], r"row 1"),
        ([0, 0], [0, 9], r"row 1.*0 \+ 9 of 5 tokens"),
        ([0], [0, 0], "column contexts"),
        ([0, 0], [0, 0, 0], "column targets"),
    ],
)
def test_counts_that_do_not_fit_the_sequences(
    contexts: list[int], targets: list[int], words: str
) -> None:
    spec = AttentionSpec(torch.tensor(contexts), torch.tensor(targets))
    with pytest.raises(ValueInvalidError, match=words):
        Bounds.of(torch.tensor([0, 4, 9]), spec)
    floats = AttentionSpec(torch.zeros(2))
    with pytest.raises(ValueInvalidError, match="int64"):
        Bounds.of(torch.tensor([0, 4, 9]), floats)


def test_a_window_never_hides_contexts_nor_the_prefix() -> None:
    spec = AttentionSpec(contexts=torch.tensor([0, 5]), window=2, prefix=3)
    assert Bounds.of(torch.tensor([0, 6, 12]), spec).always.tolist() == [3, 5]


def test_cells_find_every_bucket_without_a_logarithm() -> None:
    starts, cells = time_cells()
    assert (starts.shape, cells.shape) == ((TIME_BUCKETS + 1,), (512,))
    seconds = torch.cat(
        [torch.arange(1, 5000), 2 ** torch.arange(13, 40), starts[5:80], starts[5:80] - 1]
    )
    cell = (seconds.float().view(torch.int32) >> 20).long() - 1016
    bucket = cells[cell]
    bucket = bucket + (seconds >= starts[bucket + 1]).long() - (seconds < starts[bucket]).long()
    assert torch.equal(bucket, time_bucket(seconds))
