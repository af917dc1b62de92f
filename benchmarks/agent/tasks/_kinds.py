"""What a task is: a kind with slots drawn by a seed, words around them, and the end state.

for task in tasks("oscar", database, wordings="judged"):
    task.text            # 'Give the voucher "Welcome" the code SPRING26.'
    task.goal            # an EndState

A kind reads the app's own database to draw what exists. Each has several wordings of three sorts,
see `benchmarks.agent.words`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from benchmarks.agent.tasks._apps import AppName
from benchmarks.agent.tasks._end_state import EndState


class Draw:
    """Draws values by a seed; `rows` asks the app's database."""

    def __init__(self, database: sqlite3.Connection, random: Random) -> None:
        self._database, self._random = database, random

    def row(self, query: str) -> tuple[Any, ...]:
        """One of the rows of a query."""
        rows = self._database.execute(query).fetchall()
        return tuple(self._random.choice(rows))

    def one(self, query: str) -> Any:
        """The single value of a query."""
        return self._database.execute(query).fetchone()[0]

    def of(self, *choices: str) -> str:
        """One of several."""
        return self._random.choice(choices)

    def number(self, low: int, high: int) -> int:
        """A whole number, both ends included."""
        return self._random.randint(low, high)


@dataclass(frozen=True)
class TaskKind:
    """draw: gives the slots of the wordings and the end state. times: how many tasks of this kind
    are judged; of open words there is a task for each."""

    name: str
    draw: Callable[[Draw], tuple[Mapping[str, Any], EndState]]
    times: int = 2


@dataclass(frozen=True)
class AgentTask:
    """One task. seed: of its slots and of its wording."""

    app: AppName
    kind: str
    seed: int
    text: str
    goal: EndState

    @property
    def name(self) -> str:
        """What it is called in results."""
        return f"{self.app}/{self.kind}/{self.seed}"


def drawn_tasks(
    app: AppName,
    kinds: Sequence[TaskKind],
    wordings: Mapping[str, Sequence[str]],
    database: Path,
) -> Iterator[AgentTask]:
    """The tasks of an app, always the same."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as opened:
        for kind in kinds:
            for seed in range(max(kind.times, len(wordings[kind.name]))):
                random = Random(f"{app} {kind.name} {seed}")
                slots, goal = kind.draw(Draw(opened, random))
                # Each wording once before one comes again.
                template = wordings[kind.name][seed % len(wordings[kind.name])]
                yield AgentTask(app, kind.name, seed, template.format(**slots), goal)
