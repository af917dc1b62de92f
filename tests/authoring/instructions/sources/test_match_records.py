from __future__ import annotations

from pathlib import Path

import pytest

from adwright.authoring.instructions.sources import read_matches, record_fields
from adwright.core.errors import DataError, FileUnreadableError


def line(left: str, right: str, same: int) -> str:
    return f"COL name VAL {left} COL price VAL 9 \tCOL name VAL {right} COL price VAL  \t{same}\n"


def test_each_product_stands_once_with_its_matches(tmp_path: Path) -> None:
    (tmp_path / "test.txt").write_text(line("a", "x", 0) + line("b", "y", 1))
    (tmp_path / "train.txt").write_text(line("a", "y", 0) + line("c", "y", 1) + "\n")
    found = list(read_matches(tmp_path))
    assert [(one.side, one.fields["name"]) for one in found] == [
        (0, "a"),
        (1, "x"),
        (0, "b"),
        (1, "y"),
        (0, "c"),
    ]
    cluster = {one.fields["name"]: one.cluster for one in found}
    assert cluster["b"] == cluster["y"] == cluster["c"]
    assert len(set(cluster.values())) == 3
    assert len({one.id for one in found}) == 5
    assert {one.source for one in found} == {tmp_path.name}


def test_one_file_will_do(tmp_path: Path) -> None:
    path = tmp_path / "pairs.txt"
    path.write_text(line("a", "a", 1))
    one, other = read_matches(path)
    assert one.cluster == other.cluster
    assert (one.side, other.side) == (0, 1)
    assert one.source == "pairs"


def test_fields_are_what_stands_between_the_marks() -> None:
    assert record_fields("COL a VAL x VAL y COL b VAL COL c VAL z COLD") == {
        "a": "x VAL y",
        "b": "",
        "c": "z COLD",
    }
    assert record_fields("nothing") == {}


@pytest.mark.parametrize(
    "wrong",
    [
        "no tabs at all",
        "COL a VAL x\tCOL a VAL y\t2",
        "COL a VAL x\tb\t1",
        "COL a VAL x\tCOL a VAL y",
    ],
)
def test_what_is_no_pair_is_refused_with_its_row(tmp_path: Path, wrong: str) -> None:
    path = tmp_path / "pairs.txt"
    path.write_text(line("a", "b", 0) + wrong + "\n")
    with pytest.raises(DataError, match="no pair of records") as caught:
        list(read_matches(path))
    assert caught.value.row == 1


def test_nothing_to_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileUnreadableError, match=r"no \.txt file"):
        list(read_matches(tmp_path))
    with pytest.raises(FileUnreadableError, match="cannot be read"):
        list(read_matches(tmp_path / "absent.txt"))
    (tmp_path / "latin.txt").write_bytes(b"COL a VAL \xff\n")
    with pytest.raises(FileUnreadableError, match="cannot be read"):
        list(read_matches(tmp_path / "latin.txt"))


def test_real_matches(shared_data: Path) -> None:
    found = list(read_matches(shared_data / "abt-buy"))
    assert len({one.id for one in found}) == len(found) == 2103
    assert all(one.fields["name"] for one in found)
    assert {one.side for one in found} == {0, 1}
