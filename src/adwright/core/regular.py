"""Read plain files and nothing else.

A path that a stranger can write to may be a FIFO, on which opening or reading never returns, a
device whose opening does something, or a link to elsewhere. So the kind is looked at before the
opening, which neither waits nor follows a link, and again on what was opened; and the size is
known before a byte is read.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def open_regular(path: str | Path) -> Iterator[tuple[BinaryIO, int]]:
    """The file `path`, open for reading, and its size in bytes.

    Raises OSError, as opening does, and where it is a link, a FIFO, a device, a socket or a folder.
    """
    _require_regular(os.lstat(path), path)
    with open(path, "rb", opener=_without_waiting) as stream:
        status = os.fstat(stream.fileno())
        _require_regular(status, path)
        yield stream, status.st_size


def read_regular(path: str | Path, *, most: int) -> bytes:
    """The bytes of the file `path`, of which there may be `most`.

    Raises OSError as `open_regular`, and for a larger file, before it is read.
    """
    with open_regular(path) as (stream, size):
        data = stream.read(size + 1) if size <= most else b""
    if max(size, len(data)) > most:
        raise OSError(errno.EFBIG, f"it has more than {most:,} bytes", str(path))
    return data


def memory_bytes() -> int:
    """Bytes of this machine's memory: no file that is read whole can be larger."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _without_waiting(path: str, flags: int) -> int:
    # What took its place since: a FIFO is opened without a writer, a link not at all.
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOFOLLOW)


def _require_regular(status: os.stat_result, path: str | Path) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
