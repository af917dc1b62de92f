from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
import torch

from adwright.core.errors import ConfigError, ValueInvalidError
from adwright.data.features import Feature
from adwright.data.sequences.datasets import log_of_task
from adwright.delivery.cascade.cascade import Cascade, CascadeConfig
from adwright.delivery.index.index import build_index
from adwright.delivery.stages.histories import Histories, RequestBatch, visit_requests
from adwright.delivery.stages.protocols import Shortlist
from adwright.delivery.stages.sources import (
    Blend,
    BlendedScorer,
    KeptByUser,
    NeighbourScorer,
    NeighbourSource,
    PastSource,
    PopularScorer,
    PopularSource,
    ProfileCodes,
    QueryVectors,
    RankedSource,
    VectorScorer,
    VectorSource,
    catalogue_index,
    fit_blend,
    request_pasts,
)
from adwright.models.retrieval.item_item import ItemItemConfig
from adwright.models.retrieval.multi_interest import combine
from adwright.training.retrieval.fit import RetrieverArtifact
from adwright.training.retrieval.item_item import fit_item_item
from tests.support.delivery.cascade_parts import (
    LATER,
    hcn,
    histories,
    on_day,
    request,
    task,
    two_tower,
)

FEATURES = task().profile_features


def column(codes: np.ndarray, name: str) -> list[int]:
    return codes[:, [f.name for f in FEATURES].index(name)].tolist()


def test_codes_are_those_of_the_task() -> None:
    source = task()
    visits = source.visits("test")
    known = ProfileCodes(FEATURES, histories())
    asked = [request(source.users[source.visit_user[v]], time=on_day(7)) for v in visits]
    found = known.codes(histories().batch(asked))
    town, hour = ([f.name for f in FEATURES].index(name) for name in ("town", "hour"))
    assert found[:, town].tolist() == source.profile[visits, town].tolist()
    assert found[:, hour].tolist() == source.profile[visits, hour].tolist()


def test_what_nobody_knows_is_code_0() -> None:
    known = histories()
    codes = ProfileCodes(FEATURES, known)
    known.append("late", ["i1"], [on_day(1)])  # no profile when the codes were made
    found = codes.codes(known.batch([request("nobody"), request("late"), request("u1")]))
    assert column(found, "town")[:2] == [0, 0] != column(found, "town")[2:]
    # The task only saw nine o'clock.
    assert column(found, "hour") == [0, 0, 0]


def test_the_request_knows_better_than_its_time() -> None:
    batch = histories().batch(
        [request(time=LATER - timedelta(hours=3)), request(context={"hour": "9", "weekday": 2})]
    )
    found = ProfileCodes(FEATURES, histories()).codes(batch)
    assert column(found, "hour")[0] == column(found, "hour")[1] > 0
    weekday = next(f for f in FEATURES if f.name == "weekday")
    assert weekday.vocabulary[column(found, "weekday")[1] - 1] == "2"


def test_the_person_can_be_a_feature() -> None:
    feature = Feature("user_id", "categorical", "user", ("u1", "u3"))
    batch = histories().batch([request("u3"), request("nobody")])
    assert ProfileCodes([feature], histories()).codes(batch).tolist() == [[2], [0]]


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


def test_the_highest_come_first_and_code_0_never() -> None:
    batch = histories().batch([request("u1"), request("nobody")])
    source = RankedSource(np.array([99.0, 1.0, 3.0, 3.0, 2.0]))
    assert [one.tolist() for one in source.find(batch, 3).lists()] == [[2, 3, 4]] * 2
    assert [one.tolist() for one in source.find(batch, 9).lists()] == [[2, 3, 4, 1]] * 2


TRUTH = Blend(0.5, 1.5, -0.75, 2.0)


class Given:
    """A scorer that gives what it is told to, by a function of batch and items."""

    def __init__(self, score, *, probability: bool = False) -> None:  # type: ignore[no-untyped-def]
        self.score, self.probability = score, probability


def people() -> tuple[RequestBatch, Shortlist]:
    known = histories()
    batch = known.batch([request(f"u{n}", time=on_day(3 + n % 5)) for n in range(10)])
    return batch, Shortlist.of([np.arange(1 + n % 3, 13) for n in range(10)])


def vectors() -> VectorScorer:
    return VectorScorer(QueryVectors(hcn(), histories()))


