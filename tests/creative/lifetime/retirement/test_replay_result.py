"""What a replay says, in words and as JSON."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from adwright.creative.lifetime.fatigue import FatigueRule
from adwright.creative.lifetime.retirement.frontier import StopSums
from adwright.creative.lifetime.retirement.replay_result import (
    FatiguePoint,
    Replay,
    ReplayLead,
    RulePoint,
)
from adwright.metrics.two_level import MethodInterval

RULE = FatigueRule("sales", 0.5, 2)
ROWS = (
    RulePoint.of("model", "own", StopSums(30, 5, 12, 3, 48, 100, 200)),
    RulePoint.of("best fatigue rule", "own", StopSums(0, 0, 0, 0, 0, 100, 200)),
    RulePoint.of("random", "as the model", StopSums(3, 5, 6, 6, 6, 100, 200)),
)
FOUND = Replay(
    periods=(15, 19),
    until=20,
    named=("week 15", "week 19", "week 20"),
    unit="week",
    cost_name="display weeks",
    value_name="sales",
    lives=40,
    owners=6,
    cost=100.0,
    value=200.0,
    break_even=1.0,
    half_life=None,
    models=3,
    best=RULE,
    table=ROWS,
    fatigue=(FatiguePoint(RULE, ROWS[1], {"model": 0.0}),),
    leads=(ReplayLead("model", "rate rule", 0.975, MethodInterval(0.02, 0.01, 0.03, 3)),),
    curves={"model": [(0.0, 1.0), (0.3, 0.975)]},
)


def test_sums_over_lives_become_shares() -> None:
    row = FOUND.point("model")
    assert (row.cost_saved, row.value_kept) == (0.3, 0.975)
    assert (row.wrongly, row.mean_age, row.stopped, row.saved) == (0.25, 4.0, 12, 30)
    none = FOUND.point("best fatigue")
    assert (none.wrongly, none.mean_age) == (None, None)
    assert FOUND.point("random", "as the model").wrongly == 1.0
    with pytest.raises(LookupError):
        FOUND.point("random")


@pytest.mark.parametrize(
    ("ends", "verdict"),
    [((0.01, 0.03), "more"), ((-0.03, -0.01), "less"), ((-0.1, 0.1), "no more")],
)
def test_a_comparison_says_no_more_than_its_interval(
    ends: tuple[float, float], verdict: str
) -> None:
    lead = ReplayLead("model", "rate rule", 0.975, MethodInterval(0.0, *ends, 1))
    last = replace(FOUND, leads=(lead,)).text().splitlines()[-1]
    assert f"the model saves {verdict}" in last
    assert "trainings" not in last
    assert "3 trainings" in FOUND.text().splitlines()[-1]


def test_the_table_is_told_in_words() -> None:
    text = FOUND.text()
    assert "Replay from week 15 to week 19, judged until week 20" in text
    assert "an upper bound" in text
    assert re.search(r"^model .* 30.0% +97.5% +25.0% +4.0$", text, re.M)
    assert re.search(r"^best fatigue rule .* 0.0% +100.0% +- +-$", text, re.M)
    assert "  random, value kept as the model" in text


def test_all_of_it_is_json() -> None:
    said = json.loads(FOUND.to_json())
    assert said["best"] == {"measure": "sales", "drop": 0.5, "periods": 2}
    assert said["curves"]["model"] == [[0.0, 1.0], [0.3, 0.975]]
    assert said["leads"][0]["found"]["low"] == 0.01
    assert len(said["table"]) == 3
