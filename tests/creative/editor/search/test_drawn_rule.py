from __future__ import annotations

import math

import numpy as np
import pytest

from adwright.core.errors import ConfigError, DataError
from adwright.creative.editor.edits.plan import EditPlan
from adwright.creative.editor.edits.tones import Exposure, Temperature
from adwright.creative.editor.search.fitness import PlanFitness
from adwright.creative.editor.search.genetic import genetic_search
from benchmarks.creative.editing.drawn_rule import DrawnRule, RuleJudge, drawn_ads, measured

RULE = DrawnRule()


def test_the_rate_is_the_printed_rule() -> None:
    ads = drawn_ads(12, seed=0)
    for at in range(12):
        total = math.log(RULE.base)
        luma = (ads.pictures[at] / 255.0) @ [0.2126, 0.7152, 0.0722]
        terms = ads.labels_of(at) | {
            "light": luma.mean() - 0.5,
            "light squared": (luma.mean() - 0.5) ** 2,
            "contrast": luma.std(),
            "warmth": (ads.pictures[at, ..., 0].mean() - ads.pictures[at, ..., 2].mean()) / 255,
        }
        for name, weight in RULE.weights.items():
            total += weight * terms[name]
        assert ads.rates[at] == pytest.approx(min(math.exp(total), 0.5))
        assert ads.truth_of(at).judge(ads.pictures[at][None])[0] == pytest.approx(ads.rates[at])
    printed = RULE.printed()
    assert printed.startswith("log rate = log(0.025) + 0.4 smile - 0.3 dark_glasses")
    assert all(name in printed for name in RULE.weights)


def test_clicks_are_drawn_by_the_rates() -> None:
    ads = drawn_ads(40, seed=1, impressions=50_000)
    away = ads.clicks / 50_000 - ads.rates
    assert (np.abs(away) < 5 * np.sqrt(ads.rates / 50_000)).all()
    again = drawn_ads(40, seed=1, impressions=50_000)
    np.testing.assert_array_equal(ads.clicks, again.clicks)
    np.testing.assert_array_equal(ads.pictures, again.pictures)
    assert drawn_ads(5, seed=1, impressions=10).clicks.max() <= 10
    spread = [
        measured(drawn_ads(40, seed=1, reach=reach).pictures)["light"].std() for reach in (0, 0.5)
    ]
    assert spread[1] > spread[0]
    assert drawn_ads(2, seed=1, side=48).pictures.shape == (2, 48, 48, 3)


def test_weights_and_bounds_count() -> None:
    ads = drawn_ads(6, seed=2, rule=DrawnRule(0.2, {"smile": 5.0}, 0.3))
    smile = ads.portraits.labels["smile"] > 0
    np.testing.assert_allclose(ads.rates, np.where(smile, 0.3, 0.2))


def test_a_search_on_the_rule_gains_by_the_rule() -> None:
    ads = drawn_ads(1, seed=3)
    truth = ads.truth_of(0)
    plan = EditPlan((Exposure(), Temperature()))
    fitness = PlanFitness(plan, ads.pictures[0], judges=(truth,))
    found = genetic_search(fitness, seed=0)
    edited = plan.with_values(found.vector).apply(ads.pictures[0]).picture
    assert truth.judge(edited[None])[0] == pytest.approx(found.score)
    assert found.score > ads.rates[0]


def test_a_reader_says_what_moved_faces_show() -> None:
    ads = drawn_ads(3, seed=0)
    labels = ads.labels_of(0) | {"smile": 0.0}
    sad = RuleJudge(RULE, labels).judge(ads.pictures)
    happy = RuleJudge(RULE, labels, lambda seen: {"smile": np.ones(len(seen))}).judge(ads.pictures)
    np.testing.assert_allclose(happy / sad, math.exp(0.4))


def test_wrong_rules_are_refused() -> None:
    for weights in ({"skin": 1.0}, {"hair": 1.0}, {"beard": 1.0}, {"smile": float("nan")}):
        with pytest.raises(ConfigError, match="none of a rule"):
            DrawnRule(weights=weights)
    with pytest.raises(ConfigError, match="base"):
        DrawnRule(0.6)
    with pytest.raises(DataError, match="smile"):
        DrawnRule().rates(np.zeros((1, 2, 2, 3), np.uint8), {})
    with pytest.raises(ConfigError, match="reach"):
        drawn_ads(2, seed=0, reach=1.0)
    with pytest.raises(ConfigError):
        drawn_ads(2, seed=0, impressions=0)
