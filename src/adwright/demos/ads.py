"""The demonstration's ads: a headline, a text and a description for products that were ranked.

A small model of this machine writes them, under an adapter that ships with the package. What it
wrote is shown as it was, with what the checks found, beside what is left after the repair.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import polars as pl

from adwright.authoring.checks.limits import CheckConfig, Finding, errors_of
from adwright.authoring.checks.verdict import Repaired, repair
from adwright.authoring.tasks import AuthoringRequest, Product, input_of, messages_of
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
from adwright.lm.engine.generation import GenerationConfig, Message
from adwright.lm.open_model import is_installed
from adwright.lm.torch_engine.config import TorchConfig
from adwright.programs.frontend.flow import Flow, TextFuture
from adwright.programs.program import SemanticCall
from adwright.programs.runner import ChainEngine, Session
from adwright.training.loop.stage_timer import Stages

# --------------------------------------------------------------------------------------------------
# What the demonstration asks a model to write of a product, and how it is asked and checked.
#
#     for slot in AD_SLOTS:
#         slot.turns(product)         # system and user turn, as `authoring` shows a product
#         slot.check                  # limits of the platform, grounding, policy
#
# Its adapter was tuned on these prompts, so that they are in one place. The text of an ad is asked
# for with the headline that stands above it, which is shown as one more fact.

#: Name of the fact that the headline above a text is.
HEADLINE = "Headline"


@dataclass(frozen=True)
class AdSlot:
    """name: headline, text or description. slot: of a writing job, whose instruction it has. limit:
    characters. check: how it is judged. tokens: of an answer at most."""

    name: str
    slot: WriterSlot
    limit: int
    check: CheckConfig
    tokens: int

    def request(self, product: Product) -> AuthoringRequest:
        """The product as the task of the slot has it."""
        return AuthoringRequest(self.slot.task, product)

    def turns(self, product: Product) -> tuple[Message, ...]:
        """What a model is told."""
        instruction = self.slot.instruction(self.limit)
        return messages_of(self.request(product), instruction=instruction)

    def settings(self, seed: int = 0) -> GenerationConfig:
        """How an answer is drawn, up to the end of the line: not the likeliest words, which are
        nearly the same for all products."""
        return GenerationConfig(
            max_tokens=self.tokens, temperature=0.7, top_p=0.9, seed=seed, stop=("\n",)
        )


AD_SLOTS = (
    AdSlot(
        "headline",
        slot_named("headline", "google-rsa"),
        30,
        CheckConfig(limit="google.headline"),
        16,
    ),
    AdSlot(
        "text",
        slot_named("description", "google-rsa"),
        90,
        CheckConfig(limit="google.description"),
        32,
    ),
    AdSlot("description", slot_named("description"), 300, CheckConfig(), 80),
)


# --------------------------------------------------------------------------------------------------
# Ads as a program of calls: a headline is written, checked, and read by the call that writes on.
#
#     facts ---> headline ---> checked (set from outside) ---> text
#       |                                                       ^
#       +-------------------------------------------------------+
#       +-----> description
#
#     async with open_room() as room:
#         ads = await write_ads(room, products)
#
# Every product has these three calls, all products are one program, and calls of one kind share the
# beginning of their prompts. The checks are plain Python: the variable `checked` is awaited,
# and set as soon as a headline was checked and mended, so that no text goes on from a headline that
# must not be shown. What a call fails to write is an empty text with the reason, which the repair
# fills with facts; the others go on.

#: The adapter that ships with the package, and its model card.
ADAPTER = shipped("demo_writer")
_CALLED = "ads"
_MARK = "<<facts>>"


@dataclass(frozen=True)
class AdRoom:
    """Where ads are written. engine: runs the calls. render: the prompt of a chat in the template
    of the model. adapter: of the engine's, that writes; None for the model as it is. says: what
    computes it, in words."""

    engine: ChainEngine
    render: Callable[[Sequence[Message]], str]
    adapter: str | None = None
    says: str = ""


@dataclass(frozen=True)
class WrittenText:
    """slot: headline, text or description. before: as the model wrote it. repaired: what became of
    it, with the findings of both. failure: why the model wrote nothing; empty where it did."""

    slot: str
    before: str
    repaired: Repaired
    failure: str = ""


@dataclass(frozen=True)
class ProductAd:
    """The texts of one product, in the order of `AD_SLOTS`."""

    product: Product
    texts: tuple[WrittenText, ...]


@asynccontextmanager
async def open_room(*, offline: bool = False) -> AsyncIterator[AdRoom]:
    """SmolLM2-135M-Instruct under our adapter, on the paged engine in a process of its own.

    offline: never download.
    Raises MissingExtraError without the extra `lm`, AssetError where the model cannot be had.
    """
    if not is_installed(TorchConfig):
        raise MissingExtraError("writing ads", TorchConfig.extra)
    from adwright.lm.engine.hf_tokens import HuggingFaceTokens
    from adwright.lm.engine.weights import locate
    from adwright.programs.dispatch.dispatcher import ChainDispatcher
    from adwright.programs.engines.paged_engine import PagedEngine, PagedEngineConfig

    torch = TorchConfig(offline=offline)
    where, note = locate(torch.model, offline=offline)
    tokens = HuggingFaceTokens.load(where)
    config = PagedEngineConfig(torch, adapters={_CALLED: str(ADAPTER / "tuned")})
    says = f"{note}, with the demonstration's adapter, on the paged engine"
    async with (
        PagedEngine(config) as engine,
        ChainDispatcher({"e0": engine}, tokens.count) as dispatcher,
    ):
        with dispatcher.for_program("demo", "demo") as chains:
            yield AdRoom(chains, lambda turns: tokens.chat_text(turns, {}), _CALLED, says)


async def write_ads(
    room: AdRoom, products: Sequence[Product], *, seed: int = 0
) -> tuple[ProductAd, ...]:
    """Write headline, text and description of each product, all of them as one program.

    seed: of what is drawn, with the place of the product added.
    Nothing is returned that a check refuses: a text that cannot be mended is empty.
    Raises ProgramError where the model wrote nothing at all.
    """
    calls = {slot.name: _call(slot, room) for slot in AD_SLOTS}
    async with Session(room.engine) as session:
        flow = Flow(session)
        made = await asyncio.gather(
            *(_ad(flow, calls, one, seed + place) for place, one in enumerate(products))
        )
    texts = [text for ad in made for text in ad.texts]
    if texts and all(text.failure for text in texts):
        raise ProgramError(
            f"no ad could be written: {texts[0].failure}", where="the demonstration's ads"
        )
    return tuple(made)


async def _ad(
    flow: Flow, calls: Mapping[str, SemanticCall], product: Product, seed: int
) -> ProductAd:
    """The texts of one product. The text below the headline waits until that was checked."""
    checked = flow.awaited("checked")

    async def written(slot: AdSlot, said: TextFuture) -> WrittenText:
        before, failure = "", ""
        try:
            before = (await said.get()).strip()
        except ProgramError as error:
            failure = str(error)
        mended = repair(before, slot.request(product), slot.check)
        if slot.name == "headline":
            checked.set(mended.text or product.title)
        return WrittenText(slot.name, before, mended, failure)

    texts = []
    for slot in AD_SLOTS:
        given: dict[str, str | TextFuture] = {"facts": input_of(slot.request(product))}
        if slot.name == "text":
            given["headline"] = checked
        call = replace(calls[slot.name], settings={slot.name: slot.settings(seed)})
        (said,) = flow.call(call, given, (slot.name,))
        texts.append(written(slot, said))
    return ProductAd(product, tuple(await asyncio.gather(*texts)))


def _call(slot: AdSlot, room: AdRoom) -> SemanticCall:
    """The call of a slot: what its turns say, with a place for the facts."""
    system, user = slot.turns(Product("any", "any"))
    instruction = user.content.partition("\n\n")[0]
    prompt = room.render((system, Message("user", f"{instruction}\n\n{_MARK}")))
    facts = "{{facts}}"
    if slot.name == "text":
        facts += f"\n* {HEADLINE}: {{{{headline}}}}"
    template = prompt.replace("{{", "{{{{").replace(_MARK, facts) + f"{{{{{slot.name}:output}}}}"
    return SemanticCall(f"write_{slot.name}", template, adapter=room.adapter)


# --------------------------------------------------------------------------------------------------
# What was written, what was found in it, and what is left.
#
# marked("Now 24 bags", findings)     # (("Now ", ""), ("24", "grounding/number"), (" bags", ""))


def marked(text: str, findings: Sequence[Finding]) -> tuple[tuple[str, str], ...]:
    """The text in pieces with the rule that each breaks, "" for none; of findings that overlap, the
    first counts, and one about the whole text marks nothing."""
    pieces: list[tuple[str, str]] = []
    at = 0
    for one in findings:
        start, end = max(one.start, at), min(one.end, len(text))
        if start >= end or end - one.start >= len(text):
            continue
        pieces += [(text[at:start], ""), (text[start:end], one.rule)]
        at = end
    pieces.append((text[at:], ""))
    return tuple(piece for piece in pieces if piece[0])


def told(findings: Sequence[Finding]) -> str:
    """The findings in words, each once."""
    names = dict.fromkeys(f"{one.rule}: {one.message}" for one in findings)
    return "; ".join(names) or "nothing found"


def ad_rows(ad: ProductAd) -> list[tuple[str, str, str, str]]:
    """For a terminal: slot, the text with what is wrong in [[brackets]], findings, and what is left
    where that is another text."""
    rows = []
    for text in ad.texts:
        found, mended = text.repaired.findings_before, text.repaired
        pieces = (f"[[{piece}]]" if rule else piece for piece, rule in marked(text.before, found))
        rules = text.failure or ", ".join(dict.fromkeys(one.rule for one in found))
        left = (mended.text or "(nothing that may be shown)") if mended.changed else ""
        rows.append((text.slot, "".join(pieces), rules, left))
    return rows


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
        texts = {text.slot: text.repaired.text for text in ad.texts}
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
RoomOpener = Callable[[], AbstractAsyncContextManager[AdRoom]]


@dataclass(frozen=True, eq=False)
class AdsDemoResult:
    """The ads, what wrote them, how many texts held in a sentence, and the page to read. judged:
    what two judges say of them; None where no ad has a headline."""

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
    opened: RoomOpener | None = None,
    judge: AdsJudge | None = None,
    clock: Clock | None = None,
) -> AdsDemoResult:
    """Write ads for the products into `asked.out`; an earlier demonstration there is replaced.

    opened: where they are written, in the place of `open_room`. judge: what judges them, in the
    place of `judge_ads`.
    Raises MissingExtraError without the extra `lm`, AssetError where the model cannot be had,
    ResourceError where the folder holds something else, DataError without products, ProgramError
    where the model wrote nothing at all.
    """
    if not products:
        raise DataError("there are no products to write ads for", hint="name at least one")
    claim_folder(asked.out, MARK, asked)
    stages = Stages(clock)

    async def written() -> tuple[tuple[ProductAd, ...], str]:
        async with (opened or partial(open_room, offline=asked.offline))() as room:
            return await write_ads(room, products, seed=asked.seed), room.says

    with stages.stage("write and check the ads"):
        ads, model = asyncio.run(written())
    page = asked.out / "ads.html"
    values = {"ads": ads, "summary": summary_of(ads), "model": model, "seconds": stages.seconds}
    with stages.stage("write their page"):
        lines = (json.dumps(to_jsonable(one), ensure_ascii=False) + "\n" for one in ads)
        atomic_write_text(asked.out / "ads.jsonl", "".join(lines))
        write_demo_page(page, "ads.html", {**values, "marked": marked, "told": told})
    with stages.stage("judge the ads"):
        judged = (judge or judge_ads)(ads, asked.out / "judged.html")
    return AdsDemoResult(ads, model, summary_of(ads), page, dict(stages.seconds), judged)


def summary_of(ads: Sequence[ProductAd]) -> str:
    """How many texts were grounded and without any error, before and after the repair."""
    made = [text.repaired for ad in ads for text in ad.texts]
    before = [errors_of(one.findings_before) for one in made]
    after = [errors_of(one.findings_after) for one in made]

    def grounded(found: Sequence[tuple[Finding, ...]]) -> int:
        return sum(not any(one.rule.startswith("grounding/") for one in some) for some in found)

    return (
        f"Of {len(made)} texts, {grounded(before)} say only what the facts support, and "
        f"{before.count(())} have no error of any kind; after the repair, which changed "
        f"{sum(one.changed for one in made)}, {grounded(after)} and {after.count(())}."
    )


def journey_shelf(ids: Sequence[str], *, offline: bool = False) -> tuple[Product, ...]:
    """The products of Complete Journey with these ids. Raises as `CompleteJourney.open`."""
    return shelf_products(CompleteJourney.open(offline=offline).products().collect(), ids)
