"""The folder of a training run: what was asked for, the latest checkpoint, and the records.

    config.json              what was asked for; its presence says that there is a run
    checkpoint-STEPS-EPOCH/  an artifact with all that a step depends on
    metrics.jsonl            one line a validation

A checkpoint is written whole before an earlier one goes, and config.json after the first one,
so whenever the process ends, what is there can be taken up or is no run.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from adwright.core.artifacts import load_artifact, save_artifact
from adwright.core.atomic import atomic_write_text
from adwright.core.errors import ArtifactError, ConfigError, ResumeError

__all__ = ["RunFolder"]


class RunFolder:
    """The folder of one run.

    asked: plain values that have to be the same when the run is taken up, data_hash among them.
    kind: of its checkpoints.
    """

    def __init__(self, path: Path, asked: Mapping[str, Any], kind: str) -> None:
        self.path, self.kind = path, kind
        self.asked: dict[str, Any] = json.loads(json.dumps(asked))

    def require_new(self) -> None:
        """Raises ConfigError where the folder holds a run."""
        if (self.path / "config.json").exists():
            raise ConfigError(
                "this folder already holds a run",
                where=str(self.path),
                hint="resume it, or name another folder",
            )

    def begin(self) -> None:
        """From now on the folder holds a run; called after its first checkpoint."""
        text = json.dumps(self.asked, indent=1) + "\n"
        atomic_write_text(self.path / "config.json", text)

    def require_same(self, what: str) -> None:
        """Raises ResumeError where the folder holds no run, or one that was asked for otherwise.

        what: may have been different, for the message.
        """
        path = self.path / "config.json"
        try:
            before = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise ResumeError(
                "this folder holds no run", where=str(self.path), hint="check the path"
            ) from error
        if before != self.asked:
            raise ResumeError(
                f"the run was started with {what}",
                where=str(path),
                hint="resume with what it was started with, or begin a new run",
            )

    def save(
        self,
        state: Mapping[str, Any],
        tensors: Mapping[str, Tensor],
        *,
        steps: int,
        epoch: int,
        records: Sequence[Mapping[str, Any]],
    ) -> None:
        """Write the checkpoint of a step, unless it is there, and remove earlier ones."""
        folder = self.path / f"checkpoint-{steps:09d}-{epoch:04d}"
        earlier = self._checkpoints()
        if folder in earlier:
            return
        save_artifact(
            folder,
            kind=self.kind,
            config=json.loads(json.dumps(state)),
            tensors={name: value.detach().numpy() for name, value in tensors.items()},
            data_hash=self.asked["data_hash"],
        )
        lines = "".join(f"{json.dumps(line)}\n" for line in records)
        atomic_write_text(self.path / "metrics.jsonl", lines)
        for old in earlier:
            shutil.rmtree(old)

    def load(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """State and tensors of the latest checkpoint. Earlier ones, which a process that was
        killed between two steps of `save` left, go. Raises ResumeError where there is none."""
        try:
            *earlier, latest = self._checkpoints()
            saved = load_artifact(latest, kind=self.kind)
        except (ValueError, ArtifactError) as error:
            raise self.unreadable(error) from error
        for old in earlier:
            shutil.rmtree(old)
        tensors = {name: torch.from_numpy(np.array(x)) for name, x in saved.tensors.items()}
        return dict(saved.config), tensors

    def unreadable(self, error: Exception) -> ResumeError:
        """The error for a checkpoint that is damaged or of another version."""
        return ResumeError(
            f"the run has no checkpoint that can be read: {error}",
            where=str(self.path),
            hint="remove the folder and start the run again",
        )

    def _checkpoints(self) -> list[Path]:
        return sorted(self.path.glob("checkpoint-*"))
