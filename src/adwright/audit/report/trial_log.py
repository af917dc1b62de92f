"""Trials that were made, kept one a line, so that an audit that was interrupted goes on.

    {"key": "5f..", "ranks": [3, 1, 2], "also": {"mean": [2, 1, 3]}, "cost": [1, 784, 0, 3.4]}

The key is the hash of the target's name and of all that it was shown; a target that answers
otherwise the next time is asked only once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from adwright.audit.targets.target import Ask, RankingCost, Target
from adwright.core.hashing import content_hash
from adwright.core.journal import append_rows, read_rows

_HINT = "take that line out: its trial is then made again"


@dataclass(frozen=True)
class MadeTrial:
    """ranks: of each listing, from 1, those not mentioned n + 1. also: by other rules. note: of the
    ranking."""

    ranks: tuple[int, ...]
    also: dict[str, tuple[int, ...]]
    cost: RankingCost
    note: str = ""


def trial_key(target: Target, ask: Ask) -> str:
    """SHA-256 of who is asked and what is shown, in which order."""
    shown = [one.digest() for one in ask.shown]
    return content_hash([target.name, ask.request, shown, list(ask.order)])


class TrialLog:
    """The trials of a file, which is made where it is not there. path: None keeps them in memory
    alone. Raises ResourceError where the file cannot be read or written."""

    def __init__(self, path: str | Path | None = None) -> None:
        self._path = None if path is None else Path(path)
        kept = [] if path is None else read_rows(path, _trial, hint=_HINT, ended_torn=True)
        self._known = dict(kept)
        #: Trials that the file held already.
        self.found = len(self._known)

    def get(self, key: str) -> MadeTrial | None:
        """The trial of a key; None where it was not made."""
        return self._known.get(key)

    def add(self, trials: Iterable[tuple[str, MadeTrial]]) -> None:
        """Keep trials; they are on the disk afterwards."""
        made = list(trials)
        self._known.update(made)
        if self._path is not None and made:
            append_rows(self._path, [_row(key, one) for key, one in made])


def _row(key: str, one: MadeTrial) -> dict[str, Any]:
    return {
        "key": key,
        "ranks": one.ranks,
        "also": one.also,
        "cost": astuple(one.cost),
        "note": one.note,
    }


def _trial(row: dict[str, Any]) -> tuple[str, MadeTrial]:
    calls, tokens_in, tokens_out, seconds = row["cost"]
    made = MadeTrial(
        tuple(map(int, row["ranks"])),
        {str(rule): tuple(map(int, ranks)) for rule, ranks in row["also"].items()},
        RankingCost(int(calls), int(tokens_in), int(tokens_out), float(seconds)),
        str(row["note"]),
    )
    return str(row["key"]), made
