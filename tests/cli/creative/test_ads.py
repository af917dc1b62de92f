"""?"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from adwright.campaigns.store.store import Store
from adwright.cli.creative.ads import LOOK_FOR, ad_columns, look_at, opened_ads
from adwright.core.errors import ConfigError
from adwright.creative.editor.job_judges import AdOnPictures
from adwright.creative.editor.provenance import read_credentials
from adwright.creative.faces.stylegan import DRAWN
from tests.support.commands import call
from tests.support.creative.face_ads import face_ad
from tests.support.data.judged_pictures import picture_judges, shop_windows
from tests.support.models.small_faces import small_faces


def test_columns_are_guessed_or_told(shop: Path) -> None:
    table = opened_ads(shop / "ads.csv", ad_columns(None))
    assert table.records[0].words == "Baked at six."
    assert table.media[2] is None
    told = opened_ads(shop / "ads.csv", ad_columns("title=BODY,words=headline,image="))
    assert (told.records[0].title, told.records[0].words) == ("Baked at six.", "Fresh bread")
    assert set(told.media) == {None}
    with pytest.raises(ConfigError, match="an ad has no column 'slogan'"):
        ad_columns("slogan=body")


def test_nothing_is_looked_for(shop: Path) -> None:
    table = opened_ads(shop / "ads.csv", ad_columns(None))
    assert look_at(table, "nothing", offline=True).looked == 0
    assert LOOK_FOR.count(",") == 3


def test_the_group_teaches() -> None:
    said = call("creative", "--help")
    assert "Will an ad be clicked" in said
    assert "annotate" in said


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


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("edit")
    picture_judges(folder)
    (folder / "shop").mkdir()
    for at, picture in enumerate(shop_windows(2, seed=7)):
        Image.fromarray(picture).save(folder / "shop" / f"{at}.png")
    (folder / "ads.csv").write_text("id,image\nw0,shop/0.png\nw1,shop/1.png\n", "utf-8")
    boxes = "ad,left,top,right,bottom,what\n,2,3,40,20,logo\n"
    (folder / "stays.csv").write_text(boxes, "utf-8")
    return folder


def typed(home: Path, *more: object, code: int = 0) -> str:
    words = ["creative", "edit", home / "ads.csv", "--judge", home / "a", "--approver", "Ada"]
    return call(*words, "--look-for", "nothing", "--calls", 40, *more, code=code)


def test_a_dry_run_checks_and_writes_nothing(home: Path) -> None:
    said = typed(home, "--out", home / "dry", "--second", home / "b", "--dry-run")
    assert "2 ads would be searched" in said
    assert "about" in said
    assert "originals stay as they are" in said
    assert not (home / "dry").exists()


def test_pictures_are_edited_and_what_is_protected_stays(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = home / "edits"
    # Judges of 36 pictures are so unsure that one alone never suffices.
    monkeypatch.setattr(AdOnPictures, "error", lambda *_: 0.0)
    told = ("--out", out, "--protect", home / "stays.csv", "--least", 0, "--form", "webp")
    said = typed(home, *told)
    assert "use the originals" in said
    row, *_ = json.loads((out / "edits.json").read_text("utf-8"))["ads"]
    assert row["status"] == "edited", row["reason"]
    data = (out / row["output"]).read_bytes()
    assert read_credentials(data).whole
    with Image.open(out / row["output"]) as new, Image.open(home / "shop" / "0.png") as old:
        before, after = np.asarray(old.convert("RGB")), np.asarray(new.convert("RGB"))
    np.testing.assert_array_equal(before[3:20, 2:40], after[3:20, 2:40])
    assert (before != after).any()
    assert (out / "sheet.png").is_file()
    url = f"sqlite:///{home / 'adwright.db'}"
    into = ("--store", url, "--tenant", "acme")
    assert "no such store" in typed(home, *told, *into, code=2)
    with Store.open(url) as store:
        store.create_tenant("acme")
        windows = [{"creative_id": f"w{n}", "item_id": f"window-{n}"} for n in range(2)]
        store.put_creatives("acme", windows)
        said = typed(home, *told, *into)
        assert "were done before" in said
        assert "ads are drafts of acme" in said
        made = store.creatives_full("acme", states=["draft"])
        assert made
        for one in made:  # each advertises what its original does
            assert one.item_id == one.parent.replace("w", "window-")
            assert store.creative_moves("acme", one.creative_id)[0].author == "Ada"


def test_a_drawn_face_is_moved_with_consent_alone(home: Path) -> None:
    ads, consent = face_ad(home / "drawn")
    model, directions = small_faces(home / "model")
    told = ["creative", "edit", ads, "--judge", home / "a", "--approver", "Ada", "--seed", 1]
    told += ["--edits", "faces", "--calls", 12, "--least", 0, "--look-for", "nothing"]
    told += ["--faces", model, "--directions", directions]
    dry = call(*told, "--consent", consent, "--out", home / "moved", "--dry-run")
    assert "no estimate of ages is asked" in dry
    said = call(*told, "--consent", consent, "--out", home / "moved")
    assert "1 ads" in said
    (row,) = json.loads((home / "moved" / "edits.json").read_text("utf-8"))["ads"]
    assert '"face_move"' in row["plan"]
    assert (row["notes"], row["refusals"]) == ([], [])
    (home / "nobody.toml").write_text("entries = []\n", "utf-8")
    left = call(*told, "--consent", home / "nobody.toml", "--out", home / "left")
    assert "no face was found" in left
    (row,) = json.loads((home / "left" / "edits.json").read_text("utf-8"))["ads"]
    assert (row["status"], row["plan"]) == ("refused", "")


@pytest.mark.skipif(not (DRAWN / "encoder").exists(), reason="no model of faces ships yet")
def test_the_model_that_ships_moves_a_drawn_face(home: Path) -> None:
    ads, consent = face_ad(home / "shipped")
    told = ["creative", "edit", ads, "--judge", home / "a", "--approver", "Ada", "--least", 0]
    told += ["--edits", "faces", "--calls", 12, "--look-for", "nothing", "--consent", consent]
    call(*told, "--out", home / "by_shipped")
    (row,) = json.loads((home / "by_shipped" / "edits.json").read_text("utf-8"))["ads"]
    assert '"face_move"' in row["plan"]
    assert row["notes"] == []


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (("--edits", "smell"), "no edit 'smell'"),
        (("--edits", "text"), "go together"),
        (("--faces", "faces"), "consent manifest"),
        (("--edits", "faces"), "consent manifest"),
        (("--certificate", "chain.pem"), "go together"),
        (("--second", "a"), "one of those"),
        (("--method", "pareto"), "pareto takes"),
    ],
)
def test_options_that_do_not_go_together(
    home: Path, monkeypatch: pytest.MonkeyPatch, more: tuple[str, ...], says: str
) -> None:
    monkeypatch.chdir(home)
    monkeypatch.setenv("COLUMNS", "200")
    assert says in " ".join(typed(home, *more, "--out", "new", code=2).split())
    assert not (home / "new").exists()


def test_a_folder_that_holds_no_judge(shop: Path) -> None:
    said = call("creative", "score", shop / "ads.csv", "--model", shop, code=2)
    assert "Error" in said
    said = call("creative", "explain", shop / "ads.csv", "--model", shop, code=2)
    assert "Error" in said


def test_answers_go_into_tables_alone(shop: Path) -> None:
    said = call(
        "creative", "score", shop / "ads.csv", "--model", shop, "--out", "scores.xlsx", code=2
    )
    assert "CSV or Parquet" in said


def test_each_kind_of_training_has_its_verb() -> None:
    said = call("creative", "train", "--help")
    for verb in ("clicks", "memorability", "seed"):
        assert verb in said


def test_a_dry_run_tells_the_plan_and_its_cost(shared_data: Path, tmp_path: Path) -> None:
    slogans = shared_data / "slogans" / "slogans.csv"
    out = tmp_path / "writer"
    said = call("creative", "train", "writer", slogans, "--out", out, "--dry-run")
    assert "CPU" in said
    assert f"Would write {out}" in said.replace("\n", "")
    assert not out.exists()


def test_improve_needs_a_writer(shop: Path) -> None:
    said = call("creative", "improve", shop / "ads.csv", "--model", shop, code=2)
    assert "no writer that was trained on recall" in said
    said = call("creative", "improve", shop / "ads.csv", "--model", shop, "--dry-run")
    assert "3 ads, 8 would be written for each" in said
    said = call("creative", "improve", shop / "ads.csv", "--model", shop, "--out", "a.md", code=2)
    assert "CSV or Parquet" in said


pytest.importorskip("transformers", reason="the extra lm is not installed")


COLUMNS = (
    *("--id", "index", "--title", "headline", "--words", "lede", "--words", ""),
    *("--test", "clickability_test_id", "--image-id", "eyecatcher_id"),
)


@pytest.fixture(scope="module")
def creatives(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    frame = pl.read_parquet(shared_data / "upworthy" / "creatives.parquet")
    tests = frame["clickability_test_id"].unique(maintain_order=True).head(60)
    path = tmp_path_factory.mktemp("clicks") / "creatives.csv"
    frame.filter(pl.col("clickability_test_id").is_in(tests.to_list())).write_csv(path)
    return path


@pytest.fixture(scope="module")
def run(creatives: Path) -> Path:
    out = creatives.parent / "run"
    said = call("creative", "train", "clicks", creatives, *COLUMNS, "--out", out)
    assert "validation: " in said
    return out


def test_a_judge_is_trained_and_asked(run: Path, creatives: Path) -> None:
    report = json.loads((run / "report.json").read_text("utf-8"))
    assert {"constant", "length", "tf-idf", "mixture"} <= set(report["values"])
    new = creatives.parent / "new.csv"
    new.write_text("id,headline\nx,You Will Not Believe This\ny,Tea\n", "utf-8")
    out = creatives.parent / "scores.parquet"
    call("creative", "score", new, "--model", run, "--out", out)
    found = pl.read_parquet(out)
    assert found["click_rate"].is_between(0, 0.2).all()
    assert (found["click_rate_high"] > found["click_rate_low"]).all()
    url = f"sqlite:///{creatives.parent / 'adwright.db'}"
    told = ("creative", "score", new, "--model", run, "--store", url, "--tenant", "acme")
    assert "no such store" in call(*told, code=2)
    with Store.open(url) as store:
        store.create_tenant("acme")
        assert "no such creative" in call(*told, code=2)
        store.put_creatives("acme", [{"creative_id": one, "item_id": "tea"} for one in "xy"])
        assert "2 answers of click_rate are kept" in call(*told).replace("\n", " ")
        kept = store.creative_scores("acme", ["x", "y"])
    assert [kept[one]["click_rate"].value for one in "xy"] == found["click_rate"].to_list()
    page = creatives.parent / "ads.html"
    call("creative", "explain", new, "--model", run, "--out", page)
    assert "Nearest past ads" in page.read_text("utf-8")


def test_a_dry_run_counts(creatives: Path) -> None:
    out = creatives.parent / "other"
    said = call("creative", "train", "clicks", creatives, *COLUMNS, "--out", out, "--dry-run")
    assert "creatives" in said
    assert "clicks" in said
    assert not out.exists()


def test_a_column_that_says_how_it_did_is_no_input(creatives: Path) -> None:
    told = ("--title", "headline", "--words", "winner")
    said = call("creative", "train", "clicks", creatives, *told, code=2)
    assert "winner" in said
