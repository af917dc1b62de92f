"""Item-item for everybody gives what it serves to each."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest

from adwright.data.sequences.next_log import log_of_task
from adwright.delivery.counted import ItemItemRecommender, item_table
from adwright.delivery.recommend import models as module
from adwright.delivery.recommend.models import ItemItemTop
from adwright.delivery.recommend.people import people_of_log
from adwright.delivery.stages.histories import microseconds
from adwright.models.retrieval.item_item import ItemItemConfig
from adwright.models.retrieval.neighbours import NeighbourConfig
from adwright.training.retrieval.item_item import ItemItemArtifact, fit_item_item
from tests.support.delivery.cascade_parts import LATER, histories, request, task
from tests.support.delivery.single_models import past

IDS = task().items.ids
USERS = ["u3", "nobody", "u1", "u7"]


def rule(neighbours: int = 1, *, repeats: bool = True) -> ItemItemArtifact:
    """So few neighbours that popular items have to fill the lists."""
    config = ItemItemConfig(neighbours=NeighbourConfig(neighbours=neighbours), recency=0.4)
    return ItemItemArtifact(fit_item_item(log_of_task(task()), config), IDS, repeats)


@pytest.mark.parametrize("early", [0, 26])
@pytest.mark.parametrize("unseen", [False, True])
@pytest.mark.parametrize("neighbours", [1, 12])
def test_everybody_gets_what_the_service_would_answer(
    neighbours: int, unseen: bool, early: int
) -> None:
    model, at = rule(neighbours, repeats=not unseen), LATER - timedelta(days=early)
    people = people_of_log(past(), item_table(IDS), users=USERS, at=microseconds(at))
    top = ItemItemTop(model, unseen=unseen)
    served = ItemItemRecommender(model, histories())
    for k in (3, 12, 20):
        found = top.best(people, k)
        assert found.codes.shape == found.scores.shape == (4, k)
        for row, user in enumerate(USERS):
            answer = served.recommend(request(user, k=k, time=at))
            mine = [IDS[code - 1] for code in found.codes[row] if code > 0]
            assert mine == list(answer.item_ids[:k])
            np.testing.assert_allclose(
                found.scores[row][: len(mine)], answer.score[: len(mine)], rtol=1e-5
            )
            assert (found.codes[row][len(mine) :] == -1).all()
            assert (found.scores[row][len(mine) :] == -np.inf).all()


def test_users_are_filled_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    people = people_of_log(past(), item_table(IDS))
    top = ItemItemTop(rule(), unseen=True)
    whole = top.best(people, 5)
    monkeypatch.setattr(module, "FILLED", 3)
    part = top.best(people, 5)
    assert part.codes.tolist() == whole.codes.tolist()
    assert part.scores.tolist() == whole.scores.tolist()
    assert top.best(people_of_log(past(), item_table(IDS), users=[]), 3).codes.shape == (0, 3)
