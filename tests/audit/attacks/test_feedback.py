from __future__ import annotations

import numpy as np
import pytest

from adwright.audit.attacks.attack import RankFeedback
from adwright.audit.targets.target import FunctionTarget
from adwright.core.errors import ConfigError
from tests.support.audit.attacked import ORDERS, counts_praise, meter, praise_feedback, tea_goal


def test_a_text_is_asked_once_an_order() -> None:
    feedback = praise_feedback()
    assert feedback.cost(["", " best"]) == 4
    first = feedback.mean_ranks(["", " best"])
    assert first[1] == 1
    assert first[0] > 1
    assert feedback.meter.spent.calls == 4
    assert feedback.cost(["", " best"]) == 0
    np.testing.assert_array_equal(feedback.mean_ranks(["", " best"]), first)
    assert feedback.meter.spent.calls == 4


def test_fewer_orders_cost_less() -> None:
    feedback = praise_feedback()
    assert feedback.cost([" x"], upto=1) == 1
    feedback.mean_ranks([" x"], upto=1)
    assert feedback.meter.spent.trials == 1
    assert feedback.cost([" x"]) == 1


def test_texts_that_are_given_twice_are_asked_once() -> None:
    feedback = praise_feedback()
    feedback.in_order([" a", " a", " b"])(0, np.array([0, 1, 2]))
    assert feedback.meter.spent.calls == 2


def test_another_request_can_be_asked() -> None:
    asked: list[str] = []

    def rule(listings: object, request: str) -> list[float]:
        asked.append(request)
        return [1.0, 2.0, 3.0]

    target = FunctionTarget(rule, name="keeps")
    RankFeedback(target, tea_goal(), ORDERS, meter(), request="cheap?").mean_ranks([""], upto=1)
    assert asked == ["cheap?"]


def test_of_equal_ranks_the_better_score_is_better_for_who_knows_it() -> None:
    def ranks(*, by_score: bool) -> list[float]:
        target = FunctionTarget(counts_praise, name="counts praise")
        feedback = RankFeedback(target, tea_goal(), ORDERS[:1], meter(), by_score=by_score)
        return feedback.mean_ranks(["", " best", " best best"]).tolist()

    plain, fine = ranks(by_score=False), ranks(by_score=True)
    assert plain == [2, 1, 1]
    assert [rank - 0.5 < one <= rank for rank, one in zip(plain, fine, strict=True)] == [True] * 3
    assert fine[0] > fine[1] > fine[2]


def test_it_needs_an_order() -> None:
    with pytest.raises(ConfigError, match="no order"):
        RankFeedback(FunctionTarget(counts_praise, name="x"), tea_goal(), (), meter())
