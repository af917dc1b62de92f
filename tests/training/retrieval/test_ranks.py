"""Ranks in the whole catalogue against a full sort."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from adwright.metrics.arrays import hash_order
from adwright.metrics.ranking import ndcg, recall
from adwright.models.retrieval.two_tower import TwoTower, TwoTowerConfig
from adwright.training.retrieval.ranks import catalogue_vectors, query_scores, retrieved_ranks
from tests.support.data.small_next_basket import small_task

TASK = small_task()


def _scores(visits: np.ndarray) -> torch.Tensor:
    return torch.stack([torch.from_numpy(np.random.default_rng(int(v)).random(13)) for v in visits])


def test_ranks_equal_a_full_sort() -> None:
    visits = TASK.visits("test")
    for unseen in (False, True):
        found = retrieved_ranks(_scores, TASK, visits, depth=9, unseen=unseen, chunk=3)
        wanted = []
        for visit, score in zip(visits, _scores(visits), strict=True):
            seen = set(TASK.seen(np.array([visit]))[0].tolist()) if unseen else set()
            order = [c for c in torch.argsort(-score).tolist() if c and c not in seen]
            targets = TASK.targets[TASK.target_offsets[visit] : TASK.target_offsets[visit + 1]]
            wanted += [min(order.index(t) + 1, 10) for t in targets if t not in seen]
        assert found.rank.tolist() == wanted
        assert found.offsets[-1] == len(wanted)


def test_a_part_of_the_targets() -> None:
    found = retrieved_ranks(_scores, TASK, TASK.visits("test"), depth=9)
    rare = found.where(TASK.count[found.item] < 15)
    assert len(rare.rank) == (TASK.count[found.item] < 15).sum()
    assert rare.ranks().users == found.ranks().users == 10
    assert 0 < recall(found.ranks(), 5) < 1
    assert 0 < ndcg(found.ranks(), 5) < 1


def test_the_best_of_several_vectors_counts() -> None:
    torch.manual_seed(0)
    queries, items = torch.randn(2, 3, 4), torch.randn(5, 4)
    wanted = torch.einsum("ukd,nd->ukn", queries, items).amax(1)
    torch.testing.assert_close(query_scores(queries, items), wanted)


def test_a_model_scores_the_whole_catalogue() -> None:
    torch.manual_seed(0)
    config = TwoTowerConfig(views="correlated", width=8, hidden=8, view_items=4)
    model = TwoTower(config, TASK.spec, TASK.items, TASK.count).eval()
    visits = TASK.visits("test")
    scores = catalogue_vectors(model, TASK)(visits)
    wanted = model.queries(TASK.batch(visits))[:, 0] @ model.item_vectors(torch.arange(13)).T
    torch.testing.assert_close(scores, wanted.detach())


def test_the_unknown_item_is_no_candidate_and_chunks_do_not_matter() -> None:
    visits = TASK.visits("test")

    def favours_unknown(some: np.ndarray) -> torch.Tensor:
        scores = _scores(some)
        scores[:, 0] = 99
        return scores

    wanted = retrieved_ranks(_scores, TASK, visits, depth=9)
    for chunk in (1, 4, 100):
        found = retrieved_ranks(favours_unknown, TASK, visits, depth=9, chunk=chunk)
        assert np.array_equal(found.rank, wanted.rank)


def test_a_target_beyond_the_depth_is_not_found() -> None:
    visits = TASK.visits("test")
    deep = retrieved_ranks(_scores, TASK, visits, depth=12)
    flat = retrieved_ranks(_scores, TASK, visits, depth=3)
    assert deep.rank.max() <= 12
    assert np.array_equal(flat.rank, np.minimum(deep.rank, 4))
    for k in (1, 2, 3):
        assert recall(flat.ranks(), k) == recall(deep.ranks(), k)


@pytest.mark.parametrize("unseen", [False, True])
def test_ties_stand_in_the_order_of_a_hash(unseen: bool) -> None:
    visits = TASK.visits("test")

    def scores(some: np.ndarray) -> torch.Tensor:
        return (_scores(some) * 3).floor()

    for depth in (2, 5, 12):
        found = retrieved_ranks(scores, TASK, visits, depth=depth, unseen=unseen, chunk=4)
        wanted, tied = [], []
        for visit, score in zip(visits.tolist(), scores(visits).tolist(), strict=True):
            seen = set(TASK.seen(np.array([visit]))[0].tolist()) if unseen else set()
            open_ = [c for c in range(1, 13) if c not in seen]
            place = {c: int(hash_order(np.array([visit * 13 + c]))[0]) for c in open_}
            order = sorted(open_, key=lambda c: (-score[c], place[c]))
            targets = TASK.targets[TASK.target_offsets[visit] : TASK.target_offsets[visit + 1]]
            for target in (t for t in targets.tolist() if t not in seen):
                wanted.append(min(order.index(target) + 1, depth + 1))
                alike = sum(score[c] == score[target] for c in open_) > 1
                tied.append(alike)
        assert found.rank.tolist() == wanted
        inside = found.rank <= depth
        assert found.tied[inside].tolist() == np.array(tied)[inside].tolist()
        assert found.ranks().tie_share > 0


def test_no_item_is_favoured_in_a_tie() -> None:
    visits = np.arange(len(TASK))

    def flat(some: np.ndarray) -> torch.Tensor:
        return torch.ones(len(some), 13)

    rank = retrieved_ranks(flat, TASK, visits, depth=12).rank
    assert abs(rank.mean() - 6.5) < 0.5


def test_a_visit_that_loses_all_targets_stays_without_any() -> None:
    found = retrieved_ranks(_scores, TASK, TASK.visits("test"), depth=9)
    first = np.arange(len(found.rank)) >= found.offsets[1]
    left = found.where(first)
    assert left.offsets[:2].tolist() == [0, 0]
    assert np.array_equal(left.visits, found.visits)
    assert np.array_equal(left.rank, found.rank[first])
