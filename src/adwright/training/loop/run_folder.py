"""The folder of a training run: what was asked for, the latest checkpoint, and the records.

    config.json               what was asked for; its presence says that there is a run
    checkpoint-STEPS-NUMBER/  an artifact with all that a step depends on
    metrics.jsonl             one line per validation
    curves.svg                the same as a picture

A process may be killed at any moment. config.json is written after the first checkpoint, so a
folder without it is no run yet; a checkpoint appears by a rename, and the one before it is removed
only then. The records are in the checkpoint, metrics.jsonl repeats them for readers.

How far a training run is: what the loop counts, and what it decides by.

The tensors of a run under flat names, as a checkpoint keeps them, and back.

Ctrl-C in the midst of a training: the step at work is ended before the run stops, so that what
is written then is a position from which it goes on with the same bits.

The picture of a run: losses above, the goal of the validations below.
"""

from __future__ import annotations

import json
import shutil
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

from adwright.core.artifacts import load_artifact, save_artifact
from adwright.core.atomic import atomic_write_text
from adwright.core.clock import Clock
from adwright.core.errors import ArtifactError, ConfigError, ResumeError
from adwright.core.version import __version__


@dataclass(frozen=True)
class RunPosition:
    """How far a run is.

    epoch: epochs that are done. step: steps of the epoch; steps: of the run. loss_sum,
    loss_count: since the last validation, in the trainee's units. best: goal of the best
    validation, None before the first; best_epoch (from 1) and best_step: where it was. worse:
    validations since then. rollbacks: how often the run went back to an earlier state. records:
    the lines of metrics.jsonl.
    """

    epoch: int = 0
    step: int = 0
    steps: int = 0
    loss_sum: float = 0.0
    loss_count: int = 0
    best: float | None = None
    best_epoch: int = 0
    best_step: int = 0
    worse: int = 0
    rollbacks: int = 0
    records: tuple[dict[str, Any], ...] = ()

    @classmethod
    def from_plain(cls, saved: Mapping[str, Any]) -> RunPosition:
        """The position as a checkpoint holds it. TypeError where it is something else."""
        return cls(**{**saved, "records": tuple(saved["records"])})

    @classmethod
    def from_last_release(
        cls, saved: Mapping[str, Any], renamed: Mapping[str, str]
    ) -> tuple[RunPosition, dict[str, Any]]:
        """The position in a checkpoint of the last release, and its other values.

        renamed: the fields' names there, to those of today.
        """
        values = {renamed.get(name, name): value for name, value in saved.items()}
        if "position" in values:  # of the stream of rows
            values["epoch"] = values["position"]["epoch"]
        names = {field.name for field in fields(cls)} & values.keys()
        position = cls(**{name: values.pop(name) for name in names})
        return replace(position, records=tuple(position.records)), values

    @property
    def mean_loss(self) -> float:
        """Of the training since the last validation."""
        return self.loss_sum / max(self.loss_count, 1)

    def after(self, loss: float, count: int) -> RunPosition:
        """One step later. loss: summed over its `count`."""
        return replace(
            self,
            step=self.step + 1,
            steps=self.steps + 1,
            loss_sum=self.loss_sum + loss,
            loss_count=self.loss_count + count,
        )

    def validated(self, goal: float | None, line: dict[str, Any], *, better: bool) -> RunPosition:
        """One validation later, with its line. goal: None where nothing was measured."""
        return replace(
            self,
            loss_sum=0.0,
            loss_count=0,
            best=goal if better else self.best,
            best_epoch=self.epoch + 1 if better else self.best_epoch,
            best_step=self.steps if better else self.best_step,
            worse=0 if better else self.worse + 1,
            records=(*self.records, line),
        )

    def next_epoch(self) -> RunPosition:
        """At the start of the epoch after this one."""
        return replace(self, epoch=self.epoch + 1, step=0, loss_sum=0.0, loss_count=0)


class Stateful(Protocol):
    """What has a state to keep: a network, or what stands for a part of one."""

    def state_dict(self) -> dict[str, Any]:
        """Tensors by name."""
        ...

    def load_state_dict(self, state_dict: Mapping[str, Any], /) -> Any:
        """Take them over; RuntimeError where they are of something else."""
        ...


