"""Which order serves: the cross-fit, and the rule of one standard error."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from scipy.optimize import minimize

from adwright.core.errors import ConfigError
from adwright.data.time import MICROSECONDS_PER_DAY
from adwright.delivery.cascade.build import Deployment
from adwright.delivery.cascade.cascade import CascadeConfig
from adwright.delivery.decision import Candidates, Request
from adwright.delivery.funnel.choice import (
    Bench,
    FoundCandidates,
    TriedOrder,
    chosen,
    find_candidates,
    fitted,
    halves,
    measured_fine,
    on_all_visits,
    order_ranks,
    score_candidates,
    some_visits,
    targets_of,
    try_orders,
)
from adwright.delivery.funnel.columns import (
    CategoryColumn,
    ItemColumns,
    MixedScorer,
    OwnColumns,
    ScoreMixture,
    ScorerColumn,
    conditional_logit,
    standardised,
)
from adwright.delivery.stages.histories import RequestBatch, visit_requests
from adwright.delivery.stages.protocols import Shortlist
from adwright.metrics.ranking import ndcg_per_user
from tests.support.data.small_next_basket import small_task
from tests.support.delivery.cascade_parts import histories, on_day, request, task
from tests.support.delivery.funnel_parts import funnel_parts

SOURCES = ("sequence", "item-item", "popularity")


def made_up(
    visits: int = 300, *, network: float, rule: float = 1.0, popular: float = 0.0, seed: int = 0
) -> Bench:
    """Visits of two a user, whose choices follow item-item, a network and popularity so much."""
    rng = np.random.default_rng(seed)
    size = 20
    offsets = np.arange(visits + 1) * size
    names = ("popularity", "item-item", "sequence")
    z = standardised(rng.normal(size=(visits * size, 3)), offsets)
    utility = z @ np.array([popular, rule, network]) + rng.gumbel(size=len(z))
    taken = np.zeros(len(z), np.bool_)
    taken[np.arange(visits) * size + utility.reshape(visits, size).argmax(1)] = True
    codes = np.tile(np.arange(1, size + 1), visits)
    everywhere = np.ones(len(z), np.bool_)
    return Bench(
        np.arange(visits) // 2,
        np.ones(visits, int),
        Shortlist(codes, offsets),
        names,
        z.astype(np.float32),
        taken,
        dict.fromkeys(SOURCES, everywhere),
    )


def test_every_rule_model_and_mixture_is_tried() -> None:
    bench = made_up(network=1.0, popular=1.0)
    orders = try_orders(bench, halves(bench.user), SOURCES)
    names = [one.name for one in orders]
    assert names == ["Popularity", "Item-item", "sequence", "Rules together", "rules + sequence"]
    assert [one.models for one in orders] == [0, 0, 1, 0, 1]
    assert [one.is_rule for one in orders] == [True, True, False, False, False]


def test_a_rule_that_says_nothing_is_not_part_of_a_mixture() -> None:
    bench = made_up(1_000, network=1.0, seed=1)
    orders = {o.name: o for o in try_orders(bench, halves(bench.user), SOURCES)}
    assert orders["rules + sequence"].coarse.names == ("item-item", "sequence")
    bench = made_up(network=1.0, popular=1.0)
    orders = {o.name: o for o in try_orders(bench, halves(bench.user), SOURCES)}
    assert orders["Rules together"].coarse.names == ("popularity", "item-item")


def test_a_mixture_of_two_that_help_is_ahead_and_serves() -> None:
    bench = made_up(network=1.0)
    orders = try_orders(bench, halves(bench.user), SOURCES)
    best = chosen(orders, bench.user)
    assert best.name == "rules + sequence"
    means = {one.name: one.gain.mean() for one in orders}
    assert means["rules + sequence"] > max(means["Item-item"], means["sequence"]) + 0.05


def test_users_are_judged_by_the_weights_of_others() -> None:
    bench = made_up(network=0.5)
    half = halves(bench.user)
    order = next(o for o in try_orders(bench, half, SOURCES) if o.name == "rules + sequence")
    owner, z = bench.short.owner, bench.columns(order.coarse.names)
    score = np.zeros(len(owner))
    for mine in (False, True):
        weight = conditional_logit(z, bench.short.offsets, bench.taken & (half[owner] != mine))
        rows = half[owner] == mine
        score[rows] = z[rows] @ weight
    np.testing.assert_allclose(order.gain, ndcg_per_user(order_ranks(bench, score), 10))
    whole = conditional_logit(z, bench.short.offsets, bench.taken)
    serves = on_all_visits(order, bench).coarse
    np.testing.assert_allclose(serves.weights, whole)
    assert fitted(bench, order.coarse.names) == serves
    np.testing.assert_allclose(order.coarse.weights, serves.weights, rtol=0.05)


def test_a_rank_is_the_place_in_the_order_of_score_then_code() -> None:
    bench = made_up(40, network=0.5)
    score = np.round(np.random.default_rng(1).normal(size=len(bench.taken)), 1)
    score[::7] = -np.inf
    ranks = order_ranks(bench, score)
    for visit, (a, b) in enumerate(bench.short.bounds()):
        order = np.lexsort((bench.short.codes[a:b], -score[a:b]))
        place = np.argsort(order) + 1.0
        place[score[a:b] == -np.inf] = np.inf
        mine = ranks.ranks[ranks.offsets[visit] : ranks.offsets[visit + 1]]
        assert mine.tolist() == sorted(place[bench.taken[a:b]])


def test_sources_find_together_what_their_union_holds() -> None:
    rng = np.random.default_rng(0)
    lists = {
        name: [rng.permutation(30)[:8].astype(np.int64) for _ in range(20)]
        for name in ("item-item", "popularity", "past")
    }
    targets = [rng.permutation(30)[: 1 + n % 3].astype(np.int64) for n in range(20)]
    found = FoundCandidates(np.arange(20), np.arange(20), targets, cast(Any, lists))
    for names in (["past"], ["item-item", "popularity"], list(lists)):
        union = found.recall(found.union(cast(Any, names)))
        np.testing.assert_array_equal(found.recalled(cast(Any, names)), union)


def test_a_users_visits_lie_in_one_half() -> None:
    user = np.repeat(np.arange(40), 3)
    half = halves(user, seed=2).reshape(40, 3)
    assert (half == half[:, :1]).all()
    assert half[:, 0].sum() == 20
    assert (halves(user, seed=3).reshape(40, 3) != half).any()


def test_what_only_an_unasked_network_finds_is_not_there() -> None:
    bench = made_up(network=0.0, popular=1.0)
    owner = np.arange(len(bench.taken)) % 20 < 10
    bench = replace(bench, reached={**bench.reached, "item-item": owner, "popularity": owner})
    orders = {o.name: o for o in try_orders(bench, halves(bench.user), SOURCES)}
    lost = ~owner[bench.taken]
    assert (orders["Rules together"].gain[lost] == 0).all()
    assert (orders["rules + sequence"].recall[lost] == 1).all()


def test_the_fine_stage_orders_what_is_let_through() -> None:
    bench = made_up(network=1.0)
    owner, codes = bench.short.owner[bench.taken], bench.short.codes[bench.taken]
    truth = set(zip(owner.tolist(), codes.tolist(), strict=True))

    def fine(top: Shortlist) -> np.ndarray:
        pairs = zip(top.owner.tolist(), top.codes.tolist(), strict=True)
        return np.array([float(pair in truth) for pair in pairs])

    orders = try_orders(bench, halves(bench.user), SOURCES, through=8, fine=fine)
    alone, mixed = orders[-2:]
    assert (alone.name, mixed.name) == (
        "rules + sequence, then fine alone",
        "rules + sequence + fine",
    )
    coarse = next(one for one in orders if one.name == "rules + sequence")
    assert alone.coarse == coarse.coarse
    assert alone.fine == ScoreMixture.of("fine")
    assert alone.gain.mean() == pytest.approx(coarse.recall.mean())  # all that is left comes first
    assert mixed.models == coarse.models + 1
    assert mixed.fine is not None
    assert dict(zip(mixed.fine.names, mixed.fine.weights, strict=True))["fine"] > 1
    assert chosen(orders, bench.user) in (alone, mixed)
    noise = np.random.default_rng(0)
    worse = try_orders(
        bench, halves(bench.user), SOURCES, fine=lambda top: noise.normal(size=len(top.codes))
    )
    assert chosen(worse, bench.user).fine is None


def test_the_linear_model_is_no_network() -> None:
    bench = made_up(network=1.0, rule=0.5)
    names = tuple("linear" if name == "sequence" else name for name in bench.names)
    reached = {**bench.reached, "linear": bench.reached["sequence"]}
    bench = replace(bench, names=names, reached=reached)
    orders = {o.name: o for o in try_orders(bench, halves(bench.user), ("linear", "item-item"))}
    assert [orders[name].models for name in ("linear", "rules + linear", "Item-item")] == [0, 0, 0]
    assert orders["Item-item"].is_rule
    assert not orders["linear"].is_rule
    best = chosen(list(orders.values()), bench.user)
    assert best.name == "rules + linear"
    noise = np.random.default_rng(0).normal(size=300)
    near = replace(orders["linear"], gain=orders["Item-item"].gain + noise - noise.mean() + 1e-6)
    assert chosen([near, orders["Item-item"]], bench.user).name == "Item-item"


def tried(name: str, gain: np.ndarray, models: int, columns: int = 1) -> TriedOrder:
    names = ("item-item", "again", "frequency")[:columns]
    return TriedOrder(name, ScoreMixture(names, (1.0,) * columns), None, models, gain, gain)  # type: ignore[arg-type]


def test_fewer_models_where_they_are_alike() -> None:
    rng = np.random.default_rng(0)
    user = np.arange(400) // 4
    base = rng.random(400)
    rule = tried("rule", base, 0)
    near = tried("near", base + 0.001 + rng.normal(size=400) * 0.05, 1)
    far = tried("far", base + 0.05 + rng.normal(size=400) * 0.05, 2)
    assert chosen([rule, near], user).name == "rule"
    assert chosen([rule, near, far], user).name == "far"
    twin = tried("twin", base + 1e-6, 0)
    assert chosen([rule, twin], user).name == "twin"


def test_one_is_given_up_only_for_more_than_an_error() -> None:
    lead = np.random.default_rng(0).normal(size=400)
    lead -= lead.mean()
    error = np.sqrt((lead**2).sum()) / len(lead)
    user = np.arange(400)
    simple = [tried("simple", np.zeros(400), 0, columns) for columns in (1, 2)]
    for errors, stays in ((0.9, True), (1.1, False)):
        other = tried("other", lead + errors * error, 3)
        assert all((chosen([one, other], user).name == "simple") is stays for one in simple)


SIZES = {"item-item": 4, "past": 3, "two-tower": 5, "popularity": 2}
VISITS = task().visits("test")


@pytest.mark.parametrize("repeats", [True, False])
def test_sources_are_asked_for_every_visit(repeats: bool) -> None:
    parts = funnel_parts(repeats=repeats).opened(histories())
    found = find_candidates(parts, SIZES, task(), VISITS)  # type: ignore[arg-type]
    assert set(found.lists) == set(SIZES) - (set() if repeats else {"past"})
    for n, visit in enumerate(VISITS):
        batch = parts.histories.batch(visit_requests(task(), VISITS[[n]]))
        barred = np.zeros(0, int) if repeats else batch.item
        for name, lists in found.lists.items():
            source = parts.source(name)
            assert source is not None
            everything = source.find(batch, SIZES[name] + len(np.unique(barred))).lists()[0]
            alone = [c for c in everything.tolist() if c not in barred][: SIZES[name]]
            assert lists[n].tolist() == alone
        wanted = task().targets[task().target_offsets[visit] : task().target_offsets[visit + 1]]
        assert found.targets[n].tolist() == [c for c in wanted.tolist() if c not in barred]


def test_recall_is_the_share_that_is_among_the_candidates() -> None:
    lists = [np.array([1, 2]), np.array([3])]
    found = FoundCandidates(
        VISITS[:2], VISITS[:2], [np.array([2, 9]), np.array([4])], {"past": lists}
    )
    assert found.recall(found.union(["past"])).tolist() == [0.5, 0.0]
    two = replace(found, lists={"past": lists, "hcn": [np.array([2, 9]), np.array([4, 3])]})
    union = two.union(["past", "hcn"])
    assert [one.tolist() for one in union.lists()] == [[1, 2, 9], [3, 4]]
    assert two.recall(union).tolist() == [1.0, 1.0]


def test_columns_are_those_of_each_visit_alone() -> None:
    parts = funnel_parts().opened(histories())
    found = find_candidates(parts, SIZES, task(), VISITS)  # type: ignore[arg-type]
    short = found.union(list(found.lists))
    columns = parts.columns(parts.coarse_names)
    bench = score_candidates(parts, columns, task(), found, short)
    assert bench.names == parts.coarse_names
    assert {"sequence", "two-tower", "hcn", "item-item", "lately", "category"} < set(bench.names)
    for n in range(len(VISITS)):
        batch = parts.histories.batch(visit_requests(task(), VISITS[[n]]))
        mine = Shortlist.of([short.lists()[n]])
        alone = np.concatenate([one.values(batch, mine) for one in columns], axis=1)
        rows = slice(short.offsets[n], short.offsets[n + 1])
        z = standardised(alone, mine.offsets)
        np.testing.assert_allclose(bench.z[rows], z, atol=1e-4)
        assert bench.taken[rows].tolist() == np.isin(mine.codes, found.targets[n]).tolist()
        past = np.isin(mine.codes, found.lists["past"][n])
        assert bench.reached["past"][rows].tolist() == past.tolist()
    assert bench.reached_by(list(found.lists)).all()


def bench_of(z: np.ndarray, sizes: list[int], taken: list[int], number: list[int]) -> Bench:
    offsets = np.concatenate(([0], np.cumsum(sizes)))
    codes = np.concatenate([np.arange(1, size + 1) for size in sizes])
    mask = np.isin(np.arange(len(codes)), taken)
    return Bench(
        np.arange(len(sizes)),
        np.array(number),
        Shortlist(codes, offsets),
        ("popularity",),
        z.astype(np.float32)[:, None],
        mask,
    )


def test_ranks_are_places_and_what_was_not_found_has_none() -> None:
    bench = bench_of(np.zeros(7), [3, 4], [0, 1, 6], [3, 1])
    ranks = order_ranks(bench, np.array([1.0, 3.0, 2.0, 5.0, 5.0, -np.inf, -np.inf]))
    assert ranks.offsets.tolist() == [0, 3, 4]
    assert ranks.ranks.tolist() == [1.0, 3.0, np.inf, np.inf]
    tied = order_ranks(bench, np.zeros(7))
    assert tied.ranks.tolist() == [1.0, 2.0, np.inf, 4.0]  # ties by code


def test_the_best_are_kept_and_standardised_anew() -> None:
    bench = bench_of(np.array([3.0, 1.0, 2.0, 9.0, 4.0]), [3, 2], [1, 4], [1, 1])
    top = bench.best(np.array([3.0, 1.0, 2.0, 9.0, 4.0]), 2)
    assert [one.tolist() for one in top.short.lists()] == [[1, 3], [1, 2]]
    assert top.taken.tolist() == [False, False, False, True]
    np.testing.assert_allclose(top.z[:, 0], [1, -1, 1, -1])
    more = top.with_column("fine", np.array([0.0, 2.0, 5.0, 5.0]))
    assert more.names == ("popularity", "fine")
    np.testing.assert_allclose(more.columns(("fine",))[:, 0], [-1, 1, 0, 0])


def test_visits_that_took_nothing_new_are_not_asked() -> None:
    few = some_visits(task(), VISITS, 3, unseen=True, seed=1)
    targets = targets_of(task(), VISITS, unseen=True)
    asked = [v for v, one in zip(VISITS, targets, strict=True) if len(one)]
    assert len(few) == min(3, len(asked))
    assert set(few.tolist()) <= set(asked)
    assert (np.diff(few) > 0).all()
    assert some_visits(task(), VISITS, 0, unseen=False).tolist() == VISITS.tolist()
    other = [some_visits(task(), VISITS, 3, unseen=False, seed=n).tolist() for n in range(4)]
    assert len({tuple(one) for one in other}) > 1


TASK = small_task(people=20)
IDS = TASK.items.ids
VALID = TASK.visits("valid")


def order_of(request: Request, *, good: bool) -> list[str]:
    """What the visit takes before all else, or after it."""
    visit = int(request.request_id.removeprefix("visit-"))
    taken = TASK.targets[TASK.target_offsets[visit] : TASK.target_offsets[visit + 1]]
    mine = [IDS[code - 1] for code in taken.tolist()]
    rest = [item for item in IDS if item not in mine]
    return [*mine, *rest] if good else [*rest, *mine]


def deployment(monkeypatch: pytest.MonkeyPatch, *, fine: bool, coarse: bool) -> Deployment:
    """One whose orders are good ones or bad ones."""

    def cascade(built: Deployment) -> Any:
        good = coarse if built.fine is None else fine

        def recommend_many(requests: list[Request]) -> list[Candidates]:
            orders = [order_of(request, good=good) for request in requests]
            score = np.arange(len(IDS), 0, -1.0)
            return [Candidates(tuple(one), score, False, "fine") for one in orders]

        return SimpleNamespace(recommend_many=recommend_many)

    monkeypatch.setattr(Deployment, "cascade", cascade)
    any_part = cast("Any", object())
    return Deployment(any_part, any_part, any_part, config=CascadeConfig())


def test_a_fine_stage_that_is_ahead_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    built = deployment(monkeypatch, fine=True, coarse=False)
    found = measured_fine(built, TASK, draws=20)
    assert found.deployment is built
    assert found.ahead is not None
    assert found.ahead.low > 0
    assert "the fine stage serves" in found.why
    assert f"{len(VALID):,} validation visits" in found.why


@pytest.mark.parametrize("coarse", [True, False])
def test_one_that_is_behind_or_level_is_left_out(
    monkeypatch: pytest.MonkeyPatch, coarse: bool
) -> None:
    built = deployment(monkeypatch, fine=False, coarse=coarse)
    found = measured_fine(built, TASK, draws=20)
    assert found.deployment.fine is None
    assert found.deployment.coarse is built.coarse
    assert "is left out" in found.why
    assert found.ahead is not None
    assert (found.ahead.value < 0) == coarse


def test_where_nothing_can_be_measured_nothing_changes(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    built = deployment(monkeypatch, fine=True, coarse=False)
    without = replace(built, fine=None)
    assert measured_fine(without, TASK).deployment is without
    assert not caplog.text
    empty = replace(TASK, split=np.zeros_like(TASK.split))
    found = measured_fine(built, empty)
    assert (found.deployment, found.ahead) == (built, None)
    assert "serves unmeasured" in caplog.text


CATEGORY = np.array([0, 1, 2, 3, 1, 2, 3, 1, 2, 0, 1, 2, 3])


def people() -> tuple[RequestBatch, Shortlist]:
    known = histories()
    batch = known.batch([request(f"u{n}", time=on_day(1 + n % 6)) for n in range(6)])
    nobody = known.batch([request("nobody")])
    assert len(nobody.item) == 0
    return batch, Shortlist.of([np.arange(1 + n % 3, 13) for n in range(6)])


def past_of(batch: RequestBatch, n: int) -> tuple[np.ndarray, np.ndarray]:
    mine = slice(batch.offsets[n], batch.offsets[n + 1])
    return batch.item[mine], batch.time[mine]


class Given:
    """A scorer of known numbers."""

    def __init__(self, score: np.ndarray, *, probability: bool) -> None:
        self.given, self.probability = score, probability

    def score(self, batch: RequestBatch, items: Shortlist) -> np.ndarray:
        return self.given


def test_own_columns_count_the_history() -> None:
    batch, items = people()
    found = OwnColumns().values(batch, items)
    for row, (owner, code) in enumerate(zip(items.owner, items.codes, strict=True)):
        past, time = past_of(batch, owner)
        mine = time[past == code]
        again = 0.0
        if len(mine):
            again = 1 / (1 + (batch.at[owner] - mine.max()) / MICROSECONDS_PER_DAY)
        times = np.log1p(len(mine))
        assert found[row] == pytest.approx([times, times, again])


def test_a_category_counts_by_the_latest_moments() -> None:
    batch, items = people()
    count = task().count
    found = CategoryColumn(CATEGORY, count).values(batch, items)[:, 0]
    for row, (owner, code) in enumerate(zip(items.owner, items.codes, strict=True)):
        past, time = past_of(batch, owner)
        latest = past[np.isin(time, np.unique(time)[-5:])]
        kinds = CATEGORY[latest][CATEGORY[latest] > 0]
        of_kind = CATEGORY[code]
        share = (kinds == of_kind).sum() / max(len(kinds), 1) if of_kind else 0.0
        whole = count[of_kind == CATEGORY].sum()
        assert found[row] == pytest.approx(share * count[code] / max(whole, 1))


def test_probabilities_become_logits() -> None:
    batch, items = people()
    p = np.linspace(0, 1, len(items.codes))
    plain = ScorerColumn("hcn", Given(p, probability=False)).values(batch, items)
    found = ScorerColumn("fine", Given(p, probability=True)).values(batch, items)
    np.testing.assert_array_equal(plain[:, 0], p)
    np.testing.assert_allclose(1 / (1 + np.exp(-found[:, 0])), p, atol=1e-9)
    assert np.isfinite(found).all()


def columns_made_up(
    visits: int = 200, seed: int = 0, most: int = 3
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """z, offsets, taken, and the weights by which was taken."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(2, 30, visits)
    offsets = np.concatenate(([0], np.cumsum(sizes)))
    z = standardised(rng.normal(size=(offsets[-1], 3)), offsets)
    weight = np.array([1.5, -0.5, 0.0])
    taken = np.zeros(len(z), np.bool_)
    for a, b in pairwise(offsets.tolist()):
        p = np.exp(z[a:b] @ weight)
        number = int(rng.integers(0, min(most + 1, b - a)))
        taken[rng.choice(np.arange(a, b), number, replace=False, p=p / p.sum())] = True
    return z, offsets, taken, weight


