"""What the artifacts of all trained models share: weights, catalogue, report, and one loader.

ONNX programs in memory: written by torch's exporter, run by onnxruntime. Extra `export`.
"""

from __future__ import annotations

import io
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import nn

from adwright.core.artifacts import Artifact, load_artifact
from adwright.core.errors import ArtifactError, ConfigError, DataError, MissingExtraError
from adwright.metrics.reports.report import Report

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


#: How far an exported model may be from the model itself.
_TOLERANCE = 1e-5


class OnnxProgram:
    """A program that onnxruntime runs on one thread of the processor.

    data: as `onnx_bytes` made them. dimensions: input -> a word for each dimension that may be
    open. signature: name, type and dimensions of each input, an open one by its word.
    Raises MissingExtraError without the extra `export`.
    """

    def __init__(self, data: bytes, dimensions: Mapping[str, Sequence[str]]) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise MissingExtraError("running an ONNX file", "export") from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            data, options, providers=["CPUExecutionProvider"]
        )
        self.signature = [
            {
                "name": one.name,
                "type": one.type,
                "dimensions": [
                    size if isinstance(size, int) else dimensions[one.name][at]
                    for at, size in enumerate(one.shape)
                ],
            }
            for one in self._session.get_inputs()
        ]

    def __call__(self, inputs: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """Compute the outputs; inputs that the program does not read are passed over."""
        wanted = {str(one["name"]): inputs[str(one["name"])] for one in self.signature}
        outputs: list[NDArray[Any]] = self._session.run(None, wanted)
        return outputs


def onnx_bytes(
    program: torch.export.ExportedProgram, inputs: Sequence[str], outputs: Sequence[str]
) -> bytes:
    """Write the program as an ONNX file, with these names of its inputs and outputs.

    Raises MissingExtraError without the extra `export`, ArtifactError where torch wrote nothing.
    """
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("export to ONNX", "export") from error
    with tempfile.TemporaryDirectory(prefix="adwright-onnx-") as scratch, _silence():
        made = torch.onnx.export(
            program, dynamo=True, input_names=list(inputs), output_names=list(outputs)
        )
        path = Path(scratch) / "program.onnx"
        if made is None:
            raise ArtifactError("torch wrote no ONNX program", where="export")
        made.save(path, external_data=False)
        return path.read_bytes()


def require_close(difference: float, where: str | Path) -> None:
    """Raise ArtifactError where a file differs from its model by more than 1e-5."""
    if not difference <= _TOLERANCE:
        raise ArtifactError(
            f"the exported file differs from the model by {difference:.1e}",
            where=str(where),
            hint="use another version of the ONNX packages, and report it",
        )


@contextmanager
def _silence() -> Iterator[None]:
    """Keep the exporter's remarks about its own code from the user."""
    logger, quiet = logging.getLogger("torch.onnx"), io.StringIO()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(quiet), redirect_stderr(quiet):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
