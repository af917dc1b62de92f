from pathlib import Path

import pytest

pytest.importorskip("PIL", reason="the extra creative is not installed")

from PIL import Image

from adwright.creative.records.seeing.describe import Describer
from adwright.creative.records.seeing.described_table import describe_table
from adwright.creative.records.verbal.ads_table import read_ads


def test_what_the_table_says_stays(tmp_path: Path) -> None:
    Image.new("RGB", (64, 48), "red").save(tmp_path / "red.png")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    said = "The ad is an image. The ad is shot in portrait orientation."
    rows = [
        "id,text,brand,image",
        f"a,{said},Mill Lane,red.png",
        "b,,Mill Lane,broken.png",
        "c,,Mill Lane,",
        "d,,Mill Lane,red.png",
    ]
    (tmp_path / "ads.csv").write_text("\n".join(rows) + "\n", "utf-8")
    table = read_ads(tmp_path / "ads.csv")
    found = describe_table(table, Describer(("colours",)))
    assert (found.looked, list(found.unread)) == (2, [1])
    told, broken, plain, seen = found.records
    assert (told.orientation, seen.orientation) == ("portrait", "landscape")
    assert told.scenes[0].foreground == seen.scenes[0].foreground != ()
    assert {record.brand for record in found.records} == {"Mill Lane"}
    assert broken.absent[-1][0] == "media"
    assert plain == table.records[2]
