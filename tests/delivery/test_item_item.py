"""The item-item rule as a recommender."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from adwright.core.artifacts import load_artifact
from adwright.core.clock import FixedClock
from adwright.core.errors import ConfigError
from adwright.data.sequences.next_log import log_of_task
from adwright.delivery.counted import (
    ItemItemRecommender,
    item_table,
    load_item_item,
    with_histories,
)
from adwright.delivery.decision import Deadline
from adwright.delivery.stages.histories import Histories
from adwright.delivery.stages.sources import request_pasts
from adwright.models.retrieval.item_item import ItemItemConfig
from adwright.models.retrieval.neighbours import NeighbourConfig
from adwright.training.retrieval.item_item import ItemItemArtifact, fit_item_item
from tests.support.delivery.cascade_parts import LATER, histories, request, task

LOG = log_of_task(task())
IDS = task().items.ids
#: So few neighbours that popular items have to fill the list.
FEW = ItemItemConfig(neighbours=NeighbourConfig(neighbours=1), recency=0.3)
RULE = ItemItemArtifact(fit_item_item(LOG, FEW), IDS, repeats=True)


def recommender(**changes: bool) -> ItemItemRecommender:
    return ItemItemRecommender(replace(RULE, **changes), histories())


def popular() -> list[str]:
    return [IDS[code - 1] for code in RULE.model.popular]


def test_neighbours_come_first_and_then_popular_items() -> None:
    one = recommender()
    found = one.recommend(request("u1", k=3))
    batch = one.histories.batch([request("u1")])
    codes, score = RULE.model.best(request_pasts(batch), 12)
    reached = [IDS[code - 1] for code in codes[0] if code]
    assert 0 < len(reached) < 12
    assert list(found.item_ids) == reached + [i for i in popular() if i not in reached]
    np.testing.assert_allclose(found.score[: len(reached)], score[0][: len(reached)])
    assert (found.score[len(reached) :] < 0).all()
    assert (found.stage, found.probability) == ("fine", False)


def test_nobody_gets_popular_items() -> None:
    found = recommender().recommend(request("nobody", k=2))
    assert list(found.item_ids) == popular()


def test_where_nothing_comes_again_own_items_are_left_out() -> None:
    one = recommender(repeats=False)
    batch = one.histories.batch([request("u1")])
    had = {IDS[code - 1] for code in batch.item}
    found = one.recommend(request("u1"))
    assert {*found.item_ids} == {*IDS} - had
    # Unless they are asked for by name.
    named = one.recommend(request("u1", candidates=tuple(sorted(had))))
    assert {*named.item_ids} == had


@pytest.mark.parametrize("repeats", [False, True])
def test_exclude_and_k_are_minded(repeats: bool) -> None:
    one = recommender(repeats=repeats)
    first = one.recommend(request("u4")).item_ids
    barred = frozenset(first[:2])
    found = one.recommend(request("u4", exclude=barred, k=1)).item_ids
    assert not barred & {*found}
    assert found == tuple(i for i in first if i not in barred)


def test_candidates_are_ordered_and_unknown_ones_come_last() -> None:
    one = recommender()
    asked = ("i3", "new", "i7", "i0", "other")
    found = one.recommend(request("u1", candidates=asked, exclude=frozenset(["other"])))
    order = [i for i in one.recommend(request("u1")).item_ids if i in asked]
    assert found.item_ids == (*order, "new")


def test_many_are_answered_as_each() -> None:
    one = recommender()
    asked = [
        request("u1"),
        request("u2", k=4, exclude=frozenset(["i1"])),
        request("u3", candidates=("i1", "i2")),
        request("nobody"),
    ]
    for found, single in zip(one.recommend_many(asked), asked, strict=True):
        alone = one.recommend(single)
        assert found.item_ids == alone.item_ids
        np.testing.assert_allclose(found.score, alone.score)
    assert one.recommend_many([]) == []


def test_without_time_popular_items_are_answered(clock: FixedClock) -> None:
    one = recommender()
    late = Deadline.after(0, clock)
    asked = [
        request("u1", k=2, exclude=frozenset(popular()[:1])),
        request("u1", candidates=("i3", "i7")),
    ]
    first, second = one.recommend_many(asked, late)
    assert list(first.item_ids) == popular()[1:]
    assert first.stage == second.stage == "popularity"
    assert list(second.item_ids) == [i for i in popular() if i in ("i3", "i7")]


def test_what_happens_counts_from_the_next_request_on() -> None:
    one = recommender()
    before = one.recommend(request("newcomer"))
    # One whose neighbour is not what stands first anyway.
    item = next(i for i in IDS if (one.similar(i, 1) or [("", 0)])[0][0] != popular()[0])
    one.histories.append("newcomer", [item], [LATER - timedelta(hours=1)])
    after = one.recommend(request("newcomer"))
    assert after.item_ids != before.item_ids
    (nearest, score), *_ = one.similar(item, 1) or []
    assert after.item_ids[0] == nearest
    assert after.score[0] == pytest.approx(score)
    assert one.similar("nothing", 3) is None


def test_a_saved_one_knows_its_users(tmp_path: Path) -> None:
    with_histories(RULE, histories()).save(tmp_path / "v1")
    RULE.save(tmp_path / "bare")
    loaded = load_item_item(load_artifact(tmp_path / "v1"))
    assert (
        loaded.recommend(request("u1")).item_ids == recommender().recommend(request("u1")).item_ids
    )
    bare = load_item_item(load_artifact(tmp_path / "bare"))
    assert list(bare.recommend(request("u1")).item_ids) == popular()


def test_histories_of_another_catalogue_are_refused() -> None:
    with pytest.raises(ConfigError, match="count different items"):
        ItemItemRecommender(RULE, Histories(item_table(["a", "b"])))
