"""What the inputs of a step are, in a text that is another one as soon as they are."""

from __future__ import annotations

import csv
import json
from datetime import datetime
from pathlib import Path
from typing import Any

from adwright.campaigns.store.store import Store
from adwright.core.errors import FileUnreadableError
from adwright.core.hashing import content_hash, sha256_file

#: Files up to this size are read; of larger ones size and time count.
_READ = 1 << 20
#: Decisions of `adwright retrain` with which a model may be published.
_PASSED = ("better", "no worse")


def version_of(name: str, path: Path, store: Store, tenant: str, now: datetime) -> str:
    """Of an input; empty where it is not there. path: of one that is neither of the store nor of
    the clock."""
    match name:
        case "store:events":
            counts = store.event_counts(tenant)
            return str(int(counts["events"].sum()) + store.totals(tenant).compacted)
        case "store:creatives":
            return str(store.creative_versions().get(tenant, 0))
        case "store:stops":
            return str(store.stop_versions().get(tenant))
        case "clock:day":
            return f"{now:%Y-%m-%d}"
        case "clock:week":
            return f"{now:%G-W%V}"
        case "clock:month":
            return f"{now:%Y-%m}"
        case _:
            return version_of_path(path)


def version_of_path(path: Path) -> str:
    """Of a file or of all files of a folder; empty where it is not there."""
    if path.is_file():
        return _of_file(path)
    if not path.is_dir():
        return ""
    files = {str(one.relative_to(path)): _of_file(one) for one in path.rglob("*") if one.is_file()}
    return content_hash(files)[:32]


def _of_file(path: Path) -> str:
    found = path.stat()
    if found.st_size <= _READ:
        return sha256_file(path)[:32]
    return f"{found.st_size}-{found.st_mtime_ns}"


def has_rows(path: Path) -> bool:
    """Whether a table has a row: a CSV file, or one of Parquet. Raises FileUnreadableError."""
    if not path.exists():
        return False
    try:
        if path.suffix == ".csv":
            with path.open(newline="", encoding="utf-8-sig") as file:
                return sum(1 for _, _ in zip(csv.reader(file), range(2), strict=False)) == 2
        import pyarrow.parquet as pq

        return int(pq.read_metadata(path).num_rows) > 0
    except (OSError, ValueError, csv.Error) as error:
        raise FileUnreadableError(
            f"its rows cannot be counted: {error}", file=str(path), hint="write .csv or .parquet"
        ) from error


def refused_by(gate: Path) -> str | None:
    """Why `adwright retrain` did not find the new model good enough; None where it did."""
    try:
        found: dict[str, Any] = json.loads(gate.read_text("utf-8"))
        decision, verdict = found["decision"], str(found["verdict"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise FileUnreadableError(
            f"the gate's word cannot be read: {error}",
            file=str(gate),
            hint="name the gate.json that adwright retrain wrote",
        ) from error
    return None if decision in _PASSED else verdict
