"""Which order serves: the cross-fit, and the rule of one standard error."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from adwright.delivery.funnel.choice import (
    Bench,
    TriedOrder,
    chosen,
    fitted,
    halves,
    order_ranks,
    try_orders,
)
from adwright.delivery.funnel.columns import ScoreMixture, conditional_logit, standardised
from adwright.delivery.stages.protocols import Shortlist
from adwright.metrics.ranking import ndcg_per_user

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


def test_a_network_that_says_nothing_is_not_asked() -> None:
    bench = made_up(network=0.0)
    orders = try_orders(bench, halves(bench.user), SOURCES)
    assert chosen(orders, bench.user).name == "Item-item"


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
    np.testing.assert_allclose(order.coarse.weights, whole)
    assert fitted(bench, order.coarse.names) == order.coarse


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


def test_the_error_is_one_over_users() -> None:
    """Of visits of one user that all say the same there is one to learn from."""
    user = np.repeat([0, 1, 2, 3], 100)
    lead = np.repeat([0.3, -0.1, 0.05, -0.05], 100)
    rule, other = tried("rule", np.zeros(400), 0), tried("other", lead, 1)
    assert lead.mean() > 2 * lead.std() / np.sqrt(len(lead))
    assert chosen([rule, other], user).name == "rule"
    assert chosen([rule, other], np.arange(400)).name == "other"
