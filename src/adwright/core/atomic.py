"""Write a file or a folder so that a reader sees all of it or nothing.

Everything is written to a temporary sibling (same file system, so that the rename is
atomic), flushed to the disk, and then renamed into place. A crash leaves at most a hidden
``.NAME.*.tmp`` sibling, never a half-written NAME; the next process that writes NAME removes
it.

Hidden siblings of a path, in which a file or a folder is written before it takes its name.

Whoever writes one holds a lock on it, which the kernel drops when its process dies. So a sibling
whose lock is free was left by a killed process, and the next one that writes the same name removes
it. Where the file system knows no locks, nothing is removed.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

from adwright.core.errors import AdwrightError, ResourceError

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


# Of linux/fcntl.h and linux/fs.h.
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2

_NUMBER = re.compile(r"(?:\[Errno |\(os error )(\d{1,4})[\])]")
# errno -> what to tell a person. Other operating-system errors pass through unchanged.
_FULL = {
    errno.ENOSPC: ("the disk is full", "free some space, or write to another disk"),
    errno.EDQUOT: ("the disk quota is used up", "free some space, or write to another disk"),
    errno.EFBIG: ("the file is larger than allowed here", "raise the file size limit"),
}
_REFUSED = _FULL | {
    errno.EACCES: ("no permission to write", "choose a folder that you may write to"),
    errno.EPERM: ("no permission to write", "choose a folder that you may write to"),
    errno.EROFS: ("the file system is read-only", "choose a folder that you may write to"),
    errno.EEXIST: ("the path is taken by something that is not a folder", "choose another path"),
    errno.ENOTDIR: ("a part of the path is a file, not a folder", "choose another path"),
    errno.EISDIR: ("the path is taken by a folder", "choose another path"),
    errno.ENAMETOOLONG: ("the name is too long for this file system", "choose a shorter one"),
    errno.ENOTEMPTY: ("another process wrote there at the same time", "choose another path"),
}
# Of what makes missing folders itself: a place such as /proc, where none can be made.
_NOWHERE = _REFUSED | {errno.ENOENT: ("no folder can be made here", "choose another path")}


@contextmanager
def atomic_file(path: str | Path, *, mode: int = 0o666) -> Iterator[Path]:
    """Yield a temporary sibling of `path` to write; rename it to `path` when the block ends, and
    delete it on any error. Creates missing parent folders. mode: 0o600 for what only its owner may
    read.

    A symbolic link at `path` is replaced, not followed.
    Raises ResourceError where the disk is full or the folder cannot be written.
    """
    path = Path(path)
    with ExitStack() as stack:
        with _as_resource_error(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            remove_dead(path)
            temporary, descriptor = stack.enter_context(new_file(path, mode))
        try:
            # Inside the block "permission denied" may be about any other file: leave it alone.
            with _as_resource_error(path, _FULL):
                yield temporary
            with _as_resource_error(path):
                os.fsync(descriptor)
                os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            raise
    sync_folder(path.parent)


def atomic_write_bytes(path: str | Path, data: bytes, *, mode: int = 0o666) -> None:
    """Write `data` to `path`; otherwise as `atomic_file`."""
    with atomic_file(path, mode=mode) as temporary:
        temporary.write_bytes(data)


def atomic_write_text(path: str | Path, text: str, *, mode: int = 0o666) -> None:
    """Write `text` in UTF-8 to `path`; otherwise as `atomic_write_bytes`."""
    atomic_write_bytes(path, text.encode("utf-8"), mode=mode)


@contextmanager
def atomic_folder(path: str | Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Yield an empty temporary sibling of `path`; rename it to `path` when the block ends.

    On any error, an interrupt included, the temporary folder is deleted and `path` stays as
    it was. With `overwrite` the new folder and an existing one change names in one step of the
    kernel (Linux, on file systems that can do that), and the old one is deleted. Elsewhere it
    is moved aside before: then there is no folder of that name for an instant, and a process
    that is killed in it leaves the old one as ``.NAME.*.old``.

    Raises ResourceError where `path` exists already (without `overwrite`), is a symbolic
    link or no folder, or where the disk is full.
    """
    path = Path(path)
    with ExitStack() as stack:
        with _as_resource_error(path):
            check_free(path, overwrite=overwrite)
            path.parent.mkdir(parents=True, exist_ok=True)
            remove_dead(path)
            temporary = stack.enter_context(new_folder(path))
        try:
            # Inside the block "permission denied" may be about any other file: leave it alone.
            with _as_resource_error(path, _FULL):
                yield temporary
            with _as_resource_error(path):
                _sync_tree(temporary)
                check_free(path, overwrite=overwrite)
                _move_into_place(temporary, path)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
    sync_folder(path.parent)


