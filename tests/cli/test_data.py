"""?"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import polars as pl
import pytest

from adwright.creative.records.delivery import DeliveryRecord, open_delivery, save_delivery
from adwright.data.creatives import Creative, creatives_table
from adwright.data.sources.log import save_log
from adwright.data.tasks.task import Task
from tests.support.commands import call
from tests.support.data.ranking_task import small_log

LOG = """event_id,time,request_id,user_id,kind,item_id
e1,2024-01-01T10:00:00Z,r1,ann,impression,tea
e2,2024-01-01T10:00:09Z,r1,ann,click,tea
e3,2024-01-02,r2,bob,purchase,jam
"""
ITEMS = "item_id,type,price\ntea,drink,2.5\njam,food,3\n"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "log.csv").write_text(LOG)
    (tmp_path / "items.csv").write_text(ITEMS)
    return tmp_path


def test_describe(here: Path) -> None:
    text = call("data", "describe", "log.csv", "--items", "items.csv")
    assert "events:             3" in text
    assert "2024-01-01 to 2024-01-02" in text
    assert "type, price" in text
    values = json.loads(call("data", "describe", "log.csv", "--json"))
    assert values["kinds"] == {"impression": 1, "click": 1, "purchase": 1}
    assert values["first"] == "2024-01-01T10:00:00+00:00"
    items = ("--items", "items.csv")
    values = json.loads(call("data", "describe", "log.csv", *items, "--json"))
    assert values["columns"]["price"]["kind"] == "number"
    (warning,) = values["warnings"]
    assert warning.startswith("time: 1 times name no zone")


def test_import_checks_and_keeps(here: Path) -> None:
    dry = call("data", "import", "log.csv", "mine", "--items", "items.csv", "--dry-run")
    assert "Would write mine" in dry
    assert not (here / "mine").exists()
    assert "3 events of 2 people" in call(
        "data", "import", "log.csv", "mine", "--items", "items.csv"
    )
    assert pl.read_parquet(here / "mine" / "events.parquet").height == 3
    assert "events:             3" in call("data", "describe", "mine")
    refused = call("data", "import", "log.csv", "mine", code=2)
    assert "--force" in refused
    call("data", "import", "log.csv", "mine", "--force")
    assert pl.read_parquet(here / "mine" / "items.parquet").columns == ["item_id"]


def test_a_bad_row_is_named(here: Path) -> None:
    (here / "bad.csv").write_text(LOG.replace("bob", ""))
    text = call("data", "import", "bad.csv", "mine", code=2)
    assert "user_id must not be empty" in text
    assert "bad.csv, row 2, column user_id" in text
    assert not (here / "mine").exists()


def test_tables_of_creatives_and_campaigns(here: Path) -> None:
    (here / "c.csv").write_text("creative_id,item_id\nc1,tea\n")
    (here / "p.csv").write_text("campaign_id,start\np1,2024-01-01\n")
    call(
        *("data", "import", "log.csv", "mine", "--items", "items.csv"),
        *("--creatives", "c.csv", "--campaigns", "p.csv"),
    )
    assert {p.name for p in (here / "mine").glob("c*")} == {
        "creatives.parquet",
        "campaigns.parquet",
    }


def test_export_and_atomic_files(here: Path) -> None:
    call("data", "import", "log.csv", "mine", "--items", "items.csv")
    assert "Would write" in call("data", "export", "mine", "out", "--format", "csv", "--dry-run")
    call("data", "export", "mine", "out", "--format", "csv")
    assert (here / "out" / "events.csv").exists()
    call("data", "export", "mine", "atomic", "--format", "atomic", "--name", "shop")
    assert "events:             3" in call("data", "describe", "atomic", "--atomic", "shop")
    call("data", "import", "atomic", "again", "--atomic", "shop")
    first, second = (pl.read_parquet(here / name / "events.parquet") for name in ("mine", "again"))
    assert first.equals(second)
    call("data", "export", "mine", "out", code=2)
    call("data", "export", "mine", "out", "--force")
    assert (here / "out" / "events.parquet").exists()


def test_import_makes_a_task(here: Path) -> None:
    save_log(here / "log", small_log())
    (here / "task.toml").write_text('responses = ["click"]\nshares = [0.5, 0.25]\n')
    text = call("data", "import", "log", "mine", "--task")
    assert "Task, for adwright train --task: mine/task-" in text
    (folder,) = (here / "mine").glob("task-*")
    assert Task.open(folder).n_rows("train") == 48
    call("data", "import", "log", "other", "--task-config", "task.toml")
    (folder,) = (here / "other").glob("task-*")
    assert Task.open(folder).n_rows("train") == 30
    assert "events:             86" in call("data", "describe", "mine")
    (here / "task.toml").write_text("response = []\n")
    assert "key response" in call(
        "data", "import", "log", "third", "--task-config", "task.toml", code=2
    )
    assert not (here / "third").exists()


def test_offline_is_heard(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADWRIGHT_CACHE", str(here / "empty"))
    text = call("data", "describe", "movielens", "--offline", code=2)
    assert "downloads are switched off" in text


RATINGS = "userId;movieId;rating;timestamp;shop\n" + "".join(
    f"{n % 5};{n % 7};{n % 5 + 1},5;{1_500_000_000 + 86_400 * n};{n % 3}\n" for n in range(60)
)
FILMS = "movieId;title;genres;year\n" + "".join(
    f"{n};A film {n};{'a|b' if n % 2 else 'b|c'};{1990 + n}\n" for n in range(6)
)


def test_a_log_of_ones_own_by_one_command(here: Path) -> None:
    (here / "ratings.csv").write_text(RATINGS)
    (here / "films.csv").write_text(FILMS)
    text = call(
        *("data", "import", "ratings.csv", "mine", "--items", "films.csv"),
        *("--context", "shop", "--min-rating", "2", "--column-kinds", "year=category"),
    )
    for words in (
        "events:             48",
        "left out:           12 rows with a rating below 2",
        "movieId is taken as item_id",
        "title: text (words, most of them once)",
        "genres: list, 3 values",
        "year: category, 6 values (as you say)",
        "shop: category, 3 values",
        "items that the catalogue lacks",
        "Written to mine",
    ):
        assert words in text
    kept = json.loads((here / "mine" / "mapping.json").read_text())
    assert kept["columns"]["item_id"] == "movieId"
    assert json.loads((here / "mine" / "summary.json").read_text())["holds"]["events"] == 48
    again = call("data", "describe", "mine")
    assert "year: category, 6 values (as you say)" in again
    assert "12 rows with a rating below 2" in again
    call("data", "export", "mine", "out", "--format", "parquet")
    assert (here / "out" / "summary.json").is_file()


def test_options_and_a_file_say_the_same(here: Path) -> None:
    (here / "log.csv").write_text(
        "kunde|artikel|wann|was|laden\n1|tea|31.01.2024 10:00|Bestellung|7\n"
        "1|tea|31.01.2024 10:00|Bestellung|7\n1||31.01.2024 10:00|Blick|7\n"
    )
    options = [
        *("--columns", "user_id=kunde,item_id=artikel,time=wann,kind=was"),
        *("--kinds", "Bestellung=purchase,Blick=view", "--time-format", "%d.%m.%Y %H:%M"),
        *("--time-zone", "Europe/Berlin", "--context", "laden"),
        *("--drop-repeated", "--drop-incomplete"),
    ]
    (here / "m.toml").write_text(
        'time_format = "%d.%m.%Y %H:%M"\ntime_zone = "Asia/Tokyo"\ncontext = ["laden"]\n'
        "drop_repeated = true\ndrop_incomplete = true\n"
        '[columns]\nuser_id = "kunde"\nitem_id = "artikel"\ntime = "wann"\nkind = "was"\n'
        '[kinds]\nBestellung = "purchase"\nBlick = "view"\n'
    )
    call("data", "import", "log.csv", "one", *options)
    # An option wins over the file.
    zone = ("--time-zone", "Europe/Berlin")
    call("data", "import", "log.csv", "other", "--mapping", "m.toml", *zone)
    one, other = (pl.read_parquet(here / name / "events.parquet") for name in ("one", "other"))
    assert one.equals(other)
    assert one.height == 1
    assert one["time"][0].hour == 9
    assert "events:             1" in call("data", "describe", "log.csv", "--mapping", "m.toml")


def test_a_failed_task_leaves_nothing_behind(here: Path) -> None:
    bought = "".join(LOG.splitlines(keepends=True)[::3])
    (here / "bought.csv").write_text(bought)
    before = set(here.iterdir())
    text = call("data", "import", "bought.csv", "o", "--task", code=2)
    assert "items drawn beside it" in text
    assert "split has no visit" in text
    assert set(here.iterdir()) == before
    # A dry run says it, too.
    call("data", "import", "bought.csv", "o", "--task", "--dry-run", code=2)
    assert set(here.iterdir()) == before
    call("data", "import", "bought.csv", "o")


def test_what_is_in_the_splits_is_shown(here: Path) -> None:
    save_log(here / "log", small_log())
    text = call("data", "import", "log", "mine", "--task")
    assert "train │ 48" in text
    assert "item_id: categorical of the item, 7 values" in text


META = """Day,Ad ID,Ad name,Campaign ID,Impressions,Link clicks,Amount spent (EUR)
2026-03-01,120001,Winter coat,77,"1,200",31,14.20
2026-03-02,120001,Winter coat,77,"1,150",24,13.90
2026-03-01,120002,Winter sale,77,900,--,9.80
Total,,,,"3,250",55,37.90
"""


@pytest.fixture
def ads_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "meta.csv").write_text(META)
    return tmp_path


def test_an_export_is_checked_and_kept(ads_here: Path) -> None:
    dry = call("ads", "import", "meta.csv", "ads", "--dry-run")
    assert "Would write ads" in dry
    assert not (ads_here / "ads").exists()
    kept = call("ads", "import", "meta.csv", "--out", "ads", "--time-zone", "Europe/Paris")
    assert "Written to ads" in kept
    assert "Repaired: " in kept  # the total
    record = open_delivery(ads_here / "ads")
    assert record.days["impressions"].sum() == 3250
    assert record.days["time_zone"].unique().to_list() == ["Europe/Paris"]
    assert "spend" in call("ads", "describe", "ads")
    assert call("ads", "describe", "ads").splitlines()[1:5] == kept.splitlines()[1:5]


def test_columns_of_another_name(ads_here: Path) -> None:
    (ads_here / "own.csv").write_text("tag;anzeige;sicht\n01.02.2026;a1;5\n")
    text = call(
        *("ads", "import", "own.csv", "own", "--source", "table", "--date-format", "%d.%m.%Y"),
        *("--columns", "day=tag,ad_id=anzeige,impressions=sicht"),
    )
    assert "Written to own" in text
    assert open_delivery(ads_here / "own").days["ad_id"].to_list() == ["a1"]


def test_what_can_be_read_in_two_ways_is_refused(ads_here: Path) -> None:
    (ads_here / "meta.csv").write_text(
        META.replace("2026-03-0", "03/0").replace(",120", "/2026,120")
    )
    text = call("ads", "import", "meta.csv", "ads", code=2)
    assert "to do:" in text
    assert "date" in text
    assert not (ads_here / "ads").exists()
    assert "there is no such record" in call("ads", "describe", "nowhere", code=2)
    assert "is no pair" in call("ads", "import", "meta.csv", "b", "--columns", "day", code=2)


def test_duplicates_by_text_and_by_look(ads_here: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    pytest.importorskip("imagehash")
    (ads_here / "images").mkdir()
    names = []
    for at, side in enumerate((40, 80)):
        path = ads_here / "images" / f"{at}.png"
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
    save_delivery(ads_here / "ads", DeliveryRecord.checked(days, creatives=creatives_table(made)))
    text = call("ads", "duplicates", "ads", "--images", "images")
    assert "2 of 2 images" in text
    assert made[0].creative_id in text
    assert made[2].creative_id not in text
    assert made[1].creative_id in call("ads", "duplicates", "ads")
    assert "No two creatives" in call("ads", "duplicates", "meta.csv")
