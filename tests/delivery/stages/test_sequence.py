"""The fine stage with kept histories: what it keeps, and that it says what the ranker says."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from adwright.core.errors import ConfigError
from adwright.data.batches.jagged import Jagged
from adwright.data.features import Feature, FeatureSpec
from adwright.data.popularity import personal
from adwright.data.sequences.item_sequences import SequenceBatch
from adwright.data.tasks.negatives import popular_share
from adwright.delivery.index.index import build_index
from adwright.delivery.stages.histories import Histories, RequestBatch, visit_requests
from adwright.delivery.stages.protocols import Shortlist
from adwright.delivery.stages.row_ranker import FineRanker
from adwright.delivery.stages.sequence import (
    FalconRanker,
    SequenceQueries,
    SequenceScorer,
    SequenceSource,
    require_catalogue,
    sequence_batch,
)
from adwright.delivery.stages.sequence import items_of as sequence_items_of
from adwright.models.ranking.hstu_target import HSTUTarget, HSTUTargetConfig
from adwright.models.sequential.hstu_ranker import HSTURanker
from adwright.models.sequential.mfalcon import Falcon
from adwright.models.sequential.sequence_model import SequenceModel
from adwright.training.ranking.ranker import Ranker
from adwright.training.sequential.artifact import SequenceArtifact
from adwright.training.sequential.ranks import visit_batch, visit_scorer
from tests.support.delivery import sequence_parts
from tests.support.delivery.cascade_parts import (
    DRAWS,
    EMBEDDING,
    LATER,
    histories,
    on_day,
    ranker,
    request,
    task,
)
from tests.support.delivery.sequence_parts import hstu_ranker, sasrec


@pytest.mark.parametrize("longest", [5, 40])
def test_a_request_reads_what_its_visit_reads(longest: int) -> None:
    visits = np.arange(len(task()))
    found = sequence_batch(
        histories().batch(visit_requests(task(), visits)), longest, by_moment=True
    )
    wanted = visit_batch(task(), visits, longest)
    for name in ("time", "next_time"):
        assert torch.equal(getattr(found, name), getattr(wanted, name))
    assert torch.equal(found.items.values, wanted.items.values)
    assert torch.equal(found.items.offsets, wanted.items.offsets)


def test_times_actions_and_instants_are_as_asked() -> None:
    known = Histories(task().items)
    moment = LATER + timedelta(microseconds=999_999)
    known.append("ann", ["i1", "i2", "lost"], [LATER, moment, moment])
    batch = known.batch([request("ann", time=LATER + timedelta(seconds=9)), request("nobody")])
    inputs = sequence_batch(batch, 9)
    second = int(LATER.timestamp())
    assert inputs.items.values.tolist() == [2, 3, 0]
    assert inputs.items.lengths.tolist() == [3, 0]
    assert inputs.time is not None
    assert inputs.next_time is not None
    assert inputs.time.tolist() == [second] * 3
    assert inputs.next_time.tolist() == [second, second, second + 9]
    assert inputs.action is None
    by_moment = sequence_batch(batch, 9, by_moment=True).next_time
    assert by_moment is not None
    assert by_moment.tolist() == [second + 9] * 3
    bare = sequence_batch(batch, 2, timed=False, acted=True)
    assert bare.time is None
    assert bare.action is not None
    assert bare.action.tolist() == [1, 1]
    assert bare.items.values.tolist() == [3, 0]


def test_a_model_has_the_catalogue_of_its_ids() -> None:
    items = sequence_items_of(sequence_parts.hstu())
    assert items.ids == task().items.ids
    assert len(items) == len(task().items)
    require_catalogue(sequence_parts.hstu(), Histories(items))
    with pytest.raises(ConfigError, match="different items"):
        require_catalogue(sequence_parts.hstu(), Histories(replace(items, ids=items.ids[1:])))


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
    artifact, known = sequence_parts.hstu(**MODELS[name]), histories()
    visits = visits_with_a_past()
    batch = known.batch(visit_requests(task(), visits))
    queries = SequenceQueries(artifact, known)
    model = model_of(artifact)
    with torch.no_grad():
        wanted = model.queries(visit_batch(task(), visits, model.max_length))
    np.testing.assert_allclose(queries(batch), wanted, rtol=1e-4, atol=1e-4)
    scores = visit_scorer(model, task())(visits).detach().numpy()[:, 1:]
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
    artifact, known = sequence_parts.hstu(repeats=True), histories()
    repeats = model_of(artifact).repeats
    assert repeats is not None
    with torch.no_grad():
        repeats.table += 100.0
    batch = known.batch([request("u1")])
    queries = SequenceQueries(artifact, known)
    own = np.unique(batch.item)
    plain = SequenceSource(SequenceQueries(sequence_parts.hstu(), known)).find(batch, 3).codes
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
    artifact, known = sequence_parts.hstu(), histories()
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
    [sequence_parts.hstu(request_time="last_event"), sequence_parts.hstu(time=False), sasrec()],
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
    artifact, known = sequence_parts.hstu(popularity=popularity, repeats=True), histories()
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
    queries = SequenceQueries(sequence_parts.hstu(repeats=True), known)
    batch = known.batch([request("u1"), request("nobody")])
    nothing = SequenceScorer(queries).score(batch, Shortlist.of([EVERY[:0], EVERY[:0]]))
    assert nothing.shape == (0,)
    assert queries(known.batch([])).shape == (0, 8)


def test_similar_items_are_those_of_the_vectors() -> None:
    artifact, known = sequence_parts.hstu(popularity=True), histories()
    codes, cosine = SequenceSource(SequenceQueries(artifact, known)).similar(3, 4)
    unit = artifact.vectors[:, :8]
    products = unit @ unit[3]
    products[[0, 3]] = -np.inf
    assert codes.tolist() == np.argsort(-products)[:4].tolist()
    np.testing.assert_allclose(cosine, products[codes])


def test_what_cannot_search_is_refused() -> None:
    with pytest.raises(ConfigError, match="cannot search"):
        SequenceQueries(hstu_ranker(), histories())
    other = replace(task().items, ids=tuple(f"x{n}" for n in range(12)))
    with pytest.raises(ConfigError, match="different items"):
        SequenceQueries(sequence_parts.hstu(), Histories(other))


PEOPLE = ["u1", "nobody", "u6", "u1"]


def batch_of(known: Histories) -> RequestBatch:
    days = [9, 9, 4, 3]
    return known.batch([request(u, time=on_day(day)) for u, day in zip(PEOPLE, days, strict=True)])


def items_of(sizes: list[int]) -> Shortlist:
    rng = np.random.default_rng(0)
    return Shortlist.of([rng.choice(EVERY, size, replace=False) for size in sizes])


def literal(batch: RequestBatch, n: int, codes: np.ndarray, limit: int = 39) -> np.ndarray:
    """The logits of one request, read as it is written down."""
    model = hstu_ranker().model
    assert isinstance(model, HSTURanker)
    events = slice(max(batch.offsets[n], batch.offsets[n + 1] - limit), batch.offsets[n + 1])
    item = torch.from_numpy(batch.item[events])
    person = SequenceBatch.serving(
        Jagged(item, torch.tensor([0, len(item)])),
        time=torch.from_numpy(batch.time[events] // 1_000_000),
        action=torch.ones_like(item),
    )
    now = int(batch.at[n] // 1_000_000)
    falcon = Falcon(model, kernel="plain")
    return falcon.score(person, torch.from_numpy(codes), request_time=now)[:, 0].double().numpy()


def test_scores_are_those_of_the_ranker_person_by_person() -> None:
    known = histories()
    batch, items = batch_of(known), items_of([5, 3, 12, 1])
    found = FalconRanker(hstu_ranker(), known).score(batch, items)
    for n, (start, end) in enumerate(items.bounds()):
        logits = literal(batch, n, items.codes[start:end])
        np.testing.assert_allclose(found[start:end], 1 / (1 + np.exp(-logits)), rtol=1e-5)
    assert np.ptp(found) > 0


@pytest.mark.parametrize("longest", [6, 40])
def test_the_draws_are_undone_by_what_the_ranker_reads(longest: int) -> None:
    known = histories()
    batch, items = batch_of(known), items_of([5, 3, 12, 1])
    artifact = hstu_ranker(max_length=longest)
    raw = FalconRanker(artifact, known).score(batch, items)
    undone = FalconRanker(artifact, known, DRAWS).score(batch, items)
    share = popular_share(artifact.count)
    for row, (owner, code) in enumerate(zip(items.owner, items.codes, strict=True)):
        if PEOPLE[owner] == "nobody":
            continue
        first, end = batch.offsets[owner : owner + 2]
        past = set(batch.item[max(first, end - longest + 1) : end].tolist())
        term = DRAWS.log_expected(
            share[[code]],
            items=12,
            had=np.array([int(code) in past]),
            distinct=np.array([len(past)]),
        )[0]
        logit = np.log(raw[row] / (1 - raw[row])) + term
        assert undone[row] == pytest.approx(1 / (1 + np.exp(-logit)), rel=1e-5)


def test_of_somebody_unknown_the_training_visits_speak() -> None:
    known = histories()
    batch = known.batch([request("nobody")])
    artifact = hstu_ranker(visits=50)
    found = FalconRanker(artifact, known, DRAWS).score(batch, Shortlist.of([EVERY]))
    np.testing.assert_allclose(found, np.minimum(artifact.count[1:] / 50, 1))
    bare = replace(artifact, files={})
    found = FalconRanker(bare, known, DRAWS).score(batch, Shortlist.of([EVERY]))
    np.testing.assert_allclose(found, artifact.count[1:] / artifact.count.sum())


def test_a_history_is_read_once_and_read_on_after_an_event() -> None:
    artifact, known = hstu_ranker(), histories()
    stage = FalconRanker(artifact, known, DRAWS)
    items = Shortlist.of([EVERY])

    def counts() -> tuple[int, int, int]:
        return stage.falcon.hits, stage.falcon.extended, stage.falcon.misses

    def fresh(batch: RequestBatch) -> np.ndarray:
        return FalconRanker(artifact, known, DRAWS).score(batch, items)

    batch = known.batch([request("u1")])
    first = stage.score(batch, items)
    assert counts() == (0, 0, 1)
    # More candidates of the same request, and a later request: the same reading.
    stage.score(batch, Shortlist.of([EVERY[:3]]))
    later = known.batch([request("u1", time=LATER + timedelta(days=5))])
    np.testing.assert_allclose(stage.score(later, items), fresh(later), rtol=1e-5)
    assert counts() == (2, 0, 1)
    known.append("u1", ["i5", "i7"], [LATER - timedelta(hours=1)] * 2)
    batch = known.batch([request("u1")])
    found = stage.score(batch, items)
    assert counts() == (2, 1, 1)
    np.testing.assert_allclose(found, fresh(batch), rtol=1e-5)
    assert np.abs(found / first - 1).max() > 1e-3
    # An event that arrives late changes the middle: what lies before it stays.
    known.append("u1", ["i2"], [on_day(3) + timedelta(hours=2)])
    batch = known.batch([request("u1")])
    np.testing.assert_allclose(stage.score(batch, items), fresh(batch), rtol=1e-5)
    assert counts() == (2, 2, 1)


def test_a_history_that_is_cut_is_read_anew_after_an_event() -> None:
    artifact, known = hstu_ranker(max_length=6), histories()
    stage, items = FalconRanker(artifact, known, DRAWS), Shortlist.of([EVERY])
    for turn in range(3):
        batch = known.batch([request("u1")])
        stage.score(batch, items)
        found = stage.score(batch, items)
        fresh = FalconRanker(artifact, known, DRAWS).score(batch, items)
        np.testing.assert_allclose(found, fresh, rtol=1e-5)
        assert stage.falcon.hits == 1 + turn
        known.append("u1", [f"i{turn}"], [LATER - timedelta(minutes=9 - turn)])
    assert stage.falcon.misses + stage.falcon.extended == 3
    assert stage.falcon.misses >= 2


def test_people_do_not_touch_each_other_and_capacity_is_kept() -> None:
    known, items = histories(), items_of([5, 3, 12, 1])
    stage = FalconRanker(hstu_ranker(), known, DRAWS, capacity=1)
    batch = batch_of(known)
    together = stage.score(batch, items)
    for n, (start, end) in enumerate(items.bounds()):
        alone = stage.score(batch.some([n]), items.some([n]))
        np.testing.assert_allclose(alone, together[start:end], rtol=1e-5)
    assert len(stage.falcon) == 1
    assert len(stage.score(batch, items_of([0, 2, 0, 1]))) == 3
    assert len(stage.score(batch, items_of([0, 0, 0, 0]))) == 0


def test_many_threads_may_ask() -> None:
    known, items = histories(), items_of([5, 3, 12, 1])
    batch = batch_of(known)
    stage = FalconRanker(hstu_ranker(), known, DRAWS, capacity=2)
    alone = FalconRanker(hstu_ranker(), known, DRAWS).score(batch, items)

    def ask(turn: int) -> bool:
        rows = [turn % 4, (turn + 1) % 4]
        found = stage.score(batch.some(rows), items.some(rows))
        wanted = [alone[slice(*items.bounds()[n])] for n in rows]
        return np.allclose(found, np.concatenate(wanted), rtol=1e-5)

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(ask, range(40)))


def test_what_cannot_be_asked_is_refused() -> None:
    with pytest.raises(ConfigError, match="needs a ranker"):
        FalconRanker(sequence_parts.hstu(), histories())
    other = replace(task().items, ids=tuple(f"x{n}" for n in range(12)))
    with pytest.raises(ConfigError, match="different items"):
        FalconRanker(hstu_ranker(), Histories(other))


def as_tables(batch: RequestBatch, items: Shortlist) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The same rows and events as a person would write them down for `Ranker.score_rows`; each
    request as a person of its own."""
    source, owner = task(), items.owner
    counts = personal(
        batch.item,
        batch.time,
        batch.offsets,
        owner=owner,
        asked=items.codes,
        end=batch.offsets[owner + 1],
        at=batch.at[owner],
    )
    towns = dict(histories().profiles.select("user_id", "town").iter_rows())
    user = pl.Series([f"request {n}" for n in owner])
    ids = pl.Series(["", *source.items.ids])
    rows = pl.DataFrame(
        {
            "user_id": user,
            "item_id": ids.gather(items.codes),
            "time": batch.at[owner],
            "town": [towns.get(PEOPLE[n]) for n in owner],
            "weekday": [str(batch.requests[n].time.isoweekday()) for n in owner],
            "hour": [str(batch.requests[n].time.hour) for n in owner],
            "popularity": histories().count[items.codes],
            "recent": counts.recent,
            "recency": pl.Series(counts.recency).fill_nan(None),
        }
    )
    whose = np.repeat(np.arange(len(batch)), np.diff(batch.offsets))
    events = pl.DataFrame(
        {
            "user_id": pl.Series([f"request {n}" for n in whose], dtype=pl.String),
            "item_id": ids.gather(batch.item),
            "time": batch.time,
        }
    )
    return rows, events


