"""The demonstration's ads: a headline, a text and a description for products that were ranked.

A small model of this machine writes them, under an adapter that ships with the package. What it
wrote is shown as it was, with what the checks found, beside what is left after the repair.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from adwright.authoring.checks.limits import Finding, errors_of
from adwright.authoring.tasks import Product
from adwright.core.atomic import atomic_write_text
from adwright.core.clock import Clock
from adwright.core.config import Natural, settings, to_jsonable
from adwright.core.errors import DataError
from adwright.data.sources.complete_journey import CompleteJourney
from adwright.demos.ads_judged import JudgedAds, judge_ads
from adwright.demos.ads_page import AdCounts, write_ads_page
from adwright.demos.ads_program import AdRoom, ProductAd, open_room, write_ads
from adwright.demos.folder import claim_folder, remove_ours
from adwright.demos.shelf import shelf_products
from adwright.training.loop.stage_timer import Stages

_MARK = "demo.json"
AdsJudge = Callable[[Sequence[ProductAd], Path], JudgedAds | None]
RoomOpener = Callable[[], AbstractAsyncContextManager[AdRoom]]


@settings
class AdsDemoConfig:
    """threads: of the model, 0 for what fits. seed: of what is drawn. offline: never download.
    out: the folder."""

    threads: Natural = 0
    seed: int = 0
    offline: bool = False
    out: Path = Path("runs/demo/ads")


@dataclass(frozen=True, eq=False)
class AdsDemoResult:
    """The ads, what wrote them, their counts, and the page to read. judged: what two judges say of
    them; None where no ad has a headline."""

    ads: tuple[ProductAd, ...]
    model: str
    counts: AdCounts
    page: Path
    seconds: dict[str, float]
    judged: JudgedAds | None = None


def ads_demo(
    config: AdsDemoConfig,
    products: Sequence[Product],
    *,
    opened: RoomOpener | None = None,
    judge: AdsJudge | None = None,
    clock: Clock | None = None,
) -> AdsDemoResult:
    """Write ads for the products into `config.out`; an earlier demonstration there is replaced.

    opened: where they are written, in the place of `open_room`. judge: what judges them, in the
    place of `judge_ads`.
    Raises MissingExtraError without the extra `lm`, AssetError where the model cannot be had,
    ResourceError where the folder holds something else, DataError without products, ProgramError
    where the model wrote nothing at all.
    """
    if not products:
        raise DataError("there are no products to write ads for", hint="name at least one")
    claim_folder(config.out, _MARK, config)
    opener = opened or partial(open_room, threads=config.threads, offline=config.offline)
    stages = Stages(clock)
    with stages.stage("write and check the ads"):
        ads, model = asyncio.run(_written(opener, products, config.seed))
    counts = counts_of(ads)
    page = config.out / "ads.html"
    with stages.stage("write their page"):
        lines = (json.dumps(to_jsonable(one), ensure_ascii=False) + "\n" for one in ads)
        atomic_write_text(config.out / "ads.jsonl", "".join(lines))
        write_ads_page(page, ads, counts, model=model, seconds=stages.seconds)
    with stages.stage("judge the ads"):
        judged = (judge or judge_ads)(ads, config.out / "judged.html")
    return AdsDemoResult(ads, model, counts, page, dict(stages.seconds), judged)


def counts_of(ads: Sequence[ProductAd]) -> AdCounts:
    """How many texts were grounded and without any error, before and after the repair."""
    texts = [text for ad in ads for text in ad.texts]
    before = [errors_of(text.repaired.findings_before) for text in texts]
    after = [errors_of(text.repaired.findings_after) for text in texts]
    return AdCounts(
        texts=len(texts),
        grounded_before=sum(map(_is_grounded, before)),
        grounded_after=sum(map(_is_grounded, after)),
        faultless_before=before.count(()),
        faultless_after=after.count(()),
        changed=sum(text.repaired.changed for text in texts),
    )


def journey_shelf(ids: Sequence[str], *, offline: bool = False) -> tuple[Product, ...]:
    """The products of Complete Journey with these ids. Raises as `CompleteJourney.open`."""
    return shelf_products(CompleteJourney.open(offline=offline).products().collect(), ids)


def remove_ads(folder: Path) -> None:
    """Remove what an earlier demonstration left in `folder`, if anything.

    Raises ResourceError where the folder holds something that none made.
    """
    remove_ours(folder, _MARK)


async def _written(
    opener: RoomOpener, products: Sequence[Product], seed: int
) -> tuple[tuple[ProductAd, ...], str]:
    async with opener() as room:
        return await write_ads(room, products, seed=seed), room.says


def _is_grounded(errors: Sequence[Finding]) -> bool:
    return not any(one.rule.startswith("grounding/") for one in errors)
