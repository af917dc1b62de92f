"""Sequential models of the small task that learned nothing, as parts of a cascade."""

from __future__ import annotations

import json
from typing import Any

import torch

from adwright.data.sequences.datasets import sequences_of_task
from adwright.models.sequential.hstu import HSTU, HSTUConfig, SASRec, SASRecConfig
from adwright.models.sequential.hstu_ranker import HSTURanker, HSTURankerConfig
from adwright.training.sequential.artifact import VISITS_FILE, SequenceArtifact
from tests.support.delivery.cascade_parts import task
from tests.support.models.sequence_checks import shake

SIZES: dict[str, Any] = {"width": 8, "max_length": 40, "blocks": 2, "dropout": 0.0}
WIDTHS: dict[str, Any] = {"qk_width": 4, "v_width": 4, "kernel": "bucketed"}
RANKER = HSTURankerConfig(**SIZES, **WIDTHS, hidden=6)


def hstu(seed: int = 0, **changes: Any) -> SequenceArtifact:
    """An HSTU retriever of the task."""
    torch.manual_seed(seed)
    sequences = sequences_of_task(task(), split="task")
    config = HSTUConfig(**SIZES | WIDTHS | changes)
    model = HSTU(config, sequences.items, count=sequences.count)
    shake(model, 0.3)
    return SequenceArtifact.of(model, sequences, seed=seed)


def sasrec(**changes: Any) -> SequenceArtifact:
    """A SASRec of the task, which reads no times."""
    torch.manual_seed(0)
    sequences = sequences_of_task(task(), split="task")
    model = SASRec(SASRecConfig(**SIZES | changes), sequences.items, count=sequences.count)
    shake(model, 0.3)
    return SequenceArtifact.of(model, sequences)


def hstu_ranker(*, visits: int = 60, **changes: Any) -> SequenceArtifact:
    """An HSTU ranker of the task."""
    torch.manual_seed(1)
    sequences = sequences_of_task(task(), split="task")
    model = HSTURanker(HSTURankerConfig(**SIZES | WIDTHS | {"hidden": 6} | changes), 12)
    shake(model, 0.3)
    about = json.dumps({"visits": visits}).encode()
    return SequenceArtifact.of(model, sequences, files={VISITS_FILE: about})
