"""Where a tuning stands: what `tune` and `tune_jobs` count, record and keep in a checkpoint."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from adwright.training.loop.run_folder import RunFolder
from adwright.training.tuning.config import TuneResult

__all__ = ["Position"]


@dataclass(frozen=True)
class Position:
    """Where a tuning stands. loss_sum, answers: since the last record. seconds: CPU, of the
    training alone. worse: validations since the best. failed: why a job among several was left
    out, empty where it was not."""

    step: int = 0
    loss_sum: float = 0.0
    answers: int = 0
    tokens: int = 0
    seconds: float = 0.0
    best: float | None = None
    best_step: int = 0
    worse: int = 0
    failed: str = ""
    records: tuple[dict[str, Any], ...] = ()

    @classmethod
    def kept(cls, state: Mapping[str, Any], run: RunFolder) -> Position:
        """Of a checkpoint; ResumeError where that says something else."""
        try:
            return cls(**{**state, "records": tuple(state["records"])})
        except (KeyError, TypeError) as error:
            raise run.unreadable(error) from error

    def stepped(self, loss: float, answers: int, tokens: int, seconds: float = 0.0) -> Position:
        """After a step. loss: in nats, summed over the answers' tokens."""
        return replace(
            self,
            step=self.step + 1,
            loss_sum=self.loss_sum + loss,
            answers=self.answers + answers,
            tokens=self.tokens + tokens,
            seconds=self.seconds + seconds,
        )

    def recorded(self, goal: float | None) -> tuple[Position, bool]:
        """With a line of metrics more, and whether it is the best so far. goal: the validation's
        loss; without one the last is the best."""
        line: dict[str, Any] = {
            "step": self.step,
            "tokens": self.tokens,
            "train_loss": self.loss_sum / max(self.answers, 1),
            "cpu_seconds": round(self.seconds, 2),
        }
        if goal is not None:
            line["valid_nll"] = goal
        better = goal is None or self.best is None or goal < self.best
        now = replace(
            self,
            loss_sum=0.0,
            answers=0,
            best=goal if better else self.best,
            best_step=self.step if better else self.best_step,
            worse=0 if better else self.worse + 1,
            records=(*self.records, line),
        )
        return now, better

    def result(self) -> TuneResult:
        """What `tune` returns."""
        best = math.nan if self.best is None else self.best
        return TuneResult(best, self.best_step, self.step, self.tokens, self.seconds, self.records)
