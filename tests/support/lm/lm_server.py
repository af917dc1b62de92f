"""`adwright lm` in this process, and its server as a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from typer.testing import CliRunner

from adwright.cli import app
from adwright.cli.lm.serve import KEY_VARIABLE
from tests.support.forks import programs


def run(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["lm", *arguments])
    assert result.exit_code == code, result.output
    return result.output


@contextmanager
def serving(
    *arguments: str, key: str = "", number: signal.Signals = signal.SIGTERM
) -> Iterator[tuple[str, list[str]]]:
    """(URL, what the server writes to standard error, there once it has ended by the signal)."""
    process = subprocess.Popen(
        [programs() / "adwright", "lm", "serve", *arguments, "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1", KEY_VARIABLE: key},
    )
    told: list[str] = []
    try:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.stdout.readline().removeprefix("serving on ").strip(), told
        process.send_signal(number)
        _, errors = process.communicate(timeout=30)
        assert process.returncode == 0, errors
        assert "Traceback" not in errors
        assert not key or key not in errors
        told += errors.splitlines()
    finally:
        process.kill()
        process.communicate()
