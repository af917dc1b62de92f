from __future__ import annotations

from collections.abc import Callable

from adwright.service.decide.fair_queue import FairQueue


def queue(size: int, cost: Callable[[int], int] = lambda _: 1) -> FairQueue[int]:
    return FairQueue(lambda: size, cost)


def turns(lines: FairQueue[int]) -> list[tuple[str, list[int]]]:
    """All turns until nothing waits."""
    found = []
    while (tenant := lines.next()) is not None:
        found.append((tenant, lines.take(tenant)))
    return found


def test_a_long_line_of_one_tenant_does_not_stand_before_another() -> None:
    lines = queue(2)
    for item in range(5):
        lines.put("a", item)
    lines.put("b", 10)
    lines.put("c", 20)
    assert (len(lines), lines.tenants, lines.waits("a"), lines.waits("x")) == (7, 3, 5, 0)
    assert turns(lines) == [
        ("a", [0, 1]),
        ("b", [10]),
        ("c", [20]),
        ("a", [2, 3]),
        ("a", [4]),
    ]
    assert (len(lines), lines.tenants) == (0, 0)


def test_turns_are_equal_in_cost_and_a_heavy_item_goes_alone() -> None:
    lines = queue(10, lambda item: item)
    for item in (4, 6, 7, 3, 1, 30, 2):
        lines.put("a", item)
    for item in (9, 8):
        lines.put("b", item)
    assert turns(lines) == [
        ("a", [4, 6]),
        ("b", [9]),
        ("a", [7, 3]),
        ("b", [8]),
        ("a", [1]),
        ("a", [30]),
        ("a", [2]),
    ]


def test_a_busy_tenant_is_passed_over_and_keeps_its_turn() -> None:
    lines = queue(1)
    for tenant, item in (("a", 1), ("b", 2)):
        lines.put(tenant, item)
    assert lines.next(busy={"a"}) == "b"
    assert lines.next(busy={"a", "b"}) is None
    assert lines.next() == "a"


def test_whoever_comes_back_comes_last() -> None:
    lines = queue(1)
    for tenant, item in (("a", 1), ("b", 2), ("b", 3)):
        lines.put(tenant, item)
    assert lines.take("a") == [1]
    lines.put("a", 4)
    assert turns(lines) == [("b", [2]), ("a", [4]), ("b", [3])]


def test_items_can_be_taken_back() -> None:
    lines = queue(5)
    for item in range(3):
        lines.put("a", item)
    assert lines.drop("a", 1)
    assert not lines.drop("a", 1)
    assert not lines.drop("b", 1)
    assert lines.drain("a") == [0, 2]
    assert lines.drain("a") == []
    assert lines.next() is None
    lines.put("b", 7)
    assert lines.drop("b", 7)
    assert lines.next() is None
    assert lines.take("b") == []
