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
from adwright.training.ranking.config import RunConfig


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


@pytest.mark.parametrize("verb", [[], ["train"], ["train", "din"], ["data"], ["data", "import"]])
def test_h_is_help(verb: list[str]) -> None:
    short = CliRunner().invoke(app, [*verb, "-h"])
    assert short.exit_code == 0
    assert short.output == CliRunner().invoke(app, [*verb, "--help"]).output


@pytest.mark.parametrize(
    ("typed", "offered"),
    [("tr", ["train"]), ("train hs", ["hstu"]), ("train hstu --ev", ["--events"])],
)
def test_a_shell_completes_verbs_and_options(typed: str, offered: list[str]) -> None:
    words = f"adwright {typed}"
    env = {
        "_ADWRIGHT_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split()) - 1),
    }
    result = CliRunner().invoke(app, [], prog_name="adwright", env=env)
    assert result.output.split() == offered
    assert "--install-completion" in CliRunner().invoke(app, ["--help"]).output


@pytest.mark.parametrize(
    ("words", "ways"),
    [
        (["train", "din", "a b.toml", "--force"], ["train din 'a b.toml' --force"]),
        (["--quiet", "train", "--task", "hstu", "--resume"], ["--quiet train --task hstu"]),
        (["train", "hstu", "--events", "e.csv"], ["train hstu --events e.csv"]),
    ],
)
def test_after_ctrl_c_it_says_how_to_go_on(
    words: list[str], ways: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def press(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("adwright.training.ranking.run.run", press)
    monkeypatch.setattr("adwright.training.sequential.run.run_sequence", press)
    monkeypatch.setattr("adwright.core.config.read_toml", lambda *_: {"seed": 1})
    monkeypatch.setattr("adwright.core.config.load_toml", lambda *_: RunConfig())
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 130
    (way,) = ways
    assert result.stderr.splitlines()[-3:] == [
        "Interrupted.",
        f"  to go on: adwright {way} --resume",
        f"  to close it with what it has: adwright {way} --stop-now",
    ]


def test_what_cannot_be_resumed_just_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    def press(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("adwright.data.sources.log.open_log", press)
    result = CliRunner().invoke(app, ["data", "describe", "log"])
    assert (result.exit_code, result.stderr) == (130, "Interrupted.\n")


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
