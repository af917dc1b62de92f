from pathlib import Path

import polars as pl

from tests.support.commands import call

LOOK = ("--look-for", "colours")


def test_what_ads_say_and_show(shop: Path) -> None:
    said = call("creative", "describe", shop / "ads.csv", *LOOK)
    assert "The title of the ad is 'Fresh bread'" in said
    assert "Red" in said
    assert "it is a PDF" in said
    assert "1 of 2 files could not be read" in said


def test_the_table_is_read_back(shop: Path) -> None:
    out = shop / "described.parquet"
    said = call("creative", "describe", shop / "ads.csv", "--out", out, *LOOK)
    assert "3 ads, 1 files looked at" in said
    table = pl.read_parquet(out)
    assert table["creative_id"].to_list() == ["a", "b", "c"]
    fields = table.select(pl.col("^field_.*$").name.map(lambda name: name.removeprefix("field_")))
    assert fields["kind"].to_list() == ["image", "image", "text"]
    why = "this is no picture and no video that is read: it is a PDF"
    assert {"part": "media", "why": why} in fields["absent"][1]
    again = call("creative", "describe", out, *LOOK)
    assert "'Kiln & Co'" in again
    assert "exists already" in call("creative", "describe", out, "--out", out, *LOOK, code=2)
    call("creative", "describe", shop / "ads.csv", "--out", out, *LOOK, "--force")


def test_a_dry_run_writes_nothing(shop: Path) -> None:
    out = shop / "described.parquet"
    said = call("creative", "describe", shop / "ads.csv", "--out", out, "--dry-run")
    assert "3 ads, 2 of them with a file" in said
    assert not out.exists()


def test_files_stay_closed_where_nothing_is_looked_for(shop: Path) -> None:
    said = call("creative", "describe", shop / "ads.csv", "--look-for", "nothing")
    assert "PDF" not in said
    assert "Red" not in said


def test_what_is_refused(shop: Path) -> None:
    ads = shop / "ads.csv"
    assert "nobody can look for 'smell'" in call(
        "creative", "describe", ads, "--look-for", "smell", code=2
    )
    assert "Parquet" in call("creative", "describe", ads, "--out", shop / "ads.txt", code=2)
    assert "column" in call("creative", "describe", ads, "--title", "Slogan", code=2)
