from __future__ import annotations

from pathlib import Path

import pytest

from adwright.core.errors import ResourceError, ResumeError
from adwright.creative.memory.seed.round_files import LineFile, read_json, write_json


def test_values_come_back(tmp_path: Path) -> None:
    path = tmp_path / "round-1" / "x.json"
    assert read_json(path) is None
    write_json(path, {"a": [1, None, "é"]})
    assert read_json(path) == {"a": [1, None, "é"]}
    path.write_text("{")
    with pytest.raises(ResumeError, match="cannot be read"):
        read_json(path)


def test_lines_are_appended_whole(tmp_path: Path) -> None:
    lines = LineFile(tmp_path / "new" / "x.jsonl")
    assert lines.read() == []
    lines.keep(3)
    lines.append([{"a": 1}, {"a": "two\nlines"}])
    lines.append([{"a": 3}])
    assert [one["a"] for one in lines.read()] == [1, "two\nlines", 3]


def test_a_line_without_its_end_is_cut_off(tmp_path: Path) -> None:
    lines = LineFile(tmp_path / "x.jsonl")
    lines.append([{"a": 1}, {"a": 2}])
    with lines.path.open("a") as stream:
        stream.write('{"a": 3')
    assert lines.read() == [{"a": 1}, {"a": 2}]
    lines.append([{"a": 4}])
    assert [one["a"] for one in lines.read()] == [1, 2, 4]
    lines.keep(1)
    assert lines.read() == [{"a": 1}]


@pytest.mark.parametrize("text", ["nothing\n", "[1]\n", '{"a": 1}\n}\n'])
def test_other_files_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(text)
    with pytest.raises(ResumeError, match=r"x\.jsonl"):
        LineFile(path).read()


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError):
        LineFile(tmp_path / "file" / "x.jsonl").append([{}])
