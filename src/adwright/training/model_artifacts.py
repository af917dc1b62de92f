"""What the artifacts of all trained models share: weights, catalogue, report, and one loader."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import nn

from adwright.core.artifacts import Artifact, load_artifact
from adwright.core.errors import ArtifactError, ConfigError, DataError
from adwright.metrics.reports.report import Report

__all__ = [
    "REPORT",
    "load_trained",
    "load_weights",
    "parquet_bytes",
    "read_catalogue",
    "saved_report",
    "weights_of",
]

T = TypeVar("T")

#: The file with what was measured on the test.
REPORT = "report.json"

# What building a model raises where another version wrote the artifact.
_MISFITS = (
    *(ConfigError, DataError, pl.exceptions.PolarsError),
    *(KeyError, TypeError, ValueError, RuntimeError),
)


def load_trained(
    source: str | Path | Artifact, build: Callable[[Artifact], T], *, kind: str, name: str
) -> T:
    """What `build` makes of an artifact of `kind`, after every byte was checked.

    source: its folder, or the artifact where it was read already. name: of the model in the
    error. First weights are drawn and overwritten, which leaves torch's generator as it was.
    Raises ArtifactError where it is none, of another version or incomplete, ArtifactCorruptError
    where a file was changed, ArtifactUnsafeError for a pickle.
    """
    artifact = load_artifact(source, kind=kind)
    try:
        # On the meta device nothing would be drawn, but torch loads its compiler for that, which
        # takes twenty times as long.
        with torch.random.fork_rng(devices=[]):
            return build(artifact)
    except ArtifactError as error:
        where = error.where or str(artifact.folder)
        raise type(error)(error.what, where=where, hint=error.hint) from error
    except _MISFITS as error:
        # Every hash is right, so another version wrote it.
        raise ArtifactError(
            f"the {name} does not fit this version: {type(error).__name__}: {error}",
            where=str(artifact.folder),
            hint="train it again, or use the version of adwright that saved it",
        ) from error


def weights_of(model: nn.Module, prefix: str = "") -> dict[str, NDArray[np.generic]]:
    """Weights and buffers by name, each with `prefix` before it."""
    state = model.state_dict()
    return {prefix + name: tensor.detach().numpy() for name, tensor in state.items()}


def load_weights(
    model: nn.Module, tensors: Mapping[str, NDArray[np.generic]], prefix: str = ""
) -> None:
    """Put those of `tensors` whose name begins with `prefix` into the model, as `weights_of`
    named them. Raises RuntimeError where they do not fit."""
    own = {name: tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    model.load_state_dict(
        {name.removeprefix(prefix): torch.from_numpy(np.array(t)) for name, t in own.items()}
    )


def parquet_bytes(table: pl.DataFrame) -> bytes:
    """The table as a Parquet file."""
    buffer = io.BytesIO()
    table.write_parquet(buffer, compression="zstd")
    return buffer.getvalue()


def read_catalogue(artifact: Artifact) -> pl.DataFrame:
    """The items.parquet of an artifact."""
    return pl.read_parquet(io.BytesIO(artifact.files["items.parquet"]))


def saved_report(artifact: Artifact) -> Report | None:
    """The report of an artifact, where it has one."""
    return Report.from_json(artifact.text(REPORT)) if REPORT in artifact.files else None
