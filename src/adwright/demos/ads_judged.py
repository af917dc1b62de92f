"""The demonstration's ads, judged: would they be clicked, would they be remembered?

    page = judge_ads(ads, Path("runs/demo/ads/judged.html"))

Two small judges ship with the package, see `judges/README.md`: one of clicks, trained on headlines
of news stories (Upworthy Research Archive, CC BY 4.0), one of recall, trained on plain sentences.
Neither has seen an ad of a grocer, and both say so of most texts: what stands here shows the form
of an answer, and what a judge does with ads unlike all that it knows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from adwright.core.assets import shipped
from adwright.creative.judges import open_judge
from adwright.creative.judging import Judgements
from adwright.creative.pages import judged_by, shown_ads, write_ads_page
from adwright.creative.records.ads_table import AdColumns, read_ads
from adwright.demos.ads_program import ProductAd

#: Of the package: a folder a judge, and their card.
JUDGES = shipped("demo_judges")
_NAMES = ("clicks", "recall")
_HEADLINE = "headline"
_EXPLAINED = 3
_SAID = (
    "The judge of clicks knows headlines of news stories, that of recall plain sentences: an ad of "
    "a grocer is unlike both, which is said where it is so. Numbers are estimates of judges; no "
    "person was asked.",
    "For judges that know your ads: adwright creative train.",
)


@dataclass(frozen=True, eq=False)
class JudgedAds:
    """titles: of the ads that have a headline. found: judge to its answers on them. page: to
    read."""

    titles: tuple[str, ...]
    found: dict[str, Judgements]
    page: Path

    def rows(self) -> list[tuple[str, ...]]:
        """For a terminal: headline, and of each judge its value with the interval."""
        made = []
        for row, title in enumerate(self.titles):
            cells = [
                f"{one.value[row]:.3f} ({one.low[row]:.3f} to {one.high[row]:.3f})"
                + (", unlike" if one.unlike[row] else "")
                for one in self.found.values()
            ]
            made.append((title, *cells))
        return made

    def header(self) -> tuple[str, ...]:
        """Of `rows`."""
        return ("headline", *(name.replace("_", " ") for name in self.found))


def judge_ads(ads: Sequence[ProductAd], page: Path, *, folder: Path = JUDGES) -> JudgedAds | None:
    """Judge the ads as they would be shown, and write their page; None where none has a headline.

    folder: of the judges. Raises as `open_judge` and as the judges do.
    """
    rows = [row for ad in ads if (row := _row(ad))["title"]]
    if not rows:
        return None
    columns = AdColumns("id", "title", ("words",), "brand", "", "", "", "")
    table = read_ads(pl.DataFrame(rows), columns)
    judges = {}
    for name in _NAMES:
        judge = open_judge(folder / name)
        judges[judge.name] = judge
    found = judged_by(judges, table)
    shown = shown_ads(table, judges, found, explain=_EXPLAINED, near=0)
    write_ads_page(page, shown, title="The demonstration's ads, judged", sentences=_SAID)
    return JudgedAds(tuple(record.title for record in table.records), found, page)


def _row(ad: ProductAd) -> dict[str, str]:
    texts = {text.slot: text.repaired.text for text in ad.texts}
    return {
        "id": ad.product.id,
        "title": texts.get(_HEADLINE, ""),
        "words": "\n".join(text for slot, text in texts.items() if slot != _HEADLINE and text),
        "brand": ad.product.brand,
    }
