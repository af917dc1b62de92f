"""HCN: its lists, its parts together, and what every multi-interest model has to show."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from adwright.core.errors import ConfigError
from adwright.models.embeddings import EmbeddingConfig
from adwright.models.retrieval.multi_interest import HCN, Behaviours, HCNConfig, Teacher
from tests.support.models.interest_checks import (
    TASK,
    TRAIN,
    check_company,
    check_empty,
    check_learns,
    check_saved,
    outcome,
    shake,
)

CONFIG = HCNConfig(
    width=8, hidden=12, interests=3, events=9, short_days=2, short_events=4, temperature=0.2
)


def _model(config: HCNConfig = CONFIG, seed: int = 0) -> HCN:
    torch.manual_seed(seed)
    return HCN(config, TASK.spec, TASK.items, TASK.count)


def _behaviours() -> Behaviours:
    batch = TASK.batch(TASK.visits("test"))
    return Behaviours.of(batch, torch.randn(13, 8), batch.history.values)


def test_it_gives_k_vectors_that_need_no_person_on_the_item_side() -> None:
    model = _model()
    assert model.queries(TASK.batch(TASK.visits("test"))).shape == (10, 3, 9)
    assert model.item_vectors(torch.tensor([1, 5])).shape == (2, 9)


def test_long_and_short_history_are_apart() -> None:
    behaviours = _behaviours()
    long, short = _model(replace(CONFIG, overlap=False)).lists(behaviours).unbind(1)
    assert not (long & short).any()
    assert torch.equal(long | short, behaviours.mask)
    assert (behaviours.age[short] <= 2).all()
    assert (behaviours.back[short] < 4).all()
    assert short.sum(1).tolist() == [4] * 10
    both, again = _model().lists(behaviours).unbind(1)
    assert torch.equal(both, behaviours.mask)
    assert torch.equal(again, short)
    one = _model(replace(CONFIG, split=False)).lists(behaviours)
    assert torch.equal(one[:, 0], behaviours.mask)
    assert one.shape[1] == 1


def test_its_parts_are_put_together_as_the_page_says() -> None:
    model, batch = _model(), TASK.batch(TRAIN[40:44], max_history=9)
    shake(model)
    codes, place = torch.unique(batch.history.values, return_inverse=True)
    behaviours = Behaviours.of(batch, model.item(codes), place)
    person = model.person(batch)
    assert person.shape == (4, model.person_width)
    moved = model.start + model.personal(person).view(4, 3, 8)
    start = moved / moved.norm(dim=2, keepdim=True)
    masks = model.lists(behaviours)
    centres = model.extraction(behaviours, masks, start)
    assert model.co_interest is not None
    raw = model.co_interest(centres[:, 0], centres[:, 1], masks.any(2))
    near = raw / raw.norm(dim=2, keepdim=True)
    wanted = torch.stack(
        [near[:, k] + model.head(torch.cat([near[:, k], person], 1)) for k in range(3)], 1
    )
    wanted = wanted / wanted.norm(dim=2, keepdim=True)
    torch.testing.assert_close(model.directions(batch), wanted)


@pytest.mark.parametrize("split", [True, False])
def test_a_history_is_the_same_alone_and_in_company(split: bool) -> None:
    model = _model(replace(CONFIG, split=split))
    shake(model)
    check_company(model)


def test_a_person_without_history_has_vectors() -> None:
    check_empty(_model())


@pytest.mark.parametrize("interests", [1, 3])
def test_it_learns_one_batch_by_heart(interests: int) -> None:
    check_learns(_model(replace(CONFIG, interests=interests, hidden=24)))


def test_an_artifact_gives_back_the_same_numbers(tmp_path: Path) -> None:
    check_saved(_model(), _model, tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"width": 4},
        {"hidden": 5},
        {"interests": 2},
        {"events": 3},
        {"temperature": 0.5},
        {"weighting": "softmax"},
        {"popularity": "corrected"},
        {"orthogonality": 1.0},
        {"levels": 1},
        {"residual": 0.5},
        {"competition": 1.0},
        {"split": False},
        {"short_days": 1.0},
        {"short_events": 1},
        {"overlap": False},
        {"embedding": EmbeddingConfig(width=3, scale=0.1)},
    ],
)
def test_every_field_changes_the_loss(change: dict[str, object]) -> None:
    before, _ = outcome(_model())
    after, _ = outcome(_model(replace(CONFIG, **change)))  # type: ignore[arg-type]
    assert before != after


@pytest.mark.parametrize("change", [{"distillation": 0.1}, {"teacher_temperature": 9.0}])
def test_every_field_of_the_distillation_changes_the_loss(change: dict[str, object]) -> None:
    batch = TASK.batch(TRAIN[30:34])
    teacher = Teacher(batch.targets, torch.linspace(-2, 2, len(batch.targets.values)))
    losses = {
        float(_model(config).loss(batch, teacher).detach())
        for config in (CONFIG, replace(CONFIG, **change))  # type: ignore[arg-type]
    }
    assert len(losses) == 2


def test_sharpness_changes_the_softmax_weighted_loss() -> None:
    soft = replace(CONFIG, weighting="softmax")
    assert outcome(_model(soft))[0] != outcome(_model(replace(soft, sharpness=4.0)))[0]


@pytest.mark.parametrize(
    "wrong",
    [
        {"levels": 0},
        {"short_events": 0},
        {"residual": 1.1},
        {"short_days": -1.0},
        {"competition": 0.0},
        {"interests": 0},
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        replace(CONFIG, **wrong)  # type: ignore[arg-type]