def likelihood(
    weight: np.ndarray,
    z: np.ndarray,
    offsets: np.ndarray,
    taken: np.ndarray,
    l2: float,
    noise: float = 0.0,
) -> float:
    """The formula of the module, term by term."""
    total = -l2 / 2 * float(weight @ weight)
    for a, b in pairwise(offsets.tolist()):
        score = z[a:b] @ weight
        chosen = np.flatnonzero(taken[a:b])
        for t in chosen:
            total += np.log(np.exp(score[t]) / np.exp(score).sum() + noise) / len(chosen)
    return total


@pytest.mark.parametrize("l2", [0.1, 1.0, 50.0])
def test_the_weights_are_the_likeliest(l2: float) -> None:
    z, offsets, taken, _ = columns_made_up()
    found = conditional_logit(z, offsets, taken, l2=l2, noise=0)
    slow = minimize(
        lambda w: -likelihood(w, z, offsets, taken, l2), np.zeros(3), method="BFGS", tol=1e-9
    )
    np.testing.assert_allclose(found, slow.x, atol=1e-4)


@pytest.mark.parametrize("noise", [0.02, 0.2])
def test_what_nothing_foresees_is_let_go(noise: float) -> None:
    """A third of the visits take anything; the order for the others stays as steep as it is."""
    z, offsets, taken, _ = columns_made_up(visits=600, most=1)
    rng = np.random.default_rng(3)
    for a, b in pairwise(offsets.tolist()):
        if rng.random() < 1 / 3 and taken[a:b].any():
            taken[a:b] = np.arange(b - a) == rng.integers(b - a)
    plain, found = (conditional_logit(z, offsets, taken, noise=one) for one in (0, noise))
    slow = minimize(
        lambda w: -likelihood(w, z, offsets, taken, 1.0, noise), plain, method="BFGS", tol=1e-9
    )
    np.testing.assert_allclose(found, slow.x, atol=0.05)
    assert found[0] > plain[0] + 0.1


