"""Validation of retrievers and of rankers of actions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from adwright.core.errors import ValueInvalidError
from adwright.metrics.classification import auc, log_loss
from adwright.metrics.ranking import hit_rate, ndcg
from adwright.models.sequential.hstu import HSTU, HSTUConfig
from adwright.models.sequential.hstu_ranker import HSTURanker, HSTURankerConfig
from adwright.models.sequential.mfalcon import Falcon
from adwright.training.sequential.ranks import predict_actions, rank_next, validation
from tests.support.data.small_sequences import small_sequences

DATA = small_sequences()
CONFIG = HSTURankerConfig(
    width=8,
    max_length=16,
    qk_width=4,
    v_width=4,
    kernel="bucketed",
    actions=3,
    tasks=(("followed", (2,)), ("any", (1, 2))),
)


def _ranker(config: HSTURankerConfig = CONFIG) -> HSTURanker:
    torch.manual_seed(0)
    return HSTURanker(config, DATA.items, context_sizes=DATA.context_sizes)


@pytest.mark.parametrize("split", ["valid", "test"])
@pytest.mark.parametrize("truncated", [0, 7])
def test_an_action_is_predicted_from_the_history_and_the_item(split: str, truncated: int) -> None:
    # The event that is asked about has an action token too, and it counts among the latest.
    layers = {"truncate_after": 1, "truncate_to": truncated + 1} if truncated else {}
    model = _ranker(replace(CONFIG, **layers))  # type: ignore[arg-type]
    found = predict_actions(model, DATA, split, chunk=5)  # type: ignore[arg-type]
    assert found.people.tolist() == DATA.people(split).tolist()  # type: ignore[arg-type]
    if truncated:
        model = _ranker(replace(CONFIG, truncate_after=1, truncate_to=truncated))
    falcon = Falcon(model)
    back = {"valid": 2, "test": 1}[split]
    assert DATA.time is not None
    assert DATA.action is not None
    for row, u in enumerate(found.people):
        at = DATA.offsets[u + 1] - back
        past = DATA.questions(np.array([u]), split, max_length=15)  # type: ignore[arg-type]
        logits = falcon.score(past, torch.tensor([DATA.item[at]]), request_time=int(DATA.time[at]))
        wanted = torch.sigmoid(logits[0].double()).numpy()
        np.testing.assert_allclose(found.probability[row], wanted, atol=1e-5)
        assert found.label[row].tolist() == [int(DATA.action[at] == 2), 1]


def test_the_action_that_is_asked_about_is_hidden() -> None:
    model = _ranker()
    before = predict_actions(model, DATA, "test")
    assert DATA.action is not None
    action = DATA.action.copy()
    action[DATA.offsets[1:] - 1] = 3 - action[DATA.offsets[1:] - 1]
    after = predict_actions(model, replace(DATA, action=action), "test")
    assert np.array_equal(before.probability, after.probability)
    assert (before.label[:, 0] != after.label[:, 0]).all()


def test_people_whose_action_is_unknown_are_left_out() -> None:
    assert DATA.action is not None
    action = DATA.action.copy()
    action[DATA.offsets[3] - 1] = 0
    found = predict_actions(_ranker(), replace(DATA, action=action), "test")
    assert 2 not in found.people
    assert len(found.people) == len(DATA) - 1
    some = predict_actions(_ranker(), DATA, "test", people=np.array([4, 5]))
    assert some.people.tolist() == [4, 5]
    with pytest.raises(ValueInvalidError, match="no actions"):
        predict_actions(_ranker(), replace(DATA, action=None), "test")


def test_a_rankers_goal_is_the_least_log_loss() -> None:
    goal, line = validation(_ranker(), DATA)
    found = predict_actions(_ranker(), DATA, "valid")
    columns = zip(found.label.T, found.probability.T, strict=True)
    assert goal == pytest.approx(-np.mean([log_loss(y, p) for y, p in columns]))
    assert line["valid_log_loss"] == -goal
    wanted = auc(found.label[:, 0], found.probability[:, 0])
    assert line["valid_auc_followed"] == wanted
    # Everybody did something, so there is no order to measure.
    assert "valid_auc_any" not in line


def test_a_retrievers_goal_is_ndcg() -> None:
    torch.manual_seed(0)
    sizes = {"width": 8, "max_length": 16, "qk_width": 4, "v_width": 4}
    model = HSTU(HSTUConfig(**sizes, kernel="bucketed"), DATA.items)  # type: ignore[arg-type]
    goal, line = validation(model, DATA, k=3)
    found = rank_next(model, DATA, "valid").ranks
    assert goal == line["valid_ndcg@3"] == ndcg(found, 3)
    assert line["valid_hit_rate@3"] == hit_rate(found, 3)
    assert validation(model, DATA, k=4)[0] != goal
    assert validation(model, DATA, k=3, unseen=False)[0] != goal
    assert validation(model, DATA, k=3, people=DATA.people("valid")[:9])[0] != goal
