from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.authoring.writer.feeds import EncodingFound, encoding_of, in_utf8
from adwright.core.errors import DataError, FileUnreadableError, ResourceError

TEXT = "id,title\n1,Thé vert £3\n2,Käse\n"


def read(path: Path) -> tuple[str, tuple[str, ...]]:
    with in_utf8(path) as (inside, _, said):
        return inside.read_text("utf-8-sig"), said


@pytest.mark.parametrize(
    ("written", "found", "told"),
    [
        ("utf-8", "utf-8", ""),
        ("utf-8-sig", "utf-8-sig", ""),
        ("utf-16", "utf-16", "UTF-16"),
        ("utf-16-le", "utf-16-le", "UTF-16"),
        ("utf-16-be", "utf-16-be", "UTF-16"),
        ("cp1252", "cp1252", "Windows-1252"),
    ],
)
def test_each_encoding_is_found_and_said(
    tmp_path: Path, written: str, found: str, told: str
) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(TEXT.encode(written))
    assert encoding_of(path).encoding == found
    text, said = read(path)
    assert text == TEXT
    assert told in "".join(said)
    assert bool(said) == bool(told)


def test_mixed_lines_are_read_each_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes("1,Thé\n".encode() + "2,Käse\n".encode("cp1252") + b"3,plain\n")
    assert encoding_of(path) == EncodingFound("mixed", 1, (2,))
    text, said = read(path)
    assert text == "1,Thé\n2,Käse\n3,plain\n"
    assert "1 lines are not UTF-8" in said[0]
    assert "line 2" in said[0]


def test_what_is_neither_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"1,a\n2,\x81\x8d\xff\n")
    with pytest.raises(FileUnreadableError, match="line 2 is neither"):
        encoding_of(path)
    path.write_bytes("1,abc\n".encode("utf-16")[:-1])
    with pytest.raises(FileUnreadableError, match="begins as UTF-16"), in_utf8(path):
        pass


def test_errors_of_the_block_name_the_file_itself(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(TEXT.encode("cp1252"))
    with pytest.raises(DataError, match=r"broken \[.*/a.csv\]") as caught, in_utf8(path) as found:
        raise DataError("broken", file=str(found[0]))
    assert caught.value.file == str(path)


def test_a_packed_file_is_looked_into(tmp_path: Path) -> None:
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(TEXT.encode("cp1252")))
    assert read(path)[0] == TEXT
    path.write_bytes(gzip.compress(TEXT.encode("cp1252"))[:-10])
    with pytest.raises(FileUnreadableError, match="cut off"):
        encoding_of(path)
    with pytest.raises((FileUnreadableError, ResourceError)):
        encoding_of(tmp_path / "missing.csv")


@given(st.text(st.characters(codec="cp1252"), max_size=60))
def test_windows_text_comes_back(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.mktemp("e") / "a.csv"
    path.write_bytes(("x" * 20 + text).encode("cp1252"))
    found = encoding_of(path).encoding
    with in_utf8(path) as (inside, _, _):
        data = inside.read_bytes()
    # Where the bytes happen to be UTF-8, they are taken as such.
    assert found in ("utf-8", "mixed") or data.decode() == "x" * 20 + text
