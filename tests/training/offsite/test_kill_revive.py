"""Who lives: against a literal reading of the rule."""

from __future__ import annotations

import math

import numpy as np
import pytest

from adwright.core.errors import ConfigError
from adwright.training.offsite.pipeline import KillRevive, Lives


def test_the_least_moving_are_killed_and_the_longest_dead_revived() -> None:
    lives = Lives(KillRevive(window=2, alive=0.5, revived=0.25), 4)
    assert [lives.is_due(step) for step in range(4)] == [False, True, False, True]
    assert lives.alive == [0, 1, 2, 3]
    # Nobody is dead yet, so both places go to those that move.
    assert lives.decide({0: 1.0, 1: 4.0, 2: 3.0, 3: 2.0}) == ([0, 3], [])
    assert lives.alive == [1, 2]
    # One place is for who was killed first; of two, the lower number.
    assert lives.decide({1: 1.0, 2: 5.0}) == ([1], [0])
    assert lives.alive == [0, 2]
    assert lives.decide({0: 9.0, 2: 5.0}) == ([2], [3])
    assert lives.alive == [0, 3]
    assert lives.decide({0: 9.0, 3: 5.0}) == ([3], [1])


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5, 1.0])
def test_each_module_comes_back_in_time(share: float) -> None:
    modules, rng = 21, np.random.default_rng(0)
    rule = KillRevive(window=1, alive=share, revived=0.05)
    lives, dead = Lives(rule, modules), [0] * modules
    room = math.ceil(share * modules)
    turns = min(math.ceil(0.05 * modules), room - 1)
    for _ in range(200):
        killed, revived = lives.decide({number: rng.random() for number in lives.alive})
        assert not set(killed) & set(revived)
        assert len(lives.alive) == room
        assert sorted([*lives.alive, *lives.killed]) == list(range(modules))
        dead = [0 if number in lives.alive else dead[number] + 1 for number in range(modules)]
        assert turns == 0 or max(dead) <= math.ceil(modules / turns)


def test_without_a_window_nobody_dies() -> None:
    lives = Lives(KillRevive(window=0), 3)
    assert not any(lives.is_due(step) for step in range(10))


@pytest.mark.parametrize("wrong", [(-1, 0.5, 0.1), (1, 0.0, 0.1), (1, 1.1, 0.1), (1, 0.5, -0.1)])
def test_settings_out_of_range_are_refused(wrong: tuple[int, float, float]) -> None:
    with pytest.raises(ConfigError):
        KillRevive(*wrong)
