"""Scores, losses and the head of models with several vectors a person."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from adwright.core.errors import ConfigError, ValueInvalidError
from adwright.data.batches.jagged import Jagged
from adwright.models.retrieval.multi_interest import (
    Behaviours,
    InterestConfig,
    MultiInterest,
    Teacher,
    combine,
    distillation_loss,
    redundancy,
    score_candidates,
)
from adwright.training.retrieval.ranks import query_scores
from tests.support.data.small_next_basket import small_task

TASK = small_task()
CONFIG = InterestConfig(width=8, hidden=12, interests=2, temperature=0.3)


class _Ends(MultiInterest):
    """The first two interests are the oldest and the latest event."""

    def interests(self, behaviours: Behaviours, person: Tensor) -> Tensor:
        last = behaviours.mask.sum(1) - 1
        rows = torch.arange(len(last))
        return torch.stack([behaviours.vectors[:, 0], behaviours.vectors[rows, last]], 1)


def _model(config: InterestConfig = CONFIG) -> _Ends:
    torch.manual_seed(0)
    return _Ends(config, TASK.spec, TASK.items, TASK.count)


def _teacher(queries: int) -> Teacher:
    lists = [[1, 2, 3], [], [5], [6, 7]][:queries]
    return Teacher(
        Jagged.from_lists(lists, dtype=torch.int64), torch.tensor([1.0, -1, 0.5, 2, 0.3, 0.1])
    )


def test_vectors_carry_the_temperature_and_the_prior() -> None:
    model, batch = _model(), TASK.batch(TASK.visits("test"))
    queries, items = model.queries(batch), model.item_vectors(torch.arange(13))
    assert queries.shape == (10, 2, 9)
    torch.testing.assert_close(queries[..., :8] * CONFIG.temperature, model.directions(batch))
    torch.testing.assert_close(queries[..., 8], torch.ones(10, 2))
    torch.testing.assert_close(model.directions(batch).norm(dim=2), torch.ones(10, 2))
    share = (torch.from_numpy(TASK.count) + 1) / (TASK.count.sum() + 13)
    torch.testing.assert_close(items[:, 8], share.log().float())
    ignoring = _model(replace(CONFIG, popularity="ignored"))
    assert ignoring.item_vectors(torch.arange(13))[:, 8].abs().max() == 0


@pytest.mark.parametrize("weighting", ["max", "softmax"])
@pytest.mark.parametrize("popularity", ["prior", "corrected", "ignored"])
def test_the_loss_is_the_formula(weighting: str, popularity: str) -> None:
    config = replace(CONFIG, weighting=weighting, popularity=popularity, sharpness=2.0)  # type: ignore[arg-type]
    model, batch = _model(config), TASK.batch(TASK.visits("train")[12:16])
    pairs = batch.targets.values
    candidates = pairs.unique()
    items = model.item_vectors(candidates)[:, :8]
    share = torch.from_numpy(TASK.count)[candidates] / TASK.count.sum()
    log_q = torch.log(1 - torch.exp(-len(pairs) * share))
    log_p = ((torch.from_numpy(TASK.count)[candidates] + 1) / (TASK.count.sum() + 13)).log()
    shift = {"prior": log_p - log_q, "corrected": -log_q, "ignored": 0 * log_q}[popularity]
    total = 0.0
    for u, targets in enumerate(batch.targets.to_lists()):
        scores = []
        for c in range(len(candidates)):
            logits = model.directions(batch)[u] @ items[c] / 0.3
            weight = torch.softmax(2.0 * logits, 0)
            score = logits.max() if weighting == "max" else (weight * logits).sum()
            scores.append(score + shift[c])
        for target in targets:
            codes = candidates.tolist()
            keep = [c for c, code in enumerate(codes) if code == target or code not in targets]
            among = torch.stack([scores[c] for c in keep])
            total -= float((scores[codes.index(target)] - torch.logsumexp(among, 0)).detach())
    assert float(model.loss(batch).detach()) == pytest.approx(total, rel=1e-4)


def test_the_penalty_is_the_mean_squared_cosine_a_pair() -> None:
    batch = TASK.batch(TASK.visits("train")[12:16])
    plain, model = _model(), _model(replace(CONFIG, orthogonality=0.5))
    directions = model.directions(batch)
    cosines = (directions[:, 0] * directions[:, 1]).sum(1)
    wanted = 0.5 * len(batch.targets.values) * float((cosines**2).mean().detach())
    assert float((model.loss(batch) - plain.loss(batch)).detach()) == pytest.approx(
        wanted, rel=1e-3
    )
    assert float(redundancy(directions).detach()) == pytest.approx(float(cosines.mean().detach()))
    assert float(redundancy(directions[:, :1]).detach()) == 0


@pytest.mark.parametrize("weighting", ["max", "softmax"])
def test_the_teacher_adds_the_distance_of_its_list(weighting: str) -> None:
    config = replace(CONFIG, distillation=0.7, teacher_temperature=2.0, weighting=weighting)  # type: ignore[arg-type]
    model, batch = _model(config), TASK.batch(TASK.visits("train")[12:16])
    teacher, queries = _teacher(4), model.queries(batch)
    total, lists, at = 0.0, teacher.candidates.to_lists(), 0
    for u, codes in enumerate(lists):
        if not codes:
            continue
        vectors = model.item_vectors(torch.tensor(codes, dtype=torch.int64))
        student = torch.log_softmax(score_candidates(queries[u], vectors, config.weighting), 0)
        taught = torch.log_softmax(teacher.scores[at : at + len(codes)] / 2.0, 0)
        total += float((taught.exp() * (taught - student)).sum().detach()) / 3
        at += len(codes)
    added = model.loss(batch, teacher) - model.loss(batch)
    wanted = 0.7 * len(batch.targets.values) * total
    assert float(added.detach()) == pytest.approx(wanted, rel=1e-3)


def test_distillation_is_zero_for_the_teacher_itself() -> None:
    offsets, logits = torch.tensor([0, 3, 3, 5]), torch.tensor([1.0, 2, 0.5, 3, 3])
    assert float(distillation_loss(logits + 4, logits, offsets)) == pytest.approx(0, abs=1e-6)
    assert float(distillation_loss(-logits, logits, offsets)) > 0.1
    nothing = torch.zeros(0)
    assert float(distillation_loss(nothing, nothing, torch.tensor([0, 0]))) == 0


def test_a_teacher_without_a_score_for_each_candidate_is_refused() -> None:
    with pytest.raises(ValueInvalidError, match="one score per candidate"):
        Teacher(_teacher(4).candidates, torch.zeros(5))


def test_scores_of_candidates_are_those_of_the_whole_catalogue() -> None:
    model, batch = _model(), TASK.batch(TASK.visits("test"))
    with torch.no_grad():
        vectors, queries = model.item_vectors(torch.arange(13)), model.queries(batch)
    every = query_scores(queries, vectors)
    for u in range(3):
        torch.testing.assert_close(score_candidates(queries[u], vectors), every[u])
    soft = score_candidates(queries[0], vectors, "softmax", 1e4)
    torch.testing.assert_close(soft, every[0], rtol=1e-4, atol=1e-4)


def test_combining_one_score_changes_nothing() -> None:
    scores = torch.randn(1, 5)
    torch.testing.assert_close(combine(scores, "softmax", 3.0, dim=0), scores[0])
    torch.testing.assert_close(combine(scores, "max", 3.0, dim=0), scores[0])


def test_ten_thousand_candidates_are_scored_in_three_milliseconds() -> None:
    queries, vectors = torch.randn(4, 65), torch.randn(10_000, 65)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    spent = []
    for _ in range(10):
        begin = time.process_time()
        score_candidates(queries, vectors)
        spent.append(time.process_time() - begin)
    torch.set_num_threads(threads)
    assert min(spent) < 0.003


def test_only_the_latest_events_are_read() -> None:
    model, batch = _model(replace(CONFIG, events=2)), TASK.batch(TASK.visits("test"))
    cut = TASK.batch(TASK.visits("test"), max_history=2)
    torch.testing.assert_close(model.queries(batch), model.queries(cut))
    torch.testing.assert_close(
        model.loss(TASK.batch(TASK.visits("train")[20:24])),
        model.loss(TASK.batch(TASK.visits("train")[20:24], max_history=2)),
    )


def test_a_subclass_says_how_interests_arise() -> None:
    model = MultiInterest(CONFIG, TASK.spec, TASK.items, TASK.count)
    with pytest.raises(NotImplementedError):
        model.queries(TASK.batch(TASK.visits("test")))


@dataclass(frozen=True)
class _Wrong:
    field: str
    value: float


@pytest.mark.parametrize(
    "wrong",
    [
        _Wrong("width", 0),
        _Wrong("interests", 0),
        _Wrong("events", 0),
        _Wrong("temperature", 0.0),
        _Wrong("sharpness", -1.0),
        _Wrong("teacher_temperature", 0.0),
        _Wrong("orthogonality", -0.1),
        _Wrong("distillation", -0.1),
    ],
)
def test_settings_out_of_range_are_refused(wrong: _Wrong) -> None:
    with pytest.raises(ConfigError):
        replace(CONFIG, **{wrong.field: wrong.value})  # type: ignore[arg-type]
