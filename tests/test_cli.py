from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from typer.testing import CliRunner

from adwright import __version__
from adwright.cli import app


def test_version() -> None:
    result = CliRunner().invoke(app, ["--version"])
    assert result.exit_code == 0
    assert result.output == f"adwright {__version__}\n"


def test_without_a_verb_shows_the_help() -> None:
    assert "--version" in CliRunner().invoke(app, []).output


def test_installed_command() -> None:
    command = Path(sys.executable).with_name("adwright")
    result = subprocess.run([command, "--version"], capture_output=True, text=True, check=True)
    assert result.stdout == f"adwright {__version__}\n"
