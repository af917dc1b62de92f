from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from adwright.core.errors import ConfigError
from adwright.training.loop.optimisers import RowWise, Rule, row_sums

N_ROWS, WIDTH, RATE, EPS = 9, 3, 0.1, 1e-8


def table(seed: int = 0) -> nn.Embedding:
    torch.manual_seed(seed)
    return nn.Embedding(N_ROWS, WIDTH, sparse=True)


def batches(seed: int, steps: int = 6) -> list[tuple[Tensor, Tensor]]:
    """Row numbers with repeats and a coefficient each: the gradient of row j is their sum."""
    torch.manual_seed(100 + seed)
    made = []
    for _ in range(steps):
        size = int(torch.randint(1, 12, ()))
        made.append((torch.randint(0, N_ROWS, (size,)), torch.randn(size, WIDTH)))
    return made


def train(embedding: nn.Embedding, optimiser: torch.optim.Optimizer, seed: int) -> None:
    for rows, coefficients in batches(seed):
        optimiser.zero_grad()
        (embedding(rows) * coefficients).sum().backward()
        optimiser.step()


def literal(
    weight: Tensor, rule: Rule, seed: int, *, decay: float = 0.0, counts: Tensor | None = None
) -> list[list[float]]:
    """The formulas of the module, row by row in plain Python."""
    w = weight.detach().double().tolist()
    v = [0.0] * N_ROWS
    m = [[0.0] * WIDTH for _ in range(N_ROWS)]
    t = [0] * N_ROWS
    for rows, coefficients in batches(seed):
        for j in sorted(set(rows.tolist())):
            g = [
                sum(
                    float(c[d])
                    for row, c in zip(rows.tolist(), coefficients.tolist(), strict=True)
                    if row == j
                )
                for d in range(WIDTH)
            ]
            square = sum(x * x for x in g) / WIDTH
            if rule == "sgd":
                step = g
            elif rule == "adagrad":
                v[j] += square
                step = [x / (math.sqrt(v[j]) + EPS) for x in g]
            else:
                t[j] += 1
                v[j] = 0.999 * v[j] + 0.001 * square
                m[j] = [0.9 * old + 0.1 * new for old, new in zip(m[j], g, strict=True)]
                root = math.sqrt(v[j] / (1 - 0.999 ** t[j])) + EPS
                step = [x / (1 - 0.9 ** t[j]) / root for x in m[j]]
            for d in range(WIDTH):
                penalty = decay / float(counts[j]) * w[j][d] if counts is not None else 0.0
                w[j][d] -= RATE * (step[d] + penalty)
    return w


