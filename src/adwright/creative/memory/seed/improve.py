"""Ads of one's own, written anew by the writer of a run that has ended: better by both judges.

    found = improve(ads, "runs/seed", config, writer, own, second)
    found[0].text, found[0].second.value, found[0].original_second.value

For each ad the writer writes several; of those that pass the filters, and that the second judge
does not think less of than of the original, the own judge names the best. Where there is none, or
that is not above the original, the ad stays as it is. So no ad is changed on the word of the judge
that the writer was tuned to please. What is written lies in a file beside the rounds, and the same
call goes on where it was killed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from adwright.core.atomic import locked
from adwright.core.errors import DataError, ResumeError
from adwright.core.hashing import content_hash
from adwright.creative.judging import AdJudge, Judgements
from adwright.creative.memory.seed.config import SeedConfig
from adwright.creative.memory.seed.pool import KnownAd
from adwright.creative.memory.seed.round_files import read_json
from adwright.creative.memory.seed.sampling import WrittenAds, write_ads
from adwright.creative.memory.seed.scoring import scored
from adwright.creative.memory.seed.texts.ad_text import answer_of, record_of
from adwright.creative.memory.seed.texts.copying import CopyIndex
from adwright.creative.memory.seed.texts.filters import AdFilters
from adwright.creative.memory.seed.writer import SeedWriter
from adwright.metrics.bootstrap import Interval

__all__ = ["ImprovedAd", "improve"]

_DIGITS = 12


@dataclass(frozen=True)
class ImprovedAd:
    """An ad and what may take its place. text: the new one, or the original where nothing better
    was written. own, second: what the judges say of it, with their intervals; original_own,
    original_second: of the original. usable: how many of the written ones passed the filters."""

    brief: str
    original: str
    text: str
    own: Interval
    second: Interval
    original_own: Interval
    original_second: Interval
    usable: int

    @property
    def changed(self) -> bool:
        """Whether a new one was found."""
        return self.text != self.original

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def improve(
    ads: Sequence[KnownAd],
    out: str | Path,
    config: SeedConfig,
    writer: SeedWriter,
    own: AdJudge,
    second: AdJudge,
    *,
    samples: int = 8,
) -> tuple[ImprovedAd, ...]:
    """Write each ad anew. out: folder of the run, whose chosen round writes.

    Raises ResumeError where the run has no report yet, DataError without an ad, and as writer and
    judges.
    """
    if not ads:
        raise DataError("there is no ad to improve", hint="pass some")
    place = Path(out)
    report, read = read_json(place / "report.json"), read_json(place / "read.json")
    if report is None or read is None or report.get("after") is None:
        raise ResumeError(
            "the run has not ended", where=str(place), hint="give its command again until it has"
        )
    folder = place / f"round-{report['chosen']}" / "writer"
    briefs = [ad.brief for ad in ads]
    told = json.dumps([[one.id, one.known] for one in briefs] + [[str(samples), (folder.name,)]])
    with locked(place / ".lock"):
        written = write_ads(
            briefs,
            lambda: writer.opened(folder),
            config,
            place / f"improve-{content_hash(told)[:_DIGITS]}.jsonl",
            samples=samples,
            seed=config.seed,
            label="improve",
        )
    index = CopyIndex(read["texts"], n=config.filters.run)
    filters = AdFilters(config.filters, index, brands=read["brands"])
    return _chosen(ads, written or (), own, second, filters)


def _chosen(
    ads: Sequence[KnownAd],
    written: Sequence[WrittenAds],
    own: AdJudge,
    second: AdJudge,
    filters: AdFilters,
) -> tuple[ImprovedAd, ...]:
    originals = [ad.judged for ad in ads]
    first = own.judge(originals), second.judge(originals)
    usable: list[list[int]] = [[] for _ in ads]
    for row, place in scored(written, own, filters).usable:
        usable[row].append(place)
    places = [(row, place) for row, those in enumerate(usable) for place in those]
    records = [record_of(written[row].texts[place], ads[row].brief) for row, place in places]
    by_own, by_second = own.judge(records), second.judge(records)
    best: dict[int, int] = {}
    for at, (row, _) in enumerate(places):
        agreed = by_second.value[at] >= first[1].value[row]
        beaten = by_own.value[best[row]] if row in best else first[0].value[row]
        if agreed and by_own.value[at] > beaten:
            best[row] = at
    found = []
    for row, ad in enumerate(ads):
        own_first, second_first = _at(first[0], row), _at(first[1], row)
        chosen = best.get(row)
        new = ad.judged if chosen is None else records[chosen]
        found.append(
            ImprovedAd(
                ad.brief.id,
                ad.answer,
                answer_of(new, ad.brief.kind),
                own_first if chosen is None else _at(by_own, chosen),
                second_first if chosen is None else _at(by_second, chosen),
                own_first,
                second_first,
                len(usable[row]),
            )
        )
    return tuple(found)


def _at(found: Judgements, row: int) -> Interval:
    return Interval(*(float(one[row]) for one in (found.value, found.low, found.high)))
