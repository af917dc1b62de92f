"""HSTU in the cascade says of a request what it says of the visit."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
import torch

from adwright.core.errors import ConfigError
from adwright.delivery.index.index import build_index
from adwright.delivery.stages.histories import Histories, visit_requests
from adwright.delivery.stages.protocols import Shortlist
from adwright.delivery.stages.sequence import SequenceQueries, SequenceScorer, SequenceSource
from adwright.models.sequential.sequence_model import SequenceModel
from adwright.training.sequential.artifact import SequenceArtifact
from adwright.training.sequential.ranks import visit_queries, visit_scorer
from tests.support.delivery.cascade_parts import LATER, histories, request, task
from tests.support.delivery.sequence_parts import hstu, hstu_ranker, sasrec

MODELS: dict[str, dict[str, Any]] = {
    "plain": {},
    "popularity": {"popularity": True},
    "repeats": {"repeats": True},
    "both": {"popularity": True, "repeats": True},
    "both, cut": {"popularity": True, "repeats": True, "max_length": 7},
    "last event": {"request_time": "last_event", "repeats": True},
    "no time": {"time": False, "repeats": True},
}
EVERY = np.arange(1, 13)


def model_of(artifact: SequenceArtifact) -> SequenceModel:
    assert isinstance(artifact.model, SequenceModel)
    return artifact.model


def visits_with_a_past() -> np.ndarray:
    source = task()
    return np.flatnonzero(source.visit_end > source.user_offsets[source.visit_user])


@pytest.mark.parametrize("name", MODELS)
def test_scores_are_those_of_the_visits(name: str) -> None:
    artifact, known = hstu(**MODELS[name]), histories()
    visits = visits_with_a_past()
    batch = known.batch(visit_requests(task(), visits))
    queries = SequenceQueries(artifact, known)
    wanted = visit_queries(model_of(artifact), task(), visits).numpy()
    np.testing.assert_allclose(queries(batch), wanted, rtol=1e-4, atol=1e-4)
    scores = visit_scorer(model_of(artifact), task())(visits).detach().numpy()[:, 1:]
    lists = Shortlist.of([EVERY] * len(visits))
    found = SequenceScorer(queries).score(batch, lists).reshape(-1, len(EVERY))
    np.testing.assert_allclose(found, scores, rtol=1e-4, atol=1e-3)
    for k in (1, 4, 99):
        best = SequenceSource(queries).find(batch, k).lists()
        for codes, score in zip(best, scores, strict=True):
            assert len(codes) == min(k, len(EVERY))
            kept = np.isin(EVERY, codes)
            assert score[kept].min() >= score[~kept].max(initial=-np.inf) - 1e-3


def test_own_items_come_in_that_the_index_does_not_find() -> None:
    artifact, known = hstu(repeats=True), histories()
    repeats = model_of(artifact).repeats
    assert repeats is not None
    with torch.no_grad():
        repeats.table += 100.0
    batch = known.batch([request("u1")])
    queries = SequenceQueries(artifact, known)
    own = np.unique(batch.item)
    plain = SequenceSource(SequenceQueries(hstu(), known)).find(batch, 3).codes
    few = build_index("exact", artifact.vectors.shape[1])
    others = np.setdiff1d(EVERY, own)
    few.add(others, artifact.vectors[others])
    for source in (SequenceSource(queries), SequenceSource(queries, few)):
        found = source.find(batch, 3).codes
        assert set(found.tolist()) <= set(own.tolist())
    assert not set(plain.tolist()) <= set(own.tolist())


def counted(artifact: SequenceArtifact, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many people the model was asked about, call by call."""
    asked: list[int] = []
    real = model_of(artifact).queries

    def queries(batch: Any) -> Any:
        asked.append(len(batch))
        return real(batch)

    monkeypatch.setattr(artifact.model, "queries", queries)
    return asked


