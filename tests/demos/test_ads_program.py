from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence

import pytest

from adwright.authoring.tasks import Product
from adwright.core.artifacts import load_artifact
from adwright.core.errors import MissingExtraError, ProgramError
from adwright.demos.ad_prompts import AD_SLOTS, with_headline
from adwright.demos.ads_program import ADAPTER, AdRoom, ProductAd, open_room, write_ads
from adwright.lm import open_model
from adwright.lm.engine.generation import Message
from adwright.programs.runner import AskedChain, Saying

TEA = Product("1", "Tea bags", category="Teas", attributes=(("Size", "20 ct"),))
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
