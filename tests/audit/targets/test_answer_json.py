from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.audit.targets.chat import JsonRanks, NameFinder, ranks_of_json

FINDER = NameFinder(("A", "B", "C"))


@pytest.mark.parametrize(
    ("text", "rows", "invented", "tied"),
    [
        ('["B", "A"]', (1, 0), (), False),
        ('["B", "X"]', (1,), ("X",), False),
        ('[{"name": "B", "rank": 1}, {"name": "A", "rank": 1}]', (1, 0), (), True),
        ('[{"name": "B", "position": 2}, {"name": "A", "position": "no. 1"}]', (0, 1), (), False),
        ('{"C": 3, "B": 1}', (1, 2), (), False),
        ('{"3": {"name": "C"}, "1": "B"}', (1, 2), (), False),
        ('x [1] {"y": [["C"], "A"]}', (0,), ("",), False),
        ('{"name": "C"}', (2,), (), False),
        ('{"other": "C"}', (2,), (), False),
        ('{"A": true, "list": ["B"]}', (1,), (), False),
    ],
)
def test_values_with_a_ranking(
    text: str, rows: tuple[int, ...], invented: tuple[str, ...], tied: bool
) -> None:
    found = ranks_of_json(text, FINDER)
    assert found == JsonRanks(rows, tuple(one for one in invented if one), tied)


@pytest.mark.parametrize("text", ["", "A", "[1, 2]", "{}", '["X"]', '["A', "[" * 5000, "{" * 5000])
def test_values_without_one(text: str) -> None:
    assert ranks_of_json(text, FINDER) is None


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from("ABC"),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner),
        max_leaves=20,
    )
)
def test_no_value_breaks_it(value: object) -> None:
    found = ranks_of_json(json.dumps(value), FINDER)
    assert found is None or set(found.rows) <= {0, 1, 2}
