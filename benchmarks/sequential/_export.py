"""Loading and exporting an HSTU of the next-basket task's size: a part of hstu_speed.py."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from adwright.data.batches.jagged import Jagged, lengths_to_offsets
from adwright.data.sequences.item_sequences import SequenceBatch
from adwright.models.sequential.hstu import HSTU, HSTUConfig
from adwright.training.sequential.artifact import (
    SequenceArtifact,
    export_sequence,
    retriever_inputs,
    sequence_program,
)

ITEMS, LENGTHS, LOADS = 68_509, ((1, 5), (64,), (700, 3, 250)), 5
PROTOCOL = (
    f"Export: a retriever of 4 layers, width 64, 4 heads, both biases, {ITEMS:,} items, random "
    "weights. Loading the artifact: wall seconds, every byte checked, the median of "
    f"{LOADS}. The greatest difference of cosines: of torch.export's program, made once with open "
    f"dimensions, over people with {', '.join(str(n) for group in LENGTHS for n in group)} events; "
    "of ONNX as `export_sequence` checks it."
)


def measured() -> list[dict[str, Any]]:
    """Seconds to load, and how far the exported networks are from the model."""
    torch.manual_seed(0)
    config = HSTUConfig(
        width=64, heads=4, qk_width=16, v_width=16, blocks=4, max_length=4200, dropout=0.0
    )
    model = HSTU(config, ITEMS, count=np.ones(ITEMS + 1, np.int64)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    ids = tuple(f"item-{code}" for code in range(1, ITEMS + 1))
    artifact = SequenceArtifact(model, ids, np.ones(ITEMS + 1, np.int64), "speed")
    with tempfile.TemporaryDirectory() as scratch:
        artifact.save(Path(scratch) / "model")
        taken = []
        for _ in range(LOADS):
            start = time.perf_counter()
            SequenceArtifact.load(Path(scratch) / "model")
            taken.append(time.perf_counter() - start)
        onnx = export_sequence(artifact, Path(scratch) / "onnx")
    program, largest = sequence_program(model).module(), 0.0
    for lengths in LENGTHS:
        batch = people(lengths)
        inputs = retriever_inputs(model, batch)
        with torch.no_grad():
            said = program(**{name: torch.from_numpy(value) for name, value in inputs.items()})
            wanted = model.queries(batch)
        largest = max(largest, float((said - wanted).abs().max()) * config.loss.temperature)
    figures = {
        "artifact_load_seconds": float(np.median(taken)),
        "torch_export_max_diff": largest,
        "onnx_max_diff": onnx,
    }
    print(figures, flush=True)
    return [{"part": "export", "model": "HSTU, 4 layers, width 64", "figures": figures}]


def people(lengths: tuple[int, ...]) -> SequenceBatch:
    """People with so many random events, an hour apart."""
    rng = np.random.default_rng(sum(lengths))
    items = torch.from_numpy(rng.integers(1, ITEMS + 1, sum(lengths)))
    place = torch.cat([torch.arange(length) for length in lengths])
    return SequenceBatch.serving(
        Jagged(items, lengths_to_offsets(torch.tensor(lengths))),
        time=1_600_000_000 + 3600 * place,
        request_time=torch.full((len(lengths),), 1_700_000_000),
    )
