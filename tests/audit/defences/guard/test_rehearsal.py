from __future__ import annotations

import numpy as np
import pytest

from adwright.audit.defences.guard.features import GuardText
from adwright.audit.defences.guard.guard import (
    USUAL,
    fluent_families,
    gibberish,
    inserted,
    rehearse,
)
from adwright.core.errors import ConfigError, DataError
from tests.support.audit.defended import honest_guard_texts

HONEST = honest_guard_texts(40)


def test_every_text_is_attacked_and_its_record_kept() -> None:
    made = rehearse(HONEST, np.random.default_rng(0))
    assert len(made) == len(HONEST)
    for before, after in zip(HONEST, made, strict=True):
        assert after.text != before.text
        assert (after.rest, after.name, after.merchant) == (
            before.rest,
            before.name,
            before.merchant,
        )


def test_the_generator_decides() -> None:
    first, again = (rehearse(HONEST, np.random.default_rng(1)) for _ in range(2))
    assert first == again
    assert rehearse(HONEST, np.random.default_rng(2)) != first


def test_kinds_can_be_chosen() -> None:
    assert USUAL.count("fluent") == 2
    fluent = rehearse(HONEST, np.random.default_rng(0), kinds=("fluent",))
    assert not any("{name}" in one.text or "{kind}" in one.text for one in fluent)
    with pytest.raises(ConfigError, match="no such kind"):
        rehearse(HONEST, np.random.default_rng(0), kinds=())
    with pytest.raises(ConfigError, match="no such kind"):
        rehearse(HONEST, np.random.default_rng(0), kinds=("other",))  # type: ignore[arg-type]
    with pytest.raises(DataError, match="no text to attack"):
        rehearse([GuardText(" ")], np.random.default_rng(0))


def test_lower_case_merchants_are_imitated() -> None:
    titles = honest_guard_texts(60, merchant="specs")
    fluent = rehearse(titles, np.random.default_rng(0), kinds=("fluent",))
    assert 0.3 < np.mean([one.text == one.text.lower() for one in fluent]) < 0.95


def test_gibberish_has_as_many_pieces_and_no_order() -> None:
    rng = np.random.default_rng(0)
    short, long = gibberish(["tea"], 5, rng), gibberish(["tea"], 60, rng)
    assert len(long) > len(short) > 0
    assert gibberish(["tea"], 60, rng) != long


def test_places() -> None:
    rng = np.random.default_rng(0)
    made = {inserted("a b", "X", rng) for _ in range(60)}
    assert made == {"a b X", "X a b", "X", "a X b"}
    assert inserted("", "X", rng) == "X"


def test_families_have_sentences() -> None:
    families = fluent_families()
    assert {"override", "review", "flood"} <= families.keys()
    assert all(len(some) >= 5 for some in families.values())