def test_queries_are_kept_until_an_event_or_the_buckets_change(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    artifact, known = hstu(), histories()
    asked = counted(artifact, monkeypatch)
    queries = SequenceQueries(artifact, known)
    first = queries(known.batch([request("u1"), request("u2")]))
    again = queries(known.batch([request("u2"), request("u1")]))
    assert asked == [2]
    assert np.array_equal(again, first[::-1])
    # What happened 23 days ago happened 23 days ago a second later, too.
    soon = request("u1", time=LATER + timedelta(seconds=1))
    kept = queries(known.batch([soon]))
    assert asked == [2]
    fresh = SequenceQueries(artifact, known)(known.batch([soon]))
    np.testing.assert_allclose(kept, fresh, rtol=1e-6)
    late = queries(known.batch([request("u1", time=LATER + timedelta(days=60))]))
    assert asked[2:] == [1]
    assert not np.allclose(late, first[:1], rtol=1e-4)
    known.append("u1", ["i3"], [LATER - timedelta(hours=1)])
    changed = queries(known.batch([request("u1")]))
    assert asked[3:] == [1]
    assert not np.allclose(changed, first[:1], rtol=1e-4)


@pytest.mark.parametrize(
    "artifact",
    [hstu(request_time="last_event"), hstu(time=False), sasrec()],
    ids=["last event", "no time", "sasrec"],
)
def test_a_model_that_does_not_read_the_moment_is_asked_once(
    artifact: SequenceArtifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    known, asked = histories(), counted(artifact, monkeypatch)
    queries = SequenceQueries(artifact, known)
    for days in (0, 1, 400):
        queries(known.batch([request("u1", time=LATER + timedelta(days=days))]))
    assert asked == [1]


@pytest.mark.parametrize("popularity", [False, True])
def test_somebody_unknown_gets_popular_items(popularity: bool) -> None:
    artifact, known = hstu(popularity=popularity, repeats=True), histories()
    bias = model_of(artifact).bias
    if bias is not None:
        with torch.no_grad():
            bias.copy_(torch.from_numpy(np.log(1 + artifact.count)))
    batch = known.batch([request("nobody"), request("u1")])
    queries = SequenceQueries(artifact, known)
    found = SequenceSource(queries).find(batch, 4).lists()[0]
    popular = 1 + np.argsort(-artifact.count[1:], kind="stable")
    assert set(artifact.count[found]) == set(artifact.count[popular[:4]])
    score = SequenceScorer(queries).score(batch, Shortlist.of([EVERY, EVERY[:2]]))
    order = EVERY[np.argsort(-score[: len(EVERY)], kind="stable")]
    assert np.array_equal(artifact.count[order], artifact.count[popular])
    assert np.isfinite(score).all()


def test_nobody_asks_for_nothing() -> None:
    known = histories()
    queries = SequenceQueries(hstu(repeats=True), known)
    batch = known.batch([request("u1"), request("nobody")])
    nothing = SequenceScorer(queries).score(batch, Shortlist.of([EVERY[:0], EVERY[:0]]))
    assert nothing.shape == (0,)
    assert queries(known.batch([])).shape == (0, 8)


def test_similar_items_are_those_of_the_vectors() -> None:
    artifact, known = hstu(popularity=True), histories()
    codes, cosine = SequenceSource(SequenceQueries(artifact, known)).similar(3, 4)
    unit = artifact.vectors[:, :8]
    products = unit @ unit[3]
    products[[0, 3]] = -np.inf
    assert codes.tolist() == np.argsort(-products)[:4].tolist()
    np.testing.assert_allclose(cosine, products[codes])


def test_costs_grow_with_what_is_asked() -> None:
    known = histories()
    queries = SequenceQueries(hstu(), known)
    source, scorer = SequenceSource(queries), SequenceScorer(queries)
    batch = known.batch([request("u1"), request("u2")])
    assert source.cost(batch, 5).flops == 2 * 2 * 13 * 8
    few, many = (scorer.cost(batch, Shortlist.of([EVERY[:n]] * 2)) for n in (2, 9))
    assert 0 < few.flops < many.flops
    assert 0 < few.bytes < many.bytes


def test_what_cannot_search_is_refused() -> None:
    with pytest.raises(ConfigError, match="cannot search"):
        SequenceQueries(hstu_ranker(), histories())
    other = replace(task().items, ids=tuple(f"x{n}" for n in range(12)))
    with pytest.raises(ConfigError, match="different items"):
        SequenceQueries(hstu(), Histories(other))
