from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from adwright.core.errors import ConfigError
from adwright.delivery.counted import item_table
from adwright.delivery.funnel.columns import ScoreMixture
from adwright.delivery.popularity import Popularity
from adwright.delivery.recommend.models import (
    CascadeTop,
    PopularityTop,
    RetrieverTop,
    SequenceTop,
    TopItems,
)
from adwright.delivery.recommend.people import People, people_of_log
from adwright.delivery.served import Alone, ServedModel
from adwright.delivery.stages.histories import microseconds
from tests.support.delivery.cascade_parts import (
    LATER,
    deployment,
    hcn,
    ranker,
    request,
    task,
    two_tower,
)
from tests.support.delivery.funnel_parts import SERVING, funnel
from tests.support.delivery.sequence_parts import hstu, hstu_ranker, sasrec
from tests.support.delivery.single_models import past

IDS = task().items.ids
USERS = ["u3", "nobody", "u1", "u7"]
MODELS: dict[str, tuple[Callable[[], Alone], Callable[..., TopItems]]] = {
    "two towers": (two_tower, RetrieverTop),
    "HCN": (hcn, RetrieverTop),
    "HSTU": (hstu, SequenceTop),
    "HSTU with repeats": (lambda: hstu(repeats=True), SequenceTop),
    "HSTU with popularity": (lambda: hstu(popularity=True), SequenceTop),
    "SASRec": (sasrec, SequenceTop),
}


def people(users: list[str] | None = None) -> People:
    return people_of_log(past(), task().items, users=users, at=microseconds(LATER))


def ids(codes: Any) -> list[str]:
    return [IDS[code - 1] for code in codes if code > 0]


@pytest.mark.parametrize("unseen", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_everybody_gets_what_the_service_would_answer(name: str, unseen: bool) -> None:
    make, top = MODELS[name]
    model = make()
    found = top(model, unseen=unseen).best(people(USERS), 4)
    served = ServedModel.of_log(model, past().events, past().profiles)
    served.histories.again = None  # each event takes its item off the list, where unseen
    cascade = ServedModel(model, served.histories, unseen).cascade()
    for row, user in enumerate(USERS):
        answer = cascade.recommend(request(user, k=4))
        mine = ids(found.codes[row])
        if not (unseen and user != "nobody"):
            assert len(mine) == 4
        assert mine == list(answer.item_ids[: len(mine)])
        np.testing.assert_allclose(
            found.scores[row][: len(mine)], answer.score[: len(mine)], rtol=2e-4, atol=2e-4
        )


def test_users_do_not_depend_on_who_else_is_asked() -> None:
    top = SequenceTop(hstu(), unseen=False)
    every = top.best(people(), 3)
    alone = [top.best(people([user]), 3).codes[0].tolist() for user in people().users]
    assert every.codes.tolist() == alone
    assert top.best(people([]), 3).codes.shape == (0, 3)


def test_popularity_leaves_out_what_was_had() -> None:
    weight = np.arange(len(IDS), dtype=np.float64)
    popular = Popularity(IDS, weight)
    everybody = people_of_log(past(), item_table(popular.item_ids), users=USERS)
    plain = PopularityTop(popular, unseen=False)
    names = [plain.items.ids[code - 1] for code in plain.best(everybody, 3).codes[0]]
    assert names == list(popular.item_ids[:3])
    new = PopularityTop(popular, unseen=True).best(everybody, 5)
    for row, user in enumerate(USERS):
        had = set(past().events.filter(user_id=user)["item_id"])
        expected = [item for item in popular.item_ids if item not in had][:5]
        assert [plain.items.ids[code - 1] for code in new.codes[row] if code > 0] == expected


def test_a_cascade_and_a_ranker_answer_as_they_serve() -> None:
    fine = replace(SERVING, fine=ScoreMixture(("fine", "item-item"), (1.0, 0.5)))
    for cascade in (
        deployment().cascade(),
        funnel().cascade(),
        funnel(fine).cascade(),
        ServedModel.of_log(ranker(), past().events, past().profiles).cascade(),
    ):
        found = CascadeTop(cascade, unseen=False).best(people(USERS), 3)
        for row, user in enumerate(USERS):
            assert ids(found.codes[row]) == list(cascade.recommend(request(user, k=3)).item_ids[:3])
        new = CascadeTop(cascade, unseen=True).best(people(USERS), 3)
        had = set(past().events.filter(user_id="u3")["item_id"])
        assert not had & set(ids(new.codes[0]))


def test_a_ranker_of_sequences_is_refused() -> None:
    with pytest.raises(ConfigError, match="cannot search"):
        SequenceTop(hstu_ranker(), unseen=False)
