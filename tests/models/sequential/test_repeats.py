"""The term of the own past against the formula, one position and one item after another."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from adwright.data.batches.jagged import Jagged
from adwright.data.sequences.item_sequences import SequenceBatch
from adwright.models.kernels.attention_spec import TIME_BUCKETS, time_bucket
from adwright.models.sequential import losses as sequence_losses
from adwright.models.sequential.hstu import HSTU, HSTUConfig
from adwright.models.sequential.losses import (
    COUNT_BUCKETS,
    LossConfig,
    last_own_items,
    own_cells,
    own_items,
    unit,
)

ITEMS, TAU = 7, 0.2
LISTS = [[3, 1, 3, 3, 2, 1], [], [5], [6, 6, 6, 6, 6, 6, 6, 6, 4]]
CONFIG = HSTUConfig(
    width=4,
    max_length=9,
    blocks=1,
    qk_width=4,
    v_width=4,
    dropout=0.0,
    kernel="bucketed",
    popularity=True,
    repeats=True,
    loss=LossConfig("exact", TAU),
)


def _batch(*, times: bool) -> SequenceBatch:
    items = Jagged.from_lists(LISTS, dtype=torch.int64)
    generator = torch.Generator().manual_seed(0)
    target = torch.randint(1, ITEMS + 1, items.values.shape, generator=generator)
    target[[1, 8]] = 0
    if not times:
        return SequenceBatch(items, target)
    time = torch.cat([torch.arange(len(one)) * 90_000 for one in LISTS])
    return SequenceBatch(items, target, time, time + 90_000)


def _model(*, times: bool) -> HSTU:
    torch.manual_seed(0)
    model = HSTU(replace(CONFIG, time=times), ITEMS, count=np.arange(ITEMS + 1)).double().eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return model


def _literal_cell(history: list[int], item: int, then: list[int], now: int) -> int:
    """The cell of an item after a history."""
    places = [at for at, one in enumerate(history) if one == item]
    if not places:
        return -1
    often = min(math.floor(2 * math.log2(len(places)) + 1e-9), COUNT_BUCKETS - 1)
    return often * TIME_BUCKETS + int(time_bucket(torch.tensor(now - then[places[-1]])))


def _scores(model: HSTU, batch: SequenceBatch, event: int, vector: Tensor) -> Tensor:
    """[N] of the items 1 to N at an event, term included."""
    assert model.repeats is not None
    assert model.bias is not None
    person = int(batch.items.owner()[event])
    first = int(batch.items.offsets[person])
    history = batch.items.values[first : event + 1].tolist()
    if batch.time is None or batch.next_time is None:
        then, now = list(range(len(history))), len(history)
    else:
        then, now = batch.time[first : event + 1].tolist(), int(batch.next_time[event])
    found = []
    for item in range(1, ITEMS + 1):
        score = vector @ unit(model.input.item.weight[item]) / TAU + model.bias[item]
        cell = _literal_cell(history, item, then, now)
        if cell >= 0:
            own = model.repeats
            usual = (own.usual @ vector) @ unit(model.input.item.weight[item])
            rho = (own.table[cell] + own.moment @ vector + usual) / TAU
            rho = rho + own.popularity * model.bias[item]
            score = torch.log(torch.exp(score) + torch.exp(rho))
        found.append(score)
    return torch.stack(found)


@pytest.mark.parametrize("times", [True, False])
@pytest.mark.parametrize("kind", ["exact", "shared", "per_position"])
def test_the_loss_is_that_of_the_scores_with_the_term(
    times: bool, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, batch = _model(times=times), _batch(times=times)
    vectors = model.encode(batch).vectors
    expected = torch.zeros((), dtype=torch.float64)
    for event in (batch.target > 0).nonzero()[:, 0].tolist():
        scores = _scores(model, batch, event, vectors[event])
        expected = expected - torch.log_softmax(scores, 0)[batch.target[event] - 1]
    weights = tuple(model.parameters())
    wanted = torch.autograd.grad(expected, weights, allow_unused=True)
    if kind != "exact":
        # Draws that are the catalogue give the exact sum, but for those of the public code.
        codes = torch.arange(1, ITEMS + 1)
        zero = torch.zeros(ITEMS, dtype=torch.float64)
        monkeypatch.setattr(sequence_losses, "draw_items", lambda *_: (codes, zero))
        monkeypatch.setattr(torch, "randint", lambda low, high, shape, device: codes.expand(shape))
        object.__setattr__(model.config, "loss", LossConfig(kind, TAU, negatives=ITEMS))  # type: ignore[arg-type]
    monkeypatch.setattr("adwright.models.sequential.losses.CHUNK", 2)
    found = model.loss(batch)
    torch.testing.assert_close(found, expected)
    for one, other in zip(
        torch.autograd.grad(found, weights, allow_unused=True), wanted, strict=True
    ):
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            torch.testing.assert_close(one, other)


@pytest.mark.parametrize("times", [True, False])
def test_what_is_served_is_what_was_trained(times: bool) -> None:
    model, batch = _model(times=times), _batch(times=times)
    with torch.no_grad():
        queries = model.queries(batch)
        scores = queries @ model.item_vectors(torch.arange(1, ITEMS + 1)).T
        row, codes, terms = model.own_terms(batch, queries)
        scores[row, codes - 1] += terms
        vectors = model.encode(batch).vectors
        for person in (0, 2, 3):
            last = int(batch.items.offsets[person + 1]) - 1
            wanted = _scores(model, batch, last, vectors[last])
            torch.testing.assert_close(scores[person], wanted)
        # Who has no history is recommended what is popular.
        torch.testing.assert_close(scores[1], model.bias[1:])  # type: ignore[index]


def test_cells_at_some_events_only() -> None:
    place = np.array([2, 0, 2, 2, 1, 0])
    every = own_cells(place, 3, np.arange(6))
    some = own_cells(place, 3, np.array([1, 4, 5]))
    assert (some == every[[1, 4, 5]]).all()
    assert every[0].tolist()[:2] == [-1, -1]
    assert (every[3] // TIME_BUCKETS).tolist() == [0, -1, 3]
    many = own_cells(np.zeros(5000, np.int64), 1, np.arange(5000))
    assert (many // TIME_BUCKETS).max() == COUNT_BUCKETS - 1
    assert (np.diff((many // TIME_BUCKETS)[:, 0]) >= 0).all()


def test_without_the_options_nothing_is_added() -> None:
    model = HSTU(replace(CONFIG, popularity=False, repeats=False), ITEMS)
    batch = _batch(times=True)
    queries = model.queries(batch)
    assert queries.shape == (4, 4)
    assert len(model.own_terms(batch, queries)[0]) == 0
    assert not {"bias", "repeats.table"} & set(model.state_dict())


def test_the_unknown_item_may_be_among_the_own() -> None:
    batch = SequenceBatch.serving(Jagged.from_lists([[0, 2, 0]], dtype=torch.int64))
    assert own_items(batch, 0, torch.tensor([2])).codes.tolist() == [0, 2]


def test_a_new_model_orders_own_items_by_how_often_they_were_taken() -> None:
    torch.manual_seed(0)
    model = HSTU(replace(CONFIG, time=False), ITEMS, count=np.arange(ITEMS + 1)).eval()
    assert model.repeats is not None
    assert model.bias is not None
    torch.testing.assert_close(model.bias[3], torch.log(torch.tensor(3 / 29)))
    batch = _batch(times=False)
    own = own_items(batch, 0, batch.items.offsets[1:2] - 1)
    assert own.codes.tolist() == [1, 2, 3]
    rho = model.repeats.table[own.cell[0]] / TAU
    torch.testing.assert_close(rho, torch.tensor([2.0, 1.0, 2 * 2**0.5]).log() - math.log(256))


@pytest.mark.parametrize("times", [True, False])
def test_all_users_at_their_last_event_are_as_each_of_them_alone(times: bool) -> None:
    batch, model = _batch(times=times), _model(times=times)
    found = last_own_items(batch)
    with torch.no_grad():
        queries = model.queries(batch)
        rows, codes, terms = model.own_terms(batch, queries)
    assert rows.equal(found.row)
    assert codes.equal(found.codes)
    assert model.repeats is not None
    for person in range(len(batch)):
        mine = found.row == person
        if not batch.items.lengths[person]:
            assert not mine.any()
            continue
        own = own_items(batch, person, batch.items.offsets[person + 1, None] - 1)
        assert found.codes[mine].equal(own.codes)
        assert found.cell[mine].equal(own.cell[0])
        vector = queries[person, None, : model.config.width] * model.config.loss.temperature
        with torch.no_grad():
            items = model.item_vectors(own.codes)
            expected = model.repeats.terms(vector, queries[person, None], items, own)[0]
        torch.testing.assert_close(terms[mine], expected)
