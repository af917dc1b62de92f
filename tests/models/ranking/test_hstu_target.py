"""HSTU as a fine ranker over impressions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from adwright.core.config import from_jsonable, to_jsonable
from adwright.core.errors import ConfigError
from adwright.data.batches.batch import Batch
from adwright.data.batches.jagged import Jagged
from adwright.data.sequences.stochastic_length import StochasticLength
from adwright.models.calibration import EmbeddingConfig
from adwright.models.ranking import hstu_target as module
from adwright.models.ranking.hstu_target import (
    HSTUTarget,
    HSTUTargetConfig,
    Readings,
    candidate_attention,
    readings_of,
)
from adwright.models.sequential.hstu import HSTULayer
from tests.support.data.jagged import jagged
from tests.support.models.small_batch import small_batch, small_spec

SMALL = HSTUTargetConfig(
    width=8,
    max_length=12,
    blocks=2,
    heads=2,
    qk_width=3,
    v_width=4,
    dropout=0.0,
    mlp_hidden=(8, 4),
    embedding=EmbeddingConfig(width=4),
)
PLAIN = replace(
    SMALL,
    position=False,
    scaled=False,
    norm="group",
    concat=True,
    intensity=False,
    activation="prelu",
    similarity_start=False,
)


def _model(config: HSTUTargetConfig = SMALL, seed: int = 0) -> HSTUTarget:
    torch.manual_seed(seed)
    model = HSTUTarget(config, *small_spec())
    for layer in model.layers:
        if layer.rab_p is not None:
            nn.init.normal_(layer.rab_p)
    return model


def _literal_layer(layer: HSTULayer, config: HSTUTargetConfig, x: Tensor) -> tuple[Tensor, Tensor]:
    """Equations 1 to 3 on one sequence x [n, D], and the sums [H] of its last token's weights."""
    heads, (n, width) = config.heads, x.shape
    wide, narrow = heads * config.v_width, heads * config.qk_width
    active = functional.silu(functional.layer_norm(x, (width,), eps=1e-6) @ layer.w1.T)
    u, v, q, k = active.split([wide, wide, narrow, narrow], 1)
    alpha = config.qk_width**-0.5 if config.scaled else 1.0
    attended, sums = torch.zeros(n, heads, config.v_width), torch.zeros(heads)
    for head in range(heads):
        mine = slice(head * config.qk_width, (head + 1) * config.qk_width)
        for i in range(n):
            for j in range(i + 1):
                score = alpha * (q[i, mine] @ k[j, mine])
                if layer.rab_p is not None:
                    score = score + layer.rab_p[i - j]
                weight = score * torch.sigmoid(score)
                value = v[j, head * config.v_width : (head + 1) * config.v_width]
                attended[i, head] += weight * value / (config.max_length + 1)
                sums[head] += weight * (i == n - 1)
    if config.norm == "group":
        normed = functional.layer_norm(attended, (config.v_width,), eps=1e-6).flatten(1)
    else:
        normed = functional.layer_norm(attended.flatten(1), (wide,), eps=1e-6)
    gated = torch.cat([u, normed, normed * u], 1) if config.concat else normed * u
    return x + layer.w2(gated), sums


def _literal_logit(model: HSTUTarget, batch: Batch, row: int) -> Tensor:
    """The row as the last token of a sequence of its own."""
    config = model.config
    group = int(torch.searchsorted(batch.offsets, row, right=True)) - 1
    start, end = int(batch.history.offsets[group]), int(batch.end[row])
    begin = max(int(batch.begin[row]), end - config.max_length)
    events = batch.history.values[start + begin : start + end]
    item = model.item(batch.item[row : row + 1])
    x = model.input(torch.cat([model.item(events), item]))
    x = torch.cat([x[:-1], x[-1:] + model.candidate])
    sums = []
    for layer in model.layers:
        assert isinstance(layer, HSTULayer)
        x, of_layer = _literal_layer(layer, config, x)
        sums.append(of_layer.sign() * (1 + of_layer.abs()).log())
    met = functional.layer_norm(x[-1], (config.width,))
    known = [met, *(sums if config.intensity else [])]
    known += [item[0], model.row(batch)[row], batch.numeric[row]]
    logit: Tensor = model.mlp(torch.cat(known)[None])[0, 0]
    return logit


