"""One life of a child process, from its start to its end, seen from both sides.

    life = WorkerProcess("adwright.lm.compiling.rehearsal", {"seconds": 1})   # the parent
    life.ready(10, refusal)                     # hands the settings over, and waits for it
    lines = JsonLines(life.connect())
    life.end()

    lifeline = take_up()                        # the child: `python -P -m MODULE`
    ...                                         # opens its model; lifeline.failed(error) if not
    for told in JsonLines(lifeline.connection()):
        ...

The child reads one line of JSON from its standard input and writes one line when it is ready or has
failed. After that its standard input is a lifeline: at its end, or when the parent is another one,
the child ends at once, whatever it computes. So it never outlives a parent that was killed. Its
socket and its log lie in a folder that only its owner can open.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NoReturn, cast

from adwright.core.errors import AdwrightError, ResourceError

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
        return self.code is None

    @property
    def code(self) -> int | None:
        """What it ended with; below zero the signal that killed it, None while it is there."""
        return self._process.poll()

    @property
    def ending(self) -> str:
        """How it ended, in words; empty while it is there."""
        code = self.code
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

    def connect(self) -> socket.socket:
        """A connection to a life that is ready. Raises OSError where it is gone by now."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.connect(self.socket)
        except OSError:
            connection.close()
            raise
        return connection

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


#: How often it looks whether its parent is still there. The lifeline tells at once, but a process
#: that the parent forked may hold the other end of it open.
_LOOK_SECONDS = 0.5


@dataclass(frozen=True)
class Lifeline:
    """What a worker was started with. answers: where its one line goes. watch: ends with it."""

    settings: Mapping[str, Any]
    answers: IO[str]
    watch: threading.Thread

    def ready(self) -> None:
        """Tell the parent that requests can come."""
        _say(self.answers, {"ready": True})

    def connection(self) -> socket.socket:
        """Tell the parent that it can come, and take its one connection."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            listener.bind(self.settings["socket"])
            listener.listen(1)
            self.ready()
            return listener.accept()[0]

    def failed(self, error: Exception) -> NoReturn:
        """Tell the parent why there will be no answers, and end the process."""
        time.sleep(_LOOK_SECONDS)  # until what native code logs has been written
        _say(self.answers, {"error": str(error)})
        os._exit(1)


def take_up() -> Lifeline:
    """Read the settings, among them `socket` and `parent`, and watch the parent from now on."""
    settings = json.loads(sys.stdin.readline())
    # What native code prints must not get between the lines of this protocol.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    folder = Path(settings["socket"]).parent
    watch = threading.Thread(
        target=follow, args=(settings["parent"], sys.stdin.fileno(), folder), daemon=True
    )
    watch.start()
    return Lifeline(settings, answers, watch)


def follow(parent: int, lifeline: int, folder: Path) -> None:
    """Wait until the parent is gone or has closed the lifeline; then end this process.

    folder: of the socket; it is removed, since the parent may not be able to any more.
    """
    while os.getppid() == parent:
        ready, _, _ = select.select([lifeline], [], [], _LOOK_SECONDS)
        if ready and not os.read(lifeline, 4096):
            break
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)


def _say(answers: IO[str], what: Mapping[str, Any]) -> None:
    answers.write(json.dumps(what) + "\n")
    answers.flush()


class JsonLines:
    """Lines of JSON over a socket, of which any thread may send one. Iterate over what comes, up
    to the end of the connection."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket, self._sending = connection, threading.Lock()
        self._lines = connection.makefile("rb")

    def say(self, *whats: Mapping[str, Any]) -> None:
        """Send lines in one piece. Raises OSError where the other side is gone."""
        data = b"".join(json.dumps(what).encode() + b"\n" for what in whats)
        with self._sending:
            self._socket.sendall(data)

    def waits(self, seconds: float) -> bool:
        """Whether there is something to read within so many seconds."""
        return bool(select.select([self._socket], [], [], seconds)[0])

    def next(self, longest: int = -1) -> Any:
        """The value of the next line. Raises EOFError at the end, or in the middle of a line;
        ValueError where it is no JSON."""
        line = self._lines.readline(longest)
        if not line.endswith(b"\n"):
            raise EOFError("the connection has ended")
        return json.loads(line)

    def __iter__(self) -> Iterator[Any]:
        with suppress(EOFError):
            while True:
                yield self.next()

    def shut(self) -> None:
        """End the connection for both sides, and for who reads it here; any number of times."""
        with suppress(OSError):  # it has ended by itself
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Let go of it."""
        self._lines.close()
        self._socket.close()
