"""The first line of a comparison."""

from __future__ import annotations

import pytest

from adwright.metrics.bootstrap import Interval
from adwright.metrics.reports.comparison import advice, in_words, too_good, verdict

AHEAD, LEVEL, BEHIND = (
    Interval(0.02, 0.01, 0.03),
    Interval(-0.001, -0.004, 0.002),
    Interval(-0.05, -0.07, -0.03),
)


def test_a_rule_ahead_is_named_with_its_lead_and_what_to_do() -> None:
    told = verdict("SASRec", {"Popularity": AHEAD, "Item-item": BEHIND}, "ndcg@10")
    assert told == (
        "Item-item is ahead of SASRec by 0.0500 (0.0300 to 0.0700) ndcg@10: use item-item "
        "(adwright train item-item)."
    )


def test_the_one_furthest_ahead_is_told() -> None:
    far = Interval(-0.2, -0.3, -0.1)
    told = verdict("DIN", {"Base": BEHIND, "item-item": far, "popularity": AHEAD}, "group AUC")
    assert told.startswith("Item-item is ahead of DIN by 0.2000 (0.1000 to 0.3000) group AUC")


def test_where_nobody_is_ahead() -> None:
    told = verdict("DIN", {"Base": LEVEL, "popularity": AHEAD}, "group AUC")
    assert told.startswith(
        "DIN and the base model are not told apart: DIN is ahead by -0.0010 (-0.0040"
    )
    assert 'interest = "sum"' in told


def test_a_model_ahead_says_of_whom() -> None:
    told = verdict("HSTU", {"Popularity": Interval(0.5, 0.4, 0.6), "Item-item": AHEAD}, "ndcg@10")
    assert told == (
        "HSTU is ahead of all 2 others; of item-item, the best, by 0.0200 (0.0100 to 0.0300) "
        "ndcg@10."
    )
    assert "HSTU is ahead of item-item by" in verdict("HSTU", {"Item-item": AHEAD}, "ndcg@10")


def test_bad_probabilities_are_told_beside_a_good_order() -> None:
    losses = {"popularity": Interval(0.19, 0.18, 0.2), "Base": Interval(-0.1, -0.2, -0.05)}
    told = verdict("DIN", {"popularity": AHEAD, "Base": AHEAD}, "group AUC", losses=losses)
    assert told.startswith("DIN is ahead of all 2 others")
    assert "worse than those of popularity, by 0.1900 (0.1800 to 0.2000) log loss" in told
    fine = {"popularity": Interval(-0.1, -0.2, -0.05)}
    assert "log loss" not in verdict("DIN", {"popularity": AHEAD}, "group AUC", losses=fine)


def test_what_is_too_good_to_be_true_is_told() -> None:
    assert too_good(1.0).startswith("An AUC of 1.0000 is too good to be true: look for a feature")
    assert not too_good(0.95)


def test_rows_of_a_table_are_said_in_words() -> None:
    behind = {"logistic": BEHIND, "Base": AHEAD, "popularity": AHEAD}
    assert verdict("DIN+Base", behind, "group AUC").startswith(
        "The logistic model of the counts is ahead of DIN+Base by 0.0500"
    )
    level = {"frequency": LEVEL, "Base": AHEAD}
    assert verdict("DIN", level, "group AUC").startswith(
        "DIN and personal frequency are not told apart"
    )
    losses = {"Base": Interval(0.1, 0.05, 0.2)}
    told = verdict("DIN", {"Base": AHEAD}, "group AUC", losses=losses)
    assert "worse than those of the base model, by" in told
    assert in_words("DIN+Base") == "the mean of DIN and the base model"


def test_alone_there_is_nothing_to_say() -> None:
    assert not verdict("DIN", {}, "group AUC")


@pytest.mark.parametrize(
    ("other", "about"),
    [
        ("Item-item", "adwright train item-item"),
        ("Personal frequency", "adwright train item-item"),
        ("Last items again", "adwright train item-item"),
        ("frequency", "adwright train item-item"),
        ("Popularity by category", "serve popularity"),
        ("Popularity lately", "serve popularity"),
        ("popularity", "serve popularity"),
        ("logistic", "--negative-rate"),
        ("Base", "base model"),
        ("DIN", "DIN alone"),
        ("HSTU", "use HSTU"),
    ],
)
def test_the_advice_fits_the_rule(other: str, about: str) -> None:
    assert about in advice(other)