@pytest.mark.parametrize("rule", ["sgd", "adagrad", "adam"])
@pytest.mark.parametrize("seed", range(3))
def test_equals_literal_reference(rule: Rule, seed: int) -> None:
    embedding = table(seed)
    expected = literal(embedding.weight, rule, seed)
    train(embedding, RowWise([embedding.weight], learning_rate=RATE, rule=rule), seed)
    assert torch.allclose(embedding.weight, torch.tensor(expected), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("rule", ["sgd", "adagrad", "adam"])
def test_decay_equals_the_formula_of_the_paper(rule: Rule) -> None:
    # With SGD this is equation 8 of Zhou et al.: w - lr (g + lambda alpha_mj / n_j w).
    embedding, counts = table(), torch.arange(1.0, N_ROWS + 1) ** 2
    expected = literal(embedding.weight, rule, 0, decay=0.7, counts=counts)
    optimiser = RowWise(
        [embedding.weight],
        learning_rate=RATE,
        rule=rule,
        decay=0.7,
        counts={embedding.weight: counts},
    )
    train(embedding, optimiser, 0)
    assert torch.allclose(embedding.weight, torch.tensor(expected), atol=1e-6, rtol=1e-6)


def test_penalty_of_an_epoch_does_not_grow_with_frequency() -> None:
    # One row in every batch, one in a single batch, both counted: the same total decay.
    embedding = nn.Embedding(2, 1, sparse=True)
    nn.init.ones_(embedding.weight)
    counts = torch.tensor([100.0, 1.0])
    optimiser = RowWise(
        [embedding.weight],
        learning_rate=0.01,
        rule="sgd",
        decay=1.0,
        counts={embedding.weight: counts},
    )
    for step in range(100):
        optimiser.zero_grad()
        rows = torch.tensor([0] if step else [0, 1])
        (embedding(rows) * 0).sum().backward()
        optimiser.step()
    assert embedding.weight[0].item() == pytest.approx(embedding.weight[1].item(), abs=1e-4)


@pytest.mark.parametrize("rule", ["sgd", "adagrad", "adam"])
def test_only_rows_of_the_batch_change(rule: Rule) -> None:
    embedding = table()
    optimiser = RowWise(
        [embedding.weight],
        learning_rate=RATE,
        rule=rule,
        decay=0.5,
        counts={embedding.weight: torch.ones(N_ROWS)},
    )
    embedding(torch.tensor([1, 4, 4])).sum().backward()
    before = embedding.weight.detach().clone()
    state = {name: value.clone() for name, value in optimiser.state[embedding.weight].items()}
    optimiser.step()
    touched = torch.zeros(N_ROWS, dtype=torch.bool)
    touched[[1, 4]] = True
    assert torch.equal((embedding.weight != before).any(1), touched)
    for name, value in optimiser.state[embedding.weight].items():
        changed = (value != state[name]).reshape(N_ROWS, -1).any(1)
        assert torch.equal(changed, touched), name


def test_one_number_of_state_a_row() -> None:
    embedding = table()
    optimiser = RowWise([embedding.weight], learning_rate=RATE, rule="adagrad")
    assert {n: v.shape for n, v in optimiser.state[embedding.weight].items()} == {
        "square": (N_ROWS,)
    }


def test_a_row_counted_less_than_once_is_seen_once() -> None:
    results = []
    for count in (0.0, 0.1, 1.0):
        embedding = table()
        counts = {embedding.weight: torch.full((N_ROWS,), count)}
        train(embedding, RowWise([embedding.weight], learning_rate=RATE, decay=1, counts=counts), 0)
        results.append(embedding.weight.detach())
    assert torch.equal(results[0], results[2])
    assert torch.equal(results[1], results[2])


CHANGES: dict[str, Any] = {
    "learning_rate": 0.2,
    "rule": "adam",
    "decay": 0.3,
    "counts": torch.full((N_ROWS,), 5.0),
    "betas": (0.5, 0.9),
    "eps": 0.1,
}


@pytest.mark.parametrize("name", CHANGES)
def test_every_argument_changes_the_result(name: str) -> None:
    base: dict[str, Any] = {"learning_rate": 0.1, "rule": "adagrad", "decay": 0.1}
    base["counts"] = torch.full((N_ROWS,), 2.0)
    if name == "betas":
        base["rule"] = "adam"
    results = []
    for changes in ({}, {name: CHANGES[name]}):
        embedding = table()
        settings = base | changes
        settings["counts"] = {embedding.weight: settings["counts"]}
        train(embedding, RowWise([embedding.weight], **settings), 0)
        results.append(embedding.weight.detach())
    assert not torch.allclose(results[0], results[1])


def test_state_survives_saving() -> None:
    embeddings = [table(), table()]
    whole = RowWise([embeddings[0].weight], learning_rate=RATE, rule="adam")
    train(embeddings[0], whole, 0)
    train(embeddings[0], whole, 1)
    first = RowWise([embeddings[1].weight], learning_rate=RATE, rule="adam")
    train(embeddings[1], first, 0)
    second = RowWise([embeddings[1].weight], learning_rate=RATE, rule="adam")
    second.load_state_dict(first.state_dict())
    train(embeddings[1], second, 1)
    assert torch.equal(embeddings[0].weight, embeddings[1].weight)


def test_no_tables_and_no_gradients_are_fine() -> None:
    RowWise([], learning_rate=RATE).step()
    embedding = table()
    before = embedding.weight.detach().clone()
    optimiser = RowWise([embedding.weight], learning_rate=RATE)
    optimiser.step()
    embedding(torch.zeros(0, dtype=torch.int64)).sum().backward()
    optimiser.step()
    assert torch.equal(embedding.weight, before)


def test_settings_out_of_range_are_refused() -> None:
    weight = table().weight
    with pytest.raises(ConfigError, match=r"learning_rate 0, decay 0"):
        RowWise([weight], learning_rate=0)
    with pytest.raises(ConfigError, match=r"decay -1"):
        RowWise([weight], learning_rate=1, decay=-1)
    with pytest.raises(ConfigError, match=r"betas.*\(0.9, 1\)"):
        RowWise([weight], learning_rate=1, rule="adam", betas=(0.9, 1))
    with pytest.raises(ConfigError, match=r"needs the training counts.*table of 9 rows"):
        RowWise([weight], learning_rate=1, decay=1)


@given(st.lists(st.integers(0, 20), max_size=40), st.sampled_from([1, 20]), st.integers(21, 10**5))
def test_row_sums_equal_coalescing(rows: list[int], times: int, n: int) -> None:
    # Both ways of summing: a sort for few entries and large tables, marks otherwise.
    rows = rows * times
    values = torch.arange(float(2 * len(rows))).view(-1, 2)
    gradient = torch.sparse_coo_tensor(
        torch.tensor([rows], dtype=torch.int64), values, (n, 2), check_invariants=False
    )
    at, sums = row_sums(gradient)
    expected = gradient.coalesce()
    assert torch.equal(at, expected.indices()[0])
    assert torch.allclose(sums, expected.values())
    again = row_sums(expected)
    assert torch.equal(again[0], at)
    assert torch.equal(again[1], expected.values())
