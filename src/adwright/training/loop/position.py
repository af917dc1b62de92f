"""How far a training run is: what the loop counts, and what it decides by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

__all__ = ["RunPosition"]


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
