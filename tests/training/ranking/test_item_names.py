"""What a catalogue calls its items."""

from __future__ import annotations

import polars as pl
import pytest

from adwright.training.ranking.frames import item_names
from tests.support.data.ranking_task import ITEMS

IDS = pl.Series("item_id", [f"i{n}" for n in range(4)])
CODES = pl.Series("category", ["c1", "c2", "c1", "c2"])
WORDS = pl.Series("text", ["Green tea", "Black tea", "Oat milk", None])


@pytest.mark.parametrize(
    ("columns", "first", "last"),
    [
        ([pl.Series("Title", ["Tea", "b", "c", ""]), CODES], "Tea", "i3"),
        ([CODES, pl.Series("product_name", ["Tea", "b", "c", "d"])], "Tea", "d"),
        # The category alone names no item.
        ([CODES], "i0, c1", "i3, c2"),
        ([CODES, pl.Series("brand", ["own", "b", "c", " "])], "c1, own", "c2"),
        # A text column that reads like titles, whatever it is called.
        ([CODES, WORDS], "Green tea", "i3"),
        # One of few values, or of single words, does not.
        ([CODES, pl.Series("shelf", ["to the left", "to the left"] * 2)], "i0, c1", "i3, c2"),
        ([CODES, pl.Series("code", ["a", "b", "c", "d"])], "i0, c1", "i3, c2"),
        ([pl.Series("title", [1, 2, 3, 4]), CODES], "i0, c1", "i3, c2"),
        ([], "i0", "i3"),
    ],
)
def test_the_column_that_reads_like_a_title(
    columns: list[pl.Series], first: str, last: str
) -> None:
    found = item_names(pl.DataFrame([IDS, *columns]))
    assert found.columns == ["item_id", "name"]
    assert (found["name"][0], found["name"][-1]) == (first, last)


def test_type_brand_and_size_name_an_item_together() -> None:
    assert item_names(ITEMS)["name"][1] == "rice, own, 1 g"
