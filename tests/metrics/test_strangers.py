"""The kit of strangers: who is ahead of whom, and which sets may be reported."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from adwright.core.errors import ConfigError
from benchmarks.strangers.kit import SETS, Held, compared, held_of, plain_held, require_reported
from benchmarks.strangers.strangers import figures_of


def _held(seed: int, noise: float, **more: Any) -> Held:
    rng = np.random.default_rng(seed)
    truth = np.random.default_rng(9).normal(size=300)
    given: dict[str, Any] = {
        "room": "clicks",
        "set": "medium",
        "seed": seed,
        "command": "creative train clicks",
        "kept": "linear",
        "told": 0.7,
        "told_low": 0.6,
        "told_high": 0.8,
        "measure": "spearman",
        "truth": truth,
        "ours": truth + noise * rng.normal(size=300),
        "rules": {"near": truth + rng.normal(size=300), "length": rng.normal(size=300)},
        "units": np.arange(300) // 3,
    }
    return Held(**given | more)


@pytest.mark.parametrize(("noise", "behind", "ahead"), [(0.3, False, True), (5.0, True, False)])
def test_who_is_ahead(noise: float, behind: bool, ahead: bool) -> None:
    row = compared([_held(seed, noise) for seed in range(3)], draws=100)
    assert row["best_rule"] == "near"
    assert (row["behind"], row["ahead"]) == (behind, ahead)
    low, high = row["lead"][1:]
    assert low < row["lead"][0] < high
    assert figures_of([row])["behind"] == int(behind)


def test_units_are_drawn_once_for_all_seeds() -> None:
    one = compared([_held(0, 0.5)], draws=400)["ours"]
    same = compared([_held(0, 0.5)] * 3, draws=400)["ours"]
    assert same[2] - same[1] == pytest.approx(one[2] - one[1], rel=0.15)


def test_a_told_value_that_does_not_come_is_seen() -> None:
    flattered = [_held(seed, 2.0, told=0.95, told_low=0.9, told_high=0.99) for seed in range(2)]
    assert not compared(flattered, draws=100)["told_within"]


def test_pairs_and_lives() -> None:
    within = _held(0, 0.3, measure="pairs", groups=np.arange(300) // 2)
    assert compared([within], draws=50)["ours"][0] > 0.8
    time = np.arange(1.0, 301)
    lives = np.stack([time, np.ones(300)], axis=1)
    rules = {"constant": np.zeros(300)}
    row = compared([_held(0, 0, measure="concordance", truth=lives, ours=-time, rules=rules)])
    assert (row["ours"][0], row["rule"][0]) == (1.0, 0.5)


def test_a_held_part_survives_its_file() -> None:
    held = _held(1, 0.3, more={"coverage": 0.9})
    again = held_of(json.loads(json.dumps(plain_held(held))))
    assert (again.more, again.kept, again.groups) == (held.more, held.kept, None)
    np.testing.assert_array_equal(again.rules["near"], held.rules["near"])


@pytest.mark.parametrize(
    ("room", "name"),
    [(room, name) for room, sets in SETS.items() for name in sets if sets[name] == "developed"],
)
def test_what_was_developed_on_is_not_reported(room: str, name: str) -> None:
    with pytest.raises(ConfigError, match="no evidence"):
        require_reported(room, name)
