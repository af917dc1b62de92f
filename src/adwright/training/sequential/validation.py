"""Validate a sequence model on the held events: a goal, higher is better, and measures.

A retriever of the next item: NDCG@k over the whole catalogue. A ranker of actions: minus the log
loss of what users did with the held item, which it sees after the history, with the AUC.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from adwright.core.errors import DataError, ValueInvalidError
from adwright.data.batches.jagged import Jagged, lengths_to_offsets
from adwright.data.sequences.item_sequences import Held, ItemSequences, SequenceBatch
from adwright.metrics.classification import auc, log_loss
from adwright.metrics.ranking import hit_rate, ndcg
from adwright.models.sequential.hstu_ranker import HSTURanker
from adwright.models.sequential.sequence_model import SequenceModel
from adwright.training.sequential.ranks import rank_next

__all__ = ["ActionScores", "predict_actions", "validation"]

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class ActionScores:
    """Predicted actions of users int64 [P]: probability float64 and label int64, both [P, K
    tasks]."""

    people: Ints
    probability: NDArray[np.float64]
    label: Ints


def predict_actions(
    model: HSTURanker,
    sequences: ItemSequences,
    split: Held,
    *,
    people: Ints | None = None,
    chunk: int = 256,
) -> ActionScores:
    """Predict what `people` (None for all) did with their held items; users whose action is
    unknown are left out. The model is left in eval mode.

    Raises ValueInvalidError for sequences without actions.
    """
    if sequences.action is None:
        raise ValueInvalidError("the sequences hold no actions", hint="read them with actions")
    asked = sequences.people(split) if people is None else people
    action = sequences.action[sequences.held(split)[0]]
    asked = asked[action[asked] > 0]
    model.eval()
    parts = []
    with torch.no_grad():
        for at in range(0, len(asked), chunk):
            past = sequences.questions(
                asked[at : at + chunk], split, max_length=model.config.max_length - 1
            )
            batch = _with_target(past)
            logits, event = model.logits(batch)
            last = torch.searchsorted(event, batch.items.offsets[1:] - 1)
            parts.append(torch.sigmoid(logits[last].double()).numpy())
    counts = model.get_buffer("counts").numpy()
    tasks = len(model.config.tasks)
    probability = np.concatenate([np.zeros((0, tasks)), *parts])
    return ActionScores(asked, probability, counts[action[asked]].astype(np.int64))


def validation(
    model: SequenceModel | HSTURanker,
    sequences: ItemSequences,
    *,
    people: Ints | None = None,
    k: int = 10,
    unseen: bool = True,
) -> tuple[float, dict[str, float]]:
    """(goal, measures for metrics.jsonl) of the validation split.

    people: int64 [P] of `sequences.people("valid")`, None for all. k, unseen: of the ranks.
    """
    if isinstance(model, HSTURanker):
        return _of_actions(model, sequences, people)
    found = rank_next(model, sequences, "valid", people=people, unseen=unseen).ranks
    gain = ndcg(found, k)
    return gain, {
        f"valid_ndcg@{k}": gain,
        f"valid_hit_rate@{k}": hit_rate(found, k),
        "valid_tie_share": found.tie_share,
    }


def _of_actions(
    model: HSTURanker, sequences: ItemSequences, people: Ints | None
) -> tuple[float, dict[str, float]]:
    found = predict_actions(model, sequences, "valid", people=people)
    line: dict[str, float] = {}
    losses = []
    for column, (name, _) in enumerate(model.config.tasks):
        label, probability = found.label[:, column], found.probability[:, column]
        losses.append(log_loss(label, probability))
        try:
            line[f"valid_auc_{name}"] = auc(label, probability)
        except DataError:
            # With one class only there is no AUC.
            continue
    loss = float(np.mean(losses))
    return -loss, {"valid_log_loss": loss, **line}


def _with_target(past: SequenceBatch) -> SequenceBatch:
    """Append to each sequence its target as an event of unknown action, at the request's time."""
    offsets = past.items.offsets
    ends = offsets[1:] - 1
    longer = lengths_to_offsets(past.items.lengths + 1)
    events, people = len(past.target), len(past)
    # Each sequence's events, then its target, which lies behind all events.
    source = torch.empty(events + people, dtype=torch.int64)
    source[torch.arange(events) + past.items.owner()] = torch.arange(events)
    source[longer[1:] - 1] = events + torch.arange(people)

    def more(values: torch.Tensor, last: torch.Tensor) -> torch.Tensor:
        return torch.cat([values, last])[source]

    nothing = torch.zeros_like(ends)
    time = next_time = None
    if past.time is not None and past.next_time is not None:
        now = past.next_time[ends]
        time, next_time = more(past.time, now), more(past.next_time, now)
    return replace(
        past,
        items=Jagged(more(past.items.values, past.target[ends]), longer),
        target=more(past.target, nothing),
        time=time,
        next_time=next_time,
        action=None if past.action is None else more(past.action, nothing),
    )
