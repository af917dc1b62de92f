from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
import torch

from adwright.core.errors import ConfigError
from adwright.delivery.index.index import build_index
from adwright.delivery.stages.histories import Histories
from adwright.delivery.stages.protocols import Shortlist
from adwright.delivery.stages.sources import (
    PastSource,
    QueryVectors,
    VectorScorer,
    VectorSource,
    catalogue_index,
)
from adwright.models.retrieval.multi_interest import combine
from adwright.training.retrieval.artifact import RetrieverArtifact
from tests.support.delivery.cascade_parts import (
    LATER,
    hcn,
    histories,
    on_day,
    request,
    task,
    two_tower,
)

LISTS = [np.array([4, 2, 9]), np.array([], np.int64), np.array([12])]
MODELS = pytest.mark.parametrize("artifact", [two_tower(), hcn()], ids=["two_tower", "hcn"])


class Counted(RetrieverArtifact):
    """Counts the people that are computed."""

    def query_vectors(self, batch):  # type: ignore[no-untyped-def]
        object.__setattr__(self, "asked", getattr(self, "asked", 0) + len(batch))
        return super().query_vectors(batch)


def counted() -> Counted:
    one = two_tower()
    return Counted(one.model, one.spec, one.catalogue, one.count, one.tower)


@MODELS
def test_vectors_are_those_of_the_task(artifact: RetrieverArtifact) -> None:
    """At the full hour of a visit, a request asks what the task's query asks."""
    source, known = task(), histories()
    visits = source.visits("test")
    asked = [request(source.users[source.visit_user[v]], time=on_day(7)) for v in visits]
    batch = source.batch(visits)
    # The task's weekday is made up by the tests: say it.
    asked = [replace(r, context={"weekday": str(1 + 7 % 7), "hour": "9"}) for r in asked]
    found = QueryVectors(artifact, known)(known.batch(asked))
    np.testing.assert_allclose(found, artifact.query_vectors(batch), rtol=1e-5, atol=1e-5)


def test_vectors_are_kept_until_the_history_the_hour_or_the_context_changes() -> None:
    artifact, known = counted(), histories()
    queries = QueryVectors(artifact, known)

    def asked(*requests) -> int:  # type: ignore[no-untyped-def]
        before = getattr(artifact, "asked", 0)
        queries(known.batch(requests))
        return getattr(artifact, "asked", 0) - before

    assert asked(request("u1"), request("u2")) == 2
    assert asked(request("u1"), request("u3"), request("u2")) == 1
    assert asked(request("u1", time=LATER + timedelta(minutes=59))) == 0
    assert asked(request("u1", time=LATER + timedelta(minutes=60))) == 1
    assert asked(request("u1", time=LATER)) == 1
    known.append("u1", ["i0"], [LATER - timedelta(hours=1)])
    assert asked(request("u1")) == 1
    assert asked(request("u1", context={"hour": "9"})) == 1
    # Both moments of one person in one batch.
    assert asked(request("u2", time=on_day(2)), request("u2", time=on_day(5))) == 2
    assert asked(request("x"), request("y")) == 2  # nobody is known: number 0 for both
    assert asked(request("z")) == 0


def test_what_was_asked_for_longest_ago_goes_first() -> None:
    artifact, known = counted(), histories()
    queries = QueryVectors(artifact, known, keep=2)
    for user in ("u1", "u2", "u1", "u3", "u1"):
        queries(known.batch([request(user)]))
    assert artifact.asked == 3  # type: ignore[attr-defined]
    queries(known.batch([request("u2")]))
    assert artifact.asked == 4  # type: ignore[attr-defined]


def test_kept_and_computed_vectors_are_in_their_places() -> None:
    known = histories()
    queries = QueryVectors(two_tower(), known)
    asked = [request(f"u{n}") for n in (4, 1, 9, 0)]
    fresh = QueryVectors(two_tower(), known)(known.batch(asked))
    queries(known.batch([asked[2], asked[0]]))
    np.testing.assert_allclose(queries(known.batch(asked)), fresh, rtol=1e-5)


@MODELS
@pytest.mark.parametrize("k", [4, 99])
def test_the_nearest_items_are_found(artifact: RetrieverArtifact, k: int) -> None:
    known = histories()
    source = VectorSource(QueryVectors(artifact, known))
    batch = known.batch([request("u1"), request("nobody")])
    vectors = source.queries(batch)
    for codes, mine in zip(source.find(batch, k).lists(), vectors, strict=True):
        best = (artifact.vectors[1:] @ mine.T).max(1)
        assert set(codes.tolist()) == set((1 + np.argsort(-best)[:k]).tolist())
    cost = source.cost(batch, k)
    assert cost.flops == 2 * 2 * artifact.interests * artifact.vectors.size
    assert cost.bytes > 0


@MODELS
def test_scores_are_the_models_own(artifact: RetrieverArtifact) -> None:
    known = histories()
    batch = known.batch([request("u1"), request("u2"), request("nobody")])
    stage = VectorScorer(QueryVectors(artifact, known))
    found = stage.score(batch, Shortlist.of(LISTS))
    vectors = stage.queries(batch)
    wanted = [
        float(combine(torch.from_numpy(mine @ artifact.vectors[c]), *artifact.weighting, dim=0))
        for mine, codes in zip(vectors, LISTS, strict=True)
        for c in codes
    ]
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
    assert not stage.probability


def test_cost_is_one_product_a_candidate() -> None:
    known = histories()
    stage = VectorScorer(QueryVectors(hcn(), known))
    batch = known.batch([request("u1"), request("u2"), request("nobody")])
    cost = stage.cost(batch, Shortlist.of(LISTS))
    assert cost.flops == 2 * 4 * 3 * hcn().vectors.shape[1]


def test_an_index_can_be_given() -> None:
    known = histories()
    few = build_index("exact", two_tower().vectors.shape[1])
    few.add(np.array([3, 7]), two_tower().vectors[[3, 7]])
    source = VectorSource(QueryVectors(two_tower(), known), few)
    found = source.find(known.batch([request("u1")]), 5)
    assert sorted(found.codes.tolist()) == [3, 7]
    assert len(catalogue_index(two_tower(), "exact")) == len(task().items) - 1


def test_the_past_comes_by_frequency_then_by_the_latest() -> None:
    known = Histories(task().items)
    items = ["i1", "i2", "i2", "lost", "i3", "i1", "i4"]
    known.append("ann", items, [on_day(n) for n in range(len(items))])
    batch = known.batch([request("ann"), request("nobody")])
    assert sorted(PastSource().find(batch, 10).codes.tolist()) == [2, 3, 4, 5]
    assert PastSource().find(batch, 3).lists()[0].tolist() == [2, 3, 5]
    assert PastSource().find(batch, 3).lists()[1].tolist() == []
    assert PastSource().cost(batch, 3).bytes > 0


def test_another_catalogue_is_refused() -> None:
    other = replace(task().items, ids=tuple(f"x{n}" for n in range(12)))
    with pytest.raises(ConfigError, match="different items"):
        QueryVectors(two_tower(), Histories(other))
