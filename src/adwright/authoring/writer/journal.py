"""A file that only grows, which several processes write at once: one JSON object a line.

    journal = JournalFile(folder / "drafts.jsonl")
    journal.read(take)                      # each new line: take(offset, line)
    with journal.writing(take):             # nobody else writes; what others wrote is read first
        journal.append([line])

Lines are appended in one piece, under a lock that the kernel drops when its holder dies. So what
stands behind the last line end while nobody holds the lock was left by a killed process: it is
passed over, said, and cut off by the next one that writes.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

from adwright.core.atomic import resource_error, sync_folder
from adwright.core.errors import FileUnreadableError, ResourceError
from adwright.core.progress import say

__all__ = ["JournalFile", "Take"]

#: Called with the place of each new line in the file, and the line without its end.
Take: TypeAlias = Callable[[int, bytes], None]

_BLOCK = 1 << 24
#: Lines, and seconds, after which what was appended is flushed to the disk.
_GROUP, _GROUP_SECONDS = 256, 1.0


class JournalFile:
    """The file `path`, which is made where it is missing, unless `reading_only`.

    Raises ResourceError where it cannot be opened.
    """

    def __init__(self, path: Path, *, reading_only: bool = False) -> None:
        self._path = path
        flags = os.O_RDONLY if reading_only else os.O_RDWR | os.O_APPEND | os.O_CREAT
        try:
            if not reading_only:
                path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
        except FileNotFoundError as error:
            raise ResourceError(
                "there is no journal of drafts here",
                where=str(path),
                hint="name the folder that `adwright author write` wrote to",
            ) from error
        except OSError as error:
            raise resource_error(error, path) or ResourceError(
                f"the journal cannot be opened: {error.strerror}",
                where=str(path),
                hint="choose another folder",
            ) from error
        if not reading_only:
            sync_folder(path.parent)
        self._end = 0
        self._torn = 0
        self._unsynced = 0
        self._synced = time.monotonic()
        # Locks of the kernel hold between processes; this one between the threads of ours.
        self._mutex = threading.RLock()
        self._writing = False

    @property
    def torn(self) -> int:
        """Bytes of an unfinished last line that were passed over."""
        return self._torn

    def read(self, take: Take) -> None:
        """Read the lines that came since the last call.

        Raises FileUnreadableError where the file has become shorter.
        """
        with self._mutex:
            if self._writing or not self._may_have_grown():
                return
            fcntl.flock(self._file, fcntl.LOCK_SH)
            try:
                self._take_new(take)
            finally:
                fcntl.flock(self._file, fcntl.LOCK_UN)

    @contextmanager
    def writing(self, take: Take) -> Iterator[None]:
        """Let nobody else write until the block ends; first read what others have written."""
        with self._mutex:
            fcntl.flock(self._file, fcntl.LOCK_EX)
            try:
                self._take_new(take)
                self._cut_torn()
                self._writing = True
                yield
            finally:
                self._writing = False
                fcntl.flock(self._file, fcntl.LOCK_UN)

    def append(self, lines: Sequence[bytes], take: Take, *, lasting: bool = False) -> None:
        """Append lines, each with its end, inside of `writing`, and take them.

        lasting: flush them to the disk at once; otherwise they are, in groups.
        Raises ResourceError where the disk is full: then none of them is there.
        """
        data = b"".join(lines)
        try:
            self._write(data)
        except OSError as error:
            os.ftruncate(self._file, self._end)
            raise resource_error(error, self._path) or error from error
        for line in lines:
            take(self._end, line[:-1])
            self._end += len(line)
        self._unsynced += len(lines)
        late = time.monotonic() - self._synced > _GROUP_SECONDS
        if lasting or late or self._unsynced >= _GROUP:
            self.sync()

    def sync(self) -> None:
        """Flush what was appended to the disk."""
        with self._mutex:
            if self._unsynced:
                os.fdatasync(self._file)
                self._unsynced = 0
            self._synced = time.monotonic()

    def line(self, offset: int, length: int) -> bytes:
        """The bytes of a line that was taken."""
        return os.pread(self._file, length, offset)

    def close(self) -> None:
        """Flush and close; any number of times."""
        with self._mutex:
            if self._file >= 0:
                self.sync()
                os.close(self._file)
                self._file = -1

    def _may_have_grown(self) -> bool:
        size = os.fstat(self._file).st_size
        if size < self._end:
            raise FileUnreadableError(
                "the journal has become shorter while it was open",
                file=str(self._path),
                hint="somebody else changes it: open it again",
            )
        # Not by the length of an unfinished line: another one may have taken its place.
        return size > self._end

    def _take_new(self, take: Take) -> None:
        self._may_have_grown()
        tail = b""
        while block := os.pread(self._file, _BLOCK, self._end + len(tail)):
            lines = (tail + block).split(b"\n")
            tail = lines.pop()
            for line in lines:
                take(self._end, line)
                self._end += len(line) + 1
        if len(tail) != self._torn:
            self._torn = len(tail)
            if tail:
                say(
                    f"{self._path}: an unfinished last line of {len(tail):,} bytes is dropped; "
                    "its writer was killed"
                )

    def _cut_torn(self) -> None:
        if self._torn:
            os.ftruncate(self._file, self._end)
            self._torn = 0

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._file, view) :]
