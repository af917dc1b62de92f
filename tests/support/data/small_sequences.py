"""Small item sequences, written out by rule: the tests of the sequential models share them."""

from __future__ import annotations

import numpy as np

from adwright.data.sequences.item_sequences import ItemSequences


def small_sequences(
    people: int = 24,
    items: int = 15,
    shortest: int = 4,
    longest: int = 18,
    *,
    seed: int = 0,
    times: bool = True,
) -> ItemSequences:
    """People who walk through the catalogue, three in four times to the next item but one; with
    times, actions (2 where the walk was followed, else 1) and two codes of context."""
    rng = np.random.default_rng(seed)
    item, time, action, lengths = [], [], [], []
    for _ in range(people):
        n = int(rng.integers(shortest, longest + 1))
        at, now = int(rng.integers(items)), int(rng.integers(10**9))
        for _ in range(n):
            followed = bool(rng.random() < 0.75)
            at = (at + 2) % items if followed else int(rng.integers(items))
            now += int(rng.integers(1, 10 ** int(rng.integers(1, 6))))
            item.append(at + 1)
            time.append(now)
            action.append(1 + followed)
        lengths.append(n)
    return ItemSequences(
        name="walks",
        protocol="by hand",
        data_hash=f"walks-{people}-{items}-{seed}",
        users=tuple(f"u{n}" for n in range(people)),
        ids=tuple(f"i{n}" for n in range(items)),
        item=np.array(item, dtype=np.int64),
        offsets=np.concatenate(([0], np.cumsum(lengths))).astype(np.int64),
        time=np.array(time, dtype=np.int64) if times else None,
        action=np.array(action, dtype=np.int64),
        actions=3,
        context=rng.integers(1, 4, (people, 2)),
        context_sizes=(4, 4),
    )
