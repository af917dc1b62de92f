from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest

from adwright.core.errors import ConfigError
from adwright.delivery.decision import Candidates, Request
from adwright.delivery.policy.rules import GreedyConfig, SoftmaxConfig
from adwright.delivery.policy.slate_policy import ABSplit, SplitPolicy, build_policy

A = build_policy(GreedyConfig(), policy_id="first")
B = build_policy(SoftmaxConfig(), policy_id="second")
PEOPLE = [f"u{n}" for n in range(4000)]


def arms(split: ABSplit) -> list[str]:
    return [split.arm(user) for user in PEOPLE]


def test_the_deal_is_stable_and_known() -> None:
    assert arms(ABSplit())[:6] == arms(ABSplit())[:6]
    # Pinned: an experiment that runs must not be dealt anew by a new version.
    assert "".join(ABSplit().arm(f"household-{n}") for n in range(12)) == "ABAAABBBBABB"


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_the_share_of_b(share: float) -> None:
    found = np.mean([arm == "B" for arm in arms(ABSplit(share=share))])
    assert found == pytest.approx(share, abs=0.03)
    if share in (0.0, 1.0):
        assert found == share


def test_a_larger_share_moves_nobody_out_of_b() -> None:
    few, many = arms(ABSplit(share=0.2)), arms(ABSplit(share=0.6))
    assert all(after == "B" for before, after in zip(few, many, strict=True) if before == "B")


def test_another_salt_deals_anew() -> None:
    one, other = arms(ABSplit(salt="one")), arms(ABSplit(salt="other"))
    same = np.mean([a == b for a, b in zip(one, other, strict=True)])
    assert same == pytest.approx(0.5, abs=0.04)


def test_each_person_meets_one_policy() -> None:
    policy = SplitPolicy(A, B)
    candidates = Candidates(("tea", "jam"), np.array([0.5, 0.1]), True, "fine")
    rng = np.random.default_rng(0)
    met = {}
    for user in PEOPLE[:50]:
        request = Request("r", user, datetime(2024, 1, 1, tzinfo=UTC), k=1)
        ids = {policy.decide(request, candidates, rng).policy_id for _ in range(3)}
        assert ids == {policy.of(user).policy_id}
        met[user] = ids.pop()
    assert set(met.values()) == {"first", "second"}
    assert policy.policy_id == "split(first, second)"


def test_what_is_refused() -> None:
    with pytest.raises(ConfigError, match="the same id"):
        SplitPolicy(A, build_policy(GreedyConfig(), policy_id="first"))
    for share in (-0.1, 1.1, float("nan")):
        with pytest.raises(ConfigError, match="share"):
            ABSplit(share=share)
