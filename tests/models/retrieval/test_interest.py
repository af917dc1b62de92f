"""The operators on histories against loops written from the formulas, one person at a time."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from adwright.data.batches.jagged import Jagged
from adwright.data.batches.queries import QueryBatch
from adwright.models.retrieval.multi_interest import (
    AGE_BUCKETS,
    Behaviours,
    CoInterest,
    HierarchicalExtraction,
    Level,
    Salience,
    age_bucket,
    attend,
    recent,
    redundancy,
)

HISTORIES = [[3, 1, 3, 5, 2], [4], [], [0, 5, 1, 1]]


def _batch(histories: list[list[int]] = HISTORIES) -> QueryBatch:
    events = sum(map(len, histories))
    return QueryBatch.serving(
        Jagged.from_lists(histories, dtype=torch.int64),
        torch.linspace(40, 0, events),
        torch.zeros((len(histories), 1), dtype=torch.int64),
    )


def _items(width: int = 6) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.nn.functional.normalize(torch.randn(6, width, generator=generator), dim=1)


def _behaviours(batch: QueryBatch | None = None) -> Behaviours:
    batch = batch or _batch()
    return Behaviours.of(batch, _items(), batch.history.values)


def _shaken(module: torch.nn.Module) -> None:
    """No parameter at a value that would hide a mistake."""
    generator = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))


def test_padding_keeps_every_event_in_its_place() -> None:
    behaviours = _behaviours()
    assert behaviours.vectors.shape == (4, 5, 6)
    assert behaviours.mask.sum(1).tolist() == [5, 1, 0, 4]
    assert behaviours.back[0].tolist() == [4, 3, 2, 1, 0]
    assert behaviours.back[3, :4].tolist() == [3, 2, 1, 0]
    torch.testing.assert_close(behaviours.vectors[0, 3], _items()[5])
    assert behaviours.vectors[~behaviours.mask].abs().sum() == 0
    scalar = behaviours.spread(torch.arange(1.0, 7)[:, None])[..., 0]
    assert scalar[0].tolist() == [4, 2, 4, 6, 3]
    assert scalar[1].tolist() == [5, 0, 0, 0, 0]


def test_a_batch_of_people_without_history_can_be_padded() -> None:
    batch = _batch([[], []])
    behaviours = Behaviours.of(batch, torch.zeros(0, 6), batch.history.values)
    assert behaviours.vectors.shape == (2, 1, 6)
    assert not behaviours.mask.any()


@given(st.lists(st.integers(0, 6), min_size=1, max_size=4), st.integers(1, 7))
def test_recent_keeps_the_end_of_each_history(lengths: list[int], events: int) -> None:
    histories = [list(range(length)) for length in lengths]
    batch = _batch(histories)
    cut = recent(batch, events)
    assert cut.history.to_lists() == [history[-events:] for history in histories]
    ages = Jagged(batch.age, batch.history.offsets).to_lists()
    kept = Jagged(cut.age, cut.history.offsets).to_lists()
    assert kept == [age[-events:] for age in ages]


def test_buckets_of_age_are_half_octaves() -> None:
    ages = torch.tensor([0.0, 0.5, 1.0, 3.0, 7.0, 1e9])
    wanted = [min(math.floor(2 * math.log2(1 + a)), AGE_BUCKETS - 1) for a in ages.tolist()]
    assert age_bucket(ages).tolist() == wanted


def test_attention_ignores_what_the_mask_excludes() -> None:
    logits = torch.tensor([[1.0, 5.0, 2.0], [0.0, 0.0, 0.0]])
    mask = torch.tensor([[True, False, True], [False, False, False]])
    weight = attend(logits, mask)
    assert weight[0, 1] == 0
    assert weight[0].sum() == pytest.approx(1)
    assert weight[1].tolist() == [0, 0, 0]


def test_salience_is_of_age_and_item() -> None:
    salience, behaviours = Salience(6, 2), _behaviours()
    _shaken(salience)
    found = salience(behaviours)
    for k in range(2):
        wanted = salience.of_item[k] @ _items()[3] + salience.of_age[behaviours.bucket[0, 2], k]
        torch.testing.assert_close(found[0, k, 2], wanted)


def _literal_extraction(
    model: HierarchicalExtraction, vectors: Tensor, salience: Tensor, start: Tensor
) -> Tensor:
    """One list of one person: vectors [n, D], salience [K, n], start [K, D] to [K, D]."""
    left = [vectors[j] for j in range(len(vectors))]
    centres = [start[k] for k in range(len(start))]
    many, some = range(len(left)), range(len(centres))
    for level in model.levels:
        assert isinstance(level, Level)
        beta, scale = level.log_sharpness.exp(), level.log_scale.exp()
        share = [[torch.exp(beta * centres[k] @ left[j]) for j in many] for k in some]
        total = [torch.stack([share[k][j] for k in some]).sum() for j in many]
        share = [[share[k][j] / total[j] for j in many] for k in some]
        moved = []
        for k in some:
            weight = torch.stack([share[k][j] * salience[k, j].exp() for j in many])
            weight = weight / weight.sum()
            mean = torch.stack([weight[j] * left[j] for j in many]).sum(0)
            gate = torch.sigmoid(level.gate(torch.cat([centres[k], mean])))
            new = (1 - gate) * centres[k] + gate * scale * mean
            moved.append(new / new.norm())
        left = [
            left[j]
            - model.residual
            * torch.stack([share[k][j] * (moved[k] @ left[j]) * moved[k] for k in some]).sum(0)
            for j in many
        ]
        centres = moved
    return torch.stack(centres)


@pytest.mark.parametrize("levels", [1, 2, 4])
@pytest.mark.parametrize("residual", [0.0, 0.7, 1.0])
def test_the_levels_are_the_formula(levels: int, residual: float) -> None:
    torch.manual_seed(0)
    model = HierarchicalExtraction(
        6, lists=2, interests=3, levels=levels, residual=residual, sharpness=4.0
    )
    _shaken(model)
    behaviours = _behaviours()
    start = torch.nn.functional.normalize(torch.randn(4, 3, 6), dim=2)
    late = behaviours.mask & (behaviours.back < 2)
    masks = torch.stack([behaviours.mask & ~late, late], 1)
    found = model(behaviours, masks, start)
    salience = model.salience(behaviours).view(4, 2, 3, -1)
    for u in range(4):
        for g in range(2):
            keep = masks[u, g]
            wanted = start[u]
            if keep.any():
                mine = behaviours.vectors[u, keep]
                wanted = _literal_extraction(model, mine, salience[u, g][:, keep], start[u])
            torch.testing.assert_close(found[u, g], wanted, rtol=1e-4, atol=1e-5)


def test_an_event_of_another_list_or_of_the_padding_changes_nothing() -> None:
    model = HierarchicalExtraction(6, lists=1, interests=2, levels=2, residual=1.0, sharpness=4.0)
    start = torch.nn.functional.normalize(torch.randn(1, 2, 6), dim=2)
    long, short = _behaviours(_batch([[3, 1, 2, 5]])), _behaviours(_batch([[2, 5]]))
    same = torch.tensor([[[False, False, True, True]]])
    torch.testing.assert_close(long.bucket[0, 3], short.bucket[0, 1])
    changed = _batch([[3, 1, 2, 5]])
    again = _batch([[4, 4, 2, 5]])
    one = model(Behaviours.of(changed, _items(), changed.history.values), same, start)
    two = model(Behaviours.of(again, _items(), again.history.values), same, start)
    torch.testing.assert_close(one, two)


def test_the_residual_leaves_nothing_that_one_centre_explains() -> None:
    """Events that are all one vector: after the first level nothing moves the centre."""
    model = HierarchicalExtraction(6, lists=1, interests=1, levels=3, residual=1.0, sharpness=4.0)
    with torch.no_grad():
        model.levels[0].gate.bias.fill_(30.0)
    behaviours = _behaviours(_batch([[2, 2, 2]]))
    start = torch.nn.functional.normalize(torch.ones(1, 1, 6), dim=2)
    centre = model(behaviours, behaviours.mask[:, None], start)[0, 0, 0]
    torch.testing.assert_close(centre, _items()[2], rtol=1e-4, atol=1e-5)


def test_competition_keeps_the_centres_apart() -> None:
    """Where every centre takes of every event alike, all end up in one place."""
    torch.manual_seed(0)
    items = torch.nn.functional.normalize(torch.randn(6, 6), dim=1)
    batch = _batch([[0, 1, 2, 3, 4, 5], [1, 1, 3, 4]])
    behaviours = Behaviours.of(batch, items, batch.history.values)
    start = torch.nn.functional.normalize(torch.randn(2, 3, 6), dim=2)
    found = []
    for sharpness in (0.01, 30.0):
        model = HierarchicalExtraction(
            6, lists=1, interests=3, levels=1, residual=1.0, sharpness=sharpness
        )
        centres = model(behaviours, behaviours.mask[:, None], start)[:, 0]
        found.append(float(redundancy(centres).detach()))
    assert found[0] > 0.7
    assert found[1] < 0.4


def _literal_co_interest(model: CoInterest, long: Tensor, short: Tensor) -> Tensor:
    beta = model.log_sharpness.exp()
    count = len(long)
    affinity = [
        [beta * long[a] @ model.affinity @ short[b] for b in range(count)] for a in range(count)
    ]
    every = range(count)
    vectors = []
    for k in every:
        row = torch.softmax(torch.stack(affinity[k]), 0)
        column = torch.softmax(torch.stack([affinity[a][k] for a in every]), 0)
        of_short = torch.stack([row[b] * short[b] for b in every]).sum(0)
        of_long = torch.stack([column[a] * long[a] for a in every]).sum(0)
        gate = torch.sigmoid(model.gate(torch.cat([long[k], of_short, short[k], of_long])))
        first, second = long[k] + model.mix * of_short, short[k] + model.mix * of_long
        vectors.append(gate * first + (1 - gate) * second)
    return torch.stack(vectors)


def test_co_interest_is_the_formula() -> None:
    torch.manual_seed(1)
    model = CoInterest(6)
    _shaken(model)
    long, short = torch.randn(3, 4, 6), torch.randn(3, 4, 6)
    filled = torch.tensor([[True, True], [True, False], [False, True]])
    found = model(long, short, filled)
    torch.testing.assert_close(found[0], _literal_co_interest(model, long[0], short[0]))
    torch.testing.assert_close(found[1], long[1])
    torch.testing.assert_close(found[2], short[2])
