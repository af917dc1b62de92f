"""`adwright programs` in this process, and its server as a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from typer.testing import CliRunner, Result

from adwright.cli import app
from adwright.cli.lm.serve import KEY_VARIABLE
from tests.support.forks import programs

__all__ = ["children", "run", "serving"]


def run(*arguments: str, code: int = 0) -> Result:
    """What `adwright programs` prints. code: that it is to exit with."""
    result = CliRunner().invoke(app, ["programs", *arguments])
    assert result.exit_code == code, result.output
    return result


@contextmanager
def serving(*arguments: str, key: str = "") -> Iterator[tuple[str, int]]:
    """URL and process id of a server, which is told to end afterwards."""
    process = subprocess.Popen(
        [programs() / "adwright", "programs", "serve", *arguments, "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1", KEY_VARIABLE: key},
    )
    try:
        assert process.stdout is not None
        process.stdout.readline()
        url = process.stdout.readline().removeprefix("serving on ").strip()
        assert url.startswith("http"), process.communicate()[1]
        yield url.removesuffix("/v1"), process.pid
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
        assert "Traceback" not in errors, errors
        assert not key or key not in errors
    finally:
        process.kill()
        process.communicate()


def children(pid: int) -> list[int]:
    """Ids of the processes that a process has started."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            # Behind the name, which may hold anything: state and parent.
            parent = stat.read_text("ascii", "replace").rpartition(")")[2].split()[1]
            if int(parent) == pid:
                found.append(int(stat.parent.name))
    return found
