from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.authoring.instructions.recombine import even_text, first_alike, signatures, similarity
from adwright.core.errors import ConfigError

PHONE = "apple iphone 8 plus 64gb silver sim free smartphone unlocked"
TEXTS = [
    PHONE,
    "Apple iPhone 8 Plus, 64GB - silver, SIM-free smartphone (unlocked)",
    "bosch serie 4 washing machine 8 kg 1400 rpm white",
    PHONE + "!",
    "bosch serie 4 washing machine 8 kg 1400 rpm white new",
    "a quite different thing about tea",
]


def jaccard(one: str, other: str) -> float:
    """The literal similarity of two sets of runs of five characters."""
    sets = []
    for text in (even_text(one), even_text(other)):
        padded = text.ljust(5, "\0")
        sets.append({padded[at : at + 5] for at in range(len(padded) - 4)})
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def test_the_estimate_is_near_the_literal_similarity() -> None:
    words = [f"word{number}" for number in range(60)]
    texts = [" ".join(words[at : at + 30]) for at in range(0, 31, 3)]
    signs = np.concatenate([signatures(texts, seed=seed) for seed in range(8)], axis=1)
    for at, text in enumerate(texts):
        found = similarity(signs, np.array([0]), np.array([at]))[0]
        assert found == pytest.approx(jaccard(texts[0], text), abs=0.08)


def test_what_reads_the_same_is_found() -> None:
    assert first_alike(signatures(TEXTS), 0.75).tolist() == [0, 0, 2, 0, 2, 5]
    assert first_alike(signatures(TEXTS), 1.0).tolist() == [0, 0, 2, 0, 4, 5]


def test_the_seed_changes_signatures_and_not_equality() -> None:
    one, other = signatures(TEXTS, seed=1), signatures(TEXTS, seed=2)
    assert (one != other).any()
    assert (signatures(TEXTS, seed=1) == one).all()
    assert first_alike(other, 1.0).tolist() == [0, 0, 2, 0, 4, 5]


def test_nothing_and_little() -> None:
    assert signatures([]).shape == (0, 64)
    assert first_alike(signatures([]), 0.9).tolist() == []
    assert first_alike(signatures(["tea"]), 0.9).tolist() == [0]
    assert first_alike(signatures(["", "!!", "tea", "TEA"]), 0.9).tolist() == [0, 0, 2, 2]


@given(st.lists(st.text(max_size=30), max_size=12))
def test_each_leads_to_an_earlier_one_that_stays(texts: list[str]) -> None:
    first = first_alike(signatures(texts), 0.9)
    assert (first <= np.arange(len(texts))).all()
    assert (first[first] == first).all()
    for at, text in enumerate(texts):
        if first[at] != at:
            assert jaccard(text, texts[first[at]]) > 0.5
        if even_text(text) in map(even_text, texts[:at]):
            assert first[at] < at


def test_chains_lead_to_their_beginning() -> None:
    words = [f"w{number:03d}" for number in range(130)]
    chain = [" ".join(words[at : at + 100]) for at in range(0, 31, 2)]
    assert jaccard(chain[0], chain[-1]) < 0.6
    first = first_alike(signatures(chain), 0.8)
    assert len(set(first.tolist())) < 4


@pytest.mark.parametrize("least", [0, -1, 1.01])
def test_a_similarity_is_a_share(least: float) -> None:
    with pytest.raises(ConfigError, match="is a share"):
        first_alike(signatures(TEXTS), least)


def test_many_equal_texts_cost_little() -> None:
    signs = np.repeat(signatures(TEXTS[:1]), 30_000, axis=0)
    start = time.process_time()
    assert not first_alike(signs, 0.9).any()
    assert time.process_time() - start < 5
