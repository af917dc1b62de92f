"""What came of one task, whoever solved it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Solved:
    """verdict: of the run; "none" where nothing was run. problem: why not, or why it stopped.
    turns: scripts that were run."""

    verdict: str
    answers: tuple[str, ...] = ()
    problem: str = ""
    script: str = ""
    source: str = ""
    tokens_in: int = 0
    tokens_out: int = 0
    model_seconds: float = 0.0
    page_seconds: float = 0.0
    acts: int = 0
    confirmed: int = 0
    writes: int = 0
    turns: int = 1