def hstu(**changes: object) -> Ranker:
    """A ranker of HSTU for the features of the other one."""
    like = ranker(**changes)
    config = HSTUTargetConfig(
        width=8,
        max_length=30,
        blocks=2,
        heads=2,
        qk_width=4,
        v_width=4,
        mlp_hidden=(8,),
        embedding=EMBEDDING,
        kernel="bucketed",
    )
    torch.manual_seed(3)
    return replace(like, model=HSTUTarget(config, like.spec, like.items))


@pytest.mark.parametrize("make", [ranker, hstu], ids=["din", "hstu"])
@pytest.mark.parametrize("limit", [0, 5])
def test_scores_are_those_of_the_ranker_on_a_table(limit: int, make: Callable[..., Ranker]) -> None:
    batch, items = batch_of(histories()), items_of([5, 3, 12, 1])
    trained = make(max_history=limit)
    found = FineRanker(trained, histories()).score(batch, items)
    np.testing.assert_allclose(found, trained.score_rows(*as_tables(batch, items)), rtol=1e-5)
    assert np.ptp(found) > 0


def test_the_draws_are_undone_item_by_item() -> None:
    known = histories()
    batch, items = batch_of(known), items_of([5, 3, 12, 1])
    raw = FineRanker(ranker(), known).score(batch, items)
    undone = FineRanker(ranker(), known, DRAWS).score(batch, items)
    share = popular_share(task().count)
    for row, (owner, code) in enumerate(zip(items.owner, items.codes, strict=True)):
        past = set(batch.item[batch.offsets[owner] : batch.offsets[owner + 1]].tolist())
        term = DRAWS.log_expected(
            share[[code]],
            items=12,
            had=np.array([int(code) in past]),
            distinct=np.array([len(past)]),
        )[0]
        logit = np.log(raw[row] / (1 - raw[row])) + term
        assert undone[row] == pytest.approx(1 / (1 + np.exp(-logit)), rel=1e-5)


