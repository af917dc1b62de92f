from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from adwright.delivery.stages.sources import VectorCache


class Computer:
    """Vectors that say what they were computed of, and how often that was."""

    def __init__(self, people: list[int], keys: list[str]) -> None:
        self.people, self.keys = people, keys
        self.computed: list[tuple[int, str]] = []

    def __call__(self, missing: list[int]) -> np.ndarray:
        self.computed += [(self.people[n], self.keys[n]) for n in missing]
        rows = [[self.people[n], len(self.keys[n])] for n in missing]
        return np.array(rows, np.float32)


def asked(kept: VectorCache, people: list[int], keys: list[str]) -> list[tuple[int, str]]:
    computer = Computer(people, keys)
    found = kept.of(people, keys, computer)
    wanted = [[person, len(key)] for person, key in zip(people, keys, strict=True)]
    assert [vectors.tolist() for vectors in found] == wanted
    return computer.computed


def test_only_what_is_new_or_changed_is_computed() -> None:
    kept = VectorCache(10)
    assert asked(kept, [1, 2], ["a", "bb"]) == [(1, "a"), (2, "bb")]
    assert asked(kept, [2, 3, 1], ["bb", "c", "a"]) == [(3, "c")]
    assert asked(kept, [1], ["aa"]) == [(1, "aa")]
    assert asked(kept, [1], ["a"]) == [(1, "a")]
    assert asked(kept, [], []) == []
    assert len(kept) == 3


def test_who_was_asked_for_longest_ago_goes() -> None:
    kept = VectorCache(2)
    for person in (1, 2, 1, 3):
        asked(kept, [person], ["a"])
    assert len(kept) == 2
    assert asked(kept, [1], ["a"]) == []
    assert asked(kept, [2], ["a"]) == [(2, "a")]
    assert VectorCache(0).of([1], ["a"], Computer([1], ["a"]))[0].tolist() == [1, 1]


def test_many_threads_may_ask() -> None:
    kept = VectorCache(3)

    def ask(turn: int) -> None:
        people = [turn % 5, turn % 3]
        asked(kept, people, ["x" * (1 + person) for person in people])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(ask, range(200)))
    assert len(kept) == 3
