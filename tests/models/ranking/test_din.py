"""DIN and its base model as a whole."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from adwright.core.errors import ConfigError
from adwright.data.batches.batch import Batch, distinct_history
from adwright.data.batches.jagged import Jagged
from adwright.models.calibration import (
    Calibrator,
    EmbeddingConfig,
    IdentityCalibrator,
    IsotonicCalibrator,
    PlattCalibrator,
    TemperatureCalibrator,
    undo_negative_sampling,
)
from adwright.models.ranking import din as seen
from adwright.models.ranking.din import (
    DIN,
    EPS,
    Activation,
    Dice,
    DINConfig,
    MovingMoments,
    row_mlp,
    seen_by,
)
from adwright.models.ranking.union import CalibratedScorer, DenseScorer
from tests.support.models.small_batch import small_batch, small_spec

SMALL = DINConfig(attention_hidden=4, mlp_hidden=(8, 4), embedding=EmbeddingConfig(width=4))
BASE = replace(SMALL, interest="sum")


def _model(config: DINConfig, seed: int = 0) -> DIN:
    torch.manual_seed(seed)
    return DIN(config, *small_spec())


def _literal_interest(model: DIN, batch: Batch, row: int) -> torch.Tensor:
    group = int(torch.searchsorted(batch.offsets, row, right=True)) - 1
    start = int(batch.history.offsets[group])
    seen = batch.history.values[start + int(batch.begin[row]) : start + int(batch.end[row])]
    one = torch.ones(1)
    target = torch.cat([model.item(batch.item[row : row + 1])[0], one])
    pooled = torch.zeros_like(target)
    for item in seen:
        k = torch.cat([model.item(item[None])[0], one])
        if model.config.interest == "sum":
            pooled = pooled + k / model.config.history_scale
            continue
        unit = model.unit
        x = torch.cat([k, target, target - k, target * k]) @ unit.first.flatten(0, 1) + unit.bias
        weight = torch.where(x > 0, x, unit.alpha * x) @ unit.second + unit.second_bias
        pooled = pooled + weight * k
    return pooled


@pytest.mark.parametrize("config", [SMALL, BASE], ids=["din", "base"])
def test_the_logit_equals_a_literal_forward_pass(config: DINConfig) -> None:
    model, batch = _model(config), small_batch()
    model(batch)
    model.eval()
    for row, logit in enumerate(model(batch)):
        target = model.item(batch.item[row : row + 1])[0]
        interest = _literal_interest(model, batch, row)
        features = torch.cat([target, interest, model.row(batch)[row], batch.numeric[row]])
        torch.testing.assert_close(model.mlp(features[None])[0, 0], logit, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("config", [SMALL, BASE], ids=["din", "base"])
def test_groups_may_come_in_any_order_and_company(config: DINConfig) -> None:
    model, batch = _model(config).eval(), small_batch()
    together = model(batch)
    alone = torch.cat([model(batch.groups(torch.tensor([group]))) for group in range(3)])
    torch.testing.assert_close(alone, together, rtol=1e-5, atol=1e-6)
    turned = batch.groups(torch.tensor([2, 0, 1]))
    torch.testing.assert_close(model(turned), together[turned.row], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("config", [SMALL, BASE], ids=["din", "base"])
def test_events_a_row_may_not_see_change_nothing(config: DINConfig) -> None:
    model, batch = _model(config).eval(), small_batch()
    changed = batch.history.values.clone()
    changed[4] = 8  # Only row 2 sees the first person's fifth event.
    after = model(replace(batch, history=Jagged(changed, batch.history.offsets)))
    same = torch.tensor([True, True, False, True, True, True, True])
    torch.testing.assert_close(after[same], model(batch)[same])
    assert not torch.isclose(after[2], model(batch)[2])


def test_the_loss_is_the_summed_cross_entropy() -> None:
    model, batch = _model(SMALL).eval(), small_batch()
    p = torch.sigmoid(model(batch))
    literal = -(batch.label * p.log() + (1 - batch.label) * (1 - p).log()).sum()
    torch.testing.assert_close(model.loss(batch), literal)


def test_a_base_model_has_its_share_of_the_logit_and_of_the_loss() -> None:
    config = replace(SMALL, base_share=0.25)
    assert (config.title, config.base()) == ("DIN+Base", SMALL.base())
    both, batch = _model(config).eval(), small_batch()
    alone = _model(SMALL).eval()
    weights = {k: v for k, v in both.state_dict().items() if not k.startswith("base.")}
    alone.load_state_dict(weights)
    torch.testing.assert_close(both(batch), 0.75 * alone(batch) + 0.25 * both.base(batch))
    torch.testing.assert_close(
        both.loss(batch), 0.75 * alone.loss(batch) + 0.25 * both.base.loss(batch)
    )
    one = np.array([3]), np.array([5])
    flops, width = both.history_cost(*one)
    assert flops > alone.history_cost(*one)[0]
    assert width == 2 * alone.history_cost(*one)[1]
    for wrong in ({"base_share": 1.0}, {"base_share": 0.5, "interest": "sum"}):
        with pytest.raises(ConfigError, match="base_share"):
            replace(SMALL, **wrong)


def test_saved_weights_give_the_same_scores() -> None:
    model, batch = _model(SMALL), small_batch()
    model.loss(batch)
    other = _model(SMALL, seed=9)
    other.load_state_dict(model.state_dict())
    torch.testing.assert_close(other.eval()(batch), model.eval()(batch))


@pytest.mark.parametrize(
    "change",
    [
        {"interest": "sum"},
        {"weight": "softmax"},
        {"activation": "prelu"},
        {"attention_activation": "dice"},
        {"attention_hidden": 5},
        {"similarity_start": False},
        {"intensity": False},
        {"mlp_hidden": (8,)},
        {"embedding": EmbeddingConfig(width=2)},
        {"embedding": EmbeddingConfig(width=4, scale=0.5)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_each_field_of_the_config_changes_the_scores(change: dict[str, object]) -> None:
    base, batch = _model(SMALL), small_batch()
    changed = _model(replace(SMALL, **change))  # type: ignore[arg-type]
    assert not torch.allclose(base(batch), changed(batch))


def test_each_part_of_the_batch_matters() -> None:
    model, batch = _model(SMALL).eval(), small_batch()
    before = model(batch)
    for part in (
        {"item": batch.item.flip(0)},
        {"numeric": batch.numeric + 1},
        {"categorical": {"user_id": (batch.categorical["user_id"] + 1) % 3}},
        {"multi": {"tags": Jagged(torch.tensor([2]), torch.tensor([0, 0, 0, 0, 1, 1, 1, 1]))}},
        {"end": torch.tensor([1, 3, 4, 0, 2, 3, 4])},
        {"begin": torch.tensor([1, 1, 2, 0, 1, 3, 3])},
    ):
        assert not torch.allclose(model(replace(batch, **part)), before)


def test_activations_are_those_of_the_unit() -> None:
    model = _model(SMALL).eval()
    targets, history = torch.tensor([1, 2]), torch.tensor([3, 4, 5])
    q, k = (functional.pad(model.item(x), (0, 1), value=1.0) for x in (targets, history))
    found = model.activations(targets, history)
    torch.testing.assert_close(found, model.unit.activations(q, k))
    assert found.shape == (2, 3)


@pytest.mark.parametrize("wrong", [{"attention_hidden": 0}, {"mlp_hidden": ()}])
def test_impossible_sizes_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        replace(SMALL, **wrong)  # type: ignore[arg-type]


def _literal(x: torch.Tensor, alpha: torch.Tensor) -> torch.Tensor:
    result = torch.empty_like(x)
    for unit in range(x.shape[1]):
        s = x[:, unit]
        mean = sum(s) / len(s)
        variance = sum((value - mean) ** 2 for value in s) / len(s)
        for row, value in enumerate(s):
            p = 1 / (1 + torch.exp(-(value - mean) / torch.sqrt(variance + EPS)))
            result[row, unit] = p * value + (1 - p) * alpha[unit] * value
    return result


def test_it_equals_equation_9_with_gradients() -> None:
    torch.manual_seed(0)
    dice, x = Dice(3).double(), torch.randn(6, 3, dtype=torch.float64, requires_grad=True)
    with torch.no_grad():
        dice.alpha.copy_(torch.tensor([0.0, 0.5, -1.0]))
    ours, literal = dice(x), _literal(x, dice.alpha)
    torch.testing.assert_close(ours, literal)
    wanted = [x, dice.alpha]
    for mine, theirs in zip(
        torch.autograd.grad(ours.square().sum(), wanted),
        torch.autograd.grad(literal.square().sum(), wanted),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs)


def test_inference_uses_moving_averages_and_not_the_batch() -> None:
    torch.manual_seed(0)
    dice, x = Dice(4), torch.randn(50, 4) * 3 + 1
    trained = dice(x)
    dice.eval()
    torch.testing.assert_close(dice(x), trained, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(dice(x)[:1], dice(x[:1]))


def test_moving_averages_follow_the_stream() -> None:
    moments = MovingMoments(1, momentum=0.5)
    torch.testing.assert_close(moments()[1], torch.ones(1))
    for mean, spread in ((0.0, 1.0), (4.0, 9.0)):
        values = torch.tensor([[mean - spread**0.5], [mean + spread**0.5]])
        moments.update(torch.tensor(2.0), values.sum(0), (values * values).sum(0))
    # Weights .25 and .5 of the two batches, over their sum .75.
    mean, variance = moments()
    torch.testing.assert_close(mean, torch.tensor([8 / 3]))
    torch.testing.assert_close(variance, torch.tensor([(0.25 + 4.5) / 0.75]))


def test_alpha_and_momentum_change_the_result() -> None:
    x = torch.tensor([[-1.0], [1.0], [2.0]])
    plain, leaky = Dice(1), Dice(1)
    with torch.no_grad():
        leaky.alpha.fill_(1.0)
    assert not torch.allclose(plain(x), leaky(x))
    torch.testing.assert_close(leaky(x), x)
    slow, fast = MovingMoments(1, momentum=0.1), MovingMoments(1, momentum=0.9)
    for value in (1.0, 5.0):
        for moments in (slow, fast):
            moments.update(torch.tensor(1.0), torch.tensor([value]), torch.tensor([value**2]))
    assert float(fast()[0]) > float(slow()[0])


@pytest.mark.parametrize("limit", [0, 8, 1000])
def test_both_forms_hold_each_visible_event_once(
    limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seen, "PAIRS", limit)
    batch = small_batch()
    distinct = distinct_history(batch.history, batch.offsets, batch.begin, batch.end)
    found = seen_by(distinct)
    counts: Counter[tuple[int, int]] = Counter()
    for row, item, count in zip(found.row, found.item, found.times, strict=True):
        counts[int(row), int(distinct.items.values[item])] += int(count)
    for group in found.groups:
        for row in range(group.t0, group.t1):
            seen_here = group.counts[group.visit[row - group.t0]]
            for item, count in zip(
                distinct.items.values[group.k0 : group.k1], seen_here, strict=True
            ):
                counts[row, int(item)] += int(count)
    literal: Counter[tuple[int, int]] = Counter()
    for row in range(len(batch)):
        owner = int(torch.searchsorted(batch.offsets, row, right=True)) - 1
        start = int(batch.history.offsets[owner])
        events = batch.history.values[start + int(batch.begin[row]) : start + int(batch.end[row])]
        literal.update((row, int(event)) for event in events)
    assert +counts == literal
    assert bool((found.times > 0).all())


def test_the_limit_decides_which_form_a_group_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = small_batch()
    distinct = distinct_history(batch.history, batch.offsets, batch.begin, batch.end)
    monkeypatch.setattr(seen, "PAIRS", 9)
    # Pairs of rows and distinct items: 3 x 4, 1 x 0 and 3 x 4.
    assert len(seen_by(distinct).groups) == 2
    monkeypatch.setattr(seen, "PAIRS", 12)
    assert not seen_by(distinct).groups


def test_layers_and_activations_are_those_asked_for() -> None:
    mlp = row_mlp(5, (4, 3), "dice")
    assert [type(layer) for layer in mlp] == [nn.Linear, Dice, nn.Linear, Dice, nn.Linear]
    assert mlp(torch.randn(7, 5)).shape == (7, 1)
    assert [p.shape for p in mlp.parameters() if p.dim() == 2] == [(4, 5), (3, 4), (1, 3)]
    assert isinstance(row_mlp(5, (4,), "prelu")[1], nn.PReLU)


@pytest.mark.parametrize("activation", ["dice", "prelu"])
def test_each_row_has_one_logit_of_its_own(activation: Activation) -> None:
    torch.manual_seed(0)
    mlp = row_mlp(5, (4, 3), activation).eval()
    rows = torch.randn(6, 5)
    together = mlp(rows)
    assert together.shape == (6, 1)
    for row in range(6):
        torch.testing.assert_close(mlp(rows[row : row + 1])[0], together[row])


DENSE_DIN_SMALL = DINConfig(mlp_hidden=(8, 4), embedding=EmbeddingConfig(width=4, scale=0.5))
VARIANTS = {
    "default": DENSE_DIN_SMALL,
    "dice": replace(DENSE_DIN_SMALL, attention_activation="dice"),
    "prelu": replace(DENSE_DIN_SMALL, activation="prelu"),
    "softmax": replace(DENSE_DIN_SMALL, weight="softmax"),
    "sum": replace(DENSE_DIN_SMALL, interest="sum"),
    "no intensity": replace(DENSE_DIN_SMALL, intensity=False),
    "sum without": replace(DENSE_DIN_SMALL, interest="sum", intensity=False),
    "with base": replace(DENSE_DIN_SMALL, base_share=0.25),
}


def trained(config: DINConfig) -> DIN:
    """A network whose weights and moving moments are those of no start."""
    spec, items = small_spec()
    torch.manual_seed(0)
    model = DIN(config, spec, items)
    for _ in range(3):
        model.loss(small_batch())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model.eval()


def dense_inputs(batch: Batch, row: int, pad: int = 0) -> tuple[Tensor, ...]:
    """One row of a batch as the dense network takes it, its history padded by `pad`."""
    owner = int(torch.searchsorted(batch.offsets, row, right=True)) - 1
    seen = batch.history.to_lists()[owner][int(batch.begin[row]) : int(batch.end[row])]
    items, count = torch.unique(torch.tensor(seen, dtype=torch.int64), return_counts=True)
    empty = torch.zeros(pad, dtype=torch.int64)
    tags = batch.multi["tags"].to_lists()[row]
    lists = torch.tensor([[tags + [0] * (3 - len(tags))]], dtype=torch.int64)
    return (
        batch.item[row : row + 1],
        torch.cat([items, empty]),
        torch.cat([count, empty]).float(),
        batch.categorical["user_id"][row : row + 1, None],
        lists,
        batch.numeric[row : row + 1],
    )


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("pad", [0, 5])
def test_dense_is_jagged(name: str, pad: int) -> None:
    spec, _ = small_spec()
    model = trained(VARIANTS[name])
    dense = DenseScorer(model, spec)
    batch = small_batch()
    with torch.no_grad():
        expected = model(batch)
        found = torch.cat([dense(*dense_inputs(batch, row, pad)) for row in range(len(batch))])
    assert torch.isfinite(found).all()
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_several_ads_share_a_history() -> None:
    spec, _ = small_spec()
    dense = DenseScorer(trained(DENSE_DIN_SMALL), spec)
    batch = small_batch()
    one, two = dense_inputs(batch, 5), dense_inputs(batch, 5)
    both = [
        torch.cat([a, b]) if at not in (1, 2) else a
        for at, (a, b) in enumerate(zip(one, two, strict=True))
    ]
    both[0] = torch.tensor([3, 11])
    with torch.no_grad():
        found = dense(*both)
        alone = dense(torch.tensor([3]), *one[1:])
    assert found[0] == pytest.approx(float(alone[0]), abs=1e-6)
    assert found[0] != found[1]


@pytest.mark.parametrize(
    "calibrator",
    [
        IdentityCalibrator(),
        PlattCalibrator(0.7, -0.3),
        TemperatureCalibrator(1.7),
        IsotonicCalibrator((0.01, 0.2, 0.2000001, 0.6), (0.02, 0.1, 0.3, 0.5)),
        IsotonicCalibrator((0.5,), (0.25,)),
    ],
)
@pytest.mark.parametrize("rate", [1.0, 0.1])
def test_probabilities_are_those_of_the_calibrator(calibrator: Calibrator, rate: float) -> None:
    spec, _ = small_spec()
    scorer = CalibratedScorer(DenseScorer(trained(DENSE_DIN_SMALL), spec), rate, calibrator)
    batch = small_batch()
    with torch.no_grad():
        pairs = [scorer(*dense_inputs(batch, row)) for row in range(len(batch))]
    logits = torch.cat([logit for logit, _ in pairs])
    raw = torch.sigmoid(logits.double()).numpy()
    expected = calibrator(undo_negative_sampling(raw, rate))
    found = torch.cat([probability for _, probability in pairs]).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-6)
