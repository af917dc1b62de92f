from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from adwright.core.errors import ConfigError, DataError
from adwright.creative.memory.seed.parts import run_parts
from adwright.creative.memory.seed.plan import SeedPaces, plan_seed
from adwright.creative.memory.seed.rounds import run_seed
from tests.support.creative.seed_rounds import CONFIG, RepeatingWriter, WordJudge, seed_data


def test_a_plan_counts_what_a_run_does(tmp_path: Path) -> None:
    data = seed_data()
    plan = plan_seed(CONFIG, data)
    writer = RepeatingWriter()
    report = run_seed(CONFIG, data, writer, WordJudge("zing"), WordJudge("calm"), tmp_path)
    parts = run_parts(data, CONFIG)
    assert (plan.labelled, plan.pool) == (len(parts.labelled), len(parts.pool))
    assert (plan.watched, plan.held) == (len(parts.watch), len(parts.held))
    assert plan.briefs == report.rounds[1].sampled
    assert plan.rows[0] == report.rounds[0].rows
    for rows, one in zip(plan.rows, report.rounds, strict=True):
        assert one.rows <= rows
    # The scripted writer has a token a byte, a model has one for some four.
    written = sum(one.written for one in report.costs) / 4
    assert 0.4 < plan.written / written < 2.5


def test_more_work_costs_more() -> None:
    data, base = seed_data(), plan_seed(CONFIG, seed_data()).seconds
    for more in ({"rounds": 4}, {"samples": 9}, {"measured": 9}, {"keep": 0.9}, {"pool": 1.0}):
        assert plan_seed(replace(CONFIG, **more), data).seconds > base
    for less in ({"briefs": 3}, {"rows": 5}, {"pool_most": 1}, {"held_most": 1}):
        assert plan_seed(replace(CONFIG, **less), data).seconds < base
    for name in ("tuned", "read", "written", "judged"):
        assert plan_seed(CONFIG, data, replace(SeedPaces(), **{name: 1.0})).seconds > base


def test_the_plan_is_told_in_words() -> None:
    text = plan_seed(CONFIG, seed_data()).text()
    assert "nothing was done yet" in text
    assert "rows tuned on, by round from 0" in text


def test_what_cannot_run_has_no_plan() -> None:
    with pytest.raises(DataError, match="none is"):
        plan_seed(replace(CONFIG, watch=0.0), seed_data())
    with pytest.raises(ConfigError, match="pace"):
        SeedPaces(tuned=0.0)
