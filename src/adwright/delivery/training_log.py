"""The log that a model was trained on: where its run says that it lies, and the histories in it.

    RUN/config.json     names the data (`SequenceRun`, `RunConfig`), or the log itself
    RUN/model, RUN/ranker, RUN/deployment

A log is named as everywhere: an imported folder, a file of events, the name of public data; and
besides a folder of sequences or of a ranking task, which hold what was done too.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, get_args

import polars as pl

from adwright.core.artifacts import MANIFEST
from adwright.core.errors import ArtifactError, ConfigError, ValueInvalidError
from adwright.data.history_kinds import check_history
from adwright.data.sources.log import PublicLog, open_log
from adwright.data.tasks.next_basket_sources import read_sequences
from adwright.data.tasks.split import SPLITS
from adwright.data.tasks.task import Task
from adwright.data.time import MICROSECONDS_PER_DAY

#: What a run folder calls the model that it made.
_MODELS = ("model", "ranker", "deployment")
_COLUMNS = ("user_id", "item_id", "time", "kind")


class HistoryLog(NamedTuple):
    """events: user_id, item_id (text), time (UTC, or microseconds) and, where it is known, kind, of
    the kinds that are history. profiles: user_id and text columns, or None."""

    events: pl.DataFrame
    profiles: pl.DataFrame | None


def model_folder(path: str | Path) -> Path:
    """The folder of a model: `path`, or the one model of the run folder `path`.

    Raises ArtifactError where there is none, or more than one, with their names.
    """
    path = Path(path)
    if (path / MANIFEST).exists():
        return path
    found = [path / name for name in _MODELS if (path / name / MANIFEST).exists()]
    if len(found) == 1:
        return found[0]
    below = sorted(one.parent for one in path.glob(f"*/{MANIFEST}")) if path.is_dir() else []
    hint = f"name a folder that holds {MANIFEST}"
    if found or below:
        hint = f"name one of {', '.join(str(one) for one in found or below)}"
    raise ArtifactError("there is no model here", where=str(path), hint=hint)


def training_log(model: str | Path) -> str | None:
    """The log that the run beside a model's folder was trained on; None where it does not say."""
    run = Path(model).resolve().parent
    try:
        config = json.loads((run / "config.json").read_text("utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(config, dict):
        return None
    for table in (config, config.get("run")):
        log = table.get("log") if isinstance(table, dict) else None
        if isinstance(log, str) and log:
            return log
    return _named(config.get("data")) or _named(config.get("task"))


def open_history(
    source: str | Path,
    kinds: Sequence[str],
    *,
    offline: bool = False,
    gone: str = "",
    tell: bool = True,
) -> HistoryLog:
    """What users did, in a log: the events of these kinds, and what is known of the users.

    gone: what to do where the log, which a run names, is not there any more. tell: what is odd in
    it, as `open_log`.
    Raises ValueInvalidError where no event is of these kinds, ConfigError for a log that is gone,
    and as `open_log`.
    """
    path = Path(source)
    if gone and str(source) not in get_args(PublicLog) and not path.exists():
        raise ConfigError(
            "the log that the model was trained on is not there any more",
            where=str(source),
            hint=gone,
        )
    if (path / "sequences.txt").is_file():
        events, _ = read_sequences(path)
        # There the position stands for the time, in days.
        time = pl.col("time").cast(pl.Int64) * MICROSECONDS_PER_DAY
        return HistoryLog(events.select("user_id", "item_id", time=time), None)
    if (path / "task.json").is_file():
        return HistoryLog(_of_task(Task.open(path)), None)
    log = open_log(source, offline=offline, tell=tell)
    known = pl.col("kind").is_in(list(kinds))
    events = log.events.filter(known).select(_COLUMNS).collect(engine="streaming")
    if not events.height:
        found = log.events.select(pl.col("kind").unique()).collect()["kind"]
        check_history(found, kinds, file=str(source))
        raise ValueInvalidError("the log holds no event", file=str(source))
    return HistoryLog(events, None if log.users is None else _texts(log.users))


def _named(table: Any) -> str | None:
    """The log that the table [data] or [task] of a run's configuration names."""
    if not isinstance(table, dict):
        return None
    match table.get("kind"):
        case "journey" | "response":
            return "complete-journey"
        case "movielens":
            return "movielens"
    path = table.get("path") or table.get("folder")
    if path is None:
        return None
    # The task of an imported log lies in the folder of the log.
    above = Path(path).parent
    if (Path(path) / "task.json").is_file() and (above / "events.parquet").is_file():
        return str(above)
    return str(path)


def _of_task(task: Task) -> pl.DataFrame:
    """The events of all users of a task; each split has those of its users, whole."""
    parts: list[pl.DataFrame] = []
    for split in SPLITS:
        part = pl.read_parquet(task.events_path(split)).select(
            pl.col("user_id", "item_id").cast(pl.String), "time"
        )
        for earlier in parts:
            part = part.join(earlier.select("user_id").unique(), on="user_id", how="anti")
        parts.append(part)
    return pl.concat(parts)


def _texts(users: pl.DataFrame) -> pl.DataFrame:
    """The columns that a profile can have, as text."""
    plain = [name for name, dtype in users.schema.items() if not dtype.is_nested()]
    return users.select(pl.col(plain).cast(pl.String))
