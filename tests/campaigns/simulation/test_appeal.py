"""How much simulated people like ads."""

from __future__ import annotations

import numpy as np
import pytest

from adwright.campaigns.simulation.appeal import Appeal, AppealConfig, SeenAd

ADS = [SeenAd(f"c{n}", f"Fresh bread number {n} from the mill") for n in range(400)]
USER = np.array([3])


def test_taste_is_of_the_ad_and_the_same_for_all() -> None:
    appeal, again = Appeal(AppealConfig(seed=1)), Appeal(AppealConfig(seed=1))
    likings = np.array([appeal.liking(one) for one in ADS])
    assert likings.tolist() == [again.liking(one) for one in ADS]
    assert likings.tolist() != [Appeal(AppealConfig(seed=2)).liking(one) for one in ADS]
    # What all have in common moves all alike; the rest of the spread is theirs.
    assert likings.std() == pytest.approx(0.3 * np.sqrt(0.7 + 0.3 / 7), rel=0.15)


def test_words_tell_of_taste_as_far_as_they_are_said_to() -> None:
    same = [SeenAd("a", "Two words"), SeenAd("b", "words, two")]
    alone = Appeal(AppealConfig(words=1.0))
    assert alone.liking(same[0]) == pytest.approx(alone.liking(same[1]))
    apart = Appeal(AppealConfig(words=0.0))
    assert apart.liking(same[0]) != apart.liking(same[1])


def test_who_has_seen_an_ad_likes_it_less() -> None:
    appeal = Appeal(AppealConfig(spread=0.0, wear=0.5))
    slate = [(ADS[0], None, ADS[1])]
    assert appeal.log_odds(USER, slate).tolist() == [[0.0, 0.0, 0.0]]
    for _ in range(3):
        appeal.remember(USER, slate)
    assert appeal.log_odds(USER, slate) == pytest.approx(-0.5 * np.log([[4, 1, 4]]))
    assert appeal.log_odds(np.array([4]), slate).tolist() == [[0.0, 0.0, 0.0]]


def test_a_planted_ad_is_what_it_is_said_to_be() -> None:
    appeal = Appeal(AppealConfig(), {"c0": -2.0})
    assert appeal.log_odds(USER, [(ADS[0],)]).item() == -2.0
    assert len(AppealConfig().assumptions()) == 2
