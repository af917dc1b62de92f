"""Hidden siblings of a path, in which a file or a folder is written before it takes its name.

Whoever writes one holds a lock on it, which the kernel drops when its process dies. So a sibling
whose lock is free was left by a killed process, and the next one that writes the same name removes
it. Where the file system knows no locks, nothing is removed.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["aside_of", "new_file", "new_folder", "remove_dead"]

_MARK = "[0-9a-f]{16}"


@contextmanager
def new_file(path: Path, mode: int = 0o666) -> Iterator[tuple[Path, int]]:
    """A new, empty sibling of `path`, and a descriptor to write to it, locked and closed at the
    end. The caller renames it; otherwise it stays."""
    # Exclusive creation: never write through something that is there already.
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    while True:
        temporary = _sibling(path)
        descriptor = os.open(temporary, flags, mode)
        try:
            if _claimed(temporary, descriptor):
                yield temporary, descriptor
                return
        finally:
            os.close(descriptor)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A new, empty folder beside `path`, locked until the end. The caller renames it; otherwise
    it stays."""
    while True:
        temporary = _sibling(path)
        temporary.mkdir()
        try:
            descriptor = os.open(temporary, os.O_RDONLY)
        except FileNotFoundError:
            continue  # another process took it for a dead one
        try:
            if _claimed(temporary, descriptor):
                yield temporary
                return
        finally:
            os.close(descriptor)


def aside_of(path: Path) -> Path:
    """Where the old folder waits until the new one has its name."""
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}.old")


def remove_dead(path: Path) -> None:
    """Remove the siblings of `path` that killed processes left.

    Of a folder that was put aside only where there is one in its place: it may be the last copy.
    """
    name = re.compile(rf"\.{re.escape(path.name)}\.{_MARK}\.(tmp|old)")
    with suppress(OSError):
        for entry in os.scandir(path.parent):
            if (found := name.fullmatch(entry.name)) and (found[1] == "tmp" or path.exists()):
                with suppress(OSError):
                    _remove_free(Path(entry.path))


def _remove_free(sibling: Path) -> None:
    descriptor = os.open(sibling, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    try:
        # Raises where its writer lives.
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if sibling.is_dir():
            shutil.rmtree(sibling, ignore_errors=True)
        else:
            sibling.unlink()
    finally:
        os.close(descriptor)


def _claimed(temporary: Path, descriptor: int) -> bool:
    """Lock what was just made; false where another process took it for a dead one before."""
    with suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(temporary))
    except FileNotFoundError:
        return False


def _sibling(path: Path) -> Path:
    # Not from tempfile, whose files and folders only their owner may read.
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
