"""The error of a policy."""

from __future__ import annotations

import copy

from adwright.agent.policy.shapes import PolicyRefusalError


def test_a_refusal_can_be_sent() -> None:
    error = PolicyRefusalError("secret", "not here", hint="there")
    again = copy.deepcopy(error)
    assert (again.code, str(again)) == ("secret", "not here -> there")
