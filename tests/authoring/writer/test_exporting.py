"""?"""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from adwright.authoring.writer.config import WriteConfig, WriterPrices
from adwright.authoring.writer.drafts import Drafts, ReviewDecision
from adwright.authoring.writer.exporting import (
    changes_in,
    creatives_of,
    export_texts,
    guessed_tokens,
    rehearse,
    texts_of,
    undo_export,
)
from adwright.authoring.writer.job import run_job
from adwright.authoring.writer.products import read_products
from adwright.core.errors import AssetError, ConfigError, DataError, ResourceError
from adwright.creative.records.ad_record import AdRecord
from adwright.creative.records.ads_table import read_ads
from adwright.data.sources.tables import read_creatives, write_creatives
from adwright.lm.engine.generation import Message
from adwright.lm.open_model import LmSpec
from tests.support.writing import Teller, opened, table_of

SHOPIFY = (
    "Handle,Title,Body (HTML),Vendor,Variant SKU,Variant Price\n"
    "tea,Tea,<p>Old</p>,Acme,T1,10.00\npot,Pot,,Acme,P1,9.00\n"
)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "shop.csv").write_text(SHOPIFY)
    table = read_products(tmp_path / "shop.csv")
    run_job(
        table,
        tmp_path / "out",
        WriteConfig(("description", "headline"), variants=2),
        opened(Teller(lambda prompt, call: f"Fresh {'abcdefghijklmnop'[call]}")),
    )
    with closing(Drafts.open(tmp_path / "out")) as drafts:
        drafts.decide(ReviewDecision("tea", "description", 0, "approve"))
        drafts.decide(ReviewDecision("pot", "headline", 0, "reject"))
        drafts.decide(ReviewDecision("pot", "headline", 1, "edit", "My pot"))
    return tmp_path / "out"


def test_approved_texts_go_into_the_shops_table(out: Path, tmp_path: Path) -> None:
    path = tmp_path / "new.csv"
    done = export_texts(out, path)
    assert (done.texts, done.changed, done.missing) == (2, 2, ())
    lines = path.read_text().splitlines()
    assert lines[0] == "Handle,Title,Body (HTML),Vendor,Variant SKU,Variant Price,headline_1"
    assert "<p>Fresh " in lines[1]
    assert lines[2].endswith(",My pot")


def test_all_are_those_that_nobody_rejected(out: Path, tmp_path: Path) -> None:
    with closing(Drafts.open(out)) as drafts:
        assert sum(map(len, texts_of(drafts, "all").values())) == 7
        assert texts_of(drafts, "all")["pot", "headline"] == ["My pot"]
    assert export_texts(out, tmp_path / "new.csv", which="all").texts == 7


def test_the_difference_is_told_before(out: Path) -> None:
    found = list(changes_in(out))
    assert [(one.product, one.column, one.before) for one in found] == [
        ("tea", "Body (HTML)", "<p>Old</p>"),
        ("pot", "headline_1", ""),
    ]


def test_an_export_is_taken_back(out: Path, tmp_path: Path) -> None:
    path = tmp_path / "new.csv"
    export_texts(out, path)
    assert undo_export(out) == path.resolve()
    assert not path.exists()
    with pytest.raises(DataError, match="no export to take back"):
        undo_export(out)
    path.write_text("mine")
    export_texts(out, path)
    undo_export(out)
    assert path.read_text() == "mine"
    export_texts(out, path)
    path.write_text("changed since")
    with pytest.raises(ResourceError, match="changed since"):
        undo_export(out)


def test_a_table_that_has_moved_is_named(out: Path, tmp_path: Path) -> None:
    (tmp_path / "shop.csv").rename(tmp_path / "moved.csv")
    with pytest.raises(DataError, match="--products"):
        export_texts(out, tmp_path / "new.csv")
    (tmp_path / "moved.csv").write_text(SHOPIFY.replace("pot,", "can,"))
    done = export_texts(out, tmp_path / "new.csv", products=tmp_path / "moved.csv")
    assert done.missing == ("pot",)


def test_without_a_decision_there_is_nothing_to_export(tmp_path: Path) -> None:
    (tmp_path / "shop.csv").write_text(SHOPIFY)
    run_job(
        read_products(tmp_path / "shop.csv"),
        tmp_path / "out",
        WriteConfig(("headline",)),
        opened(Teller(lambda prompt, call: "Fresh")),
    )
    with pytest.raises(DataError, match="no approved text"):
        export_texts(tmp_path / "out", tmp_path / "new.csv")


def test_texts_are_ads_that_can_be_judged_and_sold(out: Path, tmp_path: Path) -> None:
    with closing(Drafts.open(out)) as drafts:
        drafts.decide(ReviewDecision("tea", "headline", 0, "edit", "My tea", reviewer="Ann"))
        approved, ads = creatives_of(drafts), creatives_of(drafts, "all")
    draft, edited = (one for one in approved if one.item_id == "tea")
    assert draft.headline.startswith("Fresh ")
    assert (draft.state, edited.state) == ("draft", "approved")
    assert (edited.headline, edited.parent, edited.maker) == ("My tea", draft.creative_id, "Ann")
    assert edited.description == draft.description
    assert {one.state for one in ads} == {"draft", "in review", "approved"}
    write_creatives(tmp_path / "ads.parquet", ads)
    table = read_ads(tmp_path / "ads.parquet")
    assert table.ids == tuple(one.creative_id for one in ads)
    assert table.records[0] == AdRecord.of(ads[0])
    assert read_creatives(tmp_path / "ads.parquet")["item_id"].to_list().count("tea") == 3


CONFIG = WriteConfig(("headline",))


def test_tokens_are_guessed_from_characters() -> None:
    assert guessed_tokens((Message("user", "a" * 40),)) == 15
    assert guessed_tokens((Message("user", "茶" * 30),)) == 25


def test_what_a_job_would_do_is_told(tmp_path: Path) -> None:
    table, writer = table_of(tmp_path, "Tea", "Cup"), LmSpec("teller")
    prices = WriterPrices(prompt=1e6, answer=1e6)
    config = replace(CONFIG, slots=("headline", "title"), prices=prices)
    found = rehearse(table, tmp_path / "out", config, writer)
    assert (found.texts, found.unasked, found.products) == (2, 2, 2)
    assert found.cost == found.prompt_tokens + found.answer_tokens > 100
    assert "query" in found.facts()["would fail"]
    assert not (tmp_path / "out").exists()
    run_job(table, tmp_path / "out", CONFIG, opened(Teller(lambda p, c: "Fresh")))
    after = rehearse(table, tmp_path / "out", CONFIG, writer)
    assert (after.texts, after.same) == (0, 2)
    with pytest.raises(ConfigError, match="another seed"):
        rehearse(table, tmp_path / "out", replace(CONFIG, seed=1), writer)
    with pytest.raises(AssetError, match="no adapter"):
        rehearse(table, tmp_path / "out", CONFIG, LmSpec(adapter=str(tmp_path)))
