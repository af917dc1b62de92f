from __future__ import annotations

from collections.abc import Callable

from adwright.core.tenant_queue import TenantCounts, TenantQueue

Cost = Callable[[int], int]


def free(lines: TenantQueue[int], busy: str = "") -> str | None:
    return lines.next(lambda tenant: tenant not in busy)


def turns(
    lines: TenantQueue[int], size: int, cost: Cost = lambda _: 1
) -> list[tuple[str, list[int]]]:
    """All turns until nothing waits."""
    found = []
    while (tenant := free(lines)) is not None:
        found.append((tenant, lines.take(tenant, size, cost)))
    return found


def test_who_has_nothing_is_not_counted() -> None:
    counts = TenantCounts()
    counts.add("a", 2)
    counts.add("a", -2)
    counts.add("b")
    assert dict(counts) == {"b": 1}


def test_the_owner_says_who_comes_first() -> None:
    lines: TenantQueue[int] = TenantQueue()
    for tenant, item in (("a", 1), ("b", 2), ("b", 3)):
        lines.put(tenant, item)
    assert lines.next(lambda _: True, rank=lambda tenant: -lines.waits(tenant)) == "b"
    assert (lines.pop("b"), lines.tenants) == (2, ("a", "b"))
    lines.put("a", 4)
    assert (lines.drop_last("a"), list(lines)) == (4, [1, 3])


def test_a_long_line_of_one_tenant_does_not_stand_before_another() -> None:
    lines: TenantQueue[int] = TenantQueue()
    for item in range(5):
        lines.put("a", item)
    lines.put("b", 10)
    lines.put("c", 20)
    assert (len(lines), lines.tenants, lines.waits("a"), lines.waits("x")) == (
        7,
        ("a", "b", "c"),
        5,
        0,
    )
    assert turns(lines, 2) == [
        ("a", [0, 1]),
        ("b", [10]),
        ("c", [20]),
        ("a", [2, 3]),
        ("a", [4]),
    ]
    assert (len(lines), lines.tenants) == (0, ())


def test_turns_are_equal_in_cost_and_a_heavy_item_goes_alone() -> None:
    lines: TenantQueue[int] = TenantQueue()
    for item in (4, 6, 7, 3, 1, 30, 2):
        lines.put("a", item)
    for item in (9, 8):
        lines.put("b", item)
    assert turns(lines, 10, lambda item: item) == [
        ("a", [4, 6]),
        ("b", [9]),
        ("a", [7, 3]),
        ("b", [8]),
        ("a", [1]),
        ("a", [30]),
        ("a", [2]),
    ]


def test_a_busy_tenant_is_passed_over_and_keeps_its_turn() -> None:
    lines: TenantQueue[int] = TenantQueue()
    for tenant, item in (("a", 1), ("b", 2)):
        lines.put(tenant, item)
    assert free(lines, "a") == "b"
    assert free(lines, "ab") is None
    assert free(lines) == "a"


def test_whoever_comes_back_comes_last() -> None:
    lines: TenantQueue[int] = TenantQueue()
    for tenant, item in (("a", 1), ("b", 2), ("b", 3)):
        lines.put(tenant, item)
    assert lines.take("a", 1) == [1]
    lines.put("a", 4)
    assert turns(lines, 1) == [("b", [2]), ("a", [4]), ("b", [3])]


def test_items_can_be_taken_back() -> None:
    lines: TenantQueue[int] = TenantQueue()
    for item in range(3):
        lines.put("a", item)
    assert lines.drop("a", 1)
    assert not lines.drop("a", 1)
    assert not lines.drop("b", 1)
    assert lines.drain("a") == [0, 2]
    assert lines.drain("a") == []
    assert free(lines) is None
    lines.put("b", 7)
    assert lines.drop("b", 7)
    assert free(lines) is None
    assert lines.take("b", 5) == []
