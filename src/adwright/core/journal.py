"""Files that only grow, one JSON object a line: the one journal of the house.

    append_rows(path, [{"step": 3, "loss": 0.31}])     # on the disk when it returns
    steps = read_rows(path, dict)                      # none where there is no file

    with closing(Journal(path)) as journal:            # held open; other processes write, too
        journal.read(take)                             # each new line: take(offset, line)
        with journal.writing(take):                    # nobody else writes; what they wrote is read
            journal.append([line_of({"step": 4})], take)

Lines are appended in one piece, under a lock that the kernel drops when its holder dies. So what
stands behind the last line end while nobody holds the lock is the end of an append that was killed:
it is said, passed over by who reads, and cut off by who writes. Only where it is a whole object its
line end alone is missing, and it counts. Damage anywhere else is an error that names the line.

The lines of a journal can prove each other, see `SealedChain`.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import stat
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar

from adwright.core.atomic import atomic_write_bytes, resource_error, sync_folder
from adwright.core.errors import AdwrightError, FileUnreadableError, ResourceError
from adwright.core.progress import say

#: Called with the place of each new line in the file, and the line without its end.
Take: TypeAlias = Callable[[int, bytes], None]
#: When what was appended is flushed to the disk: at once; some lines, or a second, together; or
#: when the system likes, which survives the process but not the machine.
Flush: TypeAlias = Literal["now", "groups", "system"]

_Row = TypeVar("_Row")
_BLOCK, _TAIL = 1 << 24, 1 << 16
_GROUP, _GROUP_SECONDS = 256, 1.0
_START = "0" * 64
_BY_HAND = "was it changed by hand? Take that line out, or restore the file"
#: What a line that was damaged may raise in whoever reads it.
_DAMAGE = (ValueError, TypeError, LookupError, AttributeError, RecursionError, AdwrightError)


class Journal:
    """The file `path`. It is made where it is missing, unless `reading_only`.

    new: raise where it is there already. private: only its owner may read it. hint: what to do
    about a line that is damaged.
    Raises ResourceError where it cannot be opened; FileUnreadableError where it is to be read.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        reading_only: bool = False,
        new: bool = False,
        private: bool = False,
        hint: str = _BY_HAND,
    ) -> None:
        self.path, self._hint = Path(path), hint
        flags = os.O_RDONLY if reading_only else os.O_RDWR | os.O_APPEND | os.O_CREAT
        flags |= os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | (os.O_EXCL if new else 0)
        try:
            if not reading_only:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            there = self.path.exists()
            self._file = os.open(self.path, flags, 0o600 if private else 0o666)
            if not stat.S_ISREG(os.fstat(self._file).st_mode):
                os.close(self._file)
                raise OSError(errno.EINVAL, "it is no regular file")
        except OSError as error:
            if reading_only:
                raise FileUnreadableError(
                    f"the file cannot be read: {error.strerror}",
                    file=str(self.path),
                    hint="check the path",
                ) from error
            raise resource_error(error, self.path) or ResourceError(
                f"the file cannot be opened: {error.strerror}",
                where=str(self.path),
                hint="choose another folder",
            ) from error
        if not there:
            sync_folder(self.path.parent)
        self._end = 0
        self._torn = 0
        self._unended = False
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

        Raises FileUnreadableError that names the line which `take` could not read, and where the
        file has become shorter.
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
    def writing(self, take: Take | None = None) -> Iterator[None]:
        """Let nobody else write until the block ends; first read what others have written.

        take: None passes over it.
        """
        with self._mutex:
            fcntl.flock(self._file, fcntl.LOCK_EX)
            try:
                if take is None and os.fstat(self._file).st_size != self._end:
                    self._end = self._whole_lines()
                self._take_new(take or _pass)
                self._mend_end()
                self._writing = True
                yield
            finally:
                self._writing = False
                fcntl.flock(self._file, fcntl.LOCK_UN)

    def append(
        self, lines: Sequence[bytes], take: Take | None = None, *, flush: Flush = "groups"
    ) -> None:
        """Append lines, see `line_of`, inside of `writing`, and take them.

        Raises ResourceError where the disk is full: then none of them is there.
        """
        self._write(b"".join(lines))
        for line in lines:
            if take is not None:
                take(self._end, line[:-1])
            self._end += len(line)
        if flush != "system":
            self._unsynced += len(lines)
        late = time.monotonic() - self._synced > _GROUP_SECONDS
        if flush == "now" or (self._unsynced and late) or self._unsynced >= _GROUP:
            self.sync()

    def sync(self) -> None:
        """Flush what was appended to the disk."""
        with self._mutex:
            if self._unsynced:
                os.fdatasync(self._file)
                self._unsynced = 0
            self._synced = time.monotonic()

    def parsed(self, offset: int, length: int, parse: Callable[[Any], _Row]) -> _Row:
        """What `parse` makes of the value of a line that was taken. Raises FileUnreadableError that
        names the line where it cannot."""
        line = os.pread(self._file, length, offset)
        try:
            return parse(json.loads(line))
        except _DAMAGE as error:
            raise self._damaged(offset, line, error) from error

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
                file=str(self.path),
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
                self._take(take, line)
                self._end += len(line) + 1
        self._unended = bool(tail) and _is_object(tail)
        if self._unended:
            self._take(take, tail)
            self._end, tail = self._end + len(tail), b""
        if len(tail) != self._torn:
            self._torn = len(tail)
            if tail:
                say(
                    f"{self.path}: an unfinished last line of {len(tail):,} bytes is dropped; "
                    "its writer was killed"
                )

    def _take(self, take: Take, line: bytes) -> None:
        if line.strip():
            try:
                take(self._end, line)
            except _DAMAGE as error:
                raise self._damaged(self._end, line, error) from error

    def _damaged(self, offset: int, line: bytes, error: Exception) -> FileUnreadableError:
        before, at = 1, 0
        while at < offset and (block := os.pread(self._file, min(_BLOCK, offset - at), at)):
            before, at = before + block.count(b"\n"), at + len(block)
        told = error.what if isinstance(error, AdwrightError) else str(error)
        if isinstance(error, KeyError):
            told = f"it lacks {error.args[0]!r}"
        return FileUnreadableError(
            f"line {before} cannot be read: {told[:200] or type(error).__name__}",
            file=str(self.path),
            value=line[:60],
            hint=self._hint,
        )

    def _whole_lines(self) -> int:
        """Bytes up to the last line end."""
        end = os.fstat(self._file).st_size
        while end:
            start = max(0, end - _TAIL)
            found = os.pread(self._file, end - start, start).rfind(b"\n")
            if found >= 0:
                return start + found + 1
            end = start
        return 0

    def _mend_end(self) -> None:
        """Nothing that is appended may join on to what stands behind the last line end."""
        if self._torn:
            os.ftruncate(self._file, self._end)
            self._torn = 0
        elif self._unended:
            self._write(b"\n")
            self._end, self._unended = self._end + 1, False

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._file, view) :]
        except OSError as error:
            os.ftruncate(self._file, self._end)
            raise resource_error(error, self.path) or error from error


