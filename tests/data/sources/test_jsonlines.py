"""JSON lines are read strictly, and the line that is none is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from adwright.core.errors import FileUnreadableError, SchemaError
from adwright.data.sources.bounds import USUAL_BOUNDS, ReadBounds
from adwright.data.sources.jsonlines import read_json_lines


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "log.jsonl"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_objects_become_rows(tmp_path: Path) -> None:
    text = '{"a": 1, "b": "x"}\n\n{"b": "é", "c": {"d": 2}, "e": [1]}\n'
    found = read_json_lines(written(tmp_path, text), USUAL_BOUNDS)
    assert found.select("a", "b", "e").rows() == [(1, "x", None), (None, "é", [1])]
    assert found["c"].to_list()[1] == {"d": 2}


def test_numbers_and_texts_of_one_key_are_text(tmp_path: Path) -> None:
    found = read_json_lines(written(tmp_path, '{"a": 1}\n{"a": "x"}\n'), USUAL_BOUNDS)
    assert found["a"].to_list() == ["1", "x"]


def test_types_that_come_late_are_seen(tmp_path: Path) -> None:
    text = '{"a": 1}\n' * 2000 + '{"a": 1.5, "b": true}\n'
    found = read_json_lines(written(tmp_path, text), USUAL_BOUNDS)
    assert found.row(-1) == (1.5, True)
    assert found.schema["a"] == pl.Float64


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"a": 1}\n{"a": \n', r"line 2 is no JSON object .*log\.jsonl"),
        ('{"a": 1}\n[1]\n', "line 2 is no JSON object"),
        ('[{"a": 1}]', r"line 1 is no JSON object.*jq"),
        ("a,b\n1,2\n", "line 1 is no JSON object"),
        ('{"a": NaN-}\n', "line 1 is no JSON object"),
        ("\n \n", "the file is empty"),
        (b'{"a": "\xff"}\n', "line 1 is not UTF-8"),
    ],
)
def test_what_is_no_object_is_named_by_its_line(
    tmp_path: Path, text: str | bytes, words: str
) -> None:
    with pytest.raises(FileUnreadableError, match=words) as caught:
        read_json_lines(written(tmp_path, text), USUAL_BOUNDS)
    assert caught.value.hint


@pytest.mark.parametrize("depth", [10, 500, 100_000])
def test_deep_objects_are_refused(tmp_path: Path, depth: int) -> None:
    text = '{"a": 1}\n{"a": ' + "[" * depth + "]" * depth + "}\n"
    with pytest.raises(SchemaError, match=r"line 2: .*more than 8 deep"):
        read_json_lines(written(tmp_path, text), USUAL_BOUNDS)
    if depth == 10:
        found = read_json_lines(written(tmp_path, text[9:]), ReadBounds(depth=10))
        assert found.height == 1


def test_bounds_of_columns_lines_and_memory(tmp_path: Path) -> None:
    wide = "{" + ",".join(f'"c{n}": 1' for n in range(9)) + "}"
    with pytest.raises(SchemaError, match="9 columns, the bound is 8"):
        read_json_lines(written(tmp_path, wide), ReadBounds(columns=8))
    with pytest.raises(FileUnreadableError, match="line 1 has more than 40 bytes"):
        read_json_lines(written(tmp_path, wide), ReadBounds(cell_bytes=20))
    with pytest.raises(FileUnreadableError, match="GB of memory"):
        read_json_lines(written(tmp_path, wide), ReadBounds(memory=10))


def lines(*, count: int = 20_000, row: Callable[[int], object]) -> str:
    return "\n".join(json.dumps(row(number)) for number in range(count))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (lines(row=lambda n: {"id": n, f"k{n % 3990}": 1}), "79,820,000 cells, of which 40,000"),
        (lines(row=lambda n: {f"k{n}": 1}), "4,001 columns"),
        (lines(row=lambda n: {"a": {f"k{n}": 1}}), "line 4001: objects inside rows"),
        (lines(count=300, row=lambda n: {"a": [[{f"k{10 * n}": 1}] + [{}] * 99]}), "cells"),
    ],
)
def test_a_small_file_takes_little_memory(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(SchemaError, match=why):
        read_json_lines(written(tmp_path, text), USUAL_BOUNDS)


def test_what_is_sparse_as_catalogues_are_is_read(tmp_path: Path) -> None:
    text = lines(row=lambda n: {"id": n, **{f"k{(n + m) % 300}": [{"v": m}] for m in range(9)}})
    assert read_json_lines(written(tmp_path, text), USUAL_BOUNDS).shape == (20_000, 301)
