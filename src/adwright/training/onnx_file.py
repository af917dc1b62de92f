"""ONNX programs in memory: written by torch's exporter, run by onnxruntime. Extra `export`."""

from __future__ import annotations

import io
import logging
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from adwright.core.errors import ArtifactError, MissingExtraError

__all__ = ["OnnxProgram", "onnx_bytes", "require_close"]

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
