from __future__ import annotations

import json
from typing import Any

import pytest

pytest.importorskip("llguidance", reason="the extra lm is not installed")

from hypothesis import given, settings
from hypothesis import strategies as st
from llguidance import LLMatcher, LLTokenizer

from adwright.authoring.tasks import (
    Product,
    PromptBounds,
    Request,
    constrained,
    label_grammar,
    label_schema,
    read_answer,
    shown_labels,
    task_named,
)
from adwright.core.errors import AdwrightError, ConfigError
from adwright.lm.engine.generation import GenerationConfig
from adwright.lm.engine.hf_tokens import compiled

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


def test_a_random_model_can_write_labels_alone() -> None:
    """On torch, with weights drawn at random: no answer is invalid."""
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
    finally:
        model.close()
