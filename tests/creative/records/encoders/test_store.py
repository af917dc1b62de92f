from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from adwright.core.errors import DataError
from adwright.creative.records.encoders.store import VectorStore


class Counting:
    """An encoder that remembers what it was asked for, and may fail."""

    name, width = "lengths-2", 2

    def __init__(self, fails_at: str = "") -> None:
        self.asked: list[str] = []
        self._fails_at = fails_at

    def encode(self, contents: Sequence[str]) -> NDArray[np.float32]:
        if self._fails_at and self._fails_at in contents:
            raise DataError("no", value=self._fails_at, hint="none")
        self.asked += contents
        return np.array([[len(text), text.count("a")] for text in contents], np.float32)


def test_each_content_is_encoded_once(tmp_path: Path) -> None:
    encoder = Counting()
    found = VectorStore(tmp_path).vectors(["banana", None, "ab", "banana", ""], encoder)
    assert encoder.asked == ["banana", "ab"]
    assert np.array_equal(found[[0, 2, 3]], [[6, 3], [2, 1], [6, 3]])
    assert np.isnan(found[[1, 4]]).all()
    again = Counting()
    more = VectorStore(tmp_path).vectors(["ab", "new", "banana"], again)
    assert again.asked == ["new"]
    assert np.array_equal(more, [[2, 1], [3, 0], [6, 3]])


def test_a_run_that_was_cut_off_goes_on(tmp_path: Path) -> None:
    texts = [f"text {at}" for at in range(10)]
    with pytest.raises(DataError):
        VectorStore(tmp_path, shard=4).vectors(texts, Counting(fails_at="text 9"))
    rest = Counting()
    VectorStore(tmp_path, shard=4).vectors(texts, rest)
    assert rest.asked == ["text 8", "text 9"]


def test_encoders_do_not_mix(tmp_path: Path) -> None:
    VectorStore(tmp_path).vectors(["ab"], Counting())
    other = Counting()
    other.name = "lengths-other"
    VectorStore(tmp_path).vectors(["ab"], other)
    assert other.asked == ["ab"]


def test_a_damaged_shard_is_named(tmp_path: Path) -> None:
    VectorStore(tmp_path).vectors(["ab"], Counting())
    (path,) = (tmp_path / "lengths-2").glob("*.arrow")
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(DataError, match="damaged") as caught:
        VectorStore(tmp_path).vectors(["ab"], Counting())
    assert path.name in str(caught.value)


def test_nothing_makes_no_folder(tmp_path: Path) -> None:
    assert VectorStore(tmp_path / "none").vectors([None], Counting()).shape == (1, 2)
    assert not (tmp_path / "none").exists()
