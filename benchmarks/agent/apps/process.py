"""An application in a process of its own, on a port of loopback that is open before it starts."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

from adwright.core.errors import ResourceError
from adwright.web.server import listen
from benchmarks.common.result import ROOT

#: Seconds that an application may take to answer for the first time.
PATIENCE = 120.0
_ONCE = 5.0


@contextmanager
def running(
    command: Callable[[int], list[str]], environment: dict[str, str], *, log: Path, path: str = "/"
) -> Iterator[str]:
    """The address of what `command(descriptor)` serves, until the block ends.

    command: takes the descriptor of the listening socket. log: where its output goes. path: what
    is asked for until it answers. Raises ResourceError where it ends before.
    """
    with closing(listen("127.0.0.1", 0)) as opened, log.open("wb") as stream:
        descriptor = opened.fileno()
        process = subprocess.Popen(
            command(descriptor),
            env=environment,
            cwd=ROOT,
            pass_fds=[descriptor],
            stdout=stream,
            stderr=stream,
        )
        url = f"http://127.0.0.1:{opened.getsockname()[1]}"
        try:
            _wait(process, url + path, log)
            yield url
        finally:
            process.terminate()
            process.wait(30)


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    ends = time.monotonic() + PATIENCE
    while True:
        try:
            # The socket listens already, so this waits until somebody answers, or has ended.
            with urlopen(url, timeout=_ONCE):
                return
        except HTTPError:
            return
        except OSError as error:
            if process.poll() is not None or time.monotonic() > ends:
                said = log.read_text("utf-8", "replace").strip().splitlines() or ["nothing"]
                raise ResourceError(
                    f"the application did not start: {said[-1]}", where=url, hint=f"see {log}"
                ) from error
