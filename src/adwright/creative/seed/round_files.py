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

A file of lines grows by whole batches, see `adwright.core.journal`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from adwright.core.atomic import atomic_write_text
from adwright.core.errors import ResumeError

#: What to do about a file of a run that cannot be read.
DAMAGED = "remove its round, and give the same command again"


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
        raise ResumeError(
            f"a file of the run cannot be read: {error}", where=str(path), hint=DAMAGED
        ) from error
