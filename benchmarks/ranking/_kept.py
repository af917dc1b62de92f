"""What a run of a ranker found, small enough to be kept beside the results.

A run of hours outlives the machine that it ran on: its scores do not, but its group AUC by user and
its figures do, and all that is published of it follows from them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from adwright.metrics.classification import GroupAuc
from benchmarks.common.next_basket import keep, read
from benchmarks.common.result import RESULTS

_PARTS = ("groups", "impressions", "auc", "skipped_groups", "skipped_impressions")


class Kept(NamedTuple):
    """record: figures and settings of a run. parts: its group AUC on the test rows; None where
    quality was not measured."""

    record: dict[str, Any]
    parts: GroupAuc | None


def kept_place(room: str, name: str) -> Path:
    """The file of a run."""
    return RESULTS / "cells" / room / f"{name}.npz"


def keep_run(path: Path, record: Mapping[str, Any], parts: GroupAuc | None) -> None:
    """Write them, whole or not at all."""
    values = {} if parts is None else {name: np.asarray(getattr(parts, name)) for name in _PARTS}
    keep(path, {"record": np.array(json.dumps(dict(record))), **values}, 0.0)


def read_run(path: Path) -> Kept | None:
    """What `keep_run` wrote; None where there is no file."""
    for found in read([path]):
        parts = None
        if "auc" in found:
            parts = GroupAuc(
                groups=found["groups"],
                impressions=found["impressions"],
                auc=found["auc"],
                skipped_groups=int(found["skipped_groups"]),
                skipped_impressions=float(found["skipped_impressions"]),
            )
        return Kept(json.loads(str(found["record"])), parts)
    return None
