"""The item-item rule in a cascade."""

from __future__ import annotations

import numpy as np
import pytest

from adwright.data.sequences.next_log import log_of_task
from adwright.delivery.cascade.cascade import Cascade, CascadeConfig
from adwright.delivery.stages.histories import Histories, visit_requests
from adwright.delivery.stages.protocols import Shortlist
from adwright.delivery.stages.sources import NeighbourScorer, NeighbourSource, request_pasts
from adwright.models.retrieval.item_item import ItemItemConfig
from adwright.training.retrieval.item_item import fit_item_item
from tests.support.delivery.cascade_parts import histories, request, task, two_tower

LOG = log_of_task(task())
MODEL = fit_item_item(LOG, ItemItemConfig(own=0.3))


def test_a_request_is_asked_as_the_visit_was() -> None:
    visits = task().visits("test")
    batch = histories().batch(visit_requests(task(), visits))
    found, expected = request_pasts(batch), LOG.pasts(LOG.test)
    for name in ("item", "back", "offsets"):
        assert np.array_equal(getattr(found, name), getattr(expected, name))


@pytest.mark.parametrize("repeats", [False, True])
def test_the_source_finds_the_best(repeats: bool) -> None:
    batch = histories().batch([request("u1"), request("nobody"), request("u4")])
    found = NeighbourSource(MODEL, repeats=repeats).find(batch, 4)
    pasts = request_pasts(batch)
    codes, _ = MODEL.best(pasts, 4, unseen=not repeats)
    assert [one.tolist() for one in found.lists()] == [row[row > 0].tolist() for row in codes]
    assert not len(found.lists()[1])
    had = {*batch.item[: batch.offsets[1]].tolist()}
    assert bool(had & {*found.lists()[0].tolist()}) == repeats


def test_the_scorer_scores_what_it_is_handed() -> None:
    batch = histories().batch([request("u1"), request("nobody"), request("u4")])
    items = Shortlist.of([np.array([4, 2, 9]), np.array([12]), np.array([1])])
    scorer = NeighbourScorer(MODEL)
    whole = MODEL.scores(request_pasts(batch))
    expected = whole[items.owner, items.codes]
    np.testing.assert_allclose(scorer.score(batch, items), expected, rtol=1e-5, atol=1e-7)
    assert not scorer.probability
    source = NeighbourSource(MODEL)
    few, many = batch.some([1]), batch
    assert source.cost(few, 4).flops == 0 < source.cost(many, 4).flops
    assert scorer.cost(many, items) == source.cost(many, 9)


def test_a_cascade_takes_both() -> None:
    known: Histories = histories()
    queries_only = two_tower()
    cascade = Cascade(
        known,
        vectors=NeighbourSource(MODEL),  # type: ignore[arg-type]
        coarse=NeighbourScorer(MODEL),
        fine=None,
        count=queries_only.count,
        config=CascadeConfig(retrieve=5, past=0, coarse=5),
    )
    (found,) = cascade.recommend_many([request("u1")])
    codes, _ = MODEL.best(request_pasts(known.batch([request("u1")])), 5)
    assert found.item_ids == tuple(task().items.ids[code - 1] for code in codes[0])
