"""Requests as the sequences that a sequential model reads."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from adwright.core.errors import ConfigError
from adwright.data.batches.jagged import Jagged
from adwright.data.features import ItemTable
from adwright.data.sequences.item_sequences import SequenceBatch
from adwright.data.time import MICROSECONDS_PER_SECOND
from adwright.delivery.stages.histories import Histories
from adwright.training.sequential.artifact import SequenceArtifact

__all__ = ["AskedHistories", "items_of", "require_catalogue", "sequence_batch"]

Ints = NDArray[np.int64]


class AskedHistories(Protocol):
    """What is read of U users, as `RequestBatch` has it."""

    @property
    def item(self) -> Ints:
        """int64 [E], item codes."""

    @property
    def time(self) -> Ints:
        """int64 [E], microseconds since 1970."""

    @property
    def at(self) -> Ints:
        """int64 [U], the moment that each is asked at."""

    def latest(self, most: int) -> tuple[Ints, Ints]:
        """Places of the latest events of each, and their offsets."""


def sequence_batch(
    batch: AskedHistories,
    longest: int,
    *,
    timed: bool = True,
    by_moment: bool = False,
    acted: bool = False,
) -> SequenceBatch:
    """The latest `longest` events of each request, asked at its time, in whole seconds.

    timed: with times. by_moment: what follows an event is the next instant, see
    `ItemSequences.by_moment`. acted: each event was something taken, action 1.
    """
    place, offsets = batch.latest(longest)
    items = torch.from_numpy(batch.item[place])
    return SequenceBatch.serving(
        Jagged(items, torch.from_numpy(offsets)),
        time=torch.from_numpy(batch.time[place] // MICROSECONDS_PER_SECOND) if timed else None,
        request_time=torch.from_numpy(batch.at // MICROSECONDS_PER_SECOND) if timed else None,
        action=torch.ones_like(items) if acted else None,
        by_moment=by_moment,
    )


def items_of(artifact: SequenceArtifact) -> ItemTable:
    """The model's catalogue for `Histories`: its ids, and no features."""
    return ItemTable(artifact.ids, {}, {}, np.zeros((len(artifact.count), 0), np.float32))


def require_catalogue(artifact: SequenceArtifact, histories: Histories) -> None:
    """Raise ConfigError where the model's items are not those of the histories, or where it
    reads a context, which a request does not supply."""
    histories.require_catalogue(artifact.ids, "sequential model")
    if artifact.context_sizes:
        raise ConfigError(
            "a request has no context for a sequential model",
            where=f"{len(artifact.context_sizes)} features",
            hint="train it with context=False",
        )
