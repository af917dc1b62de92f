"""What every multi-interest model has to show, whatever its extraction."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from adwright.core.artifacts import load_artifact, save_artifact
from adwright.data.batches.batch import QueryBatch
from adwright.models.retrieval.multi_interest import MultiInterest
from tests.support.data.jagged import jagged
from tests.support.data.small_next_basket import small_task

TASK = small_task()
TRAIN = TASK.visits("train")


def shake(model: torch.nn.Module) -> None:
    """Move every parameter, so that none stands where it does nothing."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))


def check_company(model: MultiInterest) -> None:
    """A person's vectors do not depend on who else is in the batch, nor on its padding."""
    visits = torch.cat([torch.tensor(TRAIN[:3]), torch.tensor(TASK.visits("test"))]).numpy()
    batch = TASK.batch(visits)
    assert len(set(batch.history.lengths.tolist())) > 2
    together = model.queries(batch)
    for u in range(len(visits)):
        alone = model.queries(TASK.batch(visits[u : u + 1]))
        torch.testing.assert_close(together[u], alone[0], rtol=1e-4, atol=1e-4)


def check_empty(model: MultiInterest) -> None:
    """Somebody without history has vectors, of unit length; unknown items do no harm."""
    lists = jagged([[], [0, 0]])
    batch = QueryBatch.serving(lists, torch.ones(2), torch.zeros((2, 3), dtype=torch.int64))
    lengths = model.directions(batch).norm(dim=2)
    torch.testing.assert_close(lengths, torch.ones_like(lengths))
    model.queries(batch).sum().backward()  # type: ignore[no-untyped-call]
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert all(bool(g.coalesce().values().isfinite().all()) for g in map(_sparse, gradients))


def check_learns(model: MultiInterest) -> None:
    """It learns the targets of four visits by heart, the tables left as they are."""
    batch = TASK.batch(TRAIN[30:34])
    dense = [p for name, p in model.named_parameters() if "tables" not in name]
    optimiser = torch.optim.Adam(dense, lr=0.01)
    before = float(model.loss(batch).detach())
    for _ in range(50):
        optimiser.zero_grad()
        model.loss(batch).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    assert float(model.loss(batch).detach()) < 0.6 * before


def check_saved(model: MultiInterest, again: Callable[[], MultiInterest], folder: Path) -> None:
    """An artifact gives back the same numbers, also to a model drawn with another seed."""
    shake(model)
    tensors = {name: value.numpy() for name, value in model.state_dict().items()}
    save_artifact(folder / "a", kind="interest", config={}, tensors=tensors, data_hash="x")
    loaded = load_artifact(folder / "a", kind="interest")
    torch.manual_seed(99)
    other = again()
    other.load_state_dict({k: torch.from_numpy(v.copy()) for k, v in loaded.tensors.items()})
    batch = TASK.batch(TASK.visits("test"))
    assert torch.equal(model.queries(batch), other.queries(batch))
    codes = torch.arange(13)
    assert torch.equal(model.item_vectors(codes), other.item_vectors(codes))


def outcome(model: MultiInterest) -> tuple[float, Tensor]:
    """Loss and the query vectors of some visits, of a model whose parameters were moved."""
    shake(model)
    batch = TASK.batch(TRAIN[30:38])
    return float(model.loss(batch).detach()), model.queries(batch).detach()


def _sparse(gradient: Tensor) -> Tensor:
    return gradient if gradient.is_sparse else gradient.to_sparse()