@contextmanager
def locked(path: str | Path) -> Iterator[None]:
    """Wait until no other process holds the lock file `path`, and hold it until the block ends.

    Missing folders are created. The kernel drops the lock when its holder dies, so that a killed
    process blocks nobody. Raises ResourceError where the file cannot be written.
    """
    descriptor = _lock_file(Path(path), 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def claim(path: str | Path, *, mode: int = 0o666) -> Callable[[], None] | None:
    """As `locked`, without waiting: what lets go of the lock file, or None where another process
    holds it."""
    descriptor = _lock_file(Path(path), mode)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return partial(os.close, descriptor)


def _lock_file(path: Path, mode: int) -> int:
    with _as_resource_error(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, mode)


def sync_folder(folder: Path) -> None:
    """Flush the entries of a folder to the disk, where its file system can do that."""
    # Some network file systems cannot; the data itself is safe by then.
    with suppress(OSError):
        _sync(folder)


def resource_error(error: Exception, path: str | Path) -> ResourceError | None:
    """The ResourceError that says in plain words what `error` at `path` means, or None.

    None means that the error is not about the machine's resources: raise the original. Libraries
    tell the number of the system's error in their own errors' text alone; so does `shutil`.
    """
    return _translate(error, path, _REFUSED)


def _translate(
    error: Exception, path: str | Path, known: dict[int, tuple[str, str]]
) -> ResourceError | None:
    number = error.errno if isinstance(error, OSError) else None
    if number is None and (found := _NUMBER.search(str(error))):
        number = int(found[1])
    if number is None or number not in known or isinstance(error, AdwrightError):
        return None
    what, hint = known[number]
    return ResourceError(what, where=str(path), hint=hint)


@contextmanager
def _as_resource_error(path: Path, known: dict[int, tuple[str, str]] = _NOWHERE) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        translated = _translate(error, path, known)
        if translated is None:
            raise
        raise translated from error


def check_free(path: Path, *, overwrite: bool) -> None:
    """Raise ResourceError as `atomic_folder` does of a path that is taken: to ask before work
    that would be for nothing."""
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise ResourceError(
            "the path is taken by something that is not a folder",
            where=str(path),
            hint="choose another path, or remove what is there",
        )
    if path.exists() and not overwrite:
        raise ResourceError(
            "the folder exists already",
            where=str(path),
            hint="choose another path, or ask for overwriting",
        )


def _move_into_place(temporary: Path, path: Path) -> None:
    if not path.exists():
        os.rename(temporary, path)
    elif _exchange(temporary, path):
        shutil.rmtree(temporary, ignore_errors=True)
    else:
        # A non-empty folder cannot be renamed over, so the old one steps aside first.
        aside = aside_of(path)
        os.rename(path, aside)
        try:
            os.rename(temporary, path)
        except BaseException:
            os.rename(aside, path)
            raise
        shutil.rmtree(aside, ignore_errors=True)


def _exchange(one: Path, other: Path) -> bool:
    """Let two folders change their names in one step; false where that cannot be done here."""
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):
        return False  # no Linux, or a C library from before 2018
    names = _AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other)
    if rename(*names, ctypes.c_uint(_RENAME_EXCHANGE)) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP):
        return False
    raise OSError(number, os.strerror(number), str(other))


def _sync_tree(folder: Path) -> None:
    """Flush every file and folder under `folder`, so that the rename is not ahead of them."""
    for root, _, names in os.walk(folder):
        for name in names:
            file = os.path.join(root, name)
            if not os.path.islink(file):
                _sync(file)
        _sync(root)


def _sync(path: str | Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