@pytest.mark.parametrize("config", [SMALL, PLAIN, replace(SMALL, max_length=2)])
def test_the_logit_equals_a_literal_forward_pass(config: HSTUTargetConfig) -> None:
    model, batch = _model(config), small_batch()
    model(batch)
    model.eval()
    for row, logit in enumerate(model(batch)):
        literal = _literal_logit(model, batch, row)
        torch.testing.assert_close(logit, literal, rtol=1e-4, atol=1e-5)


def test_the_kernels_give_the_same() -> None:
    batch = small_batch()
    logits = [
        _model(replace(SMALL, kernel=kernel)).eval()(batch)
        for kernel in ("auto", "reference", "bucketed")
    ]
    for found in logits[1:]:
        torch.testing.assert_close(found, logits[0], rtol=1e-4, atol=1e-5)


def test_groups_may_come_in_any_order_and_company() -> None:
    model, batch = _model().eval(), small_batch()
    together = model(batch)
    alone = torch.cat([model(batch.groups(torch.tensor([group]))) for group in range(3)])
    torch.testing.assert_close(alone, together, rtol=1e-5, atol=1e-6)
    turned = batch.groups(torch.tensor([2, 0, 1]))
    torch.testing.assert_close(model(turned), together[turned.row], rtol=1e-5, atol=1e-6)


def test_one_reading_equals_a_reading_for_each_visit() -> None:
    model = _model().eval()
    history = Jagged(torch.tensor([1, 2, 1, 3, 9, 4, 5]), torch.tensor([0, 7]))
    # One person's rows of three moments, all of whose histories begin at the first event.
    one = replace(
        small_batch().groups(torch.tensor([0])),
        history=history,
        begin=torch.zeros(3).long(),
        end=torch.tensor([2, 5, 7]),
    )
    # The same as three people who each have what one row sees.
    events = [history.values[:end].tolist() for end in (2, 5, 7)]
    apart = replace(
        one,
        history=jagged(events),
        offsets=torch.tensor([0, 1, 2, 3]),
    )
    torch.testing.assert_close(model(one), model(apart), rtol=1e-5, atol=1e-6)


def test_events_a_row_may_not_see_change_nothing() -> None:
    model, batch = _model().eval(), small_batch()
    before = model(batch)
    for event, who in ((4, [2]), (0, [0, 1]), (9, [6]), (6, [4])):
        changed = batch.history.values.clone()
        changed[event] = 8
        after = model(replace(batch, history=Jagged(changed, batch.history.offsets)))
        sees = torch.zeros(7, dtype=torch.bool)
        sees[torch.tensor(who)] = True
        torch.testing.assert_close(after[~sees], before[~sees], rtol=1e-5, atol=1e-6)
        assert not torch.isclose(after[sees], before[sees]).any()


def test_a_row_does_not_see_other_rows() -> None:
    model, batch = _model().eval(), small_batch()
    changed = batch.item.clone()
    changed[1] = 5
    after, before = model(replace(batch, item=changed)), model(batch)
    same = torch.arange(7) != 1
    torch.testing.assert_close(after[same], before[same], rtol=1e-5, atol=1e-6)
    assert not torch.isclose(after[1], before[1])


def test_the_loss_is_the_summed_cross_entropy() -> None:
    model, batch = _model().eval(), small_batch()
    p = torch.sigmoid(model(batch))
    literal = -(batch.label * p.log() + (1 - batch.label) * (1 - p).log()).sum()
    torch.testing.assert_close(model.loss(batch), literal)


