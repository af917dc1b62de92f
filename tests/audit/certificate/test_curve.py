from __future__ import annotations

import numpy as np
import pytest

from adwright.audit.certificate.curve import (
    BoundPoint,
    GradedList,
    bound_curve,
    choose_eps,
    epsilons,
)
from adwright.core.errors import ConfigError, DataError, ValueInvalidError


def lists(count: int = 6, seed: int = 0) -> list[GradedList]:
    """Grades follow facts and texts alike, so that a bound costs something."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        facts, texts = rng.normal(size=(2, 12))
        made.append(GradedList(facts, texts, np.maximum(facts + texts, 0)))
    return made


def test_ends_of_the_curve() -> None:
    some = lists()
    tried = epsilons(some)
    none, *_, most = bound_curve(some, tried)
    assert tried[0] == 0
    assert (none.eps, none.mean_gain, none.most_gain, none.mean_loss) == (0, 0, 0, 0)
    assert none.loss_percent > 5
    assert most.loss_percent == 0
    assert most.mean_gain > 1
    assert most.most_gain >= most.mean_gain


def test_ndcg_is_that_of_a_slow_definition() -> None:
    some = lists(3)
    (point,) = bound_curve(some, (0.4,), k=5)
    values = []
    for one in some:
        scores = one.facts + np.clip(one.texts, -0.4, 0.4)
        discount = 1 / np.log2(np.arange(2, 7))
        found = one.grades[np.argsort(-scores)][:5] @ discount
        values.append(found / (np.sort(one.grades)[::-1][:5] @ discount))
    assert point.ndcg == pytest.approx(np.mean(values))
    assert bound_curve(some, (0.4,), k=2)[0].ndcg != point.ndcg


def test_the_smallest_bound_that_costs_little_is_chosen() -> None:
    points = [
        BoundPoint(eps, eps, 3, eps, 0.9, loss) for eps, loss in ((1.0, 0.0), (0.5, 2.0), (0.1, 9))
    ]
    assert choose_eps(points) == 0.5
    assert choose_eps(points, most_loss=0.01) == 1.0
    assert choose_eps(points, most_loss=0.1) == 0.1
    with pytest.raises(DataError, match=r"more than 1.0% of NDCG"):
        choose_eps(points[2:], most_loss=0.01)
    with pytest.raises(ConfigError, match="most_loss is a share"):
        choose_eps(points, most_loss=2)


def test_chosen_on_some_lists_it_holds_about_on_others() -> None:
    tuning = lists(40)
    eps = choose_eps(bound_curve(tuning, epsilons(tuning)), most_loss=0.03)
    (elsewhere,) = bound_curve(lists(40, seed=1), (eps,))
    assert elsewhere.loss_percent < 6


def test_lists_of_unequal_length_and_without_grades() -> None:
    some = [
        GradedList(np.array([1.0, 0.0]), np.array([0.0, 2.0]), np.array([1.0, 0.0])),
        GradedList(np.zeros(1), np.zeros(1), np.zeros(1)),
    ]
    small, large = bound_curve(some, (0.5, 2.0))
    assert (small.ndcg, large.ndcg) == (1.0, pytest.approx(1 / np.log2(3)))
    with pytest.raises(DataError, match="no list has a grade above 0"):
        bound_curve(some[1:], (0.5,))
    with pytest.raises(DataError, match="there is no list"):
        bound_curve([], (0.5,))


def test_bad_lists_are_refused() -> None:
    with pytest.raises(ValueInvalidError, match="as many facts, texts and grades"):
        GradedList(np.zeros(2), np.zeros(2), np.zeros(3))
    with pytest.raises(ValueInvalidError, match="grades from 0 on"):
        GradedList(np.zeros(1), np.zeros(1), np.array([-1.0]))
    with pytest.raises(ConfigError, match="eps"):
        bound_curve(lists(1), (-1.0,))
