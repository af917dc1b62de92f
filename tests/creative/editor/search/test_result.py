from __future__ import annotations

import json
import math
from statistics import mean, stdev

import numpy as np
import pytest

from adwright.core.errors import ConfigError
from adwright.creative.editor.edits.plan import EditPlan
from adwright.creative.editor.provenance.label import ESTIMATE
from adwright.creative.editor.search.fitness import Weighted
from adwright.creative.editor.search.genetic import genetic_search
from adwright.creative.editor.search.penalties import FineNoise
from adwright.creative.editor.search.picture_judge import EnsembleJudge
from adwright.creative.editor.search.random_search import random_search
from adwright.creative.editor.search.result import (
    FoundEdit,
    JudgedChange,
    edit_at,
    find_edit,
    judged_change,
)
from adwright.creative.editor.search.settings import GeneticSettings, SearchOutcome
from tests.support.creative.searches import PICTURE, PLAN, ColourJudge, colour_fitness

SMALL = GeneticSettings(population=10, generations=2, parents=3)
TICKS = iter(range(0, 1000, 7))


def found(judge: object, second: object = None, **told: object) -> FoundEdit:
    return find_edit(
        colour_fitness(judge, **told),
        lambda fitness: genetic_search(fitness, seed=0, settings=SMALL),
        second=second,
        cpu=lambda: float(next(TICKS)),
    )


def test_it_tells_what_both_judges_say_of_the_edited_picture() -> None:
    first, other = ColourJudge(200), ColourJudge(180, name="second")
    edit = found(first, other, penalties=(Weighted(FineNoise(), 0.1),))
    after = edit.plan.apply(PICTURE).picture
    for said, judge in ((edit.first, ColourJudge(200)), (edit.second, ColourJudge(180))):
        assert said is not None
        before, now = judge.judge(np.stack([PICTURE, after]))
        assert (said.before, said.after) == (before, now)
    assert edit.confirmed
    assert "Worth a test" in edit.advice
    assert edit.cpu_seconds == 7
    assert (edit.calls, edit.batches) == (SMALL.calls, 4)
    assert edit.score_gain == pytest.approx(edit.first.change - 0.1 * edit.penalties["fine_noise"])
    assert [value for _, value in edit.settings()] == [v for v in edit.plan.values() if v]
    row = json.loads(json.dumps(edit.as_row()))
    assert EditPlan.of_json(row["plan"]) == edit.plan
    assert row["second_judge"] == "second"


def test_the_interval_is_the_literal_one() -> None:
    members = [ColourJudge(likes) for likes in (90, 140, 230)]
    pair = np.stack([PICTURE, np.full_like(PICTURE, 150)])
    change = judged_change(EnsembleJudge("c", members), pair, coverage=0.95)
    changes = [float(np.diff(one.judge(pair))[0]) for one in members]
    # 4.3027 is Student's t of two degrees of freedom.
    reach = 4.3027 * stdev(changes) * math.sqrt(1 + 1 / 3)
    assert change.low == pytest.approx(mean(changes) - reach, rel=1e-4)
    assert change.high == pytest.approx(mean(changes) + reach, rel=1e-4)
    assert change.change == pytest.approx(mean(changes))
    assert judged_change(members[0], pair).low is None
    with pytest.raises(ConfigError, match="coverage"):
        judged_change(members[0], pair, coverage=1.0)


def test_every_gain_is_said_to_be_an_estimate() -> None:
    ensemble = EnsembleJudge("c", (ColourJudge(200), ColourJudge(210)))
    edit = found(ensemble)
    assert edit.first.said().endswith(ESTIMATE)
    assert "90% interval" in edit.first.said()
    assert "without an interval" in JudgedChange("one", 1.0, 2.0).said()
    assert edit.confirmed is None
    assert ESTIMATE in edit.advice
    assert edit.as_row()["note"] == ESTIMATE
    assert math.isnan(
        judged_change(ColourJudge(shift=-1), np.full((2, 2, 2, 3), 200, np.uint8)).relative
    )


def test_a_gain_that_the_second_judge_does_not_see_is_none() -> None:
    edit = found(ColourJudge(250), ColourJudge(20, name="second"))
    assert edit.first.change > 0
    assert edit.confirmed is False
    assert "Leave" in edit.advice


def test_nothing_found_is_said() -> None:
    fitness = colour_fitness(allowed=lambda plan: not np.any(plan.values()))
    edit = find_edit(fitness, lambda one: random_search(one, calls=5, seed=0), second=ColourJudge())
    assert not edit.changed
    assert edit.confirmed is False
    assert "nothing better" in edit.advice
    assert edit.settings() == []


def test_a_second_opinion_of_what_was_searched_is_refused() -> None:
    one, other = ColourJudge(), ColourJudge(100)
    ensemble = EnsembleJudge("c", (one, other))
    outcome = SearchOutcome("m", np.zeros(len(PLAN.knobs())), 0, 0, 1)
    for searched, second in ((one, one), (ensemble, other), (one, ensemble)):
        with pytest.raises(ConfigError, match="was searched"):
            found(searched, second)
        with pytest.raises(ConfigError, match="was searched"):
            edit_at(colour_fitness(searched), outcome, second=second)
    with pytest.raises(ConfigError, match="2 judges"):
        edit_at(colour_fitness(one, other), outcome)
