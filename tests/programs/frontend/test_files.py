from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from adwright.core.errors import ConfigError
from adwright.programs.frontend.files import PROGRAMS, program_text, read_program
from adwright.programs.graph import build_graph, misplaced_texts

CALL = {"name": "writer", "template": "An ad for {{product}}: {{ad:output}}"}


@pytest.mark.parametrize("name", list(PROGRAMS))
def test_programs_of_the_package(name: str) -> None:
    program = read_program(name)
    assert build_graph(program).program is program
    assert program.outputs
    assert misplaced_texts(program.calls) == {}
    assert json.loads(program_text(name))["calls"]


def test_the_team() -> None:
    program = read_program("creative-team", {"product": "black tea"})
    assert program.values["product"] == "black tea"
    assert (len(program.calls), len(program.steps)) == (9, 3)


def written(tmp_path: Path, program: Any) -> Path:
    file = tmp_path / "program.json"
    file.write_text(program if isinstance(program, str) else json.dumps(program))
    return file


def test_values_are_given_awaited_or_missing(tmp_path: Path) -> None:
    second = {"name": "second", "template": "{{word}} {{other}} {{more:output}}"}
    file = written(
        tmp_path, {"calls": [CALL, second], "awaited": ["word"], "values": {"other": "a"}}
    )
    program = read_program(file, {"product": "tea", "word": "b"})
    assert program.values == {"other": "a", "product": "tea", "word": "b"}
    assert program.awaited == ()
    with pytest.raises(ConfigError, match=r"no value of 'produkt'.*did you mean product\?"):
        read_program(file, {"produkt": "tea"})
    with pytest.raises(ConfigError, match="no value of 'ad'"):
        read_program(file, {"ad": "tea"})


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ([], "is a JSON object"),
        ({"call": []}, "did you mean calls"),
        ({"calls": [{"name": "a"}]}, "calls.0.template"),
        ({"calls": [{**CALL, "template": "{{"}]}, "is no placeholder"),
    ],
)
def test_what_is_no_program(tmp_path: Path, content: Any, words: str) -> None:
    file = written(tmp_path, content)
    with pytest.raises(ConfigError) as told:
        read_program(file)
    assert words in str(told.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="creative-team"):
        read_program(tmp_path / "none.json")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_program(tmp_path)
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_program(tmp_path / "binary")
