"""The counts of the item-item rule against the sums of the formula, pair by pair."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from adwright.core.errors import ConfigError
from adwright.data.sequences.pasts import moment_numbers
from adwright.models.retrieval import item_item as module
from adwright.models.retrieval.item_item import NeighbourConfig, Neighbours, count_neighbours

ITEMS = 8
Rows = dict[int, list[tuple[float, int]]]


def made_up(seed: int, users: int = 6) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """item (0 among them), moment and offsets of a few users; several events share a moment."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, 30, users)
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    instant = np.concatenate([np.sort(rng.integers(0, 12, n)) for n in lengths])
    return rng.integers(0, ITEMS + 1, offsets[-1]), moment_numbers(offsets, instant), offsets


def literal(
    item: np.ndarray, moment: np.ndarray, offsets: np.ndarray, config: NeighbourConfig
) -> Rows:
    """item -> (s, neighbour), best first."""
    number: Counter[int] = Counter()
    pairs: defaultdict[tuple[int, int], float] = defaultdict(float)
    for first, end in pairwise(offsets.tolist()):
        events = []
        for e in range(first, end):
            one = (int(moment[e]), int(item[e]))
            if one[1] and one not in events:
                events.append(one)
        number.update(i for _, i in events)
        for m, i in events:
            for n, j in events:
                if i != j and abs(n - m) <= config.window:
                    weight = config.decay ** abs(n - m)
                    pairs[i, j] += weight * (config.backward if n < m else 1)
    rows: Rows = defaultdict(list)
    for (i, j), c in pairs.items():
        scale = number[i] ** config.source * number[j] ** config.target
        if c > 0:
            rows[i].append((c / (scale + config.shrink), j))
    return {i: sorted(row, key=lambda x: (-np.float32(x[0]), x[1])) for i, row in rows.items()}


def agree(found: Neighbours, rows: Rows, kept: int) -> None:
    for code in range(ITEMS + 1):
        best = rows.get(code, [])[:kept]
        assert found.codes[code].tolist()[: len(best)] == [j for _, j in best]
        np.testing.assert_allclose(found.score[code][: len(best)], [s for s, _ in best], rtol=1e-6)
        assert not found.codes[code][len(best) :].any()
        assert not found.score[code][len(best) :].any()


CONFIGS = [
    NeighbourConfig(),
    NeighbourConfig(window=0),
    NeighbourConfig(window=2, decay=0.5, backward=0.5, neighbours=3),
    NeighbourConfig(window=3, decay=1.0, backward=0.0, source=1.0, target=0.0, shrink=2.0),
    NeighbourConfig(window=1, decay=0.0, source=0.25, target=0.75, neighbours=2),
]


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("seed", range(4))
def test_it_is_the_formula(config: NeighbourConfig, seed: int) -> None:
    item, moment, offsets = made_up(seed)
    found = count_neighbours(item, moment, offsets, ITEMS, config)
    agree(found, literal(item, moment, offsets, config), config.neighbours)
    assert (found.codes.dtype, found.score.dtype) == (np.int32, np.float32)


def test_an_event_meets_the_nearest_of_a_large_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REACH", 1)
    item, offsets = np.array([1, 2, 3, 4]), np.array([0, 4])
    found = count_neighbours(item, np.zeros(4, np.int64), offsets, 4, NeighbourConfig())
    met = [sorted(set(row.tolist()) - {0}) for row in found.codes[1:]]
    assert met == [[2], [1, 3], [2, 4], [3]]


@pytest.mark.parametrize(
    "change",
    [
        {"window": 1},
        {"decay": 0.2},
        {"backward": 0.3},
        {"source": 0.9},
        {"target": 0.1},
        {"shrink": 5.0},
        {"neighbours": 2},
    ],
)
def test_every_setting_counts(change: dict[str, float]) -> None:
    log = made_up(3)
    one = count_neighbours(*log, ITEMS, CONFIGS[0])
    other = count_neighbours(*log, ITEMS, replace(CONFIGS[0], **change))
    assert not np.array_equal(one.score, other.score)


@pytest.mark.parametrize(
    ("change", "about"),
    [
        ({"window": -1}, "window is at least 0"),
        ({"neighbours": 0}, "neighbours is at least 1"),
        ({"shrink": -0.5}, "shrink is at least 0"),
        ({"decay": 1.1}, r"decay must not be negative"),
        ({"backward": -0.1}, "backward must not be negative"),
        ({"source": 2}, "source must not be negative"),
        ({"target": -1}, "target must not be negative"),
    ],
)
def test_what_is_out_of_range_is_refused(change: dict[str, float], about: str) -> None:
    with pytest.raises(ConfigError, match=about):
        NeighbourConfig(**change)  # type: ignore[arg-type]
