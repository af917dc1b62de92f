"""`adwright agent ...` as a person at a terminal gives it.

code, said = Command(["do", task, "--document", "app.txt"], folder).talk(lambda shown: True)
"""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

_ASKED, _MARK = "Send it? [y/N]: ", "ADWRIGHT_BENCHMARK_RUN"
_MOST_SECONDS, _ENDS_SECONDS = 120.0, 5.0
_SIGNS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
#: What is said to a change that is shown: true is a yes.
Answer = Callable[[str], bool]


class Command:
    """One under way. What it starts is known by a mark in its environment. names: variables."""

    def __init__(
        self, command: Sequence[str], folder: Path, names: Mapping[str, str] | None = None
    ) -> None:
        self._ours, theirs = pty.openpty()
        self.mark = f"{_MARK}={uuid4().hex}"
        name, _, value = self.mark.partition("=")
        own = {"NO_COLOR": "1", "COLUMNS": "400", name: value}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "adwright", "agent", *command],
            cwd=folder, env=os.environ | dict(names or {}) | own,
            stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
        )  # fmt: skip
        os.close(theirs)

    def talk(self, answer: Answer, most: float = _MOST_SECONDS) -> tuple[int, str]:
        """Answer what it asks until it ends: its exit code, and what it said, without colours."""
        said, answered, ends = "", 0, time.monotonic() + most
        while time.monotonic() < ends:
            ready, _, _ = select.select([self._ours], [], [], 0.2)
            if ready:
                try:
                    said += os.read(self._ours, 1 << 16).decode("utf-8", "replace")
                except OSError:  # nobody writes there any more
                    break
                while said.count(_ASKED) > answered:
                    answered += 1
                    shown = said.split(_ASKED)[answered - 1].rpartition("waits for a yes")[2]
                    reply = answer(_SIGNS.sub("", shown))
                    with suppress(OSError):
                        os.write(self._ours, b"y\n" if reply else b"n\n")
            elif self.process.poll() is not None:
                break
        else:
            self.kill()
        code = self.process.wait()
        os.close(self._ours)
        return code, _SIGNS.sub("", said)

    def kill(self) -> None:
        """End its process group at once."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def ended(self) -> int:
        """Wait until nothing of it runs any more; how many processes did not end by themselves."""
        until = time.monotonic() + _ENDS_SECONDS
        while (left := self._own()) and time.monotonic() < until:
            time.sleep(0.1)
        for number in left:
            with suppress(OSError):
                os.kill(number, signal.SIGKILL)
        return len(left)

    def _own(self) -> list[int]:
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            with suppress(OSError):
                if self.mark.encode() in path.read_bytes():
                    found.append(int(path.parent.name))
        return found