def test_the_gradients_are_those_of_finite_differences() -> None:
    model = _model(replace(SMALL, activation="prelu", kernel="reference")).double()
    batch = small_batch()
    batch = replace(batch, numeric=batch.numeric.double(), label=batch.label.double())
    for table in model.modules():
        if isinstance(table, torch.nn.Embedding):
            table.sparse = False
    model.loss(batch).backward()  # type: ignore[no-untyped-call]
    generator = torch.Generator().manual_seed(5)
    for name, parameter in model.named_parameters():
        direction = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        assert parameter.grad is not None
        along = float((parameter.grad * direction).sum())
        losses = []
        with torch.no_grad():
            for step in (1e-5, -2e-5):
                parameter.add_(direction, alpha=step)
                losses.append(float(model.loss(batch)))
            parameter.add_(direction, alpha=1e-5)
        assert along == pytest.approx((losses[0] - losses[1]) / 2e-5, rel=1e-4, abs=1e-6), name


def test_nobody_has_a_history() -> None:
    model, batch = _model(), small_batch()
    none = torch.zeros(7, dtype=torch.int64)
    alone = replace(
        batch, history=Jagged(none[:0], torch.zeros(4, dtype=torch.int64)), begin=none, end=none
    )
    model.loss(alone).backward()  # type: ignore[no-untyped-call]
    model.eval()
    for row, logit in enumerate(model(alone)):
        torch.testing.assert_close(logit, _literal_logit(model, alone, row), rtol=1e-4, atol=1e-5)
    nobody = alone.groups(torch.zeros(0, dtype=torch.int64))
    assert model(nobody).shape == (0,)


def test_saved_weights_give_the_same_scores(tmp_path: Path) -> None:
    model, batch = _model(), small_batch()
    model.loss(batch)
    torch.save(model.state_dict(), tmp_path / "weights")
    config = from_jsonable(HSTUTargetConfig, to_jsonable(model.config))
    assert config == model.config
    other = _model(config, seed=9)
    other.load_state_dict(torch.load(tmp_path / "weights", weights_only=True))
    torch.testing.assert_close(other.eval()(batch), model.eval()(batch))


