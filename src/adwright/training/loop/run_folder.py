"""The folder of a training run: what was asked for, the latest checkpoint, and the records.

    config.json               what was asked for; its presence says that there is a run
    checkpoint-STEPS-NUMBER/  an artifact with all that a step depends on
    metrics.jsonl             one line per validation
    curves.svg                the same as a picture

A process may be killed at any moment. config.json is written after the first checkpoint, so a
folder without it is no run yet; a checkpoint appears by a rename, and the one before it is removed
only then. The records are in the checkpoint, metrics.jsonl repeats them for readers.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from adwright.core.artifacts import load_artifact, save_artifact
from adwright.core.atomic import atomic_write_text
from adwright.core.clock import Clock
from adwright.core.errors import ArtifactError, ConfigError, ResumeError
from adwright.core.version import __version__
from adwright.training.loop.curves import draw_curves
from adwright.training.loop.position import RunPosition

__all__ = ["RunFolder", "different_settings"]

#: Settings that an error names.
_NAMED = 6


class RunFolder:
    """Reads and writes the folder of one run.

    asked: plain values that have to be the same when the run is resumed, data_hash among them.
    kind: of its checkpoints. old_names: names of settings in runs of the last release, to those of
    today. about: plain values to keep beside `asked`, for readers alone.
    grows: names of settings of `asked`, such as "fit.epochs", of which a run may get more.
    clock: stamps the checkpoints, the machine's own by default.
    """

    def __init__(
        self,
        path: str | Path,
        asked: Mapping[str, Any],
        kind: str,
        *,
        old_names: Mapping[str, str] | None = None,
        about: Mapping[str, Any] | None = None,
        grows: Sequence[str] = (),
        clock: Clock | None = None,
    ) -> None:
        self.path, self.kind, self._clock = Path(path), kind, clock
        self._old_names, self._grows = dict(old_names or {}), tuple(grows)
        #: (name, what it was, what it is) of the settings of which the resumed run gets more.
        self.grown: list[tuple[str, Any, Any]] = []
        self.asked: dict[str, Any] = json.loads(json.dumps(asked))
        self._about = {**(about or {}), "adwright": __version__, "torch": torch.__version__}

    @property
    def config(self) -> Path:
        """The file with what was asked for."""
        return self.path / "config.json"

    @property
    def metrics(self) -> Path:
        """The file with one JSON object per validation."""
        return self.path / "metrics.jsonl"

    def require_new(self) -> None:
        """Raise ConfigError where the folder holds a run."""
        if self.config.exists():
            raise ConfigError(
                "this folder already holds a run",
                where=str(self.path),
                hint="resume it (--resume), replace it (--force), or name another folder",
            )

    def begin(self, at: RunPosition, own: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Begin a run with its first checkpoint; an earlier run is never overwritten.

        Raises ConfigError where the folder holds a run, ResourceError where the disk is full.
        """
        self.require_new()
        # What a start that was killed half-way left behind belongs to no run.
        self._clean()
        for stale in self._checkpoints():
            shutil.rmtree(stale)
        self.save(at, own, tensors)
        self._write_config()

    def require_same(self) -> None:
        """Raise ResumeError where the folder holds no run, or one that was asked for otherwise;
        the message names the settings that differ, with both values. Of some there may be more."""
        # What a run keeps beside that is for readers.
        found = {k: v for k, v in self.read_config().items() if k not in self._about}
        differing = different_settings(found, self.asked, self._old_names)
        grown = [one for one in differing if one[0] in self._grows and _is_more(*one[1:])]
        if len(grown) == len(differing):
            self.grown = grown or self.grown
            return
        named = [f"{name} was {was!r} and is now {now!r}" for name, was, now in differing]
        more = f"; and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
        hint = "resume with what it was started with, or begin a new run"
        if any(name in self._grows for name, _, _ in differing):
            hint += "; --stop-now ends the run where it is"
        raise ResumeError(
            "the run was started with another config, model or data: "
            f"{'; '.join(named[:_NAMED])}{more}",
            where=str(self.config),
            hint=hint,
        )

    def read_config(self) -> dict[str, Any]:
        """The content of config.json. Raises ResumeError where the folder holds no run."""
        try:
            found: dict[str, Any] = json.loads(self.config.read_text("utf-8"))
            for name, value in self.asked.items():
                if isinstance(value, dict) and not isinstance(found.get(name), dict):
                    raise TypeError
        except (OSError, ValueError, AttributeError, TypeError) as error:
            raise ResumeError(
                "this folder holds no run", where=str(self.path), hint="check the path"
            ) from error
        return found

    def save(
        self,
        at: RunPosition,
        own: Mapping[str, Any],
        tensors: Mapping[str, Tensor],
        records: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        """Write the checkpoint of a position, unless it is there, then remove earlier ones.

        own: the trainee's plain values. records: the lines of metrics.jsonl.
        Raises ResourceError where the disk is full; the
        checkpoint before stays whole then.
        """
        # Steps and number never fall but by going back, so the last by name is the latest.
        back = f"r{at.rollbacks:03d}-" if at.rollbacks else ""
        number = at.epoch + len(at.records)
        folder = self.path / f"checkpoint-{back}{at.steps:09d}-{number:04d}"
        earlier = self._checkpoints()
        if folder not in earlier:
            save_artifact(
                folder,
                kind=self.kind,
                config=json.loads(json.dumps({"at": asdict(at), "own": dict(own)})),
                tensors={name: value.detach().cpu().numpy() for name, value in tensors.items()},
                data_hash=str(self.asked.get("data_hash", "")),
                clock=self._clock,
            )
        self._write_records(records)
        for old in earlier:
            if old != folder:
                shutil.rmtree(old)

    def load(
        self, renamed: Mapping[str, str] | None = None
    ) -> tuple[RunPosition, dict[str, Any], dict[str, Tensor]]:
        """Position, the trainee's plain values and tensors of the latest checkpoint.

        renamed: names of fields in checkpoints of the last release, to those of today.
        Raises ResumeError where there is none that can be read.
        """
        try:
            saved = load_artifact(self._checkpoints()[-1], kind=self.kind)
            values = dict(saved.config)
            if "at" in values:
                at, own = RunPosition.from_plain(values.pop("at")), dict(values.pop("own"))
                if values:
                    raise ValueError(f"it has more than is known: {', '.join(values)}")
            else:
                at, own = self._last_release(values, renamed or {})
        except (IndexError, KeyError, TypeError, ValueError, ArtifactError) as error:
            raise self.unreadable(error) from error
        # Writable, since training goes on in them.
        tensors = {name: torch.from_numpy(np.array(x)) for name, x in saved.tensors.items()}
        return at, own, tensors

    def tidy(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Remove what a killed process left, and bring metrics.jsonl to the checkpoint and
        config.json to what is asked for now."""
        self._clean()
        if self.grown:
            self._write_config()
        for old in self._checkpoints()[:-1]:
            shutil.rmtree(old)
        self._write_records(records)

    def draw(self, records: Sequence[Mapping[str, Any]], goal: str) -> None:
        """Draw curves.svg from the lines of metrics.jsonl; goal: key of what decides."""
        draw_curves(self.path / "curves.svg", records, goal)

    def unreadable(self, error: Exception) -> ResumeError:
        """The error for a checkpoint that is damaged or of another version."""
        return ResumeError(
            f"the run has no checkpoint that can be read: {error}",
            where=str(self.path),
            hint="remove the folder and start the run again",
        )

    def _last_release(
        self, values: dict[str, Any], renamed: Mapping[str, str]
    ) -> tuple[RunPosition, dict[str, Any]]:
        records = values.get("records", [])
        if isinstance(records, int):
            lines = self.metrics.read_text("utf-8").splitlines()[:records]
            records = [json.loads(line) for line in lines]
        return RunPosition.from_last_release({**values, "records": records}, renamed)

    def _write_config(self) -> None:
        text = json.dumps({**self.asked, **self._about}, indent=1) + "\n"
        atomic_write_text(self.config, text)

    def _write_records(self, records: Sequence[Mapping[str, Any]]) -> None:
        text = "".join(f"{json.dumps(line)}\n" for line in records)
        atomic_write_text(self.metrics, text)

    def _clean(self) -> None:
        for stale in self.path.glob(".*.tmp"):
            shutil.rmtree(stale) if stale.is_dir() else stale.unlink()

    def _checkpoints(self) -> list[Path]:
        return sorted(self.path.glob("checkpoint-*"))


def different_settings(
    before: Mapping[str, Any], now: Mapping[str, Any], old_names: Mapping[str, str] | None = None
) -> list[tuple[str, Any, Any]]:
    """(name, value before, value now) of the settings that differ, as "fit.epochs", by name;
    digests only where nothing else differs, since they say less than what they are of.

    old_names: names in `before`, to those of today.
    """
    was, is_now = _flat(before, old_names or {}), _flat(now, old_names or {})
    differing = [
        (name, was.get(name), is_now.get(name))
        for name in sorted(was.keys() | is_now.keys())
        if was.get(name) != is_now.get(name)
    ]
    return [one for one in differing if not one[0].endswith("hash")] or differing


def _flat(
    values: Mapping[str, Any], old_names: Mapping[str, str], prefix: str = ""
) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{old_names.get(key, key)}"
        if isinstance(value, Mapping):
            flat |= _flat(value, old_names, f"{name}.")
        else:
            flat[name] = value
    return flat


def _is_more(was: object, now: object) -> bool:
    return isinstance(was, int | float) and isinstance(now, int | float) and now > was
