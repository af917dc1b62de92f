"""A program that outlives its process: a file, of which each line is one thing that happened.

    {"begin": ["prog_4f...", "shop", "detach", 1796000000]}     id, tenant, on_disconnect, made
    {"part": {"calls": [...], ...}, "key": "k1", "digest": "ab.."}     what was submitted
    {"text": ["writer.ad", "Drink tea."]}                       a chain has written its text
    {"error": ["legal.view", "no engine takes it"]}             or there is none
    {"set": ["brief", "..."]}  {"fail": ["brief", "..."]}  {"cancel": "ad"}    said from outside

A line is written before anybody is told of it. What clients send is flushed to the disk, since they
will not send it again; a text that a chain wrote is handed to the system, which survives the
process: where the machine dies, it is written once more. Whoever starts next reads the lines, and
chains that have a text there get it instead of an engine, so that all variables become what they
were and what was left goes on. Steps are computed again, traces begin anew. One process has the
folder at a time.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from io import FileIO
from pathlib import Path
from typing import Any, Literal

from adwright.core.atomic import resource_error
from adwright.core.config import to_jsonable
from adwright.programs.program import Program

__all__ = ["ProgramLog", "open_privately"]


class ProgramLog:
    """The file of one program, at its end. Raises ResourceError where it cannot be written."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: FileIO | None = open_privately(path)

    def begin(self, program_id: str, tenant: str, on_disconnect: str, made: int) -> None:
        """A program is opened."""
        self._write({"begin": [program_id, tenant, on_disconnect, made]})

    def part(self, part: Program, key: str, digest: str) -> None:
        """A part of it is submitted."""
        self._write({"part": _plain(part), "key": key, "digest": digest}, lasting=True)

    def text(self, node_id: str, text: str) -> None:
        """A chain has its text."""
        self._write({"text": [node_id, text]})

    def failure(self, node_id: str, what: str) -> None:
        """A chain will have none."""
        self._write({"error": [node_id, what]})

    def said(self, kind: Literal["set", "fail", "cancel"], name: str, text: str = "") -> None:
        """A variable was set, failed or cancelled from outside."""
        self._write({kind: [name, text]}, lasting=True)

    def close(self) -> None:
        """Nothing more is written; any number of times."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def forget(self) -> None:
        """The program is over."""
        self.close()
        self._path.unlink(missing_ok=True)

    def _write(self, line: Mapping[str, Any], *, lasting: bool = False) -> None:
        """Nothing where it is closed: who is told late that he is cancelled may still try."""
        if self._file is None:
            return
        try:
            self._file.write(json.dumps(line, separators=(",", ":")).encode() + b"\n")
            if lasting:
                os.fsync(self._file.fileno())
        except OSError as error:
            raise resource_error(error, self._path) or error from error


def _plain(part: Program) -> dict[str, Any]:
    told: dict[str, Any] = to_jsonable(part)
    return {name: value for name, value in told.items() if value}


def open_privately(path: Path) -> FileIO:
    """A file that only its owner may read, to write at its end. Raises ResourceError where that is
    not to be had."""
    try:
        return FileIO(path, "a", opener=lambda name, flags: os.open(name, flags, 0o600))
    except OSError as error:
        raise resource_error(error, path) or error from error
