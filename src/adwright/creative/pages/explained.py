"""Ads with the answers of several judges, and what moved each answer, for a page or a table.

    shown = shown_ads(table, {"click_rate": judge}, explain=20)
    write_ads_page("ads.html", shown, title="Twenty ads")

The judges are asked about all ads in one call each; about the first `explain` of them also without
each part, see `judging.ablation`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import polars as pl

from adwright.core.progress import progress
from adwright.creative.judging.ablation import ablate
from adwright.creative.judging.ad_vectors import WithVectors
from adwright.creative.judging.judgement import AdJudge, Judgements
from adwright.creative.judging.nearest import PastAd
from adwright.creative.pages.shown import MovedBy, PastLikeIt, ShownAd, ShownAnswer
from adwright.creative.pages.thumbnails import thumbnail
from adwright.creative.records.verbal.ads_table import AdTable
from adwright.creative.records.verbal.record import AdRecord

__all__ = ["KnowsPast", "answers_table", "judged_by", "shown_ads"]

#: Parts in the explanation of one answer.
_PARTS = 8
#: Judges whose answers are shares, shown as percentages.
_SHARES = ("click_rate",)


@runtime_checkable
class KnowsPast(Protocol):
    """A judge that remembers ads that it was trained on."""

    def nearest(self, ads: Sequence[AdRecord], /, count: int = 3) -> Sequence[Sequence[PastAd]]:
        """Of each ad the nearest past ones."""
        ...


def judged_by(judges: Mapping[str, AdJudge], table: AdTable) -> dict[str, Judgements]:
    """The answers of each judge on all ads of a table. Raises as the judges do."""
    return {name: judge.judge(table.records) for name, judge in judges.items()}


def answers_table(table: AdTable, found: Mapping[str, Judgements]) -> pl.DataFrame:
    """One row an ad: creative_id, title, and of each judge NAME, NAME_low, NAME_high and
    NAME_unlike."""
    columns: dict[str, object] = {
        "creative_id": list(table.ids),
        "title": [record.title for record in table.records],
    }
    for name, answers in found.items():
        columns |= {
            name: answers.value,
            f"{name}_low": answers.low,
            f"{name}_high": answers.high,
            f"{name}_unlike": answers.unlike,
        }
    return pl.DataFrame(columns)


def shown_ads(
    table: AdTable,
    judges: Mapping[str, AdJudge],
    found: Mapping[str, Judgements],
    *,
    explain: int = 20,
    near: int = 3,
) -> list[ShownAd]:
    """The ads as a page shows them. found: of `judged_by`. explain: so many are explained, the
    first. near: past ads beside each answer, 0 for
    none. Raises as the judges do."""
    first = min(explain, len(table))
    past = {
        name: judge.nearest(table.records[:first], near)
        for name, judge in judges.items()
        if isinstance(judge, KnowsPast) and first and near
    }
    shown = []
    with progress(first, "explain", "ads") as bar:
        for row, (name, record) in enumerate(zip(table.ids, table.records, strict=True)):
            answers = []
            for judge_name, judge in judges.items():
                known = past.get(judge_name)
                answers.append(
                    _answer(
                        judge_name,
                        found[judge_name],
                        row,
                        _moved(judge, record, row) if row < first else (),
                        () if known is None or row >= first else tuple(map(_near, known[row])),
                    )
                )
            picture = thumbnail(table.media[row]) if row < first else ""
            shown.append(ShownAd(name, record, picture, tuple(answers)))
            if row < first:
                bar.advance()
    return shown


def _answer(
    name: str,
    found: Judgements,
    row: int,
    moved: tuple[MovedBy, ...],
    near: tuple[PastLikeIt, ...],
) -> ShownAnswer:
    return ShownAnswer(
        name,
        float(found.value[row]),
        float(found.low[row]),
        float(found.high[row]),
        bool(found.unlike[row]),
        found.coverage,
        percent=name.startswith(_SHARES),
        moved=moved,
        near=near,
    )


def _moved(judge: AdJudge, record: AdRecord, row: int) -> tuple[MovedBy, ...]:
    if isinstance(judge, WithVectors):
        judge = judge.of_row(row)
    return tuple(MovedBy(one.part, one.change) for one in ablate(judge, record)[:_PARTS])


def _near(past: PastAd) -> PastLikeIt:
    return PastLikeIt(past.title, past.value, past.distance)
