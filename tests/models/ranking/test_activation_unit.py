"""The activation unit against a slow, literal reading of the paper's formulas."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
import torch
from torch import Tensor

from adwright.data.batches.batch import distinct_history
from adwright.data.batches.jagged import Jagged
from adwright.models.ranking import din as activation_unit
from adwright.models.ranking import din as seen
from adwright.models.ranking.din import EPS, LocalActivationUnit, pair_moments, seen_by

WIDTH, HIDDEN, ITEMS = 5, 4, 9
HISTORY = Jagged(
    torch.tensor([3, 1, 3, 8, 0, 3, 2, 2, 5, 7, 2, 4, 4, 4, 6, 1, 0]), torch.tensor([0, 6, 6, 17])
)
OFFSETS = torch.tensor([0, 3, 5, 9])
BEGIN = torch.tensor([0, 0, 1, 0, 0, 0, 2, 2, 4])
END = torch.tensor([3, 4, 6, 0, 0, 5, 7, 7, 11])
CHOICES = list(product(("dice", "prelu"), ("raw", "softmax")))


@pytest.fixture(autouse=True, params=["tiles", "pairs", "both"])
def _ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles of a few pairs, so that a group needs several; or each pair written out."""
    monkeypatch.setattr(activation_unit, "TILE", 40)
    limit = {"tiles": 0, "pairs": 1000, "both": 25}[request.param]
    monkeypatch.setattr(seen, "PAIRS", limit)


def _unit(activation: str, weight: str, **changes: object) -> LocalActivationUnit:
    torch.manual_seed(3)
    unit = LocalActivationUnit(
        WIDTH, hidden=HIDDEN, activation=activation, weight=weight, **changes
    ).double()
    with torch.no_grad():
        for parameter in (unit.alpha, unit.bias, unit.second_bias):
            parameter.normal_()
    return unit


def _inputs() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    q = torch.randn(len(END), WIDTH, generator=generator, dtype=torch.float64)
    table = torch.randn(ITEMS, WIDTH, generator=generator, dtype=torch.float64)
    return q.requires_grad_(), table.requires_grad_()


def _ours(unit: LocalActivationUnit, q: Tensor, table: Tensor) -> Tensor:
    distinct = distinct_history(HISTORY, OFFSETS, BEGIN, END)
    distinct = replace(distinct, counts=distinct.counts.double())
    return unit(q, table[distinct.items.values], seen_by(distinct))


def _visible(row: int) -> Tensor:
    """Item codes that the row sees, one an event."""
    group = int(torch.searchsorted(OFFSETS, row, right=True)) - 1
    start = int(HISTORY.offsets[group])
    return HISTORY.values[start + int(BEGIN[row]) : start + int(END[row])]


def _literal(unit: LocalActivationUnit, q: Tensor, table: Tensor) -> Tensor:
    """One event after another: [k, q, q - k, q * k] W + b, Dice or PReLU, w2, weighted sum."""
    first = unit.first.reshape(4 * WIDTH, HIDDEN)
    layers = []
    for row in range(len(q)):
        inputs = [
            torch.cat([k, q[row], q[row] - k, q[row] * k]) @ first + unit.bias
            for k in table[_visible(row)]
        ]
        layers.append(torch.stack(inputs) if inputs else q.new_zeros(0, HIDDEN))
    pairs = torch.cat(layers)
    mean, variance = pairs.mean(0), pairs.var(0, unbiased=False)
    pooled = []
    for row, x in enumerate(layers):
        if unit.activation == "dice":
            p = torch.sigmoid((x - mean) / torch.sqrt(variance + EPS))
            f = p * x + (1 - p) * unit.alpha * x
        else:
            f = torch.where(x > 0, x, unit.alpha * x)
        a = f @ unit.second + unit.second_bias
        if unit.weight == "softmax":
            a = torch.softmax(a, 0)
        pooled.append((a[:, None] * table[_visible(row)]).sum(0))
    return torch.stack(pooled)


@pytest.mark.parametrize(("activation", "weight"), CHOICES)
def test_it_equals_the_literal_formulas_with_gradients(activation: str, weight: str) -> None:
    unit, (q, table) = _unit(activation, weight), _inputs()
    ours, literal = _ours(unit, q, table), _literal(unit, q, table)
    torch.testing.assert_close(ours, literal, rtol=1e-9, atol=1e-9)
    direction = torch.randn_like(ours)
    wanted = [q, table, *unit.parameters()]
    for mine, theirs in zip(
        torch.autograd.grad((ours * direction).sum(), wanted),
        torch.autograd.grad((literal * direction).sum(), wanted),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs, rtol=1e-8, atol=1e-8)


