"""Item sequences out of a file of events of one's own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from adwright.core.hashing import content_hash, sha256_file
from adwright.data.hashing import hash_order
from adwright.data.history_kinds import check_history, events_file, kinds_of, only_history
from adwright.data.ranges import run_starts
from adwright.data.schema import ACTION_KINDS
from adwright.data.sequences.datasets import sequences_of_table
from adwright.data.sequences.item_sequences import ItemSequences
from adwright.data.sources.frames import name_of
from adwright.data.sources.log import open_log

#: Of what is read; files with a column `kind` were read otherwise at first.
VERSION, VERSION_WITH_KINDS = 1, 2


def read_event_file(path: str | Path) -> ItemSequences:
    """The sequences of a log: the folder of an imported one, or any file that `open_log` takes,
    whose columns are then found by their names.

    Only events of ACTION_KINDS count: what was shown is no history. Events of one user and one
    second have no order, and none of them is in another's history.
    Raises as `open_log`, and ValueInvalidError where no event is history.
    """
    path = Path(path)
    log = open_log(path)
    with_kinds = log.mapping is None or "kind" in log.mapping.columns
    table = log.events.select(
        "user_id", "item_id", "kind", time=pl.col("time").dt.epoch("s")
    ).collect()
    check_history(kinds_of(table), ACTION_KINDS, file=str(path))
    table = only_history(table, ACTION_KINDS).drop("kind")
    order = hash_order(table, ["user_id", "item_id"], 0)
    table = table.with_columns(order=order).sort("user_id", "time", "order").drop("order")
    version = VERSION_WITH_KINDS if with_kinds else VERSION
    sequences = sequences_of_table(
        table,
        name=name_of(events_file(path)),
        data_hash=content_hash({"data": _hash_of(events_file(path)), "code": version}),
    )
    starts = run_starts(table["user_id"].rle_id().to_numpy(), table["time"].to_numpy())
    return replace(sequences, moment=np.repeat(starts[:-1], np.diff(starts)))


def _hash_of(path: Path) -> object:
    """Of a file its hash, of a folder the hashes of its parts by their names."""
    if path.is_file():
        return sha256_file(path)
    parts = sorted(part for part in path.rglob("*") if part.is_file())
    return {part.relative_to(path).as_posix(): sha256_file(part) for part in parts}