def pack(
    model: Stateful, best: Mapping[str, Tensor], optimisers: Mapping[str, Optimizer]
) -> dict[str, Tensor]:
    """All tensors of a run under flat names, "PART/NAME" with the parts model, best and the
    names of the optimisers.

    best: the best weights so far; kept are those that differ from the present ones, which the
    catalogue in a model's buffers never does.
    """
    now = model.state_dict()
    tensors = {f"model/{name}": value for name, value in now.items()}
    tensors |= {
        f"best/{name}": value for name, value in best.items() if not torch.equal(value, now[name])
    }
    for part, optimiser in optimisers.items():
        for index, state in optimiser.state_dict()["state"].items():
            for name, value in state.items():
                # numpy has no bfloat16; what keeps it takes float32 back without a loss.
                wide = value.float() if value.dtype == torch.bfloat16 else value
                tensors[f"{part}/{index}/{name}"] = wide
    return tensors


def unpack(
    tensors: Mapping[str, Tensor],
    model: Stateful,
    optimisers: Mapping[str, Optimizer],
) -> dict[str, Tensor]:
    """The inverse of `pack`: fills the model and the optimisers, returns the best weights.

    Raises ValueError where the tensors are of another model.
    """
    parts: dict[str, dict[str, Tensor]] = {"model": {}, "best": {}}
    for name, value in tensors.items():
        part, key = name.split("/", 1)
        parts.setdefault(part, {})[key] = value
    try:
        model.load_state_dict(parts["model"])
    except RuntimeError as error:
        raise ValueError(f"the run is of another model: {' '.join(str(error).split())}") from error
    for part, optimiser in optimisers.items():
        nested: dict[int, dict[str, Tensor]] = {}
        for key, value in parts.get(part, {}).items():
            index, name = key.split("/", 1)
            nested.setdefault(int(index), {})[name] = value
        optimiser.load_state_dict({**optimiser.state_dict(), "state": nested})
    # Copies: the model goes on in its own.
    return {name: value.clone() for name, value in (parts["model"] | parts["best"]).items()}


class Interrupts:
    """Holds Ctrl-C back while a step is at work; a second one ends the step, too.

    `whole` says whether the state is that of a position between two steps. Nothing is held back
    outside of the main thread, where the caller has a handler of its own, and in several processes,
    whose steps would no longer be the same: there a KeyboardInterrupt may fall into any line.
    """

    def __init__(self) -> None:
        self.whole = False
        self._asked = self._at_work = False

    @contextmanager
    def watched(self, *, alone: bool = True) -> Iterator[None]:
        """Hold Ctrl-C back during the steps of this block. alone: this is the only process."""
        usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        in_main = threading.current_thread() is threading.main_thread()
        if not (alone and usual and in_main):
            yield
            return
        signal.signal(signal.SIGINT, self._on_signal)
        self.whole = True
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    @contextmanager
    def step(self) -> Iterator[None]:
        """A step; raises KeyboardInterrupt at its end where Ctrl-C was pressed meanwhile."""
        self._at_work = True
        try:
            yield
        finally:
            self._at_work = False
        if self._asked:
            raise KeyboardInterrupt

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self._at_work and not self._asked:
            self._asked = True
            return
        if self._at_work:
            self.whole = False
        raise KeyboardInterrupt


_LOSSES = ("valid_loss", "valid_nll")


def draw_curves(path: Path, records: Sequence[Mapping[str, Any]], goal: str) -> None:
    """Draw the lines of metrics.jsonl as an SVG; nothing where there are none.

    goal: key of the value that decides, drawn apart unless it is a loss. A line may hold
    `train_curve`, [(step, loss)] since the one before, and `valid_loss`.
    """
    import altair as alt

    from adwright.metrics.reports.charts import learning_curves, to_svg

    panels: dict[str, list[dict[str, Any]]] = {"Loss": [], goal: []}
    for line in records:
        step = next(line[name] for name in ("steps", "step", "batches") if name in line)
        job = f"{line['job']}: " if "job" in line else ""
        for at, loss in line.get("train_curve") or [(step, line["train_loss"])]:
            panels["Loss"].append({"step": at, "series": f"{job}training", "value": loss})
        for name in {*_LOSSES, goal} & line.keys():
            panel = goal if name == goal and name not in _LOSSES else "Loss"
            point = {"step": step, "series": f"{job}validation", "value": line[name]}
            panels[panel].append(point)
    charts: list[Any] = [
        learning_curves(rows, title=title, x_title="Steps", y_title=title)
        for title, rows in panels.items()
        if rows
    ]
    if charts:
        picture = alt.vconcat(*charts).resolve_scale(color="independent")
        atomic_write_text(path, to_svg(picture))


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
        grown = [
            (name, was, now)
            for name, was, now in differing
            if name in self._grows
            and isinstance(was, int | float)
            and isinstance(now, int | float)
            and now > was
        ]
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