@pytest.mark.parametrize(
    "change",
    [
        {"width": 10},
        {"max_length": 13},
        {"blocks": 1},
        {"heads": 1},
        {"qk_width": 4},
        {"v_width": 3},
        {"position": False},
        {"scaled": False},
        {"norm": "group"},
        {"concat": True},
        {"dropout": 0.5},
        {"similarity_start": False},
        {"intensity": False},
        {"activation": "prelu"},
        {"mlp_hidden": (8,)},
        {"embedding": EmbeddingConfig(width=2)},
        {"embedding": EmbeddingConfig(width=4, scale=0.5)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_each_field_of_the_config_changes_the_scores(change: dict[str, object]) -> None:
    batch, changed = small_batch(), _model(replace(SMALL, **change))  # type: ignore[arg-type]
    assert not torch.allclose(_model()(batch), changed(batch), rtol=1e-6, atol=1e-6)


def test_histories_are_shortened_in_training_alone() -> None:
    batch = small_batch()
    whole = _model(replace(SMALL, max_length=5))
    short = _model(
        replace(SMALL, max_length=5, stochastic_length=StochasticLength(0.01, "recency"))
    )
    torch.testing.assert_close(short.eval()(batch), whole.eval()(batch))
    torch.manual_seed(1)
    first = short.train()(batch)
    assert not torch.allclose(first, whole.train()(batch))
    # What is drawn is of torch's generator.
    draws = StochasticLength(0.5, "random")
    random = _model(replace(SMALL, max_length=5, stochastic_length=draws)).train()
    drawn = []
    for seed in (1, 1, 2, 3, 4):
        torch.manual_seed(seed)
        drawn.append(random(batch).detach())
    assert torch.equal(drawn[0], drawn[1])
    assert any(not torch.equal(drawn[0], other) for other in drawn[2:])


def test_an_item_stands_out_for_itself_at_the_start() -> None:
    torch.manual_seed(0)
    model = HSTUTarget(replace(HSTUTargetConfig(), dropout=0.0), *small_spec())
    layer = model.layers[0]
    assert isinstance(layer, HSTULayer)
    parts = layer.project(model.input(model.item(torch.arange(1, 13))))
    assert layer.rab_p is not None
    scores = layer.alpha * torch.einsum("ihd,jhd->ij", parts.q, parts.k) + layer.rab_p[1]
    own = torch.eye(12, dtype=torch.bool)
    assert bool((scores[own] > 0).all())
    assert float(scores[~own].detach().mean()) < -0.2 * module.GAIN
    assert scores[own].detach().mean() == pytest.approx(0.2 * module.GAIN, rel=0.5)
    # Layers begin with thresholds of their own, the last one with the lowest.
    biases = [float(one.rab_p.detach().mean()) for one in model.layers]  # type: ignore[union-attr, operator]
    assert biases == sorted(biases)


@pytest.mark.parametrize(
    "wrong",
    [
        {"mlp_hidden": ()},
        {"mlp_hidden": (0,)},
        {"width": 0},
        {"heads": 0},
        {"blocks": 0},
        {"max_length": 0},
        {"qk_width": 0},
        {"dropout": 1.0},
    ],
)
def test_impossible_sizes_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        replace(SMALL, **wrong)  # type: ignore[arg-type]


class Operands(NamedTuple):
    """What the operator multiplies."""

    q: Tensor
    k: Tensor
    v: Tensor
    own_k: Tensor
    own_v: Tensor


#: Three readings: rows of three moments, one row, and rows of a reading without events.
READINGS = Readings(
    items=torch.arange(12),
    offsets=torch.tensor([0, 7, 12, 12]),
    rows=torch.tensor([0, 5, 6, 8]),
    end=torch.tensor([0, 3, 3, 5, 7, 5, 0, 0]),
)


def operands(readings: Readings, *, heads: int = 2, dtype: torch.dtype = torch.float64) -> Operands:
    generator = torch.Generator().manual_seed(3)
    events, rows = len(readings.items), len(readings.end)
    shapes = [(rows, heads, 3), (events, heads, 3), (events, heads, 4)]
    shapes += [(rows, heads, 3), (rows, heads, 4)]
    return Operands(*(torch.randn(s, generator=generator).to(dtype) for s in shapes))


def table(size: int = 5) -> Tensor:
    return torch.linspace(-1, 1, size, dtype=torch.float64) ** 3 - 0.3


def literal(x: Operands, readings: Readings, rab: Tensor | None) -> Tensor:
    """Row by row, event by event, head by head."""
    out = torch.zeros_like(x.own_v)
    for row, end in enumerate(readings.end.tolist()):
        reading = int(torch.searchsorted(readings.rows, row, right=True)) - 1
        start = int(readings.offsets[reading])
        for head in range(out.shape[1]):
            seen = [(x.k[start + j, head], x.v[start + j, head], end - j) for j in range(end)]
            for key, value, distance in [*seen, (x.own_k[row, head], x.own_v[row, head], 0)]:
                score = 0.5 * (x.q[row, head] * key).sum()
                if rab is not None:
                    score = score + rab[min(distance, len(rab) - 1)]
                out[row, head] += score * torch.sigmoid(score) * value / 10
    return out


def attended(x: Operands, readings: Readings, rab: Tensor | None) -> Tensor:
    return candidate_attention(*x, readings, scale=0.1, alpha=0.5, position_bias=rab)


@pytest.mark.parametrize("rab", [None, table(5), table(20)], ids=["none", "short", "long"])
def test_it_equals_the_formula(rab: Tensor | None) -> None:
    x = operands(READINGS)
    torch.testing.assert_close(attended(x, READINGS, rab), literal(x, READINGS, rab))


@pytest.mark.parametrize("tile", [1, 1 << 18])
def test_candidate_attention_the_gradients_are_those_of_finite_differences(
    tile: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TILE", tile)
    inputs = [x.requires_grad_() for x in (*operands(READINGS, heads=1), table())]

    def function(*given: Tensor) -> Tensor:
        return attended(Operands(*given[:5]), READINGS, given[5])

    assert torch.autograd.gradcheck(function, inputs)


def test_nothing_of_the_size_of_the_pairs_is_kept() -> None:
    readings = Readings(
        torch.arange(200), torch.tensor([0, 200]), torch.tensor([0, 300]), torch.full((300,), 200)
    )
    x = Operands(*(part.requires_grad_() for part in operands(readings)))
    kept: list[int] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        attended(x, readings, table())
    assert max(kept) <= max(part.numel() for part in x) < 200 * 300


def test_rows_that_begin_together_share_a_reading() -> None:
    batch = small_batch()
    found = readings_of(batch, 100)
    # Person 0: rows 0 and 1 begin at event 0, row 2 at event 1. Person 1 has no history. Person 2:
    # row 4 begins at event 0, rows 5 and 6 at event 2.
    events = Jagged(found.items, found.offsets).to_lists()
    assert events == [[1, 2, 1, 3], [2, 1, 3, 9], [], [4, 5, 4], [4, 12, 0]]
    assert found.rows.tolist() == [0, 2, 3, 4, 5, 7]
    assert found.end.tolist() == [2, 4, 4, 0, 3, 2, 3]


def test_a_row_sees_its_latest_events() -> None:
    batch = small_batch()
    found = readings_of(replace(batch, begin=torch.zeros(7).long()), 3)
    events = Jagged(found.items, found.offsets).to_lists()
    assert events == [[1, 2], [2, 1, 3], [1, 3, 9], [], [4, 5, 4], [5, 4, 12], [4, 12, 0]]
    assert found.end.tolist() == [2, 3, 3, 0, 3, 3, 3]


@pytest.mark.parametrize("most", [1, 8, 100])
def test_parts_are_the_readings_in_pieces(most: int) -> None:
    parts = list(READINGS.parts(most))
    assert torch.equal(torch.cat([part.items for part in parts]), READINGS.items)
    assert torch.equal(torch.cat([part.end for part in parts]), READINGS.end)
    assert len(parts) == {1: 3, 8: 2, 100: 1}[most]
    x, rab = operands(READINGS), table()
    events = np.cumsum([0, *(len(part.items) for part in parts)])
    rows = np.cumsum([0, *(len(part.end) for part in parts)])
    alone = [
        attended(
            Operands(
                x.q[rows[n] : rows[n + 1]],
                x.k[events[n] : events[n + 1]],
                x.v[events[n] : events[n + 1]],
                x.own_k[rows[n] : rows[n + 1]],
                x.own_v[rows[n] : rows[n + 1]],
            ),
            part,
            rab,
        )
        for n, part in enumerate(parts)
    ]
    torch.testing.assert_close(torch.cat(alone), literal(x, READINGS, rab))


@pytest.mark.parametrize("choice", ["recency", "random", "weighted"])
def test_of_a_shortened_reading_a_row_sees_its_own_events_that_stay(choice: str) -> None:
    lengths = [60, 3, 0, 100]
    offsets = torch.tensor([0, 60, 63, 63, 163])
    readings = Readings(
        # An item is the number of its event: what stays tells where it was.
        torch.arange(163),
        offsets,
        torch.tensor([0, 3, 5, 6, 9]),
        torch.tensor([10, 40, 60, 0, 3, 0, 5, 50, 100]),
    )
    config = StochasticLength(1.0, choice)  # type: ignore[arg-type]
    found = readings.shortened(100, config, np.random.default_rng(1))
    kept = found.offsets[1:] - found.offsets[:-1]
    assert kept.tolist() == [10, 3, 0, 10], "th = 100 ^ (1 / 2)"
    assert bool((found.items[1:] > found.items[:-1]).all())
    assert torch.equal(found.rows, readings.rows)
    for row, end in enumerate(readings.end.tolist()):
        reading = int(torch.searchsorted(readings.rows, row, right=True)) - 1
        start = int(found.offsets[reading])
        mine = found.items[start : start + int(found.end[row])].tolist()
        every = found.items[start : int(found.offsets[reading + 1])].tolist()
        assert mine == [event for event in every if event < int(offsets[reading]) + end]
    whole = readings.shortened(100, StochasticLength(2.0), np.random.default_rng(1))
    assert torch.equal(whole.items, readings.items)
    assert torch.equal(whole.end, readings.end)
    assert sum(lengths) == len(whole.items)
