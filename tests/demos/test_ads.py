"""The ads of the demonstration: asked for, written as a program, checked, judged, and shown."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from adwright.authoring.checks.limits import Finding
from adwright.authoring.checks.verdict import Repaired, check
from adwright.authoring.tasks import Product
from adwright.core.artifacts import load_artifact
from adwright.core.errors import DataError, MissingExtraError, ProgramError, ResourceError
from adwright.demos.ads import (
    AD_SLOTS,
    ADAPTER,
    JUDGES,
    AdRoom,
    ProductAd,
    WrittenText,
    ad_rows,
    ads_demo,
    journey_shelf,
    judge_ads,
    marked,
    open_room,
    summary_of,
    with_headline,
    write_ads,
)
from adwright.demos.folder import DemoPart, remove_demo
from adwright.lm import open_model
from adwright.lm.engine.generation import Message
from adwright.programs.runner import AskedChain, Saying

TEA = Product("1", "Tea bags", category="Teas", attributes=(("Size", "20 ct"),))


def test_each_slot_says_its_length_and_is_checked_for_it() -> None:
    assert [slot.name for slot in AD_SLOTS] == ["headline", "text", "description"]
    for slot in AD_SLOTS:
        _, user = slot.turns(TEA)
        assert f"at most {slot.limit} characters" in user.content
        assert user.content.endswith("Title: Tea bags\nCategory: Teas\n* Size: 20 ct")
        assert slot.settings().max_tokens == slot.tokens
        assert (slot.settings().seed, slot.settings(3).seed) == (0, 3)
        long = "Tea bags " * 11
        found = {one.rule for one in check(long, slot.request(TEA), slot.check)}
        assert any(rule.startswith("limits/") for rule in found) == (slot.name != "description")


HAM = Product("2", "Ham {{steaks}}", attributes=(("Department", "Meat"),))


class Writer:
    """Answers by what it is asked; keeps the prompts in the order in which they came."""

    def __init__(self, answer: Callable[[str, str], str]) -> None:
        self.answer = answer
        self.prompts: list[str] = []
        self.adapters: set[str | None] = set()
        self.seeds: list[int | None] = []

    async def generate(self, asked: AskedChain, say: Saying) -> str:
        self.prompts.append(asked.prompt)
        self.adapters.add(asked.chain.call.adapter)
        self.seeds.append(asked.chain.settings.seed)
        return self.answer(asked.chain.placeholder, asked.prompt)


def rendered(turns: Sequence[Message]) -> str:
    return "".join(f"[{one.role}]{one.content}" for one in turns) + "[assistant]"


def written(writer: Writer, *products: Product, seed: int = 0) -> tuple[ProductAd, ...]:
    return asyncio.run(write_ads(AdRoom(writer, rendered, "mine"), products, seed=seed))


def test_every_prompt_is_the_one_that_the_adapter_was_tuned_on() -> None:
    writer = Writer(lambda slot, prompt: "Tea bags, 20 ct" if "Tea" in prompt else "Ham")
    written(writer, TEA, HAM)
    wanted = {
        rendered(slot.turns(with_headline(one, said) if slot.name == "text" else one))
        for one, said in ((TEA, "Tea bags, 20 ct"), (HAM, "Ham"))
        for slot in AD_SLOTS
    }
    assert set(writer.prompts) == wanted
    assert len(writer.prompts) == 6
    assert writer.adapters == {"mine"}
    assert sorted(map(str, writer.seeds)) == ["0"] * 3 + ["1"] * 3
    written(other := Writer(writer.answer), HAM, seed=7)
    assert set(other.seeds) == {7}


def test_a_text_goes_on_from_the_headline_that_was_mended() -> None:
    said = {"headline": "Tea bags, 50 ct", "text": "The best tea ever.", "description": "Tea bags."}
    writer = Writer(lambda slot, prompt: said[slot])
    (ad,) = written(writer, TEA)
    assert [(text.slot, text.before) for text in ad.texts] == list(said.items())
    headline, text, description = (one.repaired for one in ad.texts)
    assert headline.changed
    assert "50" not in headline.text
    assert f"* Headline: {headline.text}" in writer.prompts[-1]
    assert headline.findings_before[0].rule.startswith("grounding/")
    assert any(one.rule == "policy/superlative" for one in text.findings_before)
    assert not text.failed
    assert not description.changed


def test_what_cannot_be_written_is_made_of_the_facts_and_harms_nothing_else() -> None:
    def answer(slot: str, prompt: str) -> str:
        if "Tea" in prompt:
            raise RuntimeError("it fell")
        return "Ham"

    tea, ham = written(Writer(answer), TEA, HAM)
    assert {text.before for text in tea.texts} == {""}
    assert all("Tea bags" in text.repaired.text for text in tea.texts)
    assert all("it fell" in text.failure for text in tea.texts)
    assert {(text.before, text.failure) for text in ham.texts} == {("Ham", "")}
    with pytest.raises(ProgramError, match=r"no ad could be written: .*it fell"):
        written(Writer(answer), TEA)


def test_without_the_extra_nothing_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_model, "find_spec", lambda name: None)

    async def opened() -> None:
        async with open_room(offline=True):
            pass

    with pytest.raises(MissingExtraError, match="writing ads needs packages"):
        asyncio.run(opened())


def test_the_adapter_that_ships_is_whole_and_small() -> None:
    artifact = load_artifact(ADAPTER / "tuned", kind="lm-tuned")
    assert artifact.config["method"] == "LoRA"
    assert artifact.tensors
    assert sum(one.stat().st_size for one in (ADAPTER / "tuned").iterdir()) < 10_000_000
    manifest = json.loads((ADAPTER / "tuned" / "manifest.json").read_text("utf-8"))
    card = (ADAPTER / "README.md").read_text("utf-8")
    assert f"seed {manifest['seed']}" in card
    for said in ("SmolLM2-135M", "Apache-2.0", "CC0", "held-out", "What it is for"):
        assert said in card


NUMBER = Finding("grounding/number", 4, 6, "error", "no fact has this number")
BEST = Finding("policy/superlative", 5, 11, "error", "a superlative needs proof by somebody else")
WHOLE = Finding("limits/too-long", 0, 11, "error", "too long")
AD = ProductAd(
    Product("1", "Tea <bags>", attributes=(("Size", "20 ct"),)),
    (
        WrittenText("headline", "Now 24 bags", Repaired("Now bags", (NUMBER,), (), True)),
        WrittenText("text", "Tea & bags", Repaired("Tea & bags", (), (), False)),
        WrittenText("description", "", Repaired("", (WHOLE,), (WHOLE,), True), "it fell"),
    ),
)


def test_what_is_wrong_is_marked() -> None:
    text = "Now 24 bags"
    assert marked(text, ()) == ((text, ""),)
    assert marked(text, (NUMBER,)) == (("Now ", ""), ("24", "grounding/number"), (" bags", ""))
    assert marked(text, (WHOLE,)) == ((text, ""),)
    overlapping = marked(text, (NUMBER, BEST))
    assert "".join(piece for piece, _ in overlapping) == text
    assert overlapping[1:3] == (("24", "grounding/number"), (" bags", "policy/superlative"))
    assert marked("", (NUMBER,)) == ()


def test_rows_for_a_terminal() -> None:
    assert ad_rows(AD) == [
        ("headline", "Now [[24]] bags", "grounding/number", "Now bags"),
        ("text", "Tea & bags", "", ""),
        ("description", "", "it fell", "(nothing that may be shown)"),
    ]


pytest.importorskip("transformers", reason="the extra lm is not installed")


def ad(id: str, headline: str, text: str = "Baked at six.") -> ProductAd:
    def written(slot: str, said: str) -> WrittenText:
        return WrittenText(slot, said, Repaired(said, (), (), changed=False))

    texts = (written("headline", headline), written("text", text))
    return ProductAd(Product(id, "Bread", brand="Mill Lane"), texts)


def test_ads_are_judged_by_what_ships(tmp_path: Path) -> None:
    assert "CC BY 4.0" in (JUDGES / "README.md").read_text("utf-8")
    page = tmp_path / "judged.html"
    found = judge_ads([ad("p1", "Fresh bread"), ad("p2", ""), ad("p3", "Rolls")], page)
    assert found is not None
    assert found.header == ("headline", "click rate", "memorability")
    assert [row[0] for row in found.rows] == ["Fresh bread", "Rolls"]
    assert re.fullmatch(r"0\.\d{3} \(0\.\d{3} to 0\.\d{3}\)(, unlike)?", found.rows[0][1])
    text = page.read_text("utf-8")
    assert "no person was asked" in text
    assert "Mill Lane" in text


def test_no_headline_no_page(tmp_path: Path) -> None:
    assert judge_ads([ad("p1", "")], tmp_path / "judged.html") is None
    assert not (tmp_path / "judged.html").exists()


@asynccontextmanager
async def room() -> AsyncIterator[AdRoom]:
    writer = Writer(lambda slot, prompt: "Tea bags for 5 guests" if "Tea" in prompt else "Ham")
    yield AdRoom(writer, rendered, None, "a script")


def nobody(ads: object, page: Path) -> None:
    """Judges none."""


def test_it_writes_ads_a_file_and_a_page(tmp_path: Path) -> None:
    out = tmp_path / "ads"
    ham = replace(HAM, title="Ham <steaks>")
    found = ads_demo(DemoPart(out), (TEA, ham), opened=room, judge=nobody)
    assert [ad.product for ad in found.ads] == [TEA, ham]
    assert found.model == "a script"
    assert found.summary == summary_of(found.ads)
    assert found.summary == (
        "Of 6 texts, 3 say only what the facts support, and 3 have no error of any kind; after the "
        "repair, which changed 3, 6 and 6."
    )
    page = found.page.read_text("utf-8")
    assert found.page == out / "ads.html"
    for said in ("Ham &lt;steaks&gt;", "a script", found.summary, "as written", "no fact has"):
        assert said in page
    assert '<mark title="grounding/number">5</mark>' in page
    assert "<script" not in page
    lines = [json.loads(line) for line in (out / "ads.jsonl").read_text("utf-8").splitlines()]
    assert [line["product"]["title"] for line in lines] == [TEA.title, ham.title]
    assert "write and check the ads" in found.seconds
    assert found.judged is None
    again = ads_demo(DemoPart(out), (HAM,), opened=room, judge=nobody)
    assert "Tea bags" not in again.page.read_text("utf-8")
    remove_demo(out)
    assert not out.exists()


def test_bad_input_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no products"):
        ads_demo(DemoPart(tmp_path / "new"), (), opened=room)
    assert not (tmp_path / "new").exists()
    (tmp_path / "diary.txt").write_text("mine")
    with pytest.raises(ResourceError, match="no demonstration made"):
        ads_demo(DemoPart(tmp_path), (TEA,), opened=room)


def test_products_of_the_journey_by_id() -> None:
    found = journey_shelf(["848681", "no such"])
    assert [(one.id, one.title) for one in found] == [("848681", "Mexican beans refried")]
    assert isinstance(found[0], Product)
