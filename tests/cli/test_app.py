from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from adwright.cli import app
from adwright.core.errors import FileUnreadableError
from adwright.core.version import __version__


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    yield
    logging.getLogger("adwright").handlers.clear()
    logging.getLogger("adwright").setLevel(logging.NOTSET)


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


@pytest.mark.parametrize(
    "verb",
    [
        *(["demo"], ["train"], ["evaluate"], ["score"], ["explain"], ["export"], ["data"]),
        *(["serve"], ["publish"], ["key"], ["simulate"]),
        *(["train", "din"], ["train", "hstu"], ["train", "sasrec"]),
        *(["data", "describe"], ["data", "import"], ["data", "export"]),
    ],
)
def test_each_verb_explains_itself(verb: list[str]) -> None:
    result = CliRunner().invoke(app, [*verb, "--help"])
    assert result.exit_code == 0
    assert "Usage: " in result.output


def test_a_mistake_is_one_readable_message() -> None:
    result = CliRunner().invoke(app, ["data", "describe", "no-such-log"])
    assert result.exit_code == 2
    assert result.stderr.splitlines()[0] == "Error: there is no such log"
    assert "where: no-such-log" in result.stderr
    assert "to do: name a file" in result.stderr
    assert "Traceback" not in result.output


def test_debug_lets_the_error_through() -> None:
    result = CliRunner().invoke(app, ["--debug", "data", "describe", "no-such-log"])
    assert isinstance(result.exception, FileUnreadableError)


def test_quiet_hides_the_stages() -> None:
    CliRunner().invoke(app, ["--quiet", "data", "describe", "no-such-log"])
    assert logging.getLogger("adwright").level == logging.WARNING
    CliRunner().invoke(app, ["data", "describe", "no-such-log"])
    assert logging.getLogger("adwright").level == logging.INFO
