from __future__ import annotations

from pathlib import Path

import pytest

from adwright.core.errors import FileUnreadableError, ValueInvalidError
from adwright.data.tasks.attributed_sequences import read_sequences

SEQUENCES = {"7": ["a", "b", "c", "b", "d"], "8": ["d", "a"], "9": ["e"], "x": list("edcba")[:4]}
ATTRIBUTES = '{"a": [1, 2], "b": [2], "c": [], "unheard of": [9]}'


def write_source(folder: Path, *, lines: str | None = None, attributes: str = ATTRIBUTES) -> Path:
    folder.mkdir()
    text = "\n".join(" ".join([user, *items]) for user, items in SEQUENCES.items())
    (folder / "sequences.txt").write_text(text if lines is None else lines, encoding="utf-8")
    (folder / "item_attributes.json").write_text(attributes, encoding="utf-8")
    return folder


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_source(tmp_path / "tiny")


def test_positions_are_counted_and_items_carry_their_attributes(source: Path) -> None:
    events, table = read_sequences(source)
    assert events.rows()[:2] == [("7", "a", 0, 4), ("7", "b", 1, 3)]
    items = {row["item_id"]: row for row in table.to_dicts()}
    assert set(items) == set("abcde")
    assert (items["a"]["attribute"], items["a"]["attributes"]) == ("1", ["1", "2"])
    assert (items["c"]["attribute"], items["c"]["attributes"]) == (None, [])
    assert (items["e"]["attribute"], items["e"]["attributes"]) == (None, [])


@pytest.mark.parametrize(
    ("lines", "attributes", "kind", "words"),
    [
        ("7 a b c\n8", "{}", ValueInvalidError, "row 1, value '8'"),
        ("7 a b c\n\n8 b", "{}", ValueInvalidError, "row 1"),
        ("7 a b c\n7 a b", "{}", ValueInvalidError, "a person has two lines"),
        ("7 a b c\n8 d e", "{", FileUnreadableError, "not a JSON file"),
        ("7 a b c\n8 d e", "[]", FileUnreadableError, "not an object of lists"),
        ("7 a b c\n8 d e", '{"a": 1}', FileUnreadableError, "not an object of lists"),
    ],
)
def test_broken_files_are_named(
    tmp_path: Path, lines: str, attributes: str, kind: type[Exception], words: str
) -> None:
    source = write_source(tmp_path / "tiny", lines=lines, attributes=attributes)
    with pytest.raises(kind) as caught:
        read_sequences(source)
    assert words in str(caught.value)


def test_absent_files_and_other_encodings_are_named(source: Path) -> None:
    path = source / "sequences.txt"
    path.write_bytes("7 caf\xe9 b\n8 c d".encode("latin-1"))
    with pytest.raises(FileUnreadableError, match="not UTF-8") as caught:
        read_sequences(source)
    assert caught.value.file == str(path)
    path.unlink()
    with pytest.raises(FileUnreadableError, match="does not exist"):
        read_sequences(source)


def test_lastfm_is_read_whole(shared_data: Path) -> None:
    events, items = read_sequences(shared_data / "lastfm")
    assert (events.height, events["user_id"].n_unique(), items.height) == (52_551, 1_090, 3_646)
    assert (events["left"] == 0).sum() == 1_090
