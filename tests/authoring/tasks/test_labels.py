from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

pytest.importorskip("llguidance", reason="the extra lm is not installed")

from hypothesis import given, settings
from hypothesis import strategies as st
from llguidance import LLMatcher, LLTokenizer

from adwright.authoring.tasks.answers import read_answer
from adwright.authoring.tasks.labels import (
    choose_labels,
    constrained,
    label_grammar,
    label_schema,
)
from adwright.authoring.tasks.product import Product
from adwright.authoring.tasks.prompts import PromptBounds, shown_labels
from adwright.authoring.tasks.task import Request, task_named
from adwright.core.errors import AdwrightError, ConfigError
from adwright.lm.engine.generation import GenerationConfig, Message, Scores
from adwright.lm.engine.hf_tokens import compiled
from adwright.lm.engine.scripted import ScriptedConfig, ScriptedModel

TEA = Product("t1", "Mill Lane Assam 80 bags")
LABELS = ("Tea", "Coffee", 'A "quoted" one', "back\\slash", "Größe, 咖啡")
CLASSIFY = Request(task_named("classify"), TEA, (), LABELS)
BYTES = LLTokenizer("byte")


def accepts(form: str, text: str) -> bool:
    """Whether the compiled grammar takes the text and then ends."""
    matcher = LLMatcher(BYTES, form)
    tokens = BYTES.tokenize_str(text)
    return (
        matcher.validate_tokens(tokens) == len(tokens)
        and all(matcher.consume_token(token) for token in tokens)
        and matcher.is_accepting()
    )


@pytest.mark.parametrize("form", ["grammar", "schema"])
def test_only_labels_can_be_written(form: Any) -> None:
    found = compiled(constrained(GenerationConfig(), CLASSIFY, form=form))
    write = json.dumps if form == "schema" else str
    for label in LABELS:
        text = write(label) if form == "grammar" else json.dumps(label, ensure_ascii=False)
        assert accepts(found, text), label
        assert read_answer(CLASSIFY, text).label == label
    for wrong in ("tea", "Tea ", "Te", "", "Coffee\n", "Water", "TeaCoffee"):
        assert not accepts(found, write(wrong)), wrong


@settings(max_examples=15, deadline=None)
@given(st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=4, unique=True))
def test_any_labels_make_a_grammar(labels: list[str]) -> None:
    try:
        request = Request(task_named("classify"), TEA, (), tuple(labels))
        shown = shown_labels(request)
    except AdwrightError:
        return
    form = compiled(constrained(GenerationConfig(), request))
    assert all(accepts(form, text) for text in shown)
    assert not accepts(form, shown[0] + "x" * 9)


def test_the_longest_label_has_room() -> None:
    long = Request(task_named("classify"), TEA, (), ("Tea", "咖啡" * 50))
    assert constrained(GenerationConfig(max_tokens=3), long).max_tokens >= 300
    assert constrained(GenerationConfig(max_tokens=900), long).max_tokens == 900
    short = constrained(GenerationConfig(max_tokens=3), long, bounds=PromptBounds(value=20))
    assert short.max_tokens < 100


def test_another_constraint_is_replaced() -> None:
    before = GenerationConfig(regex="a+", seed=3)
    after = constrained(before, CLASSIFY)
    assert (after.regex, after.seed) == (None, 3)
    assert constrained(before, CLASSIFY, form="schema").json_schema == label_schema(LABELS)
    assert label_grammar(("Tea", "x")) == 'root ::= "Tea" | "x"'


def test_what_cannot_be_constrained_is_refused() -> None:
    with pytest.raises(ConfigError, match="is no label"):
        constrained(GenerationConfig(), Request(task_named("ads"), TEA))
    with pytest.raises(ConfigError, match="is no form"):
        constrained(GenerationConfig(), CLASSIFY, form="regex")  # type: ignore[arg-type]
    for make in (label_grammar, label_schema):
        with pytest.raises(ConfigError, match="needs one"):
            make(())


class Counting(ScriptedModel):
    """Every token costs a nat, and words of `liked` are told apart by their prompt."""

    def __init__(self, gains: dict[str, float]) -> None:
        super().__init__(ScriptedConfig())
        self.gains, self.calls, self.prompts = gains, 0, list[str]()

    def score(
        self, prompts: Sequence[Any], continuations: Sequence[Any], *, cancel: Any = None
    ) -> Scores:
        self.calls += 1
        rows = []
        for prompt, label in zip(prompts, continuations, strict=True):
            text = prompt[-1].content
            self.prompts.append(text)
            gain = self.gains.get(label, 0.0)
            gain += self.gains.get(f"{label} of it", 0.0) * ("Title:" in text)
            rows.append(np.full(len(label), -1.0) + gain / len(label))
        return Scores(tuple(rows))


