"""Mistakes of users, a row each, and how a row is checked.

A row holds the words that a user would type after `adwright`, in a folder in which `files` lie. It
must be answered by its exit code and in plain words, without a traceback, and leave nothing behind
but what a row that goes through says that it makes.
"""

from __future__ import annotations

import logging
import shlex
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import pytest
from click.testing import Result
from typer.testing import CliRunner

from adwright.cli import app
from tests.broken.cases import contents

#: What stands in the place of a number: a mistake of our own list.
OWN = 0
#: How many mistakes were listed by a user who had only the documentation.
LISTED = 60
_NOTHING: Mapping[str, str | bytes] = MappingProxyType({})


class Mistake(NamedTuple):
    """number: in the list of a user, or OWN. command: what is typed after `adwright`. says: parts
    of the answer. files: that lie there. makes: what is there afterwards, of a row with code 0."""

    number: int
    name: str
    command: str
    says: tuple[str, ...]
    code: int = 2
    files: Mapping[str, str | bytes] = _NOTHING
    makes: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """For the list of tests."""
        return f"{self.number or 'own'} {self.name}"


def title(mistake: Mistake) -> str:
    """The id of its test."""
    return mistake.title


def written(folder: Path, files: Mapping[str, str | bytes]) -> None:
    """Write files into a folder."""
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data if isinstance(data, bytes) else data.encode())


def typed(command: str) -> Result:
    """Type the command; what it logs goes to its own standard error stream."""
    logger = logging.getLogger("adwright")
    logger.handlers.clear()
    try:
        return CliRunner().invoke(app, shlex.split(command))
    finally:
        logger.handlers.clear()
        logger.setLevel(logging.NOTSET)


def check(mistake: Mistake, here: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Type the command in `here`, which afterwards is as it was; returns the answer."""
    monkeypatch.chdir(here)
    monkeypatch.setenv("COLUMNS", "200")
    before = contents(here)
    written(here, mistake.files)
    given = contents(here)
    try:
        result = typed(mistake.command)
        said = " ".join(result.output.split())
        after = contents(here)
        assert result.exit_code == mistake.code, said or repr(result.exception)
        assert result.exception is None or isinstance(result.exception, SystemExit)
        assert "Traceback" not in said
        assert "polars" not in said.lower()
        for part in mistake.says:
            assert part in said, said
        if mistake.makes:
            assert set(mistake.makes) <= after.keys() - given.keys()
            assert given.items() <= after.items()
        else:
            assert after == given
    finally:
        _remove(here, contents(here).keys() - before.keys())
    assert contents(here) == before
    return said


def _remove(folder: Path, names: Iterable[str]) -> None:
    for name in sorted(names):
        path = folder / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
