"""`adwright programs` in this process, and its server as a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from typer.testing import CliRunner, Result

from adwright.cli import app
from adwright.cli.lm.serve import KEY_VARIABLE
from tests.support.forks import programs

#: The environment variable by which processes of one server are found.
_MARK = "ADWRIGHT_TEST_SERVER"


def run(*arguments: str, code: int = 0) -> Result:
    """What `adwright programs` prints. code: that it is to exit with."""
    result = CliRunner().invoke(app, ["programs", *arguments])
    assert result.exit_code == code, result.output
    return result


@contextmanager
def serving(*arguments: str, key: str = "") -> Iterator[tuple[str, str]]:
    """URL of a server, which is told to end afterwards, and its mark, see `workers`."""
    mark = uuid.uuid4().hex
    process = subprocess.Popen(
        [programs() / "adwright", "programs", "serve", *arguments, "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1", KEY_VARIABLE: key, _MARK: mark},
    )
    try:
        assert process.stdout is not None
        process.stdout.readline()
        url = process.stdout.readline().removeprefix("serving on ").strip()
        assert url.startswith("http"), process.communicate()[1]
        yield url.removesuffix("/v1"), mark
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
        assert "Traceback" not in errors, errors
        assert not key or key not in errors
    finally:
        process.kill()
        process.communicate()


def workers(mark: str) -> list[int]:
    """Ids of the processes of engines that a server with this mark has started."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            is_worker = b"paged_worker" in (folder / "cmdline").read_bytes()
            if is_worker and f"{_MARK}={mark}".encode() in (folder / "environ").read_bytes():
                found.append(int(folder.name))
    return found
