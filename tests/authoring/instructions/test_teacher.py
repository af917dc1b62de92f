from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from adwright.authoring.instructions.rows import AuthoringExample, load_seeds
from adwright.authoring.instructions.teacher import TeacherConfig, answered, candidates, expanded
from adwright.authoring.tasks import Product, PromptBounds, Request, task_named
from adwright.core.errors import ConfigError, ResourceError
from adwright.lm.engine.generation import Completions, GenerationConfig
from adwright.lm.engine.scripted import ScriptedConfig, ScriptedModel

ADS, SEEDS = task_named("ads"), load_seeds("ads")
USUAL = GenerationConfig()
RUSSIAN = "\u041d\u0430\u043f\u0438\u0448\u0438 \u043c\u043d\u0435 \u0442\u0435\u043a\u0441\u0442"
LISTS = (
    """Sure, here they are:
7. Tell {audience} about the thing.
8. Write a short ad for this product.
9. Go.
10. Sell to {customer} now please.
- \u201cShout about it, loudly and gladly.\u201d""",
    f"""1) {RUSSIAN}
2) End<|im_end|> of the turn
3) Tell {{audience}} about the thing.
4) Hum a tune on its virtues.""",
)


class Seeing(ScriptedModel):
    """Keeps what it was asked; fails on prompts with `bad` in them."""

    def __init__(self, *replies: str, bad: str = "") -> None:
        super().__init__(ScriptedConfig(replies, name="wise"))
        self.asked: list[Any] = []
        self.configs: list[GenerationConfig] = []
        self.bad = bad

    def generate(
        self, prompts: Sequence[Any], config: GenerationConfig = USUAL, *, cancel: Any = None
    ) -> Completions:
        self.asked.append(list(prompts))
        self.configs.append(config)
        if self.bad and any(self.bad in prompt[-1].content for prompt in prompts):
            raise ResourceError("the server is down")
        return super().generate(prompts, config, cancel=cancel)


def test_new_instructions_are_kept_by_rules() -> None:
    refused = Counter[str]()
    found = expanded(
        Seeing(*LISTS),
        ADS,
        SEEDS,
        most=10,
        config=TeacherConfig(batch=2, prompts=2),
        refused=refused,
    )
    assert [one.text for one in found] == [
        "Tell {audience} about the thing.",
        "Shout about it, loudly and gladly.",
        "Hum a tune on its virtues.",
    ]
    assert refused == {"alike": 2, "length": 1, "slots": 1, "language": 1, "form": 1}
    assert found[0].slots == ("audience",)
    assert all(one.id.startswith("ads-wise-") and one.task == "ads" for one in found)
    assert len({one.id for one in found}) == 3


def test_the_prompt_shows_seeds_and_the_slots() -> None:
    model = Seeing("nothing")
    expanded(model, ADS, SEEDS, most=9, config=TeacherConfig(shown=3, asked=5, batch=2))
    ((first, second),) = model.asked
    assert first != second
    text = first[1].content
    assert sum(one.text in text for one in SEEDS) == 3
    assert "Write 5 more, one a line, numbered from 4." in text
    assert "{audience} or {occasion}" in text
    expanded(model, task_named("classify"), load_seeds("classify"), most=9)
    assert "{" not in model.asked[-1][0][1].content


def test_it_ends_when_there_are_enough_or_nothing_comes() -> None:
    model = Seeing(*LISTS)
    assert len(expanded(model, ADS, SEEDS, most=1, config=TeacherConfig(batch=1))) == 1
    assert len(model.asked) == 1
    silent = Seeing("I cannot.")
    assert expanded(silent, ADS, SEEDS, most=5, config=TeacherConfig(batch=3, prompts=9)) == ()
    assert len(silent.asked) == 1
    with pytest.raises(ConfigError, match="needs seeds"):
        expanded(silent, ADS, (), most=5)


def test_settings_reach_the_model() -> None:
    model = Seeing("1. Hum a tune on its virtues.")
    config = TeacherConfig(
        tokens=77, temperature=0.5, top_p=0.7, seed=9, batch=1, prompts=2, answer_tokens=33
    )
    expanded(model, ADS, SEEDS, most=5, config=config)
    first = model.configs[0]
    assert (first.max_tokens, first.temperature, first.top_p, first.seed) == (77, 0.5, 0.7, 9)
    list(answered(model, [example(1)], config=config))
    assert (model.configs[-1].max_tokens, model.configs[-1].temperature) == (33, 0.0)


def example(number: int, title: str = "Tea") -> AuthoringExample:
    request = Request(ADS, Product(f"p{number}", f"{title} {number}"))
    return AuthoringExample(request, "before", f"c{number}", "shop", "recombination")


def test_answers_are_the_models_and_invalid_ones_are_counted() -> None:
    refused = Counter[str]()
    model = Seeing("Ad: Fine tea.", "  ", "Good tea.<|im_end|>")
    found = list(answered(model, [example(1), example(2), example(3)], refused=refused))
    assert [(one.answer, one.teacher, one.cluster) for one in found] == [
        ("Fine tea.", "wise", "c1")
    ]
    assert refused == {"empty": 1, "it opens another turn": 1}


def test_one_request_costs_no_other_its_answer() -> None:
    refused = Counter[str]()
    many = [example(1), example(2, "Poison"), example(3)]
    found = list(answered(Seeing("Fine tea.", bad="Poison"), many, refused=refused))
    assert [one.cluster for one in found] == ["c1", "c3"]
    assert refused == {"the engine refused": 1}


def test_a_teacher_that_never_answers_is_an_error() -> None:
    with pytest.raises(ResourceError, match="server is down"):
        list(answered(Seeing("x", bad="Tea"), [example(1), example(2)]))
    assert list(answered(Seeing("x"), [])) == []


def test_voice_and_bounds_reach_the_prompt() -> None:
    model = Seeing("Fine tea.")
    list(
        answered(model, [example(1, "Tea " * 90)], voice="Be warm.", bounds=PromptBounds(title=20))
    )
    system, user = model.asked[0][0]
    assert system.content.endswith("\nBe warm.")
    assert "[shortened]" in user.content


def test_lines_of_lists() -> None:
    assert candidates("1. a\n 2) b  c \n* d\nno\n3.\n10: e\n1234. f") == ["a", "b c", "d", "e"]
