"""Ranks of the next item against the definition, written out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from adwright.core.errors import ConfigError, ValueInvalidError
from adwright.data.sequences.datasets import sequences_of_task
from adwright.data.sequences.item_sequences import SequenceBatch
from adwright.data.tasks.negatives import Draws
from adwright.metrics.classification import auc, log_loss
from adwright.metrics.ranking import hit_rate, ndcg
from adwright.models.retrieval.rules import TITLES
from adwright.models.sequential.choice_ranker import ChoiceRanker, choice_logits
from adwright.models.sequential.hstu import HSTU, HSTUConfig
from adwright.models.sequential.hstu_ranker import HSTURanker, HSTURankerConfig
from adwright.models.sequential.mfalcon import Falcon
from adwright.models.sequential.sequence_model import SequenceModel
from adwright.training.retrieval.rules import fit_rules, rules_ranks
from adwright.training.sequential.fit import people_of
from adwright.training.sequential.ranks import (
    choice_validation,
    predict_actions,
    rank_next,
    some_visits,
    validation,
    visit_batch,
    visit_choices,
    visit_scorer,
)
from adwright.training.sequential.run import baseline_ranks, next_log
from adwright.training.sequential.runfile import SequenceData
from tests.support.data.small_next_basket import small_task
from tests.support.data.small_sequences import small_sequences
from tests.support.models.sequence_checks import shake

DATA = small_sequences(items=20)


class _ByLast:
    """Scores depend on the last item alone; asks to be put in eval mode."""

    max_length = 5

    def __init__(self, rounded: bool = False) -> None:
        vectors = torch.randn(21, 7, generator=torch.Generator().manual_seed(0))
        self.vectors = vectors.round() if rounded else vectors
        self.ready = False

    def queries(self, batch: SequenceBatch) -> Tensor:
        assert self.ready
        return self.vectors[batch.items.values[batch.items.offsets[1:] - 1]]

    def item_vectors(self, codes: Tensor) -> Tensor:
        return self.vectors[codes]

    def eval(self) -> object:
        self.ready = True
        return self


@pytest.mark.parametrize("split", ["valid", "test"])
@pytest.mark.parametrize("unseen", [True, False])
def test_a_rank_counts_the_items_that_score_higher(split: str, unseen: bool) -> None:
    model = _ByLast()
    found = rank_next(model, DATA, split, unseen=unseen, chunk=7)  # type: ignore[arg-type]
    back = {"valid": 2, "test": 1}[split]
    at = 0
    for u in range(len(DATA)):
        mine = DATA.item[DATA.offsets[u] : DATA.offsets[u + 1]].tolist()
        history, target = mine[:-back], mine[-back]
        if unseen and target in history:
            assert u not in found.people
            continue
        candidates = [i for i in range(1, 21) if not (unseen and i in history)]
        scores = model.vectors @ model.vectors[history[-1]]
        wanted = 1 + sum(float(scores[i]) > float(scores[target]) for i in candidates)
        assert found.people[at] == u
        assert found.ranks.ranks[at] == wanted
        at += 1
    assert at == len(found.people) == len(DATA) - found.skipped
    assert (found.skipped > 0) == unseen, "some of the invented people take an item again"


def test_ties_stand_in_a_hashed_order_and_are_counted() -> None:
    found = rank_next(_ByLast(rounded=True), DATA, "test")
    assert 0 < found.ranks.tie_share <= 1
    again = rank_next(_ByLast(rounded=True), DATA, "test")
    assert np.array_equal(found.ranks.ranks, again.ranks.ranks)


def test_nobody_to_ask_is_an_error() -> None:
    same = replace(DATA, item=np.ones_like(DATA.item))
    with pytest.raises(ValueInvalidError, match="nobody has a target"):
        rank_next(_ByLast(), same, "test")
    assert len(rank_next(_ByLast(), same, "test", unseen=False).people) == len(DATA)


TASK = small_task(people=12, days=9)
CONFIG = HSTUConfig(
    width=8, max_length=64, blocks=2, qk_width=4, v_width=4, kernel="bucketed", dropout=0.0
)


def _hstu(**changes: object) -> HSTU:
    torch.manual_seed(0)
    model = HSTU(replace(CONFIG, **changes), len(TASK.items) - 1)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


def _one_by_one(model: SequenceModel, visits: np.ndarray) -> torch.Tensor:
    found = torch.zeros(len(visits), model.config.width)
    for row, visit in enumerate(visits):
        batch = visit_batch(TASK, np.array([visit]), model.max_length)
        if len(batch.items.values):
            with torch.no_grad():
                found[row] = model.queries(batch)[0]
    return found


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"request_time": "last_event"},
        {"max_length": 5},
        {"max_length": 10},
        {"truncate_after": 1, "truncate_to": 3},
        {"window": 4, "prefix": 1},
    ],
)
def test_all_visits_of_a_person_in_one_pass_are_what_each_alone_is(
    changes: dict[str, object],
) -> None:
    model = _hstu(**changes)
    rng = np.random.default_rng(0)
    visits = np.sort(rng.choice(len(TASK), 60, replace=False))
    expected = _one_by_one(model, visits)
    with torch.no_grad():
        expected = expected @ model.item_vectors(torch.arange(len(TASK.items))).T
    for events in (1, 40, 10_000):
        found = visit_scorer(model, TASK, events=events)(visits)
        assert torch.allclose(found, expected, atol=1e-5)
    score = visit_scorer(model, TASK)
    mixed = rng.permutation(60)
    assert torch.allclose(score(visits[mixed]), expected[mixed], atol=1e-5)
    assert score(visits[:0]).shape == (0, len(TASK.items))


def test_a_visit_knows_when_it_is_and_not_what_else_was_taken_then() -> None:
    visit = TASK.visits("test")[:1]
    batch = visit_batch(TASK, visit, 64)
    assert batch.time is not None
    assert batch.next_time is not None
    first, end = TASK.user_offsets[TASK.visit_user[visit[0]]], TASK.visit_end[visit[0]]
    times = TASK.time[first:end] // 1_000_000
    asked = int(TASK.visit_time[visit[0]] // 1_000_000)
    later = [min([t for t in [*times, asked] if t > now]) for now in times]
    assert batch.time.tolist() == times.tolist()
    assert batch.next_time.tolist() == later


DATA_VALIDATION = small_sequences()
CONFIG_VALIDATION = HSTURankerConfig(
    width=8,
    max_length=16,
    qk_width=4,
    v_width=4,
    kernel="bucketed",
    actions=3,
    tasks=(("followed", (2,)), ("any", (1, 2))),
)


def _ranker(config: HSTURankerConfig = CONFIG_VALIDATION) -> HSTURanker:
    torch.manual_seed(0)
    return HSTURanker(config, DATA_VALIDATION.items, context_sizes=DATA_VALIDATION.context_sizes)


@pytest.mark.parametrize("split", ["valid", "test"])
@pytest.mark.parametrize("truncated", [0, 7])
def test_an_action_is_predicted_from_the_history_and_the_item(split: str, truncated: int) -> None:
    # The event that is asked about has an action token too, and it counts among the latest.
    layers = {"truncate_after": 1, "truncate_to": truncated + 1} if truncated else {}
    model = _ranker(replace(CONFIG_VALIDATION, **layers))  # type: ignore[arg-type]
    found = predict_actions(model, DATA_VALIDATION, split, chunk=5)  # type: ignore[arg-type]
    assert found.people.tolist() == DATA_VALIDATION.people(split).tolist()  # type: ignore[arg-type]
    if truncated:
        model = _ranker(replace(CONFIG_VALIDATION, truncate_after=1, truncate_to=truncated))
    falcon = Falcon(model)
    back = {"valid": 2, "test": 1}[split]
    assert DATA_VALIDATION.time is not None
    assert DATA_VALIDATION.action is not None
    for row, u in enumerate(found.people):
        at = DATA_VALIDATION.offsets[u + 1] - back
        past = DATA_VALIDATION.questions(np.array([u]), split, max_length=15)  # type: ignore[arg-type]
        logits = falcon.score(
            past,
            torch.tensor([DATA_VALIDATION.item[at]]),
            request_time=int(DATA_VALIDATION.time[at]),
        )
        wanted = torch.sigmoid(logits[0].double()).numpy()
        np.testing.assert_allclose(found.probability[row], wanted, atol=1e-5)
        assert found.label[row].tolist() == [int(DATA_VALIDATION.action[at] == 2), 1]


def test_the_action_that_is_asked_about_is_hidden() -> None:
    model = _ranker()
    before = predict_actions(model, DATA_VALIDATION, "test")
    assert DATA_VALIDATION.action is not None
    action = DATA_VALIDATION.action.copy()
    action[DATA_VALIDATION.offsets[1:] - 1] = 3 - action[DATA_VALIDATION.offsets[1:] - 1]
    after = predict_actions(model, replace(DATA_VALIDATION, action=action), "test")
    assert np.array_equal(before.probability, after.probability)
    assert (before.label[:, 0] != after.label[:, 0]).all()


def test_people_whose_action_is_unknown_are_left_out() -> None:
    assert DATA_VALIDATION.action is not None
    action = DATA_VALIDATION.action.copy()
    action[DATA_VALIDATION.offsets[3] - 1] = 0
    found = predict_actions(_ranker(), replace(DATA_VALIDATION, action=action), "test")
    assert 2 not in found.people
    assert len(found.people) == len(DATA_VALIDATION) - 1
    some = predict_actions(_ranker(), DATA_VALIDATION, "test", people=np.array([4, 5]))
    assert some.people.tolist() == [4, 5]
    with pytest.raises(ValueInvalidError, match="no actions"):
        predict_actions(_ranker(), replace(DATA_VALIDATION, action=None), "test")


def test_a_rankers_goal_is_the_least_log_loss() -> None:
    goal, line = validation(_ranker(), DATA_VALIDATION)
    found = predict_actions(_ranker(), DATA_VALIDATION, "valid")
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
    model = HSTU(HSTUConfig(**sizes, kernel="bucketed"), DATA_VALIDATION.items)  # type: ignore[arg-type]
    goal, line = validation(model, DATA_VALIDATION, k=3)
    found = rank_next(model, DATA_VALIDATION, "valid").ranks
    assert goal == line["valid_ndcg@3"] == ndcg(found, 3)
    assert line["valid_hit_rate@3"] == hit_rate(found, 3)
    assert validation(model, DATA_VALIDATION, k=4)[0] != goal
    assert validation(model, DATA_VALIDATION, k=3, unseen=False)[0] != goal
    assert (
        validation(model, DATA_VALIDATION, k=3, people=DATA_VALIDATION.people("valid")[:9])[0]
        != goal
    )


CONFIG_CHOICE_VALIDATION = HSTURankerConfig(
    width=8, max_length=12, qk_width=4, v_width=4, kernel="bucketed", dropout=0.0, hidden=6
)


def ranker() -> ChoiceRanker:
    torch.manual_seed(0)
    model = ChoiceRanker(
        CONFIG_CHOICE_VALIDATION, len(TASK.items) - 1, draws=Draws(number=6), count=TASK.count
    )
    shake(model)
    return model.eval()


def test_a_visit_is_asked_about_what_was_taken_and_what_was_drawn() -> None:
    model, visits = ranker(), TASK.visits("valid")
    choices = visit_choices(model, TASK, visits, np.random.default_rng(0))
    logits, falcon = choice_logits(model, choices)[:, 0], Falcon(model)
    assert int(choices.past.items.lengths.max()) == CONFIG_CHOICE_VALIDATION.max_length - 1
    for row, visit in enumerate(visits):
        start, end = choices.items.offsets[row : row + 2].tolist()
        taken = choices.items.values[start:end][choices.label[start:end] == 1]
        wanted = TASK.targets[TASK.target_offsets[visit] : TASK.target_offsets[visit + 1]]
        assert taken.tolist() == sorted(set(wanted.tolist()))
        found = falcon.score(
            people_of(choices.past, np.array([row])),
            choices.items.values[start:end],
            request_time=int(TASK.visit_time[visit] // 1_000_000),
        )
        torch.testing.assert_close(found[:, 0], logits[start:end].detach(), rtol=1e-4, atol=1e-4)


def test_visits_without_a_history_are_passed_over() -> None:
    visits = np.arange(len(TASK))
    first = visits[TASK.visit_end == TASK.user_offsets[TASK.visit_user]]
    assert len(first) == 12
    goal, _ = choice_validation(ranker(), TASK, visits)()
    assert goal == choice_validation(ranker(), TASK, np.setdiff1d(visits, first))()[0]
    with pytest.raises(ConfigError, match="no visit has a history"):
        choice_validation(ranker(), TASK, first)


def test_where_all_was_taken_there_is_no_order() -> None:
    model = ranker()
    model.draws = replace(model.draws, number=1)
    line = choice_validation(model, TASK, TASK.visits("valid")[:1], seed=1)()[1]
    assert {"valid_log_loss"} <= set(line) <= {"valid_log_loss", "valid_auc"}


def test_some_people_are_drawn() -> None:
    every = TASK.visits("valid")
    for number in (0, 12, 99):
        assert some_visits(TASK, number, 0).tolist() == every.tolist()
    few = some_visits(TASK, 5, 0)
    assert set(few) <= set(every)
    assert len(set(TASK.visit_user[few])) == 5
    assert some_visits(TASK, 5, 1).tolist() != few.tolist()


TASK_BASELINES = small_task()
VISITS = SequenceData(sequences_of_task(TASK_BASELINES, split="task"), TASK_BASELINES, True)
WALKS = SequenceData(small_sequences(), None, True)


def test_a_task_asks_all_visits_of_its_test() -> None:
    visits = TASK_BASELINES.visits("test")
    found = baseline_ranks(VISITS, TASK_BASELINES.visit_user[visits], depth=10)
    assert list(found) == list(TITLES.values())
    log = next_log(VISITS)
    expected = rules_ranks(fit_rules(log, repeats=True), log, log.test, unseen=False, depth=10)
    for name, ranks in found.items():
        assert np.array_equal(ranks.ranks, expected[name].ranks)
        assert ranks.users == len(visits)


@pytest.mark.parametrize("repeats", [False, True])
def test_sequences_ask_those_whom_the_model_was_asked_for(repeats: bool) -> None:
    data = replace(WALKS, allow_repeats=repeats)
    sequences = data.sequences
    people = sequences.people("test")
    if not repeats:
        had = [
            sequences.item[sequences.offsets[u + 1] - 1]
            in sequences.item[sequences.offsets[u] : sequences.offsets[u + 1] - 1]
            for u in people
        ]
        people = people[~np.array(had)]
    found = baseline_ranks(data, people, depth=15)
    assert ("Last items again" in found) == repeats
    assert "Popularity by category" not in found
    for ranks in found.values():
        # One target each, and none that the user had where it is left out.
        assert ranks.offsets.tolist() == list(range(len(people) + 1))


def test_categories_are_passed_on() -> None:
    parity = np.arange(16) % 2 + 1
    people = WALKS.sequences.people("test")
    found = baseline_ranks(replace(WALKS, categories={"parity": parity}), people, depth=15)
    assert "Popularity by category" in found
