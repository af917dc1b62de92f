"""Trials that were made, kept one a line, so that an audit that was interrupted goes on.

    {"key": "5f..", "ranks": [3, 1, 2], "also": {"mean": [2, 1, 3]}, "cost": [1, 784, 0, 3.4]}

The key is the hash of the target's name and of all that it was shown; a target that answers
otherwise the next time is asked only once. A line that is cut off, by a crash, is left out.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from adwright.audit.targets.target import Ask, RankingCost, Target
from adwright.core.atomic import resource_error
from adwright.core.hashing import content_hash

__all__ = ["MadeTrial", "TrialLog", "trial_key"]


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
        self._known: dict[str, MadeTrial] = {}
        #: Trials that the file held already.
        self.found = 0
        if self._path is not None and self._path.exists():
            self._read(self._path)

    def get(self, key: str) -> MadeTrial | None:
        """The trial of a key; None where it was not made."""
        return self._known.get(key)

    def add(self, trials: Iterable[tuple[str, MadeTrial]]) -> None:
        """Keep trials; they are on the disk afterwards."""
        made = list(trials)
        self._known.update(made)
        if self._path is None or not made:
            return
        lines = "".join(f"{_line(key, one)}\n" for key, one in made).encode()
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("ab") as stream:
                stream.write(lines)
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            raise resource_error(error, self._path) or error from error

    def _read(self, path: Path) -> None:
        try:
            data = path.read_bytes()
        except OSError as error:
            raise resource_error(error, path) or error from error
        for line in data.split(b"\n"):
            made = _parsed(line)
            if made is not None:
                self._known[made[0]] = made[1]
        self.found = len(self._known)
        if data and not data.endswith(b"\n"):
            # What is written next must not join on to a line that was cut off.
            try:
                with path.open("ab") as stream:
                    stream.write(b"\n")
            except OSError as error:
                raise resource_error(error, path) or error from error


def _line(key: str, one: MadeTrial) -> str:
    value = {
        "key": key,
        "ranks": one.ranks,
        "also": one.also,
        "cost": astuple(one.cost),
        "note": one.note,
    }
    return json.dumps(value, separators=(",", ":"))


def _parsed(line: bytes) -> tuple[str, MadeTrial] | None:
    try:
        value: Any = json.loads(line)
        calls, tokens_in, tokens_out, seconds = value["cost"]
        made = MadeTrial(
            tuple(map(int, value["ranks"])),
            {str(rule): tuple(map(int, ranks)) for rule, ranks in value["also"].items()},
            RankingCost(int(calls), int(tokens_in), int(tokens_out), float(seconds)),
            str(value["note"]),
        )
        return str(value["key"]), made
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
