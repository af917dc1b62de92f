"""The defaults of a trainee."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from adwright.training.loop.run_folder import RunPosition
from adwright.training.loop.trainee import dense_and_sparse
from tests.training.loop.test_loop import CONFIG, Line


def test_tables_are_told_from_dense_weights() -> None:
    model = nn.ModuleDict(
        {
            "sparse": nn.Embedding(3, 2, sparse=True),
            "dense": nn.Embedding(3, 2),
            "layer": nn.Linear(2, 1),
        }
    )
    model["layer"].bias.requires_grad_(False)
    dense, tables = dense_and_sparse(model)
    assert [id(table) for table in tables] == [id(model["sparse"].weight)]
    assert {id(p) for p in dense} == {id(model["dense"].weight), id(model["layer"].weight)}


def test_gradients_are_of_the_mean_loss() -> None:
    line, batch = Line(), torch.arange(4.0)[:, None]
    torch.manual_seed(1)
    summed, count = line.loss(batch)
    (summed / count).backward()  # type: ignore[no-untyped-call]
    expected = line.model.weight.grad.clone()
    line.model.zero_grad()
    torch.manual_seed(1)
    found = line.gradients(batch, RunPosition())
    assert torch.equal(line.model.weight.grad, expected)
    assert (found.loss, found.count, found.shown) == (float(summed.detach()), 4, 1)


def test_a_checkpoint_is_due_each_so_many_steps() -> None:
    line = Line()
    due = [line.is_checkpoint_due(RunPosition(steps=steps)) for steps in (1, 2, 3, 4)]
    assert due == [False, True, False, True]
    assert CONFIG.checkpoint_every == 2


def test_without_a_loss_a_trainee_says_so() -> None:
    class Bare(Line):
        loss = Line.__mro__[1].loss  # the default

    with pytest.raises(NotImplementedError):
        Bare().gradients(torch.zeros(1, 1), RunPosition())
