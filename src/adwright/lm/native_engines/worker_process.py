"""One life of the process that an engine runs in, from its start to its end.

Its socket and its log lie in a folder that only its owner can open. `lifeline` is its other side.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, cast

from adwright.core.errors import AdwrightError, ResourceError

__all__ = ["Refusal", "WorkerProcess"]

#: From what the worker told, and the path of its log, the error that its model cannot be opened.
Refusal = Callable[[str, Path], AdwrightError]

#: A socket's path may have 107 bytes.
_LONGEST = 90


class WorkerProcess:
    """A process that runs a module, which takes up its lifeline.

    settings: for the module, but `socket` and `parent`. Raises ResourceError where no process can
    be started. It is usable once `ready` has returned.
    """

    def __init__(self, module: str, settings: Mapping[str, Any]) -> None:
        self.folder = _folder()
        self.socket = str(self.folder / "s.sock")
        self._log = self.folder / "log"
        self._asked = dict(settings) | {"socket": self.socket, "parent": os.getpid()}
        try:
            with self._log.open("w") as errors:
                self._process = subprocess.Popen(
                    [sys.executable, "-P", "-m", module],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    text=True,
                    # An interrupt from the keyboard is for the parent, which then ends this.
                    start_new_session=True,
                )
        except BaseException as error:
            shutil.rmtree(self.folder, ignore_errors=True)
            if isinstance(error, OSError):
                raise ResourceError(
                    f"no process can be started: {error}", where=module, hint="end others first"
                ) from error
            raise
        # Where nobody ends it, the end of the program does.
        self.end = weakref.finalize(self, _ended, self._process, self.folder, os.getpid())

    @property
    def pid(self) -> int:
        """Id of the process."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the process is there."""
        return self._process.poll() is None

    @property
    def ending(self) -> str:
        """How it ended, in words; empty while it is there."""
        code = self._process.poll()
        if code is None:
            return ""
        if code >= 0:
            return f"ended with code {code}"
        try:
            return f"was killed by {signal.Signals(-code).name}"
        except ValueError:
            return f"was killed by signal {-code}"

    def ready(self, seconds: float, refusal: Refusal) -> None:
        """Hand over the settings and wait until the worker takes requests.

        Raises what `refusal` makes where it tells that it cannot, or dies; ResourceError where it
        has told nothing after so many seconds.
        """
        stdin, stdout = cast(IO[str], self._process.stdin), cast(IO[str], self._process.stdout)
        line = ""
        with suppress(BrokenPipeError, ValueError):  # it died as it started, or was ended meanwhile
            stdin.write(json.dumps(self._asked) + "\n")
            stdin.flush()
            if not select.select([stdout], [], [], seconds)[0]:
                raise ResourceError(
                    f"the process has not opened its model after {seconds:g} s",
                    where=str(self._asked.get("model", "")),
                    hint="look at the load of the machine",
                )
            line = stdout.readline()
        told = json.loads(line) if line else {}
        if "ready" not in told:
            if not line:
                with suppress(subprocess.TimeoutExpired):
                    self._process.wait(seconds)
            raise refusal(str(told.get("error", "")) or f"it {self.ending}", self._log)

    def gone_within(self, seconds: float) -> bool:
        """Whether the process ends within so many seconds."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def kill(self) -> None:
        """Kill it; its weights are mapped from their file, and it writes nothing, so that may be in
        the middle of a step. `end` also removes what it leaves."""
        self._process.kill()


def _folder() -> Path:
    found = Path(tempfile.mkdtemp(prefix="adwright-"))
    if len(os.fsencode(found)) > _LONGEST:
        found.rmdir()
        found = Path(tempfile.mkdtemp(prefix="adwright-", dir="/tmp"))
    return found


def _ended(process: subprocess.Popen[str], folder: Path, owner: int) -> None:
    """Kill the process, read it off and remove its folder."""
    if os.getpid() != owner:  # a fork of the owner comes to its end
        return
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(BrokenPipeError, ValueError):
                pipe.close()
    shutil.rmtree(folder, ignore_errors=True)