def test_columns_are_standardised_within_a_request() -> None:
    offsets = np.array([0, 3, 3, 5])
    values = np.array([[1.0, 7.0], [2.0, 7.0], [3.0, 7.0], [-4.0, 1.0], [4.0, 1.0 + 1e-15]])
    found = standardised(values, offsets)
    np.testing.assert_allclose(found[:3, 0], [-np.sqrt(1.5), 0, np.sqrt(1.5)])
    np.testing.assert_allclose(found[3:, 0], [-1, 1])
    assert not found[:, 1].any()
    np.testing.assert_allclose(standardised(5 * values - 3, offsets)[:, 0], found[:, 0])


def test_a_mixture_adds_up_and_popularity_decides_ties() -> None:
    known = histories()
    batch = known.batch([request(f"u{n}", time=on_day(5)) for n in range(4)])
    items = Shortlist.of([np.arange(1, 13) for _ in range(4)])
    popular = ItemColumns({"popularity": task().count.astype(np.float64)})
    mixture = ScoreMixture(("frequency", "again"), (2.0, 1.0))
    scorer = MixedScorer(mixture, [popular, OwnColumns()])
    z = standardised(OwnColumns().values(batch, items), items.offsets)
    expected = 2 * z[:, 0] + z[:, 2]
    ties = standardised(popular.values(batch, items), items.offsets)[:, 0]
    found = scorer.score(batch, items)
    np.testing.assert_allclose(found, expected + 1e-6 * ties, atol=1e-12)
    assert not scorer.probability
    alone = ScoreMixture.of("popularity").scores(("popularity",), ties[:, None])
    assert (np.argsort(alone) == np.argsort(ties)).all()


@pytest.mark.parametrize(("names", "weights"), [((), ()), (("again",), (1.0, 2.0))])
def test_a_mixture_without_columns_is_refused(names: tuple[str, ...], weights: tuple) -> None:  # type: ignore[type-arg]
    with pytest.raises(ConfigError, match="a weight for each"):
        ScoreMixture(names, weights)  # type: ignore[arg-type]
