"""The record of a folder in the cache: which files it has to hold, and what they are.

    {"tiny/data/a.csv": {"bytes": 8, "sha256": "...", "changed": [...]}, ...}

`changed` is what the file system says of the file's last change. Where it says the same as when
the file was last hashed, nothing has written to the file since, and it is not read again; else its
hash decides. So a change of any byte is found, for a look at each file's status; that a disk spoils
bytes by itself is not.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any

from adwright.core.atomic import atomic_write_text
from adwright.core.errors import ResourceError
from adwright.core.hashing import sha256_file
from adwright.core.regular import read_regular

__all__ = ["RECORD", "is_complete", "write_record"]

RECORD = ".adwright-asset.json"
_MOST_BYTES = 16 << 20


def write_record(folder: Path, names: Iterable[str]) -> None:
    """Record the files `names` of `folder` as they are now."""
    record = {name: _entry(folder / name) for name in sorted(names)}
    (folder / RECORD).write_text(json.dumps(record, indent=1), encoding="utf-8")


def is_complete(folder: Path) -> bool:
    """Whether all files that were recorded are there, plain files with the bytes that they had.

    A record of an earlier version knows sizes alone: the files that have them are taken as they
    are, and recorded anew.
    """
    try:
        record = json.loads(read_regular(folder / RECORD, most=_MOST_BYTES).decode("utf-8"))
        if not isinstance(record, dict) or not record or not all(map(_is_inside, record)):
            return False
        now = {name: _checked(folder / name, said) for name, said in record.items()}
    except (OSError, ValueError, RecursionError):
        return False
    if now != record:
        with suppress(ResourceError, OSError):  # a cache that is only read is hashed each time
            atomic_write_text(folder / RECORD, json.dumps(now, indent=1))
    return True


def _checked(file: Path, said: Any) -> dict[str, Any]:
    """The entry of a file that is as its record says. Raises ValueError where it is not."""
    status = os.lstat(file)
    if isinstance(said, int):
        said = {"bytes": said}
    if not isinstance(said, dict) or not stat.S_ISREG(status.st_mode):
        raise ValueError(f"{file} is no plain file")
    if status.st_size != said.get("bytes"):
        raise ValueError(f"{file} has another size")
    if said.get("changed") == _change(status) and "sha256" in said:
        return said
    found = _entry(file)
    if said.get("sha256", found["sha256"]) != found["sha256"]:
        raise ValueError(f"{file} has other bytes")
    return found


def _entry(file: Path) -> dict[str, Any]:
    # The status first: a change while it is hashed shows the next time.
    status = os.lstat(file)
    return {
        "bytes": status.st_size,
        "sha256": sha256_file(file),
        "changed": _change(status),
    }


def _change(status: os.stat_result) -> list[int]:
    # The change time follows every write, and only the system can set it.
    return [status.st_ino, status.st_mtime_ns, status.st_ctime_ns]


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and path.as_posix() == name != "."
