"""The losses against the formula written out, values and gradients."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from adwright.core.errors import ConfigError
from adwright.data.sequences.item_sequences import SequenceBatch
from adwright.models.kernels.attention_spec import TIME_BUCKETS, time_bucket
from adwright.models.sequential import losses as sequence_losses
from adwright.models.sequential.hstu import HSTU, HSTUConfig
from adwright.models.sequential.losses import (
    COUNT_BUCKETS,
    LossConfig,
    OwnItemTerms,
    draw_items,
    last_own_items,
    next_item_loss,
    own_cells,
    own_items,
    per_position_softmax,
    softmax_over,
    unit,
)
from tests.support.data.jagged import jagged

ITEMS, WIDTH, POSITIONS = 11, 5, 23
TAU = 0.2
COUNT = torch.arange(ITEMS + 1).float()


def _inputs(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    """Queries [P, D] of unit length, targets [P], table [N + 1, D]; leaves of the graph."""
    generator = torch.Generator().manual_seed(0)
    queries = unit(torch.randn(POSITIONS, WIDTH, generator=generator, dtype=dtype))
    target = torch.randint(1, ITEMS + 1, (POSITIONS,), generator=generator)
    table = torch.randn(ITEMS + 1, WIDTH, generator=generator, dtype=dtype)
    return queries.requires_grad_(), target, table.requires_grad_()


def _literal(
    queries: Tensor, target: Tensor, table: Tensor, sets: list[list[int]], weight: list[float]
) -> Tensor:
    """The formula, one position and one candidate after another; sets: codes of S_p, weight:
    w of each item code."""
    vectors = [row / row.norm() for row in table]
    loss = torch.zeros((), dtype=torch.float64)
    for p, (q, y) in enumerate(zip(queries, target.tolist(), strict=True)):
        right = torch.exp(q @ vectors[y] / TAU)
        others = [weight[j] * torch.exp(q @ vectors[j] / TAU) for j in sets[p] if j != y]
        loss = loss + torch.log(right + sum(others)) - q @ vectors[y] / TAU
    return loss


def _same(config: LossConfig, sets: list[list[int]], weight: list[float]) -> None:
    """Values and gradients, after the loss was scaled by 3."""
    queries, target, table = _inputs()
    expected = _literal(queries, target, table, sets, weight)
    wanted = torch.autograd.grad(3 * expected, (queries, table))
    torch.manual_seed(5)
    found = next_item_loss(queries, target, table, config, count=COUNT)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-8)
    for one, other in zip(torch.autograd.grad(3 * found, (queries, table)), wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("chunk", [1, 7, 500])
def test_exact_is_the_softmax_over_the_catalogue(chunk: int) -> None:
    every = list(range(1, ITEMS + 1))
    _same(LossConfig("exact", TAU, chunk=chunk), [every] * POSITIONS, [1.0] * (ITEMS + 1))
    queries, target, table = _inputs()
    plain = torch.nn.functional.cross_entropy(
        queries @ unit(table[1:]).T / TAU, target - 1, reduction="sum"
    )
    found = next_item_loss(queries, target, table, LossConfig("exact", TAU), count=COUNT)
    torch.testing.assert_close(found, plain)


def test_shared_weighs_each_draw_by_its_chance() -> None:
    torch.manual_seed(5)
    drawn = torch.randint(1, ITEMS + 1, (40,)).tolist()
    config = LossConfig("shared", TAU, shared=40, chunk=6)
    _same(config, [drawn] * POSITIONS, [ITEMS / 40] * (ITEMS + 1))


def test_shared_draws_by_popularity_where_asked() -> None:
    weight = COUNT[1:].clamp(min=1).double() ** 0.75
    chance = weight / weight.sum()
    torch.manual_seed(5)
    drawn = (1 + torch.multinomial(chance, 30, replacement=True)).tolist()
    config = LossConfig("shared", TAU, shared=30, draw="popular")
    _same(config, [drawn] * POSITIONS, [0.0, *(1 / (30 * chance)).tolist()])


def test_per_position_is_the_sampled_softmax_of_the_research_code() -> None:
    torch.manual_seed(5)
    drawn = torch.randint(1, ITEMS + 1, (POSITIONS, 6)).tolist()
    _same(LossConfig("per_position", TAU, negatives=6), drawn, [1.0] * (ITEMS + 1))


def test_accidental_hits_are_no_negatives() -> None:
    inputs, target, table = _inputs()
    queries, positive = inputs.detach(), unit(table.detach()[target])
    # All candidates are the target: nothing is left, and the loss is 0.
    alone = softmax_over(
        queries[:1],
        positive[:1],
        positive[:1].repeat(3, 1),
        target=target[:1],
        codes=target[:1].repeat(3),
    )
    assert float(alone.detach()) == 0
    negatives = positive[:, None].repeat(1, 3, 1)
    hit = torch.ones((POSITIONS, 3), dtype=torch.bool)
    assert float(per_position_softmax(queries, positive, negatives, hit=hit)) == 0
    assert float(per_position_softmax(queries, positive, negatives, hit=~hit)) > 1


def test_auto_depends_on_the_size_of_the_catalogue(monkeypatch: pytest.MonkeyPatch) -> None:
    queries, target, table = _inputs()

    def loss(kind: str) -> float:
        torch.manual_seed(1)
        config = LossConfig(kind, TAU, shared=5)  # type: ignore[arg-type]
        return float(next_item_loss(queries, target, table, config, count=COUNT).detach())

    assert loss("auto") == loss("exact") != loss("shared")
    monkeypatch.setattr(sequence_losses, "EXACT_BELOW", ITEMS)
    assert loss("auto") == loss("shared")


def test_no_logits_of_all_positions_stand_in_memory() -> None:
    """No tensor of the graph is as large as positions times items."""
    queries = unit(torch.randn(400, 4)).requires_grad_()
    table = torch.randn(301, 4, requires_grad=True)
    sizes: list[int] = []

    def note(x: Tensor) -> Tensor:
        sizes.append(x.numel())
        return x

    with torch.autograd.graph.saved_tensors_hooks(note, lambda x: x):
        target = torch.randint(1, 301, (400,))
        loss = next_item_loss(queries, target, table, LossConfig("exact", chunk=8), count=COUNT)
    loss.backward()  # type: ignore[no-untyped-call]
    assert sizes
    assert max(sizes) < 400 * 301 // 10


def test_bfloat16_products_are_summed_in_float32() -> None:
    queries, target, table = _inputs(torch.float32)
    exact = LossConfig("exact", TAU)
    wide = next_item_loss(queries, target, table, exact, count=COUNT)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        narrow = next_item_loss(queries, target, table, exact, count=COUNT)
    assert narrow.dtype == torch.float32
    assert float(narrow.detach()) == pytest.approx(float(wide.detach()), rel=0.02)
    assert float(narrow.detach()) != float(wide.detach())
    gradients = torch.autograd.grad(narrow, (queries, table))
    assert all(g.dtype == torch.float32 and bool(g.isfinite().all()) for g in gradients)


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("exact", {"temperature": 0.3}),
        ("exact", {"kind": "shared"}),
        ("shared", {"shared": 9}),
        ("shared", {"draw": "popular"}),
        ("per_position", {"negatives": 9}),
    ],
)
def test_every_field_changes_the_loss(kind: str, change: dict[str, object]) -> None:
    queries, target, table = _inputs()
    config = LossConfig(kind, TAU, negatives=4, shared=4)  # type: ignore[arg-type]
    losses = set()
    for one in (config, replace(config, **change)):  # type: ignore[arg-type]
        torch.manual_seed(2)
        losses.add(float(next_item_loss(queries, target, table, one, count=COUNT).detach()))
    assert len(losses) == 2


@pytest.mark.parametrize("wrong", [{"temperature": 0.0}, {"chunk": 0}])
def test_settings_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        LossConfig(**wrong)  # type: ignore[arg-type]


def test_a_bias_and_terms_of_own_items_by_hand() -> None:
    queries, target, table = _inputs()
    bias = torch.linspace(-1, 1, ITEMS + 1, dtype=torch.float64)
    bonus = torch.linspace(0, 2, POSITIONS, dtype=torch.float64)
    others = torch.linspace(-3, 1, POSITIONS, dtype=torch.float64)
    others[3] = -torch.inf
    vectors = unit(table.detach())
    expected = 0.0
    for p, (q, y) in enumerate(zip(queries.detach(), target.tolist(), strict=True)):
        scores = {j: float(q @ vectors[j] / TAU + bias[j]) for j in range(1, ITEMS + 1)}
        right = scores.pop(y) + float(bonus[p])
        total = math.exp(right) + sum(map(math.exp, scores.values())) + math.exp(float(others[p]))
        expected += math.log(total) - right
    for chunk in (1, 6, 500):
        found = next_item_loss(
            queries,
            target,
            table,
            LossConfig("exact", TAU, chunk=chunk),
            count=COUNT,
            bias=bias,
            personal=OwnItemTerms(bonus, others),
        )
        assert float(found.detach()) == pytest.approx(expected)


def test_gradients_of_the_personal_terms_are_those_of_autograd() -> None:
    queries, target, table = _inputs()
    bonus = torch.linspace(0, 1, POSITIONS, dtype=torch.float64).requires_grad_()
    others = torch.linspace(-2, 2, POSITIONS, dtype=torch.float64).requires_grad_()
    vectors = unit(table[1:])
    scaled, positive = queries / TAU, vectors[target - 1]
    logits = scaled @ vectors.T
    own = torch.nn.functional.one_hot(target - 1, ITEMS).bool()
    logits = torch.where(own, logits + bonus[:, None], logits)
    whole = torch.cat([logits, others[:, None]], 1)
    plain = torch.nn.functional.cross_entropy(whole, target - 1, reduction="sum")
    found = softmax_over(
        scaled, positive, vectors, target=target - 1, personal=OwnItemTerms(bonus, others), chunk=5
    )
    torch.testing.assert_close(found, plain)
    leaves = (queries, table, bonus, others)
    wanted = torch.autograd.grad(plain, leaves, retain_graph=True)
    for one, other in zip(torch.autograd.grad(found, leaves), wanted, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("draw", ["uniform", "popular"])
def test_draws_come_with_how_often_each_is_expected(draw: str) -> None:
    torch.manual_seed(0)
    config = LossConfig("shared", shared=20_000, draw=draw)  # type: ignore[arg-type]
    codes, shift = draw_items(ITEMS, config, COUNT)
    assert codes.shape == shift.shape == (20_000,)
    assert (int(codes.min()), int(codes.max())) == (1, ITEMS)
    # Each draw weighs 1 / expected, so that all weights together are the size of the catalogue.
    assert float(torch.exp(-shift).sum()) == pytest.approx(ITEMS, rel=0.05)
    for code in (1, ITEMS):
        drawn = codes == code
        assert int(drawn.sum()) == pytest.approx(float(shift[drawn][0].exp()), rel=0.15)


def test_no_positions_lose_nothing() -> None:
    queries, target, table = _inputs()
    for kind in ("exact", "shared", "per_position"):
        config = LossConfig(kind, TAU)  # type: ignore[arg-type]
        none = next_item_loss(queries[:0], target[:0], table, config, count=COUNT)
        assert float(none.detach()) == 0


def test_the_unknown_item_gets_no_gradient() -> None:
    queries, target, table = _inputs()
    for kind in ("exact", "shared", "per_position"):
        config = LossConfig(kind, TAU)  # type: ignore[arg-type]
        loss = next_item_loss(queries, target, table, config, count=COUNT)
        (gradient,) = torch.autograd.grad(loss, table)
        assert not gradient[0].any()
        assert gradient[1:].any()


ITEMS_REPEATS, TAU_REPEATS = 7, 0.2
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
    loss=LossConfig("exact", TAU_REPEATS),
)


def _batch(*, times: bool) -> SequenceBatch:
    items = jagged(LISTS)
    generator = torch.Generator().manual_seed(0)
    target = torch.randint(1, ITEMS_REPEATS + 1, items.values.shape, generator=generator)
    target[[1, 8]] = 0
    if not times:
        return SequenceBatch(items, target)
    time = torch.cat([torch.arange(len(one)) * 90_000 for one in LISTS])
    return SequenceBatch(items, target, time, time + 90_000)


def _model(*, times: bool) -> HSTU:
    torch.manual_seed(0)
    model = (
        HSTU(replace(CONFIG, time=times), ITEMS_REPEATS, count=np.arange(ITEMS_REPEATS + 1))
        .double()
        .eval()
    )
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
    for item in range(1, ITEMS_REPEATS + 1):
        score = vector @ unit(model.input.item.weight[item]) / TAU_REPEATS + model.bias[item]
        cell = _literal_cell(history, item, then, now)
        if cell >= 0:
            own = model.repeats
            usual = (own.usual @ vector) @ unit(model.input.item.weight[item])
            rho = (own.table[cell] + own.moment @ vector + usual) / TAU_REPEATS
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
        codes = torch.arange(1, ITEMS_REPEATS + 1)
        zero = torch.zeros(ITEMS_REPEATS, dtype=torch.float64)
        monkeypatch.setattr(sequence_losses, "draw_items", lambda *_: (codes, zero))
        monkeypatch.setattr(torch, "randint", lambda low, high, shape, device: codes.expand(shape))
        object.__setattr__(
            model.config, "loss", LossConfig(kind, TAU_REPEATS, negatives=ITEMS_REPEATS)
        )  # type: ignore[arg-type]
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
        scores = queries @ model.item_vectors(torch.arange(1, ITEMS_REPEATS + 1)).T
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


def test_a_new_model_orders_own_items_by_how_often_they_were_taken() -> None:
    torch.manual_seed(0)
    model = HSTU(
        replace(CONFIG, time=False), ITEMS_REPEATS, count=np.arange(ITEMS_REPEATS + 1)
    ).eval()
    assert model.repeats is not None
    assert model.bias is not None
    torch.testing.assert_close(model.bias[3], torch.log(torch.tensor(3 / 29)))
    batch = _batch(times=False)
    own = own_items(batch, 0, batch.items.offsets[1:2] - 1)
    assert own.codes.tolist() == [1, 2, 3]
    rho = model.repeats.table[own.cell[0]] / TAU_REPEATS
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
