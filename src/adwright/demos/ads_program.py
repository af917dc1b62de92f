"""Ads as a program of calls: a headline is written, checked, and read by the call that writes on.

    facts ---> headline ---> checked (set from outside) ---> text
      |                                                       ^
      +-------------------------------------------------------+
      +-----> description

    async with open_room() as room:
        ads = await write_ads(room, products)

Every product has these three calls, all products are one program, and calls of one kind share the
beginning of their prompts. The checks are plain Python: the variable `checked` is awaited, and set
as soon as a headline was checked and mended, so that no text goes on from a headline that must not
be shown. What a call fails to write is an empty text with the reason, which the repair fills with
facts; the others go on.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from adwright.authoring.checks.verdict import Repaired, repair
from adwright.authoring.tasks import Product, input_of
from adwright.core.assets import shipped
from adwright.core.errors import MissingExtraError, ProgramError
from adwright.demos.ad_prompts import AD_SLOTS, HEADLINE, AdSlot
from adwright.lm.engine.generation import Message
from adwright.lm.open_model import is_installed
from adwright.lm.torch_engine.config import TorchConfig
from adwright.programs.frontend.flow import Flow, TextFuture
from adwright.programs.program import SemanticCall
from adwright.programs.runner import ChainEngine, Session

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
async def open_room(*, threads: int = 0, offline: bool = False) -> AsyncIterator[AdRoom]:
    """SmolLM2-135M-Instruct under our adapter, on the paged engine in a process of its own.

    threads: of torch; 0 takes what fits. offline: never download.
    Raises MissingExtraError without the extra `lm`, AssetError where the model cannot be had.
    """
    if not is_installed(TorchConfig):
        raise MissingExtraError("writing ads", TorchConfig.extra)
    from adwright.lm.engine.hf_tokens import HuggingFaceTokens
    from adwright.lm.engine.weights import locate
    from adwright.programs.dispatch.dispatcher import ChainDispatcher
    from adwright.programs.engines.paged_engine import PagedEngine, PagedEngineConfig

    torch = TorchConfig(threads=threads, offline=offline)
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
        planned = [
            _planned(flow, calls, product, seed + place) for place, product in enumerate(products)
        ]
        made = tuple(await asyncio.gather(*(one.written() for one in planned)))
    texts = [text for ad in made for text in ad.texts]
    if texts and all(text.failure for text in texts):
        raise ProgramError(
            f"no ad could be written: {texts[0].failure}", where="the demonstration's ads"
        )
    return made


@dataclass(frozen=True)
class _Planned:
    """The futures of one product's texts, by slot; checked: what the text call waits for."""

    product: Product
    texts: dict[str, TextFuture]
    checked: TextFuture

    async def written(self) -> ProductAd:
        made = await asyncio.gather(*(self._one(slot) for slot in AD_SLOTS))
        return ProductAd(self.product, tuple(made))

    async def _one(self, slot: AdSlot) -> WrittenText:
        before, failure = "", ""
        try:
            before = (await self.texts[slot.name].get()).strip()
        except ProgramError as error:
            failure = str(error)
        mended = repair(before, slot.request(self.product), slot.check)
        found = WrittenText(slot.name, before, mended, failure)
        if slot.name == "headline":
            self.checked.set(found.repaired.text or self.product.title)
        return found


def _planned(flow: Flow, calls: dict[str, SemanticCall], product: Product, seed: int) -> _Planned:
    checked = flow.awaited("checked")
    texts = {}
    for slot in AD_SLOTS:
        given: dict[str, str | TextFuture] = {"facts": input_of(slot.request(product))}
        if slot.name == "text":
            given["headline"] = checked
        call = replace(calls[slot.name], settings={slot.name: slot.settings(seed)})
        (texts[slot.name],) = flow.call(call, given, (slot.name,))
    return _Planned(product, texts, checked)


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
