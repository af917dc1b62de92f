"""The samples that a sequence model is trained on, per epoch and step.

They are a function of seed, epoch and step, so a resumed run reads the same ones.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from adwright.core.errors import ConfigError
from adwright.data.sequences.item_sequences import ItemSequences, SequenceBatch
from adwright.data.sequences.stochastic_length import StochasticLength, shorten

__all__ = ["SequenceSamples", "balanced_batches"]

Ints = NDArray[np.int64]


class SequenceSamples:
    """W samples: each user's latest `longest` training events or, with `all_windows`, all windows
    of them; train_on_validation: the validation targets too (see `ItemSequences.windows`).

    Raises ConfigError where there is no sample.
    """

    def __init__(
        self,
        sequences: ItemSequences,
        longest: int,
        *,
        train_on_validation: bool = False,
        all_windows: bool = False,
        stochastic_length: StochasticLength | None = None,
        seed: int = 0,
    ) -> None:
        self.sequences, self.longest = sequences, longest
        self.stochastic_length, self.seed = stochastic_length, seed
        self.first, self.end = sequences.windows(
            longest, final=train_on_validation, whole=all_windows
        )
        if not len(self.first):
            raise ConfigError(
                "nobody has two training events, so there is nothing to predict",
                where=sequences.name,
            )

    def epoch(self, number: int, batch: int) -> list[Ints]:
        """Divide the samples of an epoch into batches of sample numbers."""
        rng = np.random.default_rng([self.seed, number])
        return balanced_batches(self.end - self.first, batch, rng)

    def read(self, chosen: Ints, step: int) -> SequenceBatch:
        """Read the samples `chosen` (int64 [B]) as step `step` of the run sees them."""
        rng = np.random.default_rng([self.seed, step, 2]) if self.sequences.by_moment else None
        batch = self.sequences.batch(self.first[chosen], self.end[chosen], rng)
        if self.stochastic_length is None:
            return batch
        age = None
        if batch.time is not None:
            last = batch.time[batch.items.offsets[1:] - 1]
            age = (last[batch.items.owner()] - batch.time).double().numpy()
        place, offsets = shorten(
            batch.items.lengths.numpy(),
            self.longest,
            self.stochastic_length,
            np.random.default_rng([self.seed, step, 1]),
            age=age,
        )
        return batch.at(torch.from_numpy(place), torch.from_numpy(offsets))


def balanced_batches(lengths: Ints, batch: int, rng: np.random.Generator) -> list[Ints]:
    """Shuffle samples 0 to W - 1 into batches of about `batch`, each with the same mix of lengths.

    lengths: int64 [W]. The samples are sorted by length, ties at random, and each run of as
    many samples as there are batches is spread over them, so that sizes differ by one
    at most and all steps cost about the same.
    """
    number = -(-len(lengths) // batch)
    order = np.lexsort((rng.random(len(lengths)), lengths))
    runs = -(-len(order) // max(number, 1))
    # A row is a run, a column a batch; the samples of a short last run go to random batches.
    dealt = np.argsort(rng.random((runs, number)), axis=1).ravel()[: len(order)]
    return [order[dealt == b] for b in range(number)]
