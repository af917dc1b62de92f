from pathlib import Path

import pytest

from adwright.core.errors import DataError
from adwright.creative.records.verbal.ads_table import read_ads
from adwright.creative.records.verbal.described_file import save_described
from adwright.creative.records.verbal.record import AdRecord, Scene


def test_every_verb_reads_it_back(tmp_path: Path) -> None:
    scenes = (Scene(caption="a loaf", foreground=("brown",), faces=2, words=("38% off",)),)
    records = [
        AdRecord(kind="image", brand="Mill Lane", title="Fresh bread", scenes=scenes),
        AdRecord(title="Blue mug", words="Holds 350 ml."),
    ]
    path = tmp_path / "ads.parquet"
    save_described(path, ["a", "b"], records)
    table = read_ads(path)
    assert table.ids == ("a", "b")
    assert list(table.records) == records
    with pytest.raises(DataError, match="1 ids of 2"):
        save_described(path, ["a"], records)