def line_of(row: Mapping[str, Any]) -> bytes:
    """A row as a line of a journal, with its end."""
    text = json.dumps(row, ensure_ascii=False, separators=(",", ":"))
    try:
        return text.encode("utf-8") + b"\n"
    except UnicodeEncodeError:  # half of a character, as pages of strangers may hold
        return json.dumps(row, separators=(",", ":")).encode("ascii") + b"\n"


def append_rows(
    path: str | Path,
    rows: Iterable[Mapping[str, Any]],
    *,
    flush: Flush = "now",
    private: bool = False,
) -> None:
    """Add rows in one piece to a journal, which is made where it is missing.

    Raises ResourceError where the disk refuses: then none of them is there.
    """
    append_lines(path, [line_of(row) for row in rows], flush=flush, private=private)


def append_lines(
    path: str | Path, lines: Sequence[bytes], *, flush: Flush = "now", private: bool = False
) -> None:
    """As `append_rows`, of lines."""
    with closing(Journal(path, private=private)) as journal, journal.writing():
        journal.append(lines, flush=flush)


def read_rows(
    path: str | Path,
    parse: Callable[[dict[str, Any]], _Row],
    *,
    hint: str = _BY_HAND,
    ended_torn: bool = False,
) -> list[_Row]:
    """What `parse` makes of each row of a journal; none where there is no file.

    ended_torn: pass over lines that are no object, of a journal whose torn lines older versions
    ended, and went on behind them.
    Raises FileUnreadableError where the file cannot be opened; and one that names the line where
    that is no object, or `parse` refuses it.
    """
    found: list[_Row] = []

    def take(offset: int, line: bytes) -> None:
        if not ended_torn or _is_object(line):
            found.append(parse(_object(line)))

    path = Path(path)
    if path.exists() or path.is_symlink():
        with closing(Journal(path, reading_only=True, hint=hint)) as journal:
            journal.read(take)
    return found


