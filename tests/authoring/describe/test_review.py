"""What a blind review says: wins, habits, scores and agreement."""

from __future__ import annotations

import numpy as np
import pytest

from adwright.authoring.describe.review import RUBRIC, PairJudgement, review_pairs
from adwright.core.errors import ConfigError, DataError, ValueInvalidError


def judgements(*, better: float = 0.8, pairs: int = 60, raters: int = 3) -> list[PairJudgement]:
    """Raters of one mind about a pair, of whom each sees the sides in an order of his own."""
    rng = np.random.default_rng(1)
    found = []
    for pair in range(pairs):
        wins = rng.random() < better
        for rater in range(raters):
            turned = rng.random() < 0.5
            left, right = ("draft", "shop") if turned else ("shop", "draft")
            choice = "tie" if pair % 10 == 9 else ("left" if wins == turned else "right")
            draft, shop = (("factuality", 5.0),), (("factuality", 3.0 + pair % 2),)
            sides = (draft, shop) if turned else (shop, draft)
            found.append(PairJudgement(f"p{pair}", f"r{rater}", left, right, choice, *sides))
    return found


def test_a_source_that_wins_is_seen_from_either_side() -> None:
    found = review_pairs(judgements(), draws=200)
    assert found.sources == ("draft", "shop")
    assert found.wins["draft"].low > 0.5
    assert found.wins["draft"].value + found.wins["shop"].value == pytest.approx(1)
    assert (found.pairs, found.raters, found.judgements) == (60, 3, 180)
    assert found.ties == pytest.approx(0.1)
    assert found.left is not None
    assert found.left.low < 0.5 < found.left.high
    assert found.choice is not None
    assert found.choice.alpha is not None
    assert found.choice.alpha.value == pytest.approx(1)


def test_a_tie_counts_one_half() -> None:
    ties = [PairJudgement(f"p{at}", "r", "a", "b", "tie") for at in range(5)]
    found = review_pairs(ties, draws=20)
    assert found.wins["a"].value == found.wins["b"].value == 0.5
    assert found.left is None
    assert found.choice is None


def test_scores_belong_to_the_text_and_not_to_the_side() -> None:
    found = review_pairs(judgements(), draws=100)
    (one,) = found.rubric
    assert one.name == "factuality"
    assert one.means["draft"].value == 5
    assert one.means["shop"].value == pytest.approx(3.5)
    assert one.lead.value == pytest.approx(-1.5)
    assert one.ordinal is not None
    assert one.ordinal.units == 120
    assert one.interval is not None


def test_the_later_judgement_of_a_rater_stands() -> None:
    first = PairJudgement("p", "r", "a", "b", "left")
    later = PairJudgement("p", "r", "a", "b", "right")
    found = review_pairs([first, later], draws=20)
    assert (found.judgements, found.wins["b"].value) == (1, 1)


def test_raters_who_do_not_read_agree_in_nothing() -> None:
    rng = np.random.default_rng(3)
    rows = [
        PairJudgement(f"p{pair}", f"r{rater}", *sides, "left")
        for pair in range(80)
        for rater in range(2)
        for sides in [("a", "b") if rng.random() < 0.5 else ("b", "a")]
    ]
    found = review_pairs(rows, draws=100)
    assert found.left is not None
    assert found.left.value == 1
    assert found.choice is not None
    assert found.choice.alpha is not None
    assert abs(found.choice.alpha.value) < 0.25


def test_seed_draws_and_confidence_change_the_interval() -> None:
    usual = review_pairs(judgements(), draws=100).wins["draft"]
    assert review_pairs(judgements(), draws=100, seed=1).wins["draft"] != usual
    assert review_pairs(judgements(), draws=50).wins["draft"] != usual
    assert review_pairs(judgements(), draws=100, confidence=0.5).wins["draft"].width < usual.width


def test_what_is_no_review() -> None:
    with pytest.raises(DataError, match="two sources, not 0"):
        review_pairs([])
    rows = [PairJudgement("p", "r", "a", "b", "tie"), PairJudgement("q", "r", "a", "c", "tie")]
    with pytest.raises(DataError, match="two sources, not 3"):
        review_pairs(rows)
    twice = [PairJudgement("p", "r", "a", "a", "tie"), PairJudgement("q", "r", "a", "b", "tie")]
    with pytest.raises(ValueInvalidError, match="with itself"):
        review_pairs(twice)


def test_a_judgement_is_checked() -> None:
    with pytest.raises(ConfigError):
        PairJudgement("p", "r", "a", "b", "none")  # type: ignore[arg-type]
    for scores in ((("beauty", 3.0),), ((RUBRIC[0], 6.0),)):
        with pytest.raises(ValueInvalidError, match="from 1 to 5"):
            PairJudgement("p", "r", "a", "b", "tie", scores)
