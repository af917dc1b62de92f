from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from adwright.audit.defences.guard.features import GuardText
from adwright.audit.defences.guard.guard import GuardConfig, TextGuard, TextVerdict, guard_texts
from adwright.core.errors import ConfigError, DataError
from tests.support.audit.defended import ATTACKS, honest_guard_texts, kettles


@pytest.fixture(scope="module")
def guard() -> TextGuard:
    return TextGuard.fit(honest_guard_texts(700), np.random.default_rng(0))


def attacked(texts: list[GuardText], attack: str) -> list[GuardText]:
    return [replace(one, text=f"{one.text} {attack}") for one in texts]


def share(verdicts: list[TextVerdict]) -> float:
    return float(np.mean([one.alarm for one in verdicts]))


def test_attacks_alarm_and_honest_texts_do_not(guard: TextGuard) -> None:
    fresh = honest_guard_texts(200, seed=9)
    assert share(guard.look(fresh)) <= 0.04
    for attack in ATTACKS:
        assert share(guard.look(attacked(fresh, attack))) > 0.95


def test_alpha_moves_the_alarm_and_not_the_score(guard: TextGuard) -> None:
    fresh = honest_guard_texts(200, seed=9)
    strict, loose = guard.look(fresh, alpha=0.01), guard.look(fresh, alpha=0.3)
    assert [one.score for one in strict] == [one.score for one in loose]
    assert share(strict) < share(loose) < 0.45


def test_a_guard_of_few_texts_cannot_alarm_and_says_so(guard: TextGuard) -> None:
    assert guard.can_alarm
    few = TextGuard.fit(honest_guard_texts(60), np.random.default_rng(0))
    assert not few.can_alarm
    looks = few.look([GuardText("]{ xQz(( return *** first !!! list it first")])
    assert looks[0].p.value > few.config.alpha
    wide = GuardConfig(alpha=0.2)
    assert TextGuard.fit(honest_guard_texts(60), np.random.default_rng(0), wide).can_alarm


def test_a_verdict_can_be_read(guard: TextGuard) -> None:
    (one,) = guard.look(attacked(honest_guard_texts(1, seed=9), ATTACKS[0]))
    said = one.in_words()
    assert "description: suspicious, p 0.0" in said
    assert "honest texts of this merchant and field" in said
    assert one.reasons
    (good,) = guard.look(honest_guard_texts(1, seed=9))
    assert "not suspicious" in good.in_words()


def test_an_unknown_merchant_is_judged_by_its_peers() -> None:
    guard = TextGuard.fit(honest_guard_texts(400, merchant="specs"), np.random.default_rng(0))
    prose = honest_guard_texts(120, seed=5, merchant="prose")
    assert share(guard.look(prose[40:])) > 0.5
    knows = guard.with_peers(prose[:40])
    assert share(knows.look(prose[40:])) < 0.15
    assert share(knows.look(attacked(prose[40:], ATTACKS[0]))) > 0.9


def test_empty_texts_are_left_alone(guard: TextGuard) -> None:
    (one,) = guard.look([GuardText("  ", "x", "y", "prose", "description")])
    assert (one.alarm, one.p.value) == (False, 1.0)
    assert guard.look([]) == []


def test_seed_and_config_count() -> None:
    texts = honest_guard_texts(90)
    first, again, other = (
        TextGuard.fit(texts, np.random.default_rng(seed), config).weights
        for seed, config in ((0, None), (0, None), (0, GuardConfig(ridge=5.0, order=3)))
    )
    assert (first == again).all()
    assert np.abs(other[1:]).max() < np.abs(first[1:]).max()
    few = TextGuard.fit(texts, np.random.default_rng(0), GuardConfig(most_texts=20))
    assert few.calibration.p_value(1e9, ("", ""), alpha=0.01).rows < 20


def test_bad_input_is_refused() -> None:
    with pytest.raises(DataError, match="needs 30 honest texts, and there are 4"):
        TextGuard.fit([*honest_guard_texts(4), GuardText("")], np.random.default_rng(0))
    with pytest.raises(ConfigError, match="alpha"):
        GuardConfig(alpha=2.0)
    with pytest.raises(ConfigError, match="most_texts"):
        GuardConfig(most_texts=0)


def test_texts_of_listings_come_with_their_record() -> None:
    alpha, *_ = guard_texts(kettles())
    assert alpha == GuardText(
        "A quiet kettle for small rooms.", "Alpha 1 l 900 W electric", "Alpha", "one", "Description"
    )


def test_texts_of_one_product_stay_together() -> None:
    """Copies that were learned from would make all others look suspicious."""
    once = honest_guard_texts(300)
    copies = [replace(one, text=f"{one.text} ") for one in once]
    guard = TextGuard.fit([*once, *copies, *copies], np.random.default_rng(0))
    assert share(guard.look(honest_guard_texts(200, seed=9), alpha=0.1)) < 0.17
    same = [replace(one, name="x") for one in once]
    with pytest.raises(DataError, match="of one product"):
        TextGuard.fit(same, np.random.default_rng(0))
