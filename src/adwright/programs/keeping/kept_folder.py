"""The folder in which programs are kept, which one process has at a time."""

from __future__ import annotations

import asyncio
import fcntl
import logging
from collections.abc import Iterator
from contextlib import suppress
from io import FileIO
from pathlib import Path

from adwright.core.atomic import resource_error
from adwright.core.errors import ConfigError, ResourceError
from adwright.programs.keeping.kept_program import KeptProgram, read_kept
from adwright.programs.keeping.program_log import ProgramLog, open_privately

__all__ = ["KeptFolder"]

_log = logging.getLogger("adwright.programs")
#: Seconds between two looks whether another process still has it.
_LOOK = 0.1
_LOCK, _SUFFIX = "lock", ".jsonl"


class KeptFolder:
    """A folder of programs. patience: seconds that the process before may take to end. Raises
    ResourceError where it cannot be used."""

    def __init__(self, folder: str | Path, *, patience: float = 30.0) -> None:
        self._folder, self._patience = Path(folder), patience
        self._lock: FileIO | None = None

    async def open(self) -> None:
        """Make it, if need be, and wait until no other process has it. Raises ResourceError where
        one does for long."""
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise resource_error(error, self._folder) or error from error
        lock = open_privately(self._folder / _LOCK)
        for _ in range(1 + round(self._patience / _LOOK)):
            with suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._lock = lock
                return
            await asyncio.sleep(_LOOK)
        lock.close()
        raise ResourceError(
            "another service keeps its programs there",
            where=str(self._folder),
            hint="end it, or give each service a folder of its own",
        )

    def close(self) -> None:
        """Let others have it."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def new(self, program_id: str, tenant: str, on_disconnect: str, made: int) -> ProgramLog:
        """The log of a program that is opened."""
        log = ProgramLog(self._folder / f"{program_id}{_SUFFIX}")
        log.begin(program_id, tenant, on_disconnect, made)
        return log

    def programs(self) -> Iterator[KeptProgram]:
        """The programs that are there, the oldest first. One that cannot be read is named, and left
        as it is."""
        found = [path for path in self._folder.iterdir() if path.suffix == _SUFFIX]
        for path in sorted(found, key=lambda one: one.stat().st_ctime):
            try:
                program = read_kept(path)
            except (OSError, ValueError, LookupError, TypeError, ConfigError) as error:
                _log.warning("a kept program cannot be read: %s: %s", path, error)
                continue
            if program is not None:
                yield program
