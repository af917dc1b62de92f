"""The softmax over a batch's items against the formula, pair by pair."""

from __future__ import annotations

import math

import numpy as np
import torch

from adwright.data.batches.jagged import Jagged
from adwright.models.retrieval.retriever import (
    counts_tensor,
    inclusion_log_probability,
    layers,
    log_share,
    pool,
    softmax_loss,
)


def test_the_loss_is_the_formula_with_gradients() -> None:
    torch.manual_seed(0)
    logits = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    positive = Jagged.from_lists([[0, 2], [4], []], dtype=torch.int64)
    literal = torch.zeros((), dtype=torch.float64)
    for u, taken in enumerate(positive.to_lists()):
        for i in taken:
            others = sum(torch.exp(logits[u, j]) for j in range(5) if j not in taken)
            mine = torch.exp(logits[u, int(i)])
            literal = literal - torch.log(mine / (mine + others))
    ours = softmax_loss(logits, positive)
    torch.testing.assert_close(ours, literal)
    torch.testing.assert_close(
        torch.autograd.grad(ours, logits)[0], torch.autograd.grad(literal, logits)[0]
    )


def test_a_query_that_took_every_candidate_costs_nothing() -> None:
    logits = torch.randn(1, 2)
    assert float(softmax_loss(logits, Jagged.from_lists([[0, 1]], dtype=torch.int64))) == 0


def test_log_q_is_the_probability_of_being_drawn_at_least_once() -> None:
    count = torch.tensor([0.0, 1.0, 3.0])
    found = inclusion_log_probability(count, torch.tensor([1, 2]), 8)
    wanted = [math.log(1 - math.exp(-8 * share)) for share in (0.25, 0.75)]
    torch.testing.assert_close(found, torch.tensor(wanted))
    drawn = torch.multinomial(count.repeat(20_000, 1), 8, replacement=True)
    shares = torch.stack([(drawn == item).any(1).float().mean() for item in (1, 2)])
    torch.testing.assert_close(found.exp(), shares, atol=0.05, rtol=0)


def test_pool_sums_each_list() -> None:
    lists = Jagged.from_lists([[1, 2], [], [3]], dtype=torch.int64)
    vectors = torch.tensor([[1.0], [2.0], [4.0]])
    sums = pool(vectors, torch.tensor([1.0, 0.5, 2.0]), lists)
    assert sums.tolist() == [[2], [0], [8]]


def test_layers_end_without_an_activation() -> None:
    assert [type(part).__name__ for part in layers([4, 3, 2])] == ["Linear", "ReLU", "Linear"]
    assert counts_tensor(torch.tensor([0, 2]).numpy()).tolist() == [0, 2]


def test_shares_count_one_event_more_of_each_item() -> None:
    count = np.array([0, 3, 0, 9])
    wanted = [math.log((n + 1) / 16) for n in count]
    torch.testing.assert_close(log_share(count), torch.tensor(wanted))
    assert float(log_share(count).exp().sum()) == 1.0
    assert torch.equal(counts_tensor(count), torch.tensor([0.0, 3.0, 0.0, 9.0]))


def test_an_item_that_was_never_seen_is_drawn_next_to_never() -> None:
    count = torch.tensor([0.0, 5.0, 0.0, 95.0])
    log_q = inclusion_log_probability(count, torch.tensor([1, 2, 3]), 50)
    assert torch.isfinite(log_q).all()
    assert log_q.argsort().tolist() == [1, 0, 2]
    more = inclusion_log_probability(count, torch.tensor([1, 2, 3]), 500)
    assert (more >= log_q).all()
    assert (more <= 0).all()


def test_large_logits_do_not_overflow() -> None:
    logits = torch.tensor([[1e4, -1e4, 0.0]], requires_grad=True)
    loss = softmax_loss(logits, Jagged.from_lists([[1]], dtype=torch.int64))
    assert float(loss.detach()) == 2e4
    (gradient,) = torch.autograd.grad(loss, logits)
    assert gradient.tolist() == [[1.0, -1.0, 0.0]]
