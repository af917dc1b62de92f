"""The files of a run, each whole or not at all, so that a process may be killed anywhere.

    OUT/
      seed.json            what the run was asked for, and hashes of its data
      read.json            what the writer reads, for filters; brands
      pool.jsonl           the own judge's view of the ads without a score
      round-0/             the seed model; round-1/ and so on the same, with what was written first
        samples.jsonl      what the writer of the round before wrote, a line a brief
        scores.json        reasons of the filters and scores of the own judge
        kept.json          which of them are tuned on
        writer/            the tuning: rows, run, adapter, report
        watch.jsonl        what the new writer writes for the watched briefs
        round.json         what both judges say of that; the round is done
      held-before-0.jsonl, held-after-N.jsonl  what is written for the held-out briefs at the end
      held-before.json, held-after.json        what both judges say of that
      costs.jsonl          what each step took
      report.json, report.html

A file of lines grows by whole batches: a line without its end, which a killed process left, is cut
off before the next one is written.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from adwright.core.atomic import atomic_write_text, cut_unfinished, resource_error
from adwright.core.errors import ResumeError

__all__ = ["LineFile", "read_json", "write_json"]


def write_json(path: Path, value: object) -> None:
    """Write a value as JSON. Raises ResourceError where the disk is full."""
    text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False)
    atomic_write_text(path, text + "\n")


def read_json(path: Path) -> Any:
    """The value in a file; None where there is none. Raises ResumeError where it is no JSON."""
    try:
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from error


class LineFile:
    """JSON objects, one a line, that are appended some at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> list[dict[str, Any]]:
        """The whole lines; none where there is no file. Raises ResumeError for another file."""
        try:
            whole, _, _ = self.path.read_bytes().rpartition(b"\n")
            found = [json.loads(line) for line in whole.split(b"\n") if line]
        except FileNotFoundError:
            return []
        except (OSError, ValueError) as error:
            raise _damaged(self.path, error) from error
        if not all(isinstance(one, dict) for one in found):
            raise _damaged(self.path, ValueError("a line is no object"))
        return found

    def keep(self, count: int) -> None:
        """Cut off what stands behind the first `count` lines."""
        if not self.path.exists():
            return
        data = self.path.read_bytes()
        lines = data.split(b"\n")[:-1][:count]
        size = sum(len(line) + 1 for line in lines)
        if size < len(data):
            os.truncate(self.path, size)

    def append(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add lines in one piece, behind the last whole one, and flush them to the disk. Raises
        ResourceError where it is full."""
        text = "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab+") as stream:
                cut_unfinished(stream)
                stream.write(text.encode("utf-8"))
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            raise resource_error(error, self.path) or error from error


def _damaged(path: Path, error: Exception) -> ResumeError:
    return ResumeError(
        f"a file of the run cannot be read: {error}",
        where=str(path),
        hint="remove its round, and give the same command again",
    )
