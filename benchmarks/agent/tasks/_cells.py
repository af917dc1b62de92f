"""Cells: one system on one task, measured once and kept as a line of JSON.

    benchmarks/results/agent/plan-oscar-judged.jsonl

A line is written as soon as its task was done: a run that is ended loses one task. Delete a line,
or the file, to have it measured again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from adwright.lm.engine.generation import LanguageModel
from benchmarks.agent.tasks._apps import AppName
from benchmarks.agent.tasks._kinds import AgentTask
from benchmarks.agent.tasks._solved import Solved
from benchmarks.agent.tasks._systems import SystemName
from benchmarks.agent.words._words import Wordings
from benchmarks.common.result import RESULTS

CELLS = RESULTS / "agent"


class CellFile:
    """The cells of one system on one app."""

    def __init__(
        self, system: SystemName | str, app: AppName | str, wordings: Wordings, folder: Path
    ):
        self.path = folder / f"{system}-{app}-{wordings}.jsonl"
        self._kept = {one["task"]: one for one in self._read()}

    def __contains__(self, task: str) -> bool:
        return task in self._kept

    @property
    def all(self) -> list[dict[str, Any]]:
        """All cells, in the order in which they were measured."""
        return list(self._kept.values())

    def keep(
        self, task: AgentTask, solved: Solved, wrong: str, models: Sequence[LanguageModel] = ()
    ) -> dict[str, Any]:
        """Write one down. wrong: what is wrong with the end state, or empty. models: that could be
        asked."""
        asked = "; ".join(one.info.note or one.info.name for one in models)
        about = {"task": task.name, "kind": task.kind, "text": task.text, "model": asked}
        return self.write(about | {"wrong": wrong} | asdict(solved))

    def write(self, cell: dict[str, Any]) -> dict[str, Any]:
        """Write down what is known of one task, which `task` names."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        rounded = {k: round(v, 3) if isinstance(v, float) else v for k, v in cell.items()}
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(rounded) + "\n")
        self._kept[cell["task"]] = rounded
        return rounded

    def _read(self) -> Iterator[dict[str, Any]]:
        if self.path.is_file():
            for line in self.path.read_text("utf-8").splitlines():
                if line.endswith("}"):
                    yield json.loads(line)