def test_the_rules_differ() -> None:
    request = Request(task_named("classify"), TEA, (), ("Tea", "Coffee"))
    # Shorter wins by the sum, likelier a token by the mean, likelier than usual by pmi.
    model = Counting({"Coffee": 2.9, "Tea of it": 0.1})
    assert choose_labels(model, [request], rule="sum")[0].label == "Tea"
    assert choose_labels(model, [request], rule="mean")[0].label == "Coffee"
    (pmi,) = choose_labels(model, [request], rule="pmi")
    assert pmi.label == "Tea"
    np.testing.assert_allclose(pmi.scores, [0.1, 0.0], atol=1e-12)
    assert model.calls == 3


def test_the_prior_is_asked_without_the_product_and_with_the_labels() -> None:
    model = Counting({})
    request = Request(
        task_named("intent"), TEA, (("behaviour", "bought cups"),), ("to drink", "to give")
    )
    choose_labels(model, [request], rule="pmi", instruction="Say why.", voice="Be brief.")
    own, prior = model.prompts[0], model.prompts[2]
    assert own == model.prompts[1]
    assert own.startswith("Say why.\n\nTitle: Mill Lane")
    assert prior == "Say why.\n\nChoose one of:\n- to drink\n- to give"
    choose_labels(model, [request], rule="pmi", bounds=PromptBounds(labels=0))
    assert model.prompts[-1].endswith("buys this product.\n\n")


def test_probability_and_abstention() -> None:
    model = Counting({"Tea": 3.0 + np.log(3)})
    request = Request(task_named("classify"), TEA, (), ("Coffee", "Tea"))
    (chosen,) = choose_labels(model, [request], rule="sum")
    scores = np.array([-6.0, np.log(3)])
    assert chosen.label == "Tea"
    assert chosen.probability == pytest.approx(float(np.exp(scores[1]) / np.exp(scores).sum()))
    (unsure,) = choose_labels(model, [request], rule="sum", abstain=0.9995)
    assert (unsure.label, unsure.probability) == (None, chosen.probability)


def test_requests_of_different_lists_go_together() -> None:
    model = Counting({"b": 5.0, "e": 5.0})
    requests = [
        Request(task_named("classify"), TEA, (), labels) for labels in (("a", "b"), ("c", "d", "e"))
    ]
    for rule in ("sum", "mean", "pmi"):
        found = choose_labels(model, requests, rule=rule)  # type: ignore[arg-type]
        assert [len(one.scores) for one in found] == [2, 3]
    assert [one.label for one in choose_labels(model, requests, rule="sum")] == ["b", "e"]
    assert choose_labels(model, []) == []


def test_the_engine_sees_messages() -> None:
    seen: list[Any] = []

    class Seeing(Counting):
        def score(
            self, prompts: Sequence[Any], continuations: Sequence[Any], *, cancel: Any = None
        ) -> Scores:
            seen.extend(prompts)
            return super().score(prompts, continuations)

    choose_labels(Seeing({}), [CLASSIFY])
    assert all(isinstance(turn, Message) for prompt in seen for turn in prompt)
    assert len(seen) == len(LABELS)


@pytest.mark.parametrize(
    ("given_", "what"),
    [({"rule": "max"}, "is no rule"), ({"abstain": 1.5}, "is a probability")],
)
def test_wrong_settings_are_refused(given_: dict[str, Any], what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        choose_labels(Counting({}), [CLASSIFY], **given_)
    with pytest.raises(ConfigError, match="is no label"):
        choose_labels(Counting({}), [Request(task_named("ads"), TEA)])


def test_a_random_model_can_write_labels_alone() -> None:
    """On torch, with weights drawn at random: no answer is invalid, and all labels are scored."""
    pytest.importorskip("transformers", reason="the extra lm is not installed")
    from tests.support.lm.tiny_llama import tiny_model

    model = tiny_model()
    try:
        for seed in range(3):
            warm = GenerationConfig(max_tokens=1, temperature=2.0, seed=seed)
            config = constrained(warm, CLASSIFY)
            prompts = ["an unlike prompt", "and another one", "tea"]
            answers = [
                read_answer(CLASSIFY, text) for text in model.generate(prompts, config).texts
            ]
            assert all(answer.valid and answer.label in LABELS for answer in answers)
        free = model.generate(["tea"], GenerationConfig(max_tokens=6)).texts[0]
        assert not read_answer(CLASSIFY, free).valid
        short = Request(task_named("classify"), Product("t", "tea"), (), ("Tea", "Coffee"))
        for rule in ("sum", "mean", "pmi"):
            (chosen,) = choose_labels(model, [short], rule=rule)  # type: ignore[arg-type]
            assert np.isfinite(chosen.scores).all()
            assert 0.5 <= chosen.probability <= 1
    finally:
        model.close()
