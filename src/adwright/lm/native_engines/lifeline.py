"""The side of an engine's worker process: its settings come in, and its parent is watched.

A worker reads one line of JSON from its standard input and writes one line when it is ready or has
failed. After that its standard input is a lifeline: at its end, or when the parent is another one,
the worker ends at once, whatever it computes. So it never outlives a parent that was killed.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NoReturn

__all__ = ["Lifeline", "follow", "take_up"]

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
