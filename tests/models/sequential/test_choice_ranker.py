"""Choices after a history: what serving asks, and what they are drawn of."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from adwright.core.errors import ValueInvalidError
from adwright.data.batches.jagged import Jagged
from adwright.data.sequences.item_sequences import SequenceBatch
from adwright.data.tasks.negatives import Draws, popular_share
from adwright.models.sequential.choice_ranker import (
    ChoiceRanker,
    Choices,
    choice_logits,
    choice_loss,
    with_negatives,
)
from adwright.models.sequential.hstu_ranker import HSTURankerConfig
from adwright.models.sequential.mfalcon import Falcon
from tests.models.sequential.test_hstu_ranker import CONFIG
from tests.models.sequential.test_mfalcon import CONFIGS
from tests.support.models.sequence_checks import DATA, LONGEST, batch_of, shake

DRAWS = Draws(number=8)
COUNT = np.arange(DATA.items + 1)


def _ranker(config: HSTURankerConfig = CONFIG) -> ChoiceRanker:
    torch.manual_seed(0)
    model = ChoiceRanker(
        config, DATA.items, draws=DRAWS, count=COUNT, context_sizes=DATA.context_sizes
    )
    shake(model)
    return model.eval()


def _choices(seed: int = 0) -> Choices:
    return _ranker().choices(batch_of([0, 3, 4, 5]), np.random.default_rng(seed))


@pytest.mark.parametrize("name", CONFIGS)
def test_training_asks_what_serving_asks(name: str) -> None:
    model, choices = _ranker(CONFIGS[name]), _choices()
    found = choice_logits(model, choices)
    falcon, offsets = Falcon(model), choices.past.items.offsets
    assert choices.past.next_time is not None
    for person in range(len(choices.past)):
        start, end = offsets[person : person + 2].tolist()
        context = choices.past.context
        alone = replace(choices.past, context=None)
        alone = alone.at(torch.arange(start, end), torch.tensor([0, end - start]))
        if context is not None:
            alone = replace(alone, context=context[person : person + 1])
        first, last = choices.items.offsets[person : person + 2].tolist()
        now = int(choices.past.next_time[end - 1])
        codes = choices.items.values[first:last]
        wanted = falcon.score(alone, codes, request_time=now)
        torch.testing.assert_close(found[first:last], wanted, rtol=1e-5, atol=1e-5)


def test_the_loss_is_binary() -> None:
    model, choices = _ranker(), _choices()
    literal = 0.0
    for logit, label in zip(
        choice_logits(model, choices)[:, 0].detach().tolist(), choices.label.tolist(), strict=True
    ):
        p = 1 / (1 + np.exp(-logit))
        literal -= np.log(p if label else 1 - p)
    assert float(choice_loss(model, choices).detach()) == pytest.approx(literal, rel=1e-5)


def test_a_choice_is_a_moment_after_the_first() -> None:
    model, batch = _ranker(), batch_of([0, 3, 4, 5])
    assert batch.time is not None
    moments = set()
    for seed in range(40):
        choices = model.choices(batch, np.random.default_rng(seed))
        past = choices.past
        assert past.time is not None
        assert past.next_time is not None
        assert past.action is not None
        for row, person in enumerate(_with_choice(batch)):
            first, last = batch.items.offsets[person : person + 2].tolist()
            start, end = past.items.offsets[row : row + 2].tolist()
            begin = first + end - start
            now = int(batch.time[begin])
            moments.add((person, begin - first))
            assert int(past.next_time[end - 1]) == now
            assert torch.equal(past.items.values[start:end], batch.items.values[first:begin])
            assert int(past.time[end - 1]) < now
            assert torch.equal(past.next_time[start : end - 1], past.time[start + 1 : end])
            taken = batch.items.values[first:last][batch.time[first:last] == now]
            a, b = choices.items.offsets[row : row + 2].tolist()
            of_label = choices.items.values[a:b][choices.label[a:b] == 1]
            assert set(of_label.tolist()) == set(taken.tolist())
            assert len(set(of_label.tolist())) == len(of_label)
    assert len(moments) > 20
    assert model.asked(batch) == len(_with_choice(batch))


def _with_choice(batch: SequenceBatch) -> list[int]:
    assert batch.time is not None
    people = []
    for person in range(len(batch)):
        first, last = batch.items.offsets[person : person + 2].tolist()
        if len(set(batch.time[first:last].tolist())) > 1:
            people.append(person)
    return people


def test_negatives_are_drawn_as_the_choice_task_draws_them() -> None:
    """As often as `Draws` expects, and never what was taken."""
    past = SequenceBatch.serving(
        Jagged(torch.tensor([1, 2, 1, 7, 0]), torch.tensor([0, 3, 5])), time=torch.arange(5)
    )
    share, rng = popular_share(COUNT), np.random.default_rng(0)
    counts = np.zeros((2, DATA.items + 1))
    times = 3000
    for _ in range(times):
        made = with_negatives(past, np.array([3, 3, 2]), np.array([0, 2, 3]), DRAWS, share, rng)
        owner, code = made.items.owner().numpy(), made.items.values.numpy()
        taken = made.label.numpy() == 1
        assert owner[taken].tolist() == [0, 1]
        assert code[taken].tolist() == [3, 2]
        assert not (code[~taken] == np.array([3, 2])[owner[~taken]]).any()
        np.add.at(counts, (owner[~taken], code[~taken]), 1)
    for person, own, taken_code in ((0, [1, 2], 3), (1, [7], 2)):
        for code in range(1, DATA.items + 1):
            expected = np.exp(
                DRAWS.log_expected(
                    share[[code]],
                    items=DATA.items,
                    had=np.array([code in own]),
                    distinct=np.array([len(own)]),
                )
            )[0]
            expected = 0 if code == taken_code else expected
            assert counts[person, code] / times == pytest.approx(expected, abs=0.08)
    assert made.past.action is not None
    assert made.past.action.tolist() == [1] * 5


def test_without_times_each_event_is_a_moment() -> None:
    model, batch = _ranker(replace(CONFIG, time=False)), batch_of([0, 3])
    bare = replace(batch, time=None, next_time=None, action=None)
    choices = model.choices(bare, np.random.default_rng(0))
    assert (choices.items.lengths > 0).all()
    bounds = pairwise(choices.items.offsets.tolist())
    assert [int(choices.label[a:b].sum()) for a, b in bounds] == [1, 1]
    assert torch.isfinite(model.loss(bare))


def test_people_of_one_moment_have_no_choice() -> None:
    batch = SequenceBatch.serving(
        Jagged(torch.tensor([1, 2, 3]), torch.tensor([0, 2, 3])), time=torch.tensor([5, 5, 7])
    )
    model = _ranker()
    assert model.asked(batch) == 0
    assert float(model.loss(batch).detach()) == 0


def test_what_is_no_choice_is_refused() -> None:
    choices = _choices()
    with pytest.raises(ValueInvalidError, match="a label each"):
        replace(choices, label=choices.label[1:])
    empty = replace(choices.past, context=None).at(
        torch.arange(0), torch.zeros(5, dtype=torch.int64)
    )
    with pytest.raises(ValueInvalidError, match="after a history"):
        replace(choices, past=empty)
    long = SequenceBatch.serving(
        Jagged(torch.ones(LONGEST, dtype=torch.int64), torch.tensor([0, LONGEST])),
        time=torch.arange(LONGEST),
        action=torch.ones(LONGEST, dtype=torch.int64),
    )
    full = Choices(long, Jagged(torch.tensor([1]), torch.tensor([0, 1])), torch.ones(1))
    with pytest.raises(ValueInvalidError, match="no place"):
        choice_logits(_ranker(), full)
