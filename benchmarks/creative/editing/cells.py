"""One measurement of the benchmark of edits: a part and a seed, kept beside the results as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adwright.core.atomic import atomic_write_text
from adwright.core.hashing import content_hash
from benchmarks.common.result import RESULTS

KEPT = RESULTS / "cells" / "editor"
Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Cell:
    """part: of the benchmark. settings: its sizes, in a text; another text is another cell."""

    part: str
    seed: int
    settings: str
    folder: Path = KEPT

    @property
    def path(self) -> Path:
        """Where its rows are."""
        key = content_hash([self.part, self.settings])[:8]
        return self.folder / f"{self.part}-{self.seed}-{key}.json"

    def keep(self, rows: Rows) -> None:
        """Write it, whole or not at all."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write_text(self.path, json.dumps([_rounded(row) for row in rows]) + "\n")

    def read(self) -> Rows | None:
        """What was kept; None where nothing was."""
        if not self.path.exists():
            return None
        rows: Rows = json.loads(self.path.read_text("utf-8"))
        return rows


def _rounded(row: dict[str, Any]) -> dict[str, Any]:
    """With six digits of each number: more is noise, and fills the repository."""
    made: dict[str, Any] = {}
    for key, value in row.items():
        plain = value.tolist() if hasattr(value, "tolist") else value
        if isinstance(plain, float):
            plain = float(f"{plain:.6g}")
        elif isinstance(plain, Sequence) and not isinstance(plain, str):
            plain = [float(f"{one:.6g}") if isinstance(one, float) else one for one in plain]
        made[key] = plain
    return made
