"""The command line, called in this process."""

from __future__ import annotations

from typer.testing import CliRunner

from adwright.cli import app


def quietly(*arguments: object, code: int = 0) -> str:
    """What a command prints that tells no progress."""
    return call("--quiet", *arguments, code=code)


def call(*arguments: object, code: int = 0) -> str:
    """What a command prints. code: that it is to exit with."""
    result = CliRunner().invoke(app, [str(each) for each in arguments])
    assert result.exit_code == code, result.output
    return result.output