@pytest.mark.parametrize("make", [ranker, hstu], ids=["din", "hstu"])
def test_people_do_not_touch_each_other(make: Callable[..., Ranker]) -> None:
    known, items = histories(), items_of([5, 3, 12, 1])
    stage = FineRanker(make(), known, DRAWS)
    batch = batch_of(known)
    together = stage.score(batch, items)
    for n, (start, end) in enumerate(items.bounds()):
        alone = stage.score(batch.some([n]), items.some([n]))
        np.testing.assert_allclose(alone, together[start:end], rtol=1e-5)


@pytest.mark.parametrize("make", [ranker, hstu], ids=["din", "hstu"])
def test_a_person_without_candidates_is_passed_over(make: Callable[..., Ranker]) -> None:
    known = histories()
    stage = FineRanker(make(), known)
    assert len(stage.score(batch_of(known), items_of([0, 2, 0, 1]))) == 3
    assert len(stage.score(batch_of(known), items_of([0, 0, 0, 0]))) == 0


def test_numbers_of_the_request_reach_the_network() -> None:
    trained = ranker()
    price = Feature("hour", "bucketised", "context", edges=(1.0, 2.0))
    spec = FeatureSpec(tuple(price if f.name == "hour" else f for f in trained.spec.features))
    known = histories()
    stage = FineRanker(replace(trained, spec=spec), known)
    batch = known.batch([request("u1", context={"hour": 1.5}), request("u1")])
    inputs = stage.inputs(batch, Shortlist.of([np.array([1]), np.array([1])]))
    assert inputs.categorical["hour"].tolist() == [2, 0]


def test_what_a_request_cannot_supply_is_refused() -> None:
    trained = ranker()
    lists = Feature("tags", "multi", "context", ("a",))
    with pytest.raises(ConfigError, match="lists"):
        FineRanker(replace(trained, spec=FeatureSpec((*trained.spec.features, lists))), histories())
    fewer = replace(trained, catalogue=trained.catalogue.head(5))
    with pytest.raises(ConfigError, match="different items"):
        FineRanker(fewer, histories())
    spec = trained.spec.features
    plain = replace(trained, spec=FeatureSpec(tuple(f for f in spec if f.name != "popularity")))
    plain = replace(plain, catalogue=plain.catalogue.drop("popularity"))
    with pytest.raises(ConfigError, match="popularity"):
        FineRanker(plain, histories(), DRAWS)
