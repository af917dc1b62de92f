from __future__ import annotations

import pytest

from adwright.core.errors import ConfigError
from adwright.lm.compiling.bounds import ConstraintBounds, longest_chain, require_at_most


def test_a_bound_is_named_with_what_was_found() -> None:
    require_at_most("rules", 5, 5)
    with pytest.raises(ConfigError, match="has 6 rules, at most 5 are taken"):
        require_at_most("rules", 6, 5)


def test_ordinary_ones_are_far_from_the_bounds() -> None:
    bounds = ConstraintBounds()
    assert bounds.text_bytes >= 100_000
    assert bounds.parts >= 500
    assert bounds.depth >= 64


@pytest.mark.parametrize(
    ("leads_to", "length"),
    [
        ({}, 1),
        ({"a": ["b"], "b": ["c"]}, 3),
        ({"a": ["c", "b"], "b": ["c"], "c": ["d"]}, 4),
        ({"a": ["a"]}, 1),
        ({"a": ["b"], "b": ["a", "c"]}, 3),
        ({"b": ["c"]}, 1),
    ],
)
def test_the_longest_way(leads_to: dict[str, list[str]], length: int) -> None:
    assert longest_chain(leads_to, "a") == length


def test_a_way_may_be_longer_than_python_recurses() -> None:
    assert longest_chain({str(at): [str(at + 1)] for at in range(50_000)}, "0") == 50_001
