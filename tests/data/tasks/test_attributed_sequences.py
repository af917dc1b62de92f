from __future__ import annotations

from collections import Counter
from pathlib import Path

import polars as pl
import pytest

from adwright.core.errors import FileUnreadableError, ValueInvalidError
from adwright.data.tasks.attributed_sequences import SEQUENCE_FEATURES, build_sequences_task
from adwright.data.tasks.split import SPLITS
from adwright.data.tasks.task import Task

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


def rows_of(task: Task) -> list[tuple[str, int, str, int, str, int]]:
    """user, position, item, label, split, visible of all rows."""
    return [
        (row["user_id"], row["time"], row["item_id"], row["label"], split, row["visible"])
        for split in SPLITS
        for row in task.rows(split).collect().to_dicts()
    ]


def test_each_position_but_the_first_is_a_positive_with_a_negative(
    source: Path, tmp_path: Path
) -> None:
    rows = rows_of(build_sequences_task(source, tmp_path))
    expected = []
    for user, items in SEQUENCES.items():
        for place in range(1, len(items)):
            left = len(items) - 1 - place
            split = "test" if left == 0 else "valid" if left == 1 else "train"
            expected.append((user, place, items[place], 1, split, place))
    assert sorted(row for row in rows if row[3] == 1) == sorted(expected)
    negatives = [row for row in rows if row[3] == 0]
    assert Counter((r[0], r[1], r[4]) for r in negatives) == Counter(
        (r[0], r[1], r[4]) for r in expected
    )
    assert all(item not in SEQUENCES[user] for user, _, item, *_ in negatives)


def test_the_seed_decides_the_negatives(source: Path, tmp_path: Path) -> None:
    first = build_sequences_task(source, tmp_path)
    assert build_sequences_task(source, tmp_path) == first
    again = build_sequences_task(source, tmp_path / "elsewhere")
    assert rows_of(again) == rows_of(first)
    others = [rows_of(build_sequences_task(source, tmp_path, seed=seed)) for seed in range(1, 6)]
    assert any(other != rows_of(first) for other in others)
    assert all(
        [row for row in other if row[3] == 1] == [row for row in rows_of(first) if row[3] == 1]
        for other in others
    )


def test_items_carry_their_attributes(source: Path, tmp_path: Path) -> None:
    task = build_sequences_task(source, tmp_path)
    assert {f.name for f in SEQUENCE_FEATURES} == {f.name for f in task.spec.features}
    items = {row["item_id"]: row for row in task.items.to_dicts()}
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
        ("7 a b c\n8 a b", "{}", ValueInvalidError, "column user_id, value '7'"),
        ("7 a b c\n8 d e", "{", FileUnreadableError, "not a JSON file"),
        ("7 a b c\n8 d e", "[]", FileUnreadableError, "not an object of lists"),
        ("7 a b c\n8 d e", '{"a": 1}', FileUnreadableError, "not an object of lists"),
    ],
)
def test_broken_files_are_named_and_leave_nothing(
    tmp_path: Path, lines: str, attributes: str, kind: type[Exception], words: str
) -> None:
    source = write_source(tmp_path / "tiny", lines=lines, attributes=attributes)
    with pytest.raises(kind) as caught:
        build_sequences_task(source, tmp_path / "cache")
    assert words in str(caught.value)
    assert not list((tmp_path / "cache").glob("*"))


def test_absent_files_and_other_encodings_are_named(source: Path, tmp_path: Path) -> None:
    path = source / "sequences.txt"
    path.write_bytes("7 caf\xe9 b\n8 c d".encode("latin-1"))
    with pytest.raises(FileUnreadableError, match="not UTF-8") as caught:
        build_sequences_task(source, tmp_path / "cache")
    assert caught.value.file == str(path)
    path.unlink()
    with pytest.raises(FileUnreadableError, match="does not exist"):
        build_sequences_task(source, tmp_path / "cache")


def test_lastfm_is_read_whole(shared_data: Path, tmp_path: Path) -> None:
    task = build_sequences_task(shared_data / "lastfm", tmp_path)
    counts = {split: task.meta["splits"][split] for split in SPLITS}
    assert sum(c["positives"] for c in counts.values()) == 52_551 - 1_090
    assert all(c["rows"] == 2 * c["positives"] for c in counts.values())
    assert counts["test"]["users"] == counts["valid"]["users"] == 1_090
    assert task.items.height == 3_646
    test = task.rows("test").collect()
    events = pl.read_parquet(task.events_path("test"))
    had = set(events.select("user_id", "item_id").rows())
    for row in test.to_dicts():
        assert ((row["user_id"], row["item_id"]) in had) == bool(row["label"])