def test_moments_of_all_pairs_need_no_pairs() -> None:
    unit, (q, table) = _unit("dice", "raw"), _inputs()
    of_k, of_q, of_difference, of_product = unit.first
    bias, b = q @ (of_q + of_difference) + unit.bias, of_k - of_difference
    distinct = distinct_history(HISTORY, OFFSETS, BEGIN, END)
    distinct = replace(distinct, counts=distinct.counts.double())
    keys = table[distinct.items.values]
    count, total, squares = pair_moments(q, keys, bias, of_product, b, seen_by(distinct))
    x = torch.cat(
        [bias[t] + table[_visible(t)] @ (q[t][:, None] * of_product + b) for t in range(len(q))]
    )
    assert int(count) == len(x)
    torch.testing.assert_close(total, x.sum(0))
    torch.testing.assert_close(squares, (x * x).sum(0))


@pytest.mark.parametrize(("activation", "weight"), CHOICES)
def test_events_outside_a_rows_stretch_change_nothing(activation: str, weight: str) -> None:
    """A mask that is dropped fails here: the hidden events are replaced by others."""
    unit, (q, table) = _unit(activation, weight), _inputs()
    unit.eval()
    before = _ours(unit, q, table)
    distinct = distinct_history(HISTORY, OFFSETS, BEGIN, END)
    for row in range(len(q)):
        group = int(torch.searchsorted(OFFSETS, row, right=True)) - 1
        start, end = HISTORY.offsets[group : group + 2].tolist()
        inside = torch.zeros(end, dtype=torch.bool)
        inside[start + int(BEGIN[row]) : start + int(END[row])] = True
        changed = HISTORY.values.clone()
        changed[start:end] = torch.where(inside[start:], changed[start:end], 8)
        other = distinct_history(Jagged(changed, HISTORY.offsets), OFFSETS, BEGIN, END)
        other = replace(other, counts=other.counts.double())
        after = unit(q, table[other.items.values], seen_by(other))
        torch.testing.assert_close(after[row], before[row])
    mutated = replace(distinct, counts=torch.ones_like(distinct.counts).double())
    wrong = unit(q, table[mutated.items.values], seen_by(mutated))
    assert not torch.allclose(wrong, before)


@pytest.mark.parametrize("activation", ["dice", "prelu"])
def test_activations_are_the_weights_of_the_raw_sum(activation: str) -> None:
    unit, (q, table) = _unit(activation, "raw"), _inputs()
    _ours(unit, q, table)
    unit.eval()
    weights = unit.activations(q, table)
    assert weights.shape == (len(q), ITEMS)
    row = 2
    expected = sum(weights[row, item] * table[item] for item in _visible(row))
    torch.testing.assert_close(_ours(unit, q, table)[row], expected)


@pytest.mark.parametrize(
    "change",
    [
        {"weight": "softmax"},
        {"activation": "prelu"},
        {"hidden": 7},
        {"norm": 2.0},
        {"norm": 2.0, "similar": 2},
    ],
)
def test_each_argument_changes_the_result(change: dict[str, object]) -> None:
    base = {"hidden": HIDDEN, "weight": "raw", "activation": "dice"}
    results = []
    for settings in (base, {**base, **change}):
        torch.manual_seed(1)
        unit = LocalActivationUnit(WIDTH, **settings).double()
        with torch.no_grad():
            unit.alpha.fill_(0.3)
        q, table = _inputs()
        results.append(_ours(unit, q, table))
    assert not torch.allclose(*results)


def test_similarity_start_tells_a_repeat_from_a_stranger() -> None:
    torch.manual_seed(0)
    width = 48
    unit = LocalActivationUnit(width, hidden=16, activation="prelu", norm=0.04 * width).eval()
    with torch.no_grad():
        unit.second.abs_()
    items = torch.randn(200, width) * 0.2
    weights = unit.activations(items, items)
    same = weights.diagonal()
    others = weights[~torch.eye(200, dtype=torch.bool)]
    assert float(same.min()) > float(others.quantile(0.999))
