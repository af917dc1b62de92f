"""The demonstration's ads: a headline, a text and a description for products that were ranked.

A small model of this machine chooses which facts they say, in which order and frame, under an
adapter that ships with the package; a grammar says them, and the checks of `adwright author` pass
each. What cannot be written is left out, with the reason.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import polars as pl

from adwright.authoring.checks.limits import CheckConfig
from adwright.authoring.checks.verdict import usable
from adwright.authoring.plan.planning import PlannedRow, Planner
from adwright.authoring.tasks import AuthoringRequest, Product
from adwright.authoring.writer.asking import OpenedWriter, open_writer
from adwright.authoring.writer.config import WriterSlot, slot_named
from adwright.core.assets import shipped
from adwright.core.atomic import atomic_write_text
from adwright.core.clock import Clock
from adwright.core.config import to_jsonable
from adwright.core.errors import DataError, MissingExtraError, ProgramError
from adwright.creative.judges import open_judge
from adwright.creative.pages import judged_by, shown_ads, write_ads_page
from adwright.creative.records.ads_table import AdColumns, read_ads
from adwright.data.sources.complete_journey import CompleteJourney
from adwright.demos.folder import MARK, DemoPart, claim_folder, write_demo_page
from adwright.demos.shelf import shelf_products
from adwright.lm.open_model import LmSpec, is_installed
from adwright.lm.torch_engine.config import TorchConfig
from adwright.training.loop.stage_timer import Stages

#: The adapter that ships with the package, and its model card.
ADAPTER = shipped("demo_writer")


@dataclass(frozen=True)
class AdSlot:
    """name: headline, text or description. slot: of a writing job. limit: characters. check: how it
    is judged."""

    name: str
    slot: WriterSlot
    limit: int
    check: CheckConfig

    def wanted(self, product: Product) -> PlannedRow:
        """The text of a product, as a plan makes it."""
        request = AuthoringRequest(self.slot.task, product)

        def fits(text: str) -> bool:
            return not usable(text, request, self.check, sentences=self.slot.sentences)

        return PlannedRow(request, self.slot.kind, self.limit, fits)


AD_SLOTS = (
    AdSlot(
        "headline", slot_named("headline", "google-rsa"), 30, CheckConfig(limit="google.headline")
    ),
    AdSlot(
        "text",
        slot_named("description", "google-rsa"),
        90,
        CheckConfig(limit="google.description"),
    ),
    AdSlot("description", slot_named("description"), 300, CheckConfig()),
)


@dataclass(frozen=True)
class WrittenText:
    """slot: headline, text or description. text: "" where none could be written, and `why` says
    why."""

    slot: str
    text: str
    why: str = ""


@dataclass(frozen=True)
class ProductAd:
    """The texts of one product, in the order of `AD_SLOTS`."""

    product: Product
    texts: tuple[WrittenText, ...]


@contextmanager
def open_chooser(*, offline: bool = False) -> Iterator[OpenedWriter]:
    """SmolLM2-135M-Instruct under our adapter, on the paged engine.

    offline: never download.
    Raises MissingExtraError without the extra `lm`, AssetError where the model cannot be had.
    """
    if not is_installed(TorchConfig):
        raise MissingExtraError("writing ads", TorchConfig.extra)
    spec = LmSpec(adapter=str(ADAPTER / "tuned"), offline=offline)
    with open_writer(spec, scores=True) as opened:
        yield opened


def write_ads(opened: OpenedWriter, products: Sequence[Product]) -> tuple[ProductAd, ...]:
    """Write headline, text and description of each product.

    Nothing is returned that a check refuses. Raises ProgramError where nothing at all can be
    written.
    """
    planner = Planner(opened.model)
    rows = [slot.wanted(one) for one in products for slot in AD_SLOTS]
    found = planner.write(rows)
    if found and not any(one.text for one in found):
        raise ProgramError(
            f"no ad could be written: {found[0].why}", where="the demonstration's ads"
        )
    names, many = [slot.name for slot in AD_SLOTS], len(AD_SLOTS)
    made = []
    for at, product in enumerate(products):
        own = found[at * many : (at + 1) * many]
        texts = (WrittenText(name, one.text, one.why) for name, one in zip(names, own, strict=True))
        made.append(ProductAd(product, tuple(texts)))
    return tuple(made)


def ad_rows(ad: ProductAd) -> list[tuple[str, str]]:
    """For a terminal: slot, and the text or why there is none."""
    return [(one.slot, one.text or f"(left out: {one.why})") for one in ad.texts]


# --------------------------------------------------------------------------------------------------
# The demonstration's ads, judged: would they be clicked, would they be remembered?
#
#     page = judge_ads(ads, Path("runs/demo/ads/judged.html"))
#
# Two small judges ship with the package, see `judges/README.md`: one of clicks, trained on
# headlines of news stories (Upworthy Research Archive, CC BY 4.0), one of recall, trained on plain
# sentences.
# Neither has seen an ad of a grocer, and both say so of most texts: what stands here shows the form
# of an answer, and what a judge does with ads unlike all that it knows.

#: Of the package: a folder a judge, and their card.
JUDGES = shipped("demo_judges")
_NAMES = ("clicks", "recall")
_EXPLAINED = 3
_SAID = (
    "The judge of clicks knows headlines of news stories, that of recall plain sentences: an ad of "
    "a grocer is unlike both, which is said where it is so. Numbers are estimates of judges; no "
    "person was asked.",
    "For judges that know your ads: adwright creative train.",
)


@dataclass(frozen=True, eq=False)
class JudgedAds:
    """For a terminal: of each ad with a headline this and the answer of each judge, with its
    interval. page: to read."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    page: Path


