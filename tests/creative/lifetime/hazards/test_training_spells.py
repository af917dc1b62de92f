"""What training reads of spells: targets, what teaches nothing, the curve of all, a hash."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest

from adwright.core.errors import DataError
from adwright.creative.lifetime.hazards.inputs import InputSpec
from adwright.creative.lifetime.hazards.terms import LifeTerms
from adwright.creative.lifetime.hazards.training_spells import (
    TrainingSpells,
    hash_of,
    typical_ends,
)
from tests.support.data.small_spells import small_spells

TERMS = LifeTerms(short=(0.0, 1.0, 2.0), long=(0.0, 2.0, 4.0, 13.0))
TABLE = small_spells(300)


def _spells(terms: LifeTerms = TERMS) -> TrainingSpells:
    return TrainingSpells(TABLE, InputSpec.fit(TABLE), terms, None)


def test_the_curve_of_all_is_the_product_over_literal_bins() -> None:
    ended = typical_ends(_spells().marginal_logits(TERMS, 1), TERMS, TABLE.causes)
    left, found = 1.0, [0.0]
    for low, high in zip(TERMS.joined, TERMS.joined[1:], strict=False):
        through = (TABLE.time >= high) | (TABLE.ended & (TABLE.time > low))
        died = through & TABLE.ended & (TABLE.time <= high)
        there = np.count_nonzero(through)
        left *= 1 - (np.count_nonzero(died) + 0.5) / (there + 1)
        found.append(1 - left)
    np.testing.assert_allclose(ended, found, atol=1e-6)


def test_the_curve_of_all_counts_the_ends_of_all_causes() -> None:
    two = replace(TABLE, causes=("a", "b"), cause=np.where(TABLE.cause > 0, 1, 0).astype(np.int8))
    two.cause[::3] = np.where(two.cause[::3] > 0, 2, 0)
    spells = TrainingSpells(two, InputSpec.fit(two), TERMS, None)
    both = typical_ends(spells.marginal_logits(TERMS, 2), TERMS, two.causes)
    one = typical_ends(_spells().marginal_logits(TERMS, 1), TERMS, TABLE.causes)
    np.testing.assert_allclose(both, one, atol=0.01)


def test_spells_that_teach_nothing_are_said_or_refused(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "adwright"):
        _spells(LifeTerms(short=(0.0, 3.0), long=()))
    assert "teach nothing" in caplog.text
    with pytest.raises(DataError, match="no spell was at risk"):
        _spells(LifeTerms(short=(20.0, 30.0), long=()))


def test_a_hash_is_of_all_that_training_reads() -> None:
    vectors = {"text": np.zeros((300, 2), np.float32)}
    changed = TABLE.numbers.copy()
    changed[3, 1] += 1
    hashes = {
        hash_of(TABLE, None),
        hash_of(TABLE, vectors),
        hash_of(replace(TABLE, numbers=changed), None),
        hash_of(replace(TABLE, unit="day"), None),
    }
    assert len(hashes) == 4
    assert hash_of(small_spells(300), None) == hash_of(TABLE, None)
