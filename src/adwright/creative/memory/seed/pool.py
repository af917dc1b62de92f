"""What SEED learns from: ads that there are, with or without a measured score, and mere briefs.

    table = read_ads(Path("headlines.parquet"))
    pool = known_ads(table.records, table.ids, "headline", source="headlines")
    data = SeedData(labelled + pool, journey_briefs(limit=500, seed=1))

An ad with a score was measured on people; one without is annotated by the model's own judge. The
default pool is the catalogue: products of Complete Journey, which have no ads, as briefs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from adwright.core.errors import DataError, ValueInvalidError
from adwright.core.hashing import content_hash
from adwright.creative.memory.seed.texts.ad_text import (
    answer_of,
    brief_of,
    is_complete,
    record_of,
)
from adwright.creative.memory.seed.texts.brief import AdBrief, BriefKind
from adwright.creative.records.ad_record import AdRecord
from adwright.data.sources.complete_journey import CompleteJourney

__all__ = ["KnownAd", "SeedData", "journey_briefs", "known_ads"]


@dataclass(frozen=True)
class KnownAd:
    """An ad that there is. score: how well people remembered it, in the unit of the judges; None
    where nobody asked. source: of which collection.

    Raises ValueInvalidError for a score that is not finite.
    """

    brief: AdBrief
    record: AdRecord
    score: float | None = None
    source: str = ""

    def __post_init__(self) -> None:
        if self.score is not None and not abs(self.score) < float("inf"):
            raise ValueInvalidError(
                "the score of an ad is no number", column="score", value=self.score
            )

    @property
    def answer(self) -> str:
        """What the writer learns to answer."""
        return answer_of(self.record, self.brief.kind)

    @property
    def judged(self) -> AdRecord:
        """The ad as judges are shown it: with what a writer could have answered, and no more, so
        that originals and what is written in their place are judged alike."""
        return record_of(self.answer, self.brief)


@dataclass(frozen=True)
class SeedData:
    """ads: those that there are. briefs: what may be written for beside the briefs of the ads.

    Raises DataError where an id comes twice, or there is no ad.
    """

    ads: tuple[KnownAd, ...]
    briefs: tuple[AdBrief, ...] = ()

    def __post_init__(self) -> None:
        if not self.ads:
            raise DataError("there is no ad to learn from", hint="pass labelled ads or a pool")
        seen: set[str] = set()
        for row, brief in enumerate(self.every_brief):
            if brief.id in seen:
                raise DataError(
                    "two briefs have one id",
                    row=row,
                    column="id",
                    value=brief.id,
                    hint="put the name of the collection before the id",
                )
            seen.add(brief.id)

    @property
    def labelled(self) -> tuple[KnownAd, ...]:
        """Ads that were measured."""
        return tuple(ad for ad in self.ads if ad.score is not None)

    @property
    def pool(self) -> tuple[KnownAd, ...]:
        """Ads that were not."""
        return tuple(ad for ad in self.ads if ad.score is None)

    @property
    def every_brief(self) -> tuple[AdBrief, ...]:
        """Of the ads, and the others."""
        return (*(ad.brief for ad in self.ads), *self.briefs)

    @property
    def digest(self) -> str:
        """Hash of all that a run depends on."""
        ads = [[_told(ad.brief), ad.answer, ad.score, ad.source] for ad in self.ads]
        return content_hash([ads, [_told(brief) for brief in self.briefs]])


def known_ads(
    records: Sequence[AdRecord],
    ids: Sequence[str],
    kind: BriefKind,
    *,
    source: str,
    scores: Sequence[float | None] | None = None,
    groups: Sequence[str] | None = None,
) -> tuple[KnownAd, ...]:
    """Ads of a table, each once; rows without all that the kind needs are left out.

    source: put before the ids. scores: of people, one a record. groups: what is held out together,
    where it is no brand. Raises DataError where the numbers of rows differ.
    """
    told = list(scores) if scores is not None else [None] * len(records)
    held = list(groups) if groups is not None else [""] * len(records)
    if not len(records) == len(ids) == len(told) == len(held):
        raise DataError(
            f"there are {len(records)} ads, {len(ids)} ids, {len(told)} scores, {len(held)} groups"
        )
    found: dict[tuple[str, ...], KnownAd] = {}
    for record, id, score, group in zip(records, ids, told, held, strict=True):
        if not is_complete(record, kind):
            continue
        brief = brief_of(record, kind, id=f"{source}-{id}", group=group)
        ad = KnownAd(brief, record, score, source)
        found.setdefault((*brief.known, ad.answer), ad)
    return tuple(found.values())


def journey_briefs(
    path: Path | None = None, *, limit: int = 0, seed: int = 0, offline: bool = False
) -> tuple[AdBrief, ...]:
    """A brief for each type of product that Complete Journey describes; no ad comes with them.

    Its brands say National or Private, so that the product is all that is told. limit: so many
    types, drawn by `seed`; 0 for all. Raises as `CompleteJourney.open`.
    """
    products = CompleteJourney.open(path, offline=offline).products()
    wanted = ("product_type", "product_category", "department")
    types = (
        products.select(pl.col(name).fill_null("").str.strip_chars() for name in wanted)
        .filter(pl.col("product_type") != "")
        .group_by("product_type")
        .agg(pl.all().sort().first())
        .sort("product_type")
        .collect()
    )
    if limit:
        types = types.sample(min(limit, types.height), seed=seed).sort("product_type")
    return tuple(_journey_brief(*row) for row in types.iter_rows())


def _journey_brief(kind: str, category: str, department: str) -> AdBrief:
    facts = _apart((("Category", category), ("Department", department)), kind)
    named = kind.capitalize()
    return AdBrief(f"journey-{kind}", subject=named, facts=facts, group=kind)


def _apart(pairs: Iterable[tuple[str, str]], kind: str) -> tuple[str, ...]:
    """The pairs that say more than the type does."""
    return tuple(
        f"{name}: {value.capitalize()}" for name, value in pairs if value and value != kind
    )


def _told(brief: AdBrief) -> list[object]:
    return [brief.id, brief.kind, brief.held_by, list(brief.known), brief.seconds]
