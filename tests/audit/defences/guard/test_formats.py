from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from adwright.audit.defences.guard.features import FEATURES, CharModel, GuardText
from adwright.audit.defences.guard.guard import ENOUGH, Formats
from tests.support.audit.defended import ATTACKS, honest_guard_texts

HONEST = honest_guard_texts(80)
GENERAL = CharModel.fit([one.text for one in honest_guard_texts(80, seed=1)])
FORMATS = Formats.learn(GENERAL, HONEST)


def test_honest_texts_lie_in_the_middle_of_their_format() -> None:
    for merchant in ("prose", "specs"):
        fresh = honest_guard_texts(40, seed=2, merchant=merchant)
        found = FORMATS.unusual(fresh)
        assert np.abs(np.median(found, axis=0)).max() < 1.5
        assert np.abs(found).max() <= 8


def test_each_merchant_and_field_is_a_format() -> None:
    assert {(), ("field", "title"), ("merchant", "specs", "title")} <= FORMATS.known.keys()
    few = Formats.learn(GENERAL, HONEST[: ENOUGH - 1])
    assert list(few.known) == [()]


def only_titles() -> Formats:
    """Of one who knows no prose."""
    first, second = (honest_guard_texts(60, seed=seed, merchant="specs") for seed in (1, 2))
    return Formats.learn(CharModel.fit([one.text for one in first]), second)


def test_another_format_is_unusual_until_its_peers_are_known() -> None:
    prose = honest_guard_texts(40, seed=3, merchant="prose")
    titles = only_titles()
    at = FEATURES.index("local_peak")
    cold = np.median(titles.unusual(prose)[:, at])
    warm = np.median(titles.with_peers(prose[:20]).unusual(prose[20:])[:, at])
    assert cold > 2 > abs(warm)


def test_some_attacks_among_the_peers_do_no_harm() -> None:
    prose = honest_guard_texts(40, seed=3, merchant="prose")
    titles = only_titles()
    spoiled = [replace(one, text=ATTACKS[0]) for one in prose[:1]] + prose[1:20]
    attack = replace(prose[30], text=f"{prose[30].text} {ATTACKS[0]}")
    known = titles.with_peers(spoiled)
    at = FEATURES.index("peak")
    assert known.unusual([attack])[0, at] > np.quantile(known.unusual(prose[20:])[:, at], 0.95)


def test_cross_fitting_hides_a_text_from_the_model_that_judges_it() -> None:
    def attacked(some: Sequence[GuardText]) -> list[GuardText]:
        return [replace(one, text=f"{one.text} {ATTACKS[0]}") for one in some]

    plain, changed = FORMATS.cross_fitted(HONEST, attacked)
    assert plain.shape == changed.shape == (len(HONEST), len(FEATURES))
    at = FEATURES.index("peak")
    assert (changed[:, at] > plain[:, at]).mean() > 0.95
    local = FEATURES.index("local_mean")
    # By a model that has seen them, the texts would look more ordinary than they are.
    assert plain[:, local].mean() > FORMATS.unusual(HONEST)[:, local].mean()
