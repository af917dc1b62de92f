"""What every sequential model has to show, whatever stands between its input and its head."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from adwright.core.artifacts import load_artifact, save_artifact
from adwright.data.sequences.item_sequences import SequenceBatch
from adwright.models.sequential.sequence_model import SequenceModel
from tests.support.data.small_sequences import small_sequences

DATA = small_sequences()
LONGEST = 16


def batch_of(people: list[int]) -> SequenceBatch:
    """The training samples of some people."""
    first, end = DATA.windows(LONGEST)
    chosen = np.array(people)
    return DATA.batch(first[chosen], end[chosen])


def shake(model: torch.nn.Module, size: float = 0.2) -> None:
    """Move every parameter, so that none stands where it does nothing."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            moved = size * torch.randn(parameter.shape, generator=generator)
            parameter.add_(moved.to(parameter.dtype))


def check_shapes(model: SequenceModel, events: int) -> None:
    """Unit vectors of the events that the model speaks of, `events` of the batch's."""
    model.eval()
    batch = batch_of([0, 1, 2])
    encoded = model.encode(batch)
    assert encoded.vectors.shape == (events, model.config.width)
    assert encoded.event.shape == (events,)
    torch.testing.assert_close(encoded.vectors.norm(dim=1), torch.ones(events))
    assert model.queries(batch).shape == (3, model.config.width)
    last = batch.items.offsets[1:] - 1
    place = torch.searchsorted(encoded.event, last)
    wanted = encoded.vectors[place] / model.config.loss.temperature
    assert torch.equal(model.queries(batch), wanted)
    assert model.item_vectors(torch.arange(1, 8)).shape == (7, model.config.width)


def check_company(model: SequenceModel) -> None:
    """A person's vectors do not depend on who else is in the batch, nor on its padding."""
    model.eval()
    shake(model)
    people = list(range(12))
    together = model.queries(batch_of(people))
    assert len(set(batch_of(people).items.lengths.tolist())) > 4
    for u in people:
        torch.testing.assert_close(
            together[u], model.queries(batch_of([u]))[0], rtol=1e-4, atol=1e-4
        )
    torch.testing.assert_close(
        model.queries(batch_of(people[::-1])), together.flip(0), rtol=1e-4, atol=1e-4
    )


def check_empty(model: SequenceModel) -> None:
    """Somebody without events has a query of zeros, and does not disturb the others."""
    model.eval()
    batch = batch_of([0, 1])
    context = None if batch.context is None else batch.context[[0, 0, 1]]
    gap = torch.cat([batch.items.offsets[:2], batch.items.offsets[1:]])
    items = replace(batch.items, offsets=gap)
    found = model.queries(replace(batch, items=items, context=context)).detach()
    assert float(found[1].abs().sum()) == 0
    torch.testing.assert_close(found[[0, 2]], model.queries(batch), rtol=1e-4, atol=1e-4)
    nobody = batch.at(torch.arange(0), torch.zeros(3, dtype=torch.int64))
    assert float(model.queries(nobody).detach().abs().sum()) == 0


def check_causal(model: SequenceModel) -> None:
    """Items, times and actions that come later change nothing before them, and do change what
    comes after."""
    model.eval()
    shake(model)
    batch = batch_of([3])
    events = int(batch.items.offsets[-1])
    before = model.encode(batch)
    at = events - 3
    values = batch.items.values.clone()
    values[at:] = values[at:] % DATA.items + 1
    later = replace(batch, items=replace(batch.items, values=values))
    if batch.time is not None:
        time = batch.time.clone()
        time[at:] += 10**7
        later = replace(later, time=time)
    after = model.encode(later)
    early = before.event < at
    assert torch.equal(before.vectors[early], after.vectors[early])
    assert not torch.equal(before.vectors[~early], after.vectors[~early])
    assert 0 < int(early.sum()) < len(early)


def check_learns(model: SequenceModel, steps: int = 40) -> None:
    """It learns one batch by heart."""
    batch = batch_of([0, 1, 2, 3])
    optimiser = torch.optim.AdamW(model.parameters(), lr=0.02, weight_decay=0.0)
    model.train()
    before = float(model.loss(batch).detach())
    for _ in range(steps):
        optimiser.zero_grad()
        model.loss(batch).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    model.eval()
    assert float(model.loss(batch).detach()) < 0.25 * before


def check_saved(model: SequenceModel, again: Callable[[], SequenceModel], folder: Path) -> None:
    """An artifact gives back the same numbers, also to a model drawn with another seed."""
    shake(model)
    tensors = {name: value.numpy() for name, value in model.state_dict().items()}
    save_artifact(folder / "a", kind="sequence", config={}, tensors=tensors, data_hash="x")
    loaded = load_artifact(folder / "a", kind="sequence")
    torch.manual_seed(99)
    other = again()
    other.load_state_dict({k: torch.from_numpy(v.copy()) for k, v in loaded.tensors.items()})
    model.eval(), other.eval()
    batch = batch_of([0, 1, 2])
    assert torch.equal(model.queries(batch), other.queries(batch))
    codes = torch.arange(1, 8)
    assert torch.equal(model.item_vectors(codes), other.item_vectors(codes))


def outcome(model: SequenceModel) -> tuple[float, Tensor]:
    """Training loss and query vectors of some people, of a model whose parameters were moved."""
    shake(model)
    torch.manual_seed(4)
    model.train()
    loss = float(model.loss(batch_of([3, 4, 5])).detach())
    model.eval()
    return loss, model.queries(batch_of([3, 4, 5])).detach()