def write_rows(path: str | Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Replace a journal by these rows, all at once. Raises ResourceError where the disk refuses."""
    atomic_write_bytes(path, b"".join(line_of(row) for row in rows))


class SealedChain:
    """Lines that prove each other: each holds the seal of the line before (`before`) and its own
    (`seal`), the SHA-256 of all the rest of it.

    So a line that is changed, taken out, added or moved breaks the chain at that place. Lines that
    are cut off at the end break nothing; who keeps the head, the last seal, finds that too. It
    shows tampering to who knows the head; it is no signature.

    rows: those that are sealed in their order. problem: what is wrong behind them, in words that
    begin with the line; empty for a chain that is whole. torn: bytes behind the last line end.
    """

    def __init__(self) -> None:
        self.torn = 0
        self.rows: list[dict[str, Any]] = []
        self.heads: list[str] = [_START]
        self.problem = ""

    @property
    def head(self) -> str:
        """The last seal; of no line 64 zeros."""
        return self.heads[-1]

    def add(self, row: Mapping[str, Any]) -> bytes:
        """Seal one more row, and return its line."""
        line = {**row, "before": self.head}
        seal = next(_seals(line))
        self.rows.append(dict(row))
        self.heads.append(seal)
        return line_of({**line, "seal": seal})

    def take(self, offset: int, line: bytes) -> None:
        """Follow a line of a journal, see `Take`."""
        if self.problem:
            return
        try:
            row = _object(line)
            # Traces of agents were sealed under the name "hash" once.
            seal = row.pop("seal", None) or row.pop("hash", None)
            sealed = seal in _seals(row)
        except _DAMAGE:
            row, seal, sealed = {}, None, False
        before = row.pop("before", None)
        if not seal or not before:
            told = "it is no entry"
        elif before != self.head:
            told = "the entry before it was changed, taken out or added"
        elif not sealed:
            told = "it was changed after it was sealed"
        else:
            self.rows.append(row)
            self.heads.append(seal)
            return
        self.problem = f"line {len(self.rows) + 1}: {told}"


def read_chain(path: str | Path) -> SealedChain:
    """The chain in a file, as far as it holds; an empty one where there is no file. Raises
    FileUnreadableError where it cannot be opened."""
    chain, path = SealedChain(), Path(path)
    if path.exists() or path.is_symlink():
        with closing(Journal(path, reading_only=True)) as journal:
            journal.read(chain.take)
            chain.torn = journal.torn
    return chain


def _seals(line: Mapping[str, Any]) -> Iterator[str]:
    """The SHA-256 of a line in the form of today, and in that of older logs of edits."""
    for ascii_only in (True, False):
        text = json.dumps(line, sort_keys=True, separators=(",", ":"), ensure_ascii=ascii_only)
        yield hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _object(line: bytes) -> dict[str, Any]:
    value = json.loads(line)
    if not isinstance(value, dict):
        raise TypeError("it is no object")
    return value


def _is_object(line: bytes) -> bool:
    try:
        _object(line)
    except _DAMAGE:
        return False
    return True


def _pass(offset: int, line: bytes) -> None:
    """Nothing of it."""
