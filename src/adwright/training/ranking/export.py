"""Export a ranker for other runtimes: torch.export and ONNX.

The exported network takes tensors, not tables. `scorer_inputs` makes them from the same tables
and feature spec as a ranker does, and the artifact carries what a server in another language
needs to do the same: the spec with its vocabularies, the catalogue, the names and shapes of
the inputs.

    scorer.onnx      inputs as in signature.json; outputs logit [T] and probability [T]
    signature.json   each input's name, type and dimensions
    items.parquet    the catalogue; the code of an item is its row, counted from 1
    ...              report.json and comparison.json of the ranker

A history is given as distinct items with counts, in any order; padding is item 0, count 0.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from adwright.core.artifacts import load_artifact, save_artifact
from adwright.core.atomic import check_free
from adwright.core.config import to_jsonable
from adwright.core.errors import ArtifactError, ValueInvalidError
from adwright.data.batches.batch import Batch
from adwright.data.batches.jagged import Jagged
from adwright.models.ranking.dense_din import CalibratedScorer
from adwright.models.ranking.union import dense_scorer
from adwright.training.model_artifacts import OnnxProgram, onnx_bytes, parquet_bytes, require_close
from adwright.training.ranking.frames import batches_of
from adwright.training.ranking.ranker import Ranker

SCORER_KIND = "scorer"
NAMES = ("item", "history", "count", "codes", "lists", "numeric")
OUTPUTS = ("logit", "probability")
#: Names of the open dimensions of the inputs.
_DIMENSIONS = {
    name: ("past",) if name in ("history", "count") else ("ads", "", "longest") for name in NAMES
}


def scorer_inputs(
    ranker: Ranker, rows: pl.DataFrame, events: pl.DataFrame
) -> dict[str, NDArray[Any]]:
    """Make the tensors for one user at one moment, by the names of the inputs.

    rows: the ads, as in `Ranker.score_rows`, all of one user and with one time (or without).
    Returns item [T], history [L], count [L], codes [T, F], lists [T, G, M], numeric [T, N], in
    the order of `rows`. L may be 0.
    Raises as `Ranker.score_rows`, and ValueInvalidError for several users or times.
    """
    for name in {"user_id", "time"} & set(rows.columns):
        if rows[name].n_unique() != 1:
            raise ValueInvalidError(
                "the inputs of a scorer are of one user at one moment",
                column=name,
                value=rows[name].unique().to_list()[:3],
                hint="call it once for each",
            )
    found = batches_of(
        rows, events, spec=ranker.spec, items=ranker.items, max_history=ranker.max_history
    )
    batches = list(found)
    order = np.argsort(torch.cat([batch.row for batch in batches]).numpy())
    first = batches[0]
    low, high = int(first.begin[0]), int(first.end[0])
    items, count = torch.unique(first.history.values[low:high], return_counts=True)
    spec = ranker.spec
    codes = [
        torch.cat([batch.categorical[feature.name] for batch in batches])
        for feature in spec.coded_rows
    ]
    lists = [
        [batch.multi[feature.name].to_lists() for batch in batches] for feature in spec.multi_rows
    ]
    flat = [[one for batch in feature for one in batch] for feature in lists]
    n = len(order)
    longest = max([1, *(len(one) for feature in flat for one in feature)])
    padded = np.zeros((n, len(flat), longest), np.int64)
    for g, feature in enumerate(flat):
        for t, one in enumerate(feature):
            padded[t, g, : len(one)] = one
    return {
        "item": torch.cat([batch.item for batch in batches]).numpy()[order],
        "history": items.numpy(),
        "count": count.numpy().astype(np.float32),
        "codes": (torch.stack(codes, 1).numpy() if codes else np.zeros((n, 0), np.int64))[order],
        "lists": padded[order],
        "numeric": torch.cat([batch.numeric for batch in batches]).numpy()[order],
    }


def export_program(ranker: Ranker) -> torch.export.ExportedProgram:
    """The scorer as a torch.export program with T and L (and M) left open.

    Call it as `program.module()(item, history, count, codes, lists, numeric)`; it returns
    (logits [T], probabilities [T]). `torch.export.save` writes it to a .pt2 file; that is an
    archive which an artifact does not hold, so its loader has to trust it.
    Raises ConfigError as `dense_scorer`.
    """
    dense = dense_scorer(ranker.model, ranker.spec)
    model = CalibratedScorer(dense, ranker.negative_rate, ranker.calibrator)
    ads = torch.export.Dim("ads", min=1)
    past = torch.export.Dim("past", min=0)
    shapes: dict[str, dict[int, Any]] = {
        name: {0: past if name in ("history", "count") else ads} for name in NAMES
    }
    if ranker.spec.multi_rows:
        shapes["lists"][2] = torch.export.Dim("longest", min=1)
    with torch.no_grad():
        return torch.export.export(
            model, tuple(_example(ranker).values()), dynamic_shapes=shapes, strict=False
        )


def export_onnx(ranker: Ranker, folder: str | Path, *, overwrite: bool = False) -> float:
    """Write the scorer as an artifact of kind "scorer", and check it against the ranker.

    Returns the largest difference of probabilities between the ONNX file and the ranker over a
    few lengths of history, at most 1e-5.
    Raises MissingExtraError without the extra `export`, ArtifactError where the runtime gives
    other numbers than the ranker (nothing is written), ResourceError where the folder exists
    (without `overwrite`) or the disk is full.
    """
    check_free(Path(folder), overwrite=overwrite)
    data = onnx_bytes(export_program(ranker), NAMES, OUTPUTS)
    scorer = OnnxScorer(data)
    difference = _largest_difference(ranker, scorer)
    require_close(difference, folder)
    files: dict[str, bytes | str] = {
        **ranker.files,
        "scorer.onnx": data,
        "signature.json": json.dumps({"inputs": scorer.signature}, indent=1),
        "items.parquet": parquet_bytes(ranker.catalogue),
    }
    if ranker.report is not None:
        files["report.json"] = ranker.report.to_json()
    save_artifact(
        folder,
        kind=SCORER_KIND,
        config={"model": to_jsonable(ranker.model.config), "max_history": ranker.max_history},
        files=files,
        feature_spec=to_jsonable(ranker.spec),
        data_hash=ranker.data_hash,
        seed=ranker.seed,
        parents=ranker.parents,
        overwrite=overwrite,
    )
    return difference


class OnnxScorer:
    """An ONNX scorer in memory, run by onnxruntime; needs the extra `export`."""

    def __init__(self, data: bytes) -> None:
        self._program = OnnxProgram(data, _DIMENSIONS)
        self.signature = self._program.signature

    @classmethod
    def load(cls, folder: str | Path) -> OnnxScorer:
        """The scorer of an artifact that `export_onnx` wrote, after checking its bytes."""
        artifact = load_artifact(folder, kind=SCORER_KIND)
        if "scorer.onnx" not in artifact.files:
            raise ArtifactError(
                "the artifact holds no scorer.onnx", where=str(folder), hint="export it again"
            )
        return cls(artifact.files["scorer.onnx"])

    def __call__(
        self, inputs: Mapping[str, NDArray[Any]]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """(logits [T], probabilities [T]) of inputs as `scorer_inputs` makes them."""
        logits, probability = self._program(inputs)
        return logits, probability


def _example(ranker: Ranker, *, ads: int = 3, past: int = 4) -> dict[str, Tensor]:
    """Inputs of the right types; a trace does not depend on their values."""
    spec = ranker.spec
    return {
        "item": torch.arange(ads) % len(ranker.items),
        "history": torch.arange(past) % len(ranker.items),
        "count": torch.arange(1, past + 1, dtype=torch.float32),
        "codes": torch.zeros(ads, len(spec.coded_rows), dtype=torch.int64),
        # Without such features the third dimension is closed, at the 1 that scorer_inputs gives.
        "lists": torch.zeros(
            ads, len(spec.multi_rows), 2 if spec.multi_rows else 1, dtype=torch.int64
        ),
        "numeric": torch.zeros(ads, len(spec.numeric_rows)),
    }


def _largest_difference(ranker: Ranker, scorer: OnnxScorer) -> float:
    """Largest difference of the probabilities, for histories of several lengths."""
    largest = 0.0
    for ads, past in ((1, 0), (1, 1), (3, 2), (5, 64)):
        inputs = _example(ranker, ads=ads, past=past)
        with torch.inference_mode():
            expected = ranker.calibrated(ranker.model(_as_batch(ranker, inputs)).numpy())
        _, found = scorer({name: part.numpy() for name, part in inputs.items()})
        largest = max(largest, float(np.abs(found - expected).max()))
    return largest


def _as_batch(ranker: Ranker, inputs: Mapping[str, Tensor]) -> Batch:
    """Turn the inputs of `_example` into a batch for the ranker's own network."""
    events = torch.repeat_interleave(inputs["history"], inputs["count"].long())
    ads, zero = len(inputs["item"]), torch.zeros(0, dtype=torch.int64)
    empty = Jagged(zero, torch.zeros(ads + 1, dtype=torch.int64))
    codes = zip(ranker.spec.coded_rows, inputs["codes"].T, strict=True)
    return Batch(
        history=Jagged(events, torch.tensor([0, len(events)])),
        offsets=torch.tensor([0, ads]),
        item=inputs["item"],
        begin=torch.zeros(ads, dtype=torch.int64),
        end=torch.full((ads,), len(events)),
        categorical={feature.name: column for feature, column in codes},
        multi={feature.name: empty for feature in ranker.spec.multi_rows},
        numeric=inputs["numeric"],
        label=torch.zeros(ads),
        row=torch.arange(ads),
    )
