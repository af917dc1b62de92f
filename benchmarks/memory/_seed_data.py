"""What the benchmark of SEED learns from: slogans with d', headlines, descriptions, products.

The slogans are the labelled ads, and theirs alone are watched and held out. Headlines of Upworthy
(with their ledes as the story) and descriptions of abt-buy (with the product's name) are the pool
that nobody measured; types of products of Complete Journey are briefs without an ad.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from adwright.creative.memory.outcomes import read_recall
from adwright.creative.records.ad_record import AdRecord
from adwright.creative.records.ads_table import AdColumns, read_ads
from adwright.creative.seed.texts import KnownAd, SeedData, known_ads
from adwright.metrics.text.agreement import words_of
from benchmarks.common.matches import read_matches
from benchmarks.memory._journey_briefs import journey_briefs

_WORDS = range(4, 26)


@dataclass(frozen=True)
class SeedSizes:
    """slogans: 0 for all. headlines, descriptions, products: of the pool and the catalogue."""

    slogans: int = 0
    headlines: int = 300
    descriptions: int = 150
    products: int = 100


def seed_data(sizes: SeedSizes, *, seed: int = 0) -> SeedData:
    """All of it. Needs ADWRIGHT_DATA; raises KeyError without it."""
    home = Path(os.environ["ADWRIGHT_DATA"])
    ads = (*_slogans(home, sizes.slogans), *_headlines(home, sizes.headlines, seed))
    return SeedData(
        (*ads, *_descriptions(home, sizes.descriptions, seed)),
        journey_briefs(limit=sizes.products, seed=seed),
    )


def _slogans(home: Path, most: int) -> tuple[KnownAd, ...]:
    """With d' of their counts."""
    table = read_recall(
        home / "slogans" / "slogans.csv", AdColumns("", "slogan", (), "brand", "", "", "", "")
    )
    scores = table.targets.tolist()
    ads = known_ads(table.records, table.ids, "slogan", source="slogans", scores=scores)
    return ads[: most or None]


def _headlines(home: Path, count: int, seed: int) -> tuple[KnownAd, ...]:
    """Each test once: its first creative with a lede."""
    columns = ["clickability_test_id", "headline", "lede"]
    frame = (
        pl.read_parquet(home / "upworthy" / "creatives.parquet", columns=columns)
        .drop_nulls()
        .filter(pl.col("lede").str.len_chars() > 20)
        .unique("lede", keep="first", maintain_order=True)
        .unique("clickability_test_id", keep="first", maintain_order=True)
        .sample(count, seed=seed)
        .sort("clickability_test_id")
    )
    table = read_ads(
        frame, AdColumns("clickability_test_id", "headline", ("lede",), "", "", "", "", "")
    )
    return known_ads(table.records, table.ids, "headline", source="upworthy")


def _descriptions(home: Path, count: int, seed: int) -> tuple[KnownAd, ...]:
    """The first sentence of a description, where it is one to learn from; a product once."""
    records, ids, groups = [], [], []
    for one in read_matches(home / "abt-buy"):
        text = one.fields.get("description", "").split(". ")[0].strip()
        if len(words_of(text)) in _WORDS and one.fields.get("name") and one.cluster not in groups:
            records.append(AdRecord(title=one.fields["name"], words=text))
            ids.append(one.id)
            groups.append(one.cluster)
    rows = pl.Series(range(len(ids))).sample(min(count, len(ids)), seed=seed).sort().to_list()
    return known_ads(
        [records[row] for row in rows],
        [ids[row] for row in rows],
        "description",
        source="abt-buy",
        groups=[groups[row] for row in rows],
    )
