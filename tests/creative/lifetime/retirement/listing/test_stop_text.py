"""A list in words."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from adwright.creative.lifetime.retirement.listing.stop_text import (
    ListFacts,
    left_in_words,
    list_in_words,
)
from adwright.creative.lifetime.retirement.rule import RetireConfig

INF = np.inf


def facts(config: RetireConfig | None = None, **changes: Any) -> ListFacts:
    values: dict[str, Any] = {
        "period": 9,
        "named": "day 9",
        "expects": False,
        "unit": "day",
        "cost_name": "spend",
        "value_name": "conversions",
        "config": config or RetireConfig(),
        "ahead": 5,
        "horizon": 20,
        "break_even": 0.4,
        "overall": 0.8,
        "half_life": 8.0,
        "last_edge": 20.0,
        "value_left_out": 0.0,
        "model_id": "m",
        "record_hash": "r",
        "made": "2026-01-01T00:00:00+00:00",
    }
    return ListFacts(**{**values, **changes})


def units(*actions: str) -> pl.DataFrame:
    rows = len(actions)
    return pl.DataFrame(
        {
            "unit_id": [f"u{i}" for i in range(rows)],
            "name": ["ad", *[None] * (rows - 1)],
            "action": actions,
            "cause": ["wear-out"] * rows,
            "ending": ["budget"] * rows,
            "age": [7.0] * rows,
            "left_said": ["2 (1 to 4) days"] * rows,
            "value_per_cost": [0.1234] * rows,
            "saving": [12.0] * rows,
            "loss": [1.5] * rows,
            "why": [["clicks 3: -2.0 days"], *[[]] * (rows - 1)],
            "like": [["old: lived 9 days"], *[None] * (rows - 1)],
        }
    )


def totals(**changes: float) -> dict[str, float]:
    known = {"units": 3, "stop": 2, "refresh": 0, "keep": 1, "saving": 24, "loss": 3, "net": 6.6}
    return {**known, "rule_stop": 1, "rule_net": 3.3, "both": 1, **changes}


def test_periods_left_beyond_the_curve_are_more_than_what_is_left_of_it() -> None:
    left = np.array([[1, 4, 9], [1, 4, INF], [1, INF, INF], [INF, INF, INF], [INF, INF, INF]])
    age = np.array([3.0, 3.0, 3.0, 19.0, 20.0])
    assert left_in_words(left, age, 20.0, "day") == [
        "4 (1 to 9) days",
        "4 (1 to more than 17) days",
        "more than 17 (from 1 on) days",
        "more than 1 day",
        "not known, older than the curve",
    ]


def test_the_whole_list_is_said() -> None:
    text = list_in_words(facts(), units("stop", "stop", "keep"), totals(), 1)
    assert text == (
        "day 9: 3 units run: stop 2, refresh 0, keep 1\n"
        "stop: worth less than 0 to keep one day more, at a break-even of 0.4 conversions per cost "
        "in spend, 0.5 of the 0.8 of all so far; past periods fade with a half-life of 8 days, "
        "which told the next period best\n"
        "refresh: in the long term, and half of such units end within 5 days\n"
        "to stop saves 24 spend of the 20 days to come and gives up 3 conversions: at the "
        "break-even 6.6 conversions net\n"
        "of those to stop: 2 wear-out, 2 likeliest to end of 'budget'\n"
        "value per cost alone, without the model, would stop 1, of which 1 are the same: 50% of "
        "the net, by the model's expectations\n"
        "  stop    ad (u0), wear-out, budget: age 7, left 2 (1 to 4) days; 0.123 per cost, saves "
        "12 spend, gives up 1.5 conversions\n"
        "          because of clicks 3: -2.0 days\n"
        "          like old: lived 9 days\n"
        "  and 1 more\n"
    )


def test_settings_that_were_given_are_said_to_be() -> None:
    config = RetireConfig(break_even=0.4, half_life=8.0, threshold=0.1)
    text = list_in_words(facts(config), units("keep"), totals(), 5)
    assert "worth less than 0.1 to keep" in text
    assert "per cost in spend, as given; past periods fade with a half-life of 8 days\n" in text
    text = list_in_words(facts(half_life=None, value_left_out=0.25), units("keep"), totals(), 5)
    assert "all past periods weigh alike" in text
    assert "25.0% of the conversions came in days without cost" in text


def test_what_is_refreshed_saves_nothing() -> None:
    text = list_in_words(facts(), units("refresh"), totals(stop=0, refresh=1), 1)
    assert "  refresh ad (u0), wear-out, budget: age 7, left 2 (1 to 4) days; 0.123" in text
    assert "is to cost 12 spend, to bring 1.5 conversions\n" in text


def test_a_period_may_have_a_name() -> None:
    text = list_in_words(facts(named="day 2026-03-01"), units("keep"), totals(), 5)
    assert text.startswith("day 2026-03-01: 3 units run")


def test_it_says_where_the_simple_rule_is_as_good() -> None:
    good = list_in_words(facts(), units("stop"), totals(rule_net=6.59), 5)
    assert "that simple rule is as good" in good
    nothing = list_in_words(facts(), units("keep"), totals(stop=0, rule_stop=0), 5)
    assert "of which 1 are the same\n" in nothing
    worse = list_in_words(facts(), units("stop"), totals(net=0.0, rule_net=-1.0), 5)
    assert "% of the net" not in worse
