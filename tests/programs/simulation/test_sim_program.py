"""Programs in tokens."""

from __future__ import annotations

import pytest

from adwright.core.errors import ValueInvalidError
from benchmarks.programs.simulation import Segment, SimCall, SimProgram
from tests.support.chains import fixed


def diamond(name: str = "p", tenant: str = "t") -> SimProgram:
    a = SimCall("a", (fixed("role", 10), Segment("text", 20)), 5)
    b = SimCall("b", (fixed("role", 10), Segment("a", 5)), 7)
    c = SimCall("c", (fixed("role", 10), Segment("a", 5), Segment("more", 3)), 2)
    d = SimCall("d", (Segment("b", 7), Segment("c", 2)), 4)
    return SimProgram(name, tenant, 1.5, (a, b, c, d))


def test_edges_depths_and_groups() -> None:
    program = diamond()
    assert program.producers == {"a": (), "b": ("a",), "c": ("a",), "d": ("b", "c")}
    assert program.consumers == {"a": ("b", "c"), "b": ("d",), "c": ("d",), "d": ()}
    chains = program.chains
    assert {name: chains[name].depth for name in "abcd"} == {"a": 3, "b": 2, "c": 2, "d": 1}
    assert {name: chains[name].critical_tokens for name in "abcd"} == {
        "a": 5 + 7 + 4,
        "b": 7 + 4,
        "c": 2 + 4,
        "d": 4,
    }
    assert [chains[name].group for name in "abcd"] == [None, "p/d", "p/d", None]
    assert chains["c"].prefix_tokens == (10, 15, 18)
    assert chains["a"].arrived == 1.5


def test_public_texts_are_shared_in_a_tenant_and_others_in_a_program() -> None:
    one, two, other = diamond(), diamond("q"), diamond(tenant="u")
    assert one.chains["a"].prefix[0] == two.chains["a"].prefix[0]
    assert one.chains["a"].prefix[1] != two.chains["a"].prefix[1]
    assert one.chains["b"].prefix == one.chains["c"].prefix[:2]
    # Parrot's fault 8: the tenant is in the key.
    assert not set(one.chains["a"].prefix) & set(other.chains["a"].prefix)


def test_upcoming_prefixes_with_their_steps() -> None:
    program = diamond()
    role, own = program.chains["a"].prefix
    first = {each.prefix: each.steps for each in program.upcoming([])}
    assert first == {role: 0, own: 0}
    after = {each.prefix: each.steps for each in program.upcoming(["a"])}
    assert after[role] == 0
    assert after[own] is None
    assert after[program.chains["b"].prefix[1]] == 0
    late = {each.prefix: each.steps for each in program.upcoming(["a", "b", "c"])}
    assert late[role] is None


def test_a_call_cannot_read_a_later_one() -> None:
    with pytest.raises(ValueInvalidError, match="b, which comes later"):
        SimProgram(
            "p", "t", 0.0, (SimCall("a", (Segment("b", 1),), 1), SimCall("b", (fixed("x", 1),), 1))
        )