def test_the_score_is_the_formula() -> None:
    batch, items = people()
    plain = vectors().score(batch, items)
    found = BlendedScorer(vectors(), TRUTH).score(batch, items)
    for row, (owner, code) in enumerate(zip(items.owner, items.codes, strict=True)):
        past = batch.item[batch.offsets[owner] : batch.offsets[owner + 1]]
        times = int((past == code).sum())  # all within the last weeks: recent too
        wanted = 0.5 * plain[row] + (1.5 - 0.75) * np.log1p(times) + 2.0 * (times > 0)
        assert found[row] == pytest.approx(wanted)
    np.testing.assert_allclose(BlendedScorer(vectors(), Blend()).score(batch, items), plain)


def test_a_fine_order_that_is_a_blend_is_found_again() -> None:
    """The counts of the small task are all recent, so their two weights are found in sum."""
    batch, items = people()
    fine = BlendedScorer(vectors(), TRUTH)

    def probability(batch: RequestBatch, items: Shortlist) -> np.ndarray:
        # Another level for each person changes nothing.
        level = batch.user[items.owner] % 3
        return 1 / (1 + np.exp(-0.2 * fine.score(batch, items) + level))

    found = fit_blend(vectors(), Given(probability, probability=True), batch, items)
    assert found.vector == pytest.approx(0.2 * TRUTH.vector, rel=1e-4)
    assert found.frequency + found.recent == pytest.approx(0.2 * 0.75, rel=1e-3)
    assert found.had == pytest.approx(0.2 * TRUTH.had, rel=1e-3)


def test_what_cannot_be_fitted_is_refused() -> None:
    batch, items = people()
    with pytest.raises(ValueInvalidError, match="probabilities"):
        fit_blend(vectors(), Given(vectors().score), batch, items)
    alone = Shortlist.of([np.array([3])] * len(batch))
    with pytest.raises(ValueInvalidError, match="two items"):
        fit_blend(vectors(), Given(lambda c, i: i.codes / 20, probability=True), batch, alone)


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


def test_another_catalogue_is_refused() -> None:
    other = replace(task().items, ids=tuple(f"x{n}" for n in range(12)))
    with pytest.raises(ConfigError, match="different items"):
        QueryVectors(two_tower(), Histories(other))


class Computer:
    """Vectors that say what they were computed of, and how often that was."""

    def __init__(self, people: list[int], keys: list[str]) -> None:
        self.people, self.keys = people, keys
        self.computed: list[tuple[int, str]] = []

    def __call__(self, missing: list[int]) -> np.ndarray:
        self.computed += [(self.people[n], self.keys[n]) for n in missing]
        rows = [[self.people[n], len(self.keys[n])] for n in missing]
        return np.array(rows, np.float32)


def asked(kept: KeptByUser, people: list[int], keys: list[str]) -> list[tuple[int, str]]:
    computer = Computer(people, keys)
    found = kept.of(people, keys, computer)
    wanted = [[person, len(key)] for person, key in zip(people, keys, strict=True)]
    assert [vectors.tolist() for vectors in found] == wanted
    return computer.computed


def test_only_what_is_new_or_changed_is_computed() -> None:
    kept = KeptByUser(10)
    assert asked(kept, [1, 2], ["a", "bb"]) == [(1, "a"), (2, "bb")]
    assert asked(kept, [2, 3, 1], ["bb", "c", "a"]) == [(3, "c")]
    assert asked(kept, [1], ["aa"]) == [(1, "aa")]
    assert asked(kept, [1], ["a"]) == [(1, "a")]
    assert asked(kept, [], []) == []
    assert len(kept) == 3


def test_who_was_asked_for_longest_ago_goes() -> None:
    kept = KeptByUser(2)
    for person in (1, 2, 1, 3):
        asked(kept, [person], ["a"])
    assert len(kept) == 2
    assert asked(kept, [1], ["a"]) == []
    assert asked(kept, [2], ["a"]) == [(2, "a")]
    assert KeptByUser(0).of([1], ["a"], Computer([1], ["a"]))[0].tolist() == [1, 1]


def test_many_threads_may_ask() -> None:
    kept = KeptByUser(3)

    def ask(turn: int) -> None:
        people = [turn % 5, turn % 3]
        asked(kept, people, ["x" * (1 + person) for person in people])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(ask, range(200)))
    assert len(kept) == 3
