from __future__ import annotations

import json
from pathlib import Path

import pytest

from adwright.core.errors import ResourceError
from adwright.programs.keeping.program_log import ProgramLog, open_privately
from adwright.programs.program import Program


def test_each_thing_is_a_line(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    log = ProgramLog(path)
    log.begin("p", "shop", "detach", 5)
    log.part(Program(values={"a": "ä"}), "key", "digest")
    log.text("writer.ad", "x\ny")
    log.failure("legal.view", "no")
    log.said("set", "brief", "b")
    log.said("cancel", "ad")
    log.close()
    assert [json.loads(one) for one in path.read_text("utf-8").splitlines()] == [
        {"begin": ["p", "shop", "detach", 5]},
        {"part": {"values": {"a": "ä"}}, "key": "key", "digest": "digest"},
        {"text": ["writer.ad", "x\ny"]},
        {"error": ["legal.view", "no"]},
        {"set": ["brief", "b"]},
        {"cancel": ["ad", ""]},
    ]
    assert path.stat().st_mode & 0o777 == 0o600


def test_once_closed_it_takes_nothing_and_forgotten_it_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    log = ProgramLog(path)
    log.close()
    log.text("a", "b")
    assert not path.read_bytes()
    log.forget()
    log.forget()
    log.text("a", "b")
    assert not path.exists()


def test_a_full_disk_is_said() -> None:
    log = ProgramLog(Path("/dev/full"))
    with pytest.raises(ResourceError, match="the disk is full"):
        log.text("a", "b")
    log.close()


def test_a_place_where_nothing_can_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ResourceError, match=r"file.*choose another path"):
        open_privately(tmp_path / "file" / "p.jsonl")
