"""ComiRec-SA and MIND against loops written from their papers' formulas."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from adwright.core.errors import ConfigError
from adwright.models.retrieval.comirec import MIND, ComiRec, ComiRecConfig, MINDConfig
from adwright.models.retrieval.multi_interest import Behaviours, MultiInterest
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

COMIREC = ComiRecConfig(width=8, hidden=12, interests=3, events=9, attention=10, temperature=0.2)
ROUTED = MINDConfig(width=8, hidden=12, interests=3, events=9, temperature=0.2)


def _comirec(config: ComiRecConfig = COMIREC) -> ComiRec:
    torch.manual_seed(0)
    return ComiRec(config, TASK.spec, TASK.items, TASK.count)


def _mind(config: MINDConfig = ROUTED) -> MIND:
    torch.manual_seed(0)
    return MIND(config, TASK.spec, TASK.items, TASK.count)


MODELS = pytest.mark.parametrize("make", [_comirec, _mind])


def _behaviours(model: MultiInterest) -> Behaviours:
    batch = TASK.batch(TRAIN[20:24], max_history=9)
    codes, place = torch.unique(batch.history.values, return_inverse=True)
    return Behaviours.of(batch, model.item(codes), place)


def test_comirec_is_the_formula() -> None:
    model = _comirec()
    shake(model)
    behaviours = _behaviours(model)
    found = model.interests(behaviours, torch.zeros(4, 1))
    for u in range(4):
        events = range(int(behaviours.mask[u].sum()))
        b = [behaviours.vectors[u, j] for j in events]
        for k in range(3):
            logits = [
                model.heads.weight[k] @ torch.tanh(model.hidden.weight @ b[j])
                + model.of_age[behaviours.bucket[u, j], k]
                for j in events
            ]
            weight = torch.softmax(torch.stack(logits), 0)
            wanted = torch.stack([weight[j] * b[j] for j in events]).sum(0)
            torch.testing.assert_close(found[u, k], wanted, rtol=1e-4, atol=1e-5)


def _literal_routing(model: MIND, b: list[Tensor], start: Tensor) -> Tensor:
    """b: item vectors of a person's n events; start [n, K] to capsules [K, D]."""
    count = start.shape[1]
    logits = [[start[j, k] for k in range(count)] for j in range(len(b))]
    capsules: list[Tensor] = []
    for _ in range(model.config.rounds):
        weight = [torch.softmax(torch.stack(row), 0) for row in logits]
        capsules = []
        for k in range(count):
            z = torch.stack([weight[j][k] * (model.shared.weight @ b[j]) for j in range(len(b))])
            z = z.sum(0)
            length = (z @ z).sqrt()
            capsules.append(length**2 / (1 + length**2) * z / length)
        logits = [
            [logits[j][k] + capsules[k] @ model.shared.weight @ b[j] for k in range(count)]
            for j in range(len(b))
        ]
    return torch.stack(capsules)


@pytest.mark.parametrize("rounds", [1, 3])
def test_mind_is_the_formula(rounds: int) -> None:
    model = _mind(replace(ROUTED, rounds=rounds))
    shake(model)
    behaviours = _behaviours(model)
    found = model.interests(behaviours, torch.zeros(4, 1))
    start = model.get_buffer("start")
    for u in range(4):
        count = int(behaviours.mask[u].sum())
        back = torch.arange(count).flip(0)
        b = [behaviours.vectors[u, j] for j in range(count)]
        wanted = _literal_routing(model, b, start[back])
        torch.testing.assert_close(found[u], wanted, rtol=1e-4, atol=1e-5)


def test_only_the_last_round_is_differentiated() -> None:
    """The gradient of S is that of the last weighted sum with constant weights."""
    model = _mind()
    behaviours = _behaviours(model)
    model.interests(behaviours, torch.zeros(4, 1)).sum().backward()  # type: ignore[no-untyped-call]
    assert model.shared.weight.grad is not None
    before = model.shared.weight.grad.clone()
    with torch.no_grad():
        mapped = behaviours.vectors @ model.shared.weight.T
        logits = model.get_buffer("start")[behaviours.back].transpose(1, 2)
        for _ in range(2):
            weight = torch.softmax(logits, 1) * behaviours.mask[:, None]
            z = weight @ mapped
            squared = (z**2).sum(-1, keepdim=True)
            logits = logits + (z * squared.sqrt() / (1 + squared)) @ mapped.transpose(1, 2)
        weight = torch.softmax(logits, 1) * behaviours.mask[:, None]
    model.shared.weight.grad = None
    z = weight @ (behaviours.vectors.detach() @ model.shared.weight.T)
    squared = (z**2).sum(-1, keepdim=True)
    (z * (squared + 1e-12).sqrt() / (1 + squared)).sum().backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(model.shared.weight.grad, before, rtol=1e-4, atol=1e-5)


@MODELS
def test_a_history_is_the_same_alone_and_in_company(make: type[ComiRec]) -> None:
    check_company(make())  # type: ignore[call-arg]


@MODELS
def test_a_person_without_history_has_vectors(make: type[ComiRec]) -> None:
    check_empty(make())  # type: ignore[call-arg]


@MODELS
def test_it_learns_one_batch_by_heart(make: type[ComiRec]) -> None:
    check_learns(make())  # type: ignore[call-arg]


@MODELS
def test_an_artifact_gives_back_the_same_numbers(make: type[ComiRec], tmp_path: Path) -> None:
    check_saved(make(), make, tmp_path)  # type: ignore[call-arg, arg-type]


@pytest.mark.parametrize(
    "change",
    [{"attention": 3}, {"ages": False}, {"interests": 2}, {"events": 3}],
)
def test_every_field_of_comirec_changes_the_loss(change: dict[str, object]) -> None:
    changed = _comirec(replace(COMIREC, **change))  # type: ignore[arg-type]
    assert outcome(_comirec())[0] != outcome(changed)[0]


@pytest.mark.parametrize("change", [{"rounds": 1}, {"spread": 0.1}, {"interests": 2}])
def test_every_field_of_mind_changes_the_loss(change: dict[str, object]) -> None:
    changed = _mind(replace(ROUTED, **change))  # type: ignore[arg-type]
    assert outcome(_mind())[0] != outcome(changed)[0]


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigError):
        replace(COMIREC, attention=0)
    with pytest.raises(ConfigError):
        replace(ROUTED, rounds=0)
    with pytest.raises(ConfigError):
        replace(ROUTED, spread=0.0)
