from __future__ import annotations

import numpy as np

from adwright.delivery.stages.protocols import Shortlist
from adwright.delivery.stages.sources import PopularScorer, PopularSource
from tests.support.delivery.cascade_parts import histories, request

KNOWN = histories()
COUNT = np.array([9, *range(12)])
VECTORS = np.random.default_rng(0).normal(size=(13, 4)).astype(np.float32)
BATCH = KNOWN.batch([request("u1"), request("nobody")])


def test_everybody_gets_the_items_of_the_most_events() -> None:
    found = PopularSource(COUNT, VECTORS).find(BATCH, 3)
    assert [codes.tolist() for codes in found.lists()] == [[12, 11, 10]] * 2
    every = PopularSource(COUNT, VECTORS).find(BATCH, 99)
    assert sorted(every.lists()[0].tolist()) == list(range(1, 13))


def test_similar_items_are_those_of_the_highest_cosine() -> None:
    codes, cosine = PopularSource(COUNT, VECTORS).similar(5, 3)
    units = VECTORS / np.linalg.norm(VECTORS, axis=1, keepdims=True)
    expected = units @ units[5]
    expected[[0, 5]] = -np.inf
    assert codes.tolist() == np.argsort(-expected)[:3].tolist()
    np.testing.assert_allclose(cosine, expected[codes], rtol=1e-5)


def test_own_items_come_first_by_how_often_then_the_popular() -> None:
    every = Shortlist.of([np.arange(1, 13)] * 2)
    score = PopularScorer(COUNT).score(BATCH, every)
    own = np.bincount(BATCH.items()[0], minlength=13)[1:]
    expected = sorted(range(12), key=lambda n: (-own[n], -COUNT[n + 1]))
    assert np.argsort(-score[:12], kind="stable").tolist() == expected
    assert np.argsort(-score[12:], kind="stable").tolist() == list(range(11, -1, -1))


def test_the_costs_grow_with_what_is_asked() -> None:
    source, scorer = PopularSource(COUNT, VECTORS), PopularScorer(COUNT)
    assert source.cost(BATCH, 10).bytes > source.cost(BATCH, 2).bytes
    few, many = (Shortlist.of([np.arange(1, n)] * 2) for n in (3, 9))
    assert scorer.cost(BATCH, many).bytes > scorer.cost(BATCH, few).bytes
