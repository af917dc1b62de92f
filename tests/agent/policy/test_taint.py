"""Flows of page data."""

from __future__ import annotations

import pytest

from adwright.agent.policy.taint import FlowRule, refused_sources
from adwright.core.errors import ConfigError


def test_only_named_flows_pass() -> None:
    rules = (FlowRule("a", "x"), FlowRule("b", "y"))
    assert refused_sources({"a"}, "x", rules) == ()
    assert refused_sources({"b", "a"}, "x", rules) == ("b",)
    assert refused_sources((), "x", ()) == ()


@pytest.mark.parametrize("name", ["*", "", "a b", "é"])
def test_a_rule_names_elements(name: str) -> None:
    with pytest.raises(ConfigError):
        FlowRule("a", name)
    with pytest.raises(ConfigError):
        FlowRule(name, "a")
