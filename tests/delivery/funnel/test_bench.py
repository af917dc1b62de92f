"""Candidates and their columns, against asking visit by visit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from adwright.delivery.funnel.choice import (
    Bench,
    FoundCandidates,
    find_candidates,
    order_ranks,
    score_candidates,
    some_visits,
    taken_of,
    targets_of,
)
from adwright.delivery.funnel.columns import standardised
from adwright.delivery.stages.histories import visit_requests
from adwright.delivery.stages.protocols import Shortlist
from tests.support.delivery.cascade_parts import histories, task
from tests.support.delivery.funnel_parts import funnel_parts

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


def test_codes_of_another_visit_do_not_count() -> None:
    short = Shortlist.of([np.array([1, 2]), np.array([1, 2])])
    assert taken_of([np.array([2]), np.array([1, 7])], short).tolist() == [False, True, True, False]
