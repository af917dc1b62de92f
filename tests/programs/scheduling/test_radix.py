"""The index of prefixes."""

from __future__ import annotations

from random import Random

from adwright.programs.scheduling.engine_state import PrefixIndex


def put(index: PrefixIndex, names: str, now: float = 0.0, tenant: str = "t", own: int = 10) -> int:
    """A prompt of one border a letter, each named by all up to it; returns the borders held."""
    prefix = [hash(names[: at + 1]) for at in range(len(names))]
    totals = [own * (at + 1) for at in range(len(names))]
    return index.insert(prefix, totals, tenant, names[0], now)[0]


def held(index: PrefixIndex, names: str) -> int:
    return index.hit([hash(names[: at + 1]) for at in range(len(names))])


def test_the_longest_prefix_is_found() -> None:
    index = PrefixIndex(1000)
    assert put(index, "abc") == 3
    assert [held(index, each) for each in ("abc", "abx", "axc", "x")] == [3, 2, 1, 0]
    assert (len(index), index.tokens) == (3, 30)


def test_what_was_used_last_stays() -> None:
    index = PrefixIndex(30)
    put(index, "a", 0)
    put(index, "b", 1)
    put(index, "c", 2)
    put(index, "a", 3)
    put(index, "d", 4)
    assert [held(index, each) for each in "abcd"] == [1, 0, 1, 1]


def test_what_is_continued_goes_after_what_continues_it() -> None:
    index = PrefixIndex(30)
    put(index, "ab", 0)
    put(index, "c", 1)
    put(index, "d", 2)
    assert held(index, "ab") == 1


def test_what_a_running_chain_reads_stays_with_all_before_it() -> None:
    index = PrefixIndex(30)
    put(index, "ab", 0)
    index.hold(hash("ab"))
    assert index.held_tokens == 20
    put(index, "c", 1)
    assert put(index, "de", 2) == 1  # there is room for one only
    assert held(index, "ab") == 2
    index.release(hash("ab"))
    assert index.held_tokens == 0
    assert put(index, "xyz", 3) == 3


def test_steps_to_execution_decide_over_the_last_use() -> None:
    index = PrefixIndex(20)
    index.step_seconds = 10.0
    put(index, "a", 0)
    put(index, "b", 5)
    index.expect("a", hash("a"), 1, 5.0)
    index.expect("b", hash("b"), 4, 5.0)
    put(index, "c", 6)
    assert (held(index, "a"), held(index, "b")) == (1, 0)


def test_what_nobody_reads_any_more_goes_at_once() -> None:
    index = PrefixIndex(20)
    put(index, "a", 0)
    put(index, "b", 5)
    index.expect("b", hash("b"), None, 6.0)
    put(index, "c", 7)
    assert (held(index, "a"), held(index, "b")) == (1, 0)


def test_what_another_program_has_read_is_not_let_go_for_one_that_ends() -> None:
    index = PrefixIndex(20)
    put(index, "a", 0)
    prefix = [hash("b")]
    index.insert(prefix, [10], "t", "one", 4)
    index.insert(prefix, [10], "t", "two", 5)
    index.expect("two", hash("b"), None, 6.0)
    put(index, "c", 7)
    assert (held(index, "a"), held(index, "b")) == (0, 1)


def test_an_engine_that_is_not_told_goes_by_the_last_use() -> None:
    index = PrefixIndex(20, informed=False)
    put(index, "a", 0)
    put(index, "b", 5)
    index.expect("b", hash("b"), None, 6.0)
    put(index, "c", 7)
    assert (held(index, "a"), held(index, "b")) == (0, 1)


def test_a_tenant_over_quota_pushes_out_only_itself() -> None:
    """Parrot's fault 8: no eviction, and no tenant in the key."""
    index = PrefixIndex(1000, quota=30)
    put(index, "q", 0, tenant="quiet")
    for at, name in enumerate("abcdef"):
        put(index, name, at + 1.0, tenant="loud")
    assert index.by_tenant == {"quiet": 10, "loud": 30}
    assert held(index, "q") == 1
    assert [held(index, each) for each in "abcdef"] == [0, 0, 0, 1, 1, 1]
    assert put(index, "wxyz", 9, tenant="loud") == 3  # more than the quota in one prompt


def test_a_report_of_less_drops_what_was_used_before_that() -> None:
    index = PrefixIndex(1000)
    put(index, "a", 0)
    put(index, "b", 1)
    put(index, "c", 2)
    index.correct(1.0)
    assert [held(index, each) for each in "abc"] == [0, 0, 1]


def test_nothing_is_held_after_clear() -> None:
    index = PrefixIndex(100, quota=50)
    put(index, "abc", 0)
    index.clear()
    assert (len(index), index.tokens, held(index, "abc")) == (0, 0, 0)
    assert put(index, "abc", 1) == 3


def test_random_use_keeps_the_sums_and_the_parents() -> None:
    draw = Random(3)
    index = PrefixIndex(200, quota=120)
    holding: list[int] = []
    for step in range(3000):
        name = "".join(draw.choice("abc") for _ in range(draw.randint(1, 5)))
        borders = put(index, name, float(step), tenant=f"t{name[0]}")
        if borders and draw.random() < 0.2 and len(holding) < 4:
            holding.append(hash(name[:borders]))
            index.hold(holding[-1])
        elif holding and draw.random() < 0.3:
            index.release(holding.pop(draw.randrange(len(holding))))
        assert index.tokens <= 200
        assert sum(index.by_tenant.values()) == index.tokens
        assert all(tokens <= 120 for tokens in index.by_tenant.values())
        assert all(each in index for each in holding)
        # Whatever is found, all before it is held.
        found = held(index, name)
        assert all(hash(name[: at + 1]) in index for at in range(found))
