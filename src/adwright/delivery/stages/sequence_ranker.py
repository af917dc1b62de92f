"""The fine stage with M-FALCON: candidates meet a history that was read before.

K and V of a user's history are kept under the user id (`mfalcon`): all candidates of a
request, and of the user's later requests, share one reading, and new events alone are read onto
it. The ranker reads the latest `max_length` - 1 events. Of a user who has more, each new event
pushes the oldest one out; every place moves by that, so the history is read anew. Give the model a
`max_length` above what most users have.

The ranker's choices had drawn negatives; `Draws` turns the logits into the odds of the catalogue,
item by item, as in `row_ranker`. What counts as had before is what the ranker reads: from that
the own negatives were drawn (`models.sequential.choice_ranker`).

A ranker of choices never saw anybody without an event, so of those not it but the training events
speak: the share of the training visits in which an item was taken.
"""

from __future__ import annotations

import json

import numpy as np
import torch
from numpy.typing import NDArray

from adwright.core.errors import ConfigError
from adwright.data.sequences.item_sequences import SequenceBatch
from adwright.data.tasks.negatives import Draws, popular_share
from adwright.data.time import MICROSECONDS_PER_SECOND
from adwright.delivery.stages.histories import Histories
from adwright.delivery.stages.protocols import CallCost, Shortlist
from adwright.delivery.stages.request_batch import RequestBatch
from adwright.delivery.stages.sequence_batch import require_catalogue, sequence_batch
from adwright.models.sequential.hstu_ranker import HSTURanker
from adwright.models.sequential.mfalcon import Falcon
from adwright.training.sequential.artifact import VISITS_FILE, SequenceArtifact
from adwright.training.sequential.fit import people_of

__all__ = ["FalconRanker"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class FalconRanker:
    """A Scorer that asks an HSTU ranker for its first task. Several threads may ask.

    artifact: its catalogue must be that of `histories`. draws: of the choices that it was trained
    on; None for a ranker of actions, whose probabilities are taken as they are.
    capacity: histories that are kept, see `Falcon`.
    Raises ConfigError for another model or catalogue, or one that reads context.
    """

    probability = True

    def __init__(
        self,
        artifact: SequenceArtifact,
        histories: Histories,
        draws: Draws | None = None,
        *,
        capacity: int = 1024,
    ) -> None:
        if not isinstance(artifact.model, HSTURanker):
            raise ConfigError(
                "the fine stage needs a ranker, not a retriever",
                where=artifact.name,
                hint="train an HSTURankerConfig",
            )
        require_catalogue(artifact, histories)
        self.artifact, self.draws = artifact, draws
        self.model = artifact.model
        self.falcon = Falcon(self.model, capacity=capacity)
        self._share = popular_share(artifact.count)
        visits = _visits(artifact)
        self._taken = np.minimum(artifact.count / max(visits, 1), 1.0)

    def score(self, batch: RequestBatch, items: Shortlist) -> Floats:
        """Probabilities [C] that each item is taken."""
        inputs = sequence_batch(batch, self.model.config.max_length - 1, acted=True)
        logits = np.zeros(len(items.codes))
        unread = (inputs.items.lengths.numpy() == 0) & (self.draws is not None)
        for n, (start, end) in enumerate(items.bounds()):
            if start < end and not unread[n]:
                logits[start:end] = self._logits(batch, inputs, n, items.codes[start:end])
        if self.draws is None:
            return _sigmoid(logits)
        had, distinct = _had(inputs, items, len(self._share))
        logits += self.draws.log_expected(
            self._share[items.codes], items=len(self._share) - 1, had=had, distinct=distinct
        )
        return np.where(unread[items.owner], self._taken[items.codes], _sigmoid(logits))

    def cost(self, batch: RequestBatch, items: Shortlist) -> CallCost:
        """Of the candidates, with histories that are kept: in each layer they are projected, and
        meet the history and themselves."""
        config = self.model.config
        lengths = np.minimum(batch.lengths, config.max_length - 1)
        tokens, wide = 2.0 * lengths, config.heads * config.v_width
        both = config.heads * (config.qk_width + config.v_width)
        kept = np.minimum(tokens, config.truncate_to) if config.truncate_to else tokens
        early = config.truncate_after or config.blocks
        seen = early * tokens + (config.blocks - early) * kept
        number = np.diff(items.offsets)
        merged = wide * (3 if config.concat else 1)
        weights = config.blocks * config.width * (2 * both + merged) + config.width * config.hidden
        pairs = float(number @ (seen + config.blocks))
        flops = 2.0 * both * pairs + 2.0 * weights * len(items.codes)
        return CallCost(flops, 4.0 * (both * float(seen @ (number > 0)) + weights))

    def _logits(self, batch: RequestBatch, inputs: SequenceBatch, n: int, codes: Ints) -> Floats:
        """Of the first task [m], for request n."""
        found = self.falcon.score(
            people_of(inputs, np.array([n])),
            torch.from_numpy(codes),
            request_time=int(batch.at[n]) // MICROSECONDS_PER_SECOND,
            key=batch.requests[n].user_id,
        )
        logits: Floats = found[:, 0].double().numpy()
        return logits


def _had(inputs: SequenceBatch, items: Shortlist, width: int) -> tuple[NDArray[np.bool_], Ints]:
    """Whether each item's user had it, and distinct items of the user: both [C]."""
    own = np.unique(inputs.items.owner().numpy() * width + inputs.items.values.numpy())
    own = own[own % width > 0]
    distinct = np.bincount(own // width, minlength=len(inputs)).astype(np.int64)
    return np.isin(items.owner * width + items.codes, own), distinct[items.owner]


def _visits(artifact: SequenceArtifact) -> int:
    """Training visits; where the artifact does not say, its training events."""
    if VISITS_FILE not in artifact.files:
        return int(artifact.count.sum())
    return int(json.loads(artifact.files[VISITS_FILE])["visits"])


def _sigmoid(logits: Floats) -> Floats:
    probability: Floats = 1 / (1 + np.exp(-logits))
    return probability