def judge_ads(ads: Sequence[ProductAd], page: Path) -> JudgedAds | None:
    """Judge the ads as they would be shown, and write their page; None where none has a headline.

    Raises as `open_judge` and as the judges do.
    """
    rows = []
    for ad in ads:
        texts = {text.slot: text.text for text in ad.texts}
        title = texts.pop("headline", "")
        words = "\n".join(text for text in texts.values() if text)
        cells = {"id": ad.product.id, "title": title, "words": words, "brand": ad.product.brand}
        rows += [cells] if title else []
    if not rows:
        return None
    columns = AdColumns("id", "title", ("words",), "brand", "", "", "", "")
    table = read_ads(pl.DataFrame(rows), columns)
    judges = {judge.name: judge for judge in (open_judge(JUDGES / name) for name in _NAMES)}
    found = judged_by(judges, table)
    shown = shown_ads(table, judges, found, explain=_EXPLAINED, near=0)
    write_ads_page(page, shown, title="The demonstration's ads, judged", sentences=_SAID)
    answers = [
        [
            f"{value:.3f} ({low:.3f} to {high:.3f})" + (", unlike" if unlike else "")
            for value, low, high, unlike in zip(
                one.value, one.low, one.high, one.unlike, strict=True
            )
        ]
        for one in found.values()
    ]
    titles = [record.title for record in table.records]
    header = ("headline", *(name.replace("_", " ") for name in found))
    return JudgedAds(header, tuple(zip(titles, *answers, strict=True)), page)


AdsJudge = Callable[[Sequence[ProductAd], Path], JudgedAds | None]
ChooserOpener = Callable[[], AbstractContextManager[OpenedWriter]]


@dataclass(frozen=True, eq=False)
class AdsDemoResult:
    """The ads, what wrote them, how many texts there are in a sentence, and the page to read.
    judged: what two judges say of them; None where no ad has a headline."""

    ads: tuple[ProductAd, ...]
    model: str
    summary: str
    page: Path
    seconds: dict[str, float]
    judged: JudgedAds | None = None


def ads_demo(
    asked: DemoPart,
    products: Sequence[Product],
    *,
    opened: ChooserOpener | None = None,
    judge: AdsJudge | None = None,
    clock: Clock | None = None,
) -> AdsDemoResult:
    """Write ads for the products into `asked.out`; an earlier demonstration there is replaced.

    opened: what chooses, in the place of `open_chooser`. judge: what judges them, in the
    place of `judge_ads`.
    Raises MissingExtraError without the extra `lm`, AssetError where the model cannot be had,
    ResourceError where the folder holds something else, DataError without products, ProgramError
    where the model wrote nothing at all.
    """
    if not products:
        raise DataError("there are no products to write ads for", hint="name at least one")
    claim_folder(asked.out, MARK, asked)
    stages = Stages(clock)

    choosing = opened or partial(open_chooser, offline=asked.offline)
    with stages.stage("write and check the ads"), choosing() as chooser:
        ads = write_ads(chooser, products)
        model = f"{chooser.name}, which chooses, on the engine {chooser.engine}"
    page = asked.out / "ads.html"
    values = {"ads": ads, "summary": summary_of(ads), "model": model, "seconds": stages.seconds}
    with stages.stage("write their page"):
        lines = (json.dumps(to_jsonable(one), ensure_ascii=False) + "\n" for one in ads)
        atomic_write_text(asked.out / "ads.jsonl", "".join(lines))
        write_demo_page(page, "ads.html", values)
    with stages.stage("judge the ads"):
        judged = (judge or judge_ads)(ads, asked.out / "judged.html")
    return AdsDemoResult(ads, model, summary_of(ads), page, dict(stages.seconds), judged)


def summary_of(ads: Sequence[ProductAd]) -> str:
    """How many texts there are, and how many are left out."""
    texts = [text for ad in ads for text in ad.texts]
    made = sum(bool(one.text) for one in texts)
    left = f"; {len(texts) - made} are left out, with the reason" if made < len(texts) else ""
    return (
        f"Of {len(texts)} texts {made} are written: whole, and of the facts of their product "
        f"alone{left}."
    )


def journey_shelf(ids: Sequence[str], *, offline: bool = False) -> tuple[Product, ...]:
    """The products of Complete Journey with these ids. Raises as `CompleteJourney.open`."""
    return shelf_products(CompleteJourney.open(offline=offline).products().collect(), ids)
