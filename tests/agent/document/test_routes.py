"""Shortest ways, against all ways."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from adwright.agent.document.elements import (
    AppDocument,
    AppEdge,
    AppState,
    Element,
    edges_of,
    find_route,
)

NAMES = "abcde"


def document(edges: list[tuple[str, str, int, bool]]) -> AppDocument:
    """Of edges (from, to, fields to fill, whether it commits)."""
    fields = tuple(Element(f"f{n}", "a", "textbox", "f", effect="draft") for n in range(3))
    buttons = tuple(
        Element(f"e{place}", one[0], "link", "go", effect="commit" if one[3] else "navigate")
        for place, one in enumerate(edges)
    )
    made = tuple(
        AppEdge(a, f"e{place}", b, tuple(one.name for one in fields[:needs]))
        for place, (a, b, needs, _) in enumerate(edges)
    )
    states = tuple(AppState(one, one) for one in NAMES)
    return AppDocument("app", "1", (), "a", states, fields + buttons, made)


def all_costs(edges: list[tuple[str, str, int, bool]], start: str) -> dict[str, int]:
    """Bellman and Ford, literally."""
    costs = {start: 0}
    for _ in NAMES:
        for a, b, needs, commits in edges:
            if a in costs and not commits:
                costs[b] = min(costs.get(b, 99), costs[a] + 1 + needs)
    return costs


EDGES = st.lists(
    st.tuples(st.sampled_from(NAMES), st.sampled_from(NAMES), st.integers(0, 3), st.booleans()),
    max_size=14,
)


@given(EDGES)
def test_a_way_is_shortest_and_hangs_together(edges: list[tuple[str, str, int, bool]]) -> None:
    made, costs = document(edges), all_costs(edges, "a")
    for target in NAMES:
        route = find_route(made, "a", target)
        assert (route is None) == (target not in costs)
        if route is not None:
            assert sum(1 + len(one.needs) for one in route) == costs[target]
            states = ["a", *(one.target for one in route)]
            assert [one.source for one in route] == states[:-1]
            assert states[-1] == target
            assert all(made.by_name[one.element].effect == "navigate" for one in route)


def test_targets_of_elements_are_edges_too() -> None:
    link = Element("a__b", "a", "link", "B", effect="navigate", target="b")
    states = (AppState("a", "1"), AppState("b", "2"))
    made = AppDocument("app", "1", (), "a", states, (link,))
    assert list(edges_of(made)) == [AppEdge("a", "a__b", "b")]
    assert find_route(made, "a", "a") == ()
