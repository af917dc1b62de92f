from __future__ import annotations

import hashlib
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner

from adwright.cli import app
from adwright.creative.records.delivery import DeliveryRecord, open_delivery, save_delivery
from adwright.data.creatives import Creative, creatives_table

META = """Day,Ad ID,Ad name,Campaign ID,Impressions,Link clicks,Amount spent (EUR)
2026-03-01,120001,Winter coat,77,"1,200",31,14.20
2026-03-02,120001,Winter coat,77,"1,150",24,13.90
2026-03-01,120002,Winter sale,77,900,--,9.80
Total,,,,"3,250",55,37.90
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "meta.csv").write_text(META)
    return tmp_path


def run(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code == code, result.output
    return result.output


def test_an_export_is_checked_and_kept(here: Path) -> None:
    dry = run("ads", "import", "meta.csv", "ads", "--dry-run")
    assert "Would write ads" in dry
    assert not (here / "ads").exists()
    kept = run("ads", "import", "meta.csv", "--out", "ads", "--time-zone", "Europe/Paris")
    assert "Written to ads" in kept
    assert "Repaired: " in kept  # the total
    record = open_delivery(here / "ads")
    assert record.days["impressions"].sum() == 3250
    assert record.days["time_zone"].unique().to_list() == ["Europe/Paris"]
    assert "spend" in run("ads", "describe", "ads")
    assert run("ads", "describe", "ads").splitlines()[1:5] == kept.splitlines()[1:5]


def test_columns_of_another_name(here: Path) -> None:
    (here / "own.csv").write_text("tag;anzeige;sicht\n01.02.2026;a1;5\n")
    text = run(
        *("ads", "import", "own.csv", "own", "--source", "table", "--date-format", "%d.%m.%Y"),
        *("--columns", "day=tag,ad_id=anzeige,impressions=sicht"),
    )
    assert "Written to own" in text
    assert open_delivery(here / "own").days["ad_id"].to_list() == ["a1"]


def test_what_can_be_read_in_two_ways_is_refused(here: Path) -> None:
    (here / "meta.csv").write_text(META.replace("2026-03-0", "03/0").replace(",120", "/2026,120"))
    text = run("ads", "import", "meta.csv", "ads", code=2)
    assert "to do:" in text
    assert "date" in text
    assert not (here / "ads").exists()
    assert "there is no such record" in run("ads", "describe", "nowhere", code=2)
    assert "is no pair" in run("ads", "import", "meta.csv", "b", "--columns", "day", code=2)


def test_duplicates_by_text_and_by_look(here: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    pytest.importorskip("imagehash")
    (here / "images").mkdir()
    names = []
    for at, side in enumerate((40, 80)):
        path = here / "images" / f"{at}.png"
        image.linear_gradient("L").resize((side, side)).save(path)
        names.append(hashlib.sha256(path.read_bytes()).hexdigest())
    made = [
        Creative(headline="Warm coat", image_hash=names[0]),
        Creative(headline="WARM COAT!", image_hash=names[1]),
        Creative(headline="Drill"),
    ]
    days = pl.select(
        creative_id=pl.lit(pl.Series([one.creative_id for one in made])),
        ad_id=pl.lit(pl.Series(["a", "b", "c"])),
        day=pl.lit("2026-01-01").str.to_date(),
        period_days=pl.lit(1, pl.Int32),
        impressions=pl.lit(5, pl.Int64),
    )
    save_delivery(here / "ads", DeliveryRecord.checked(days, creatives=creatives_table(made)))
    text = run("ads", "duplicates", "ads", "--images", "images")
    assert "2 of 2 images" in text
    assert made[0].creative_id in text
    assert made[2].creative_id not in text
    assert made[1].creative_id in run("ads", "duplicates", "ads")
    assert "No two creatives" in run("ads", "duplicates", "meta.csv")
