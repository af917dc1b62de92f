"""Examples of a catalogue: people's, by plan, and a teacher's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.authoring.checks.verdict import usable
from adwright.authoring.instructions.examples import (
    BY_PLAN,
    ExtraColumns,
    answered,
    examples_of,
    query_of,
    title_for,
)
from adwright.authoring.instructions.rows import AuthoringExample
from adwright.authoring.tasks import Product, PromptBounds, Request, task_named
from adwright.authoring.writer.products import ProductTable, read_products
from adwright.core.errors import ConfigError, ResourceError
from adwright.lm.engine.generation import Completions, GenerationConfig
from adwright.lm.engine.scripted import ScriptedConfig, ScriptedModel

ADS = task_named("ads")
USUAL = GenerationConfig()
TASKS = ("ads", "titles", "classify", "intent", "answers", "descriptions", "attributes")


@pytest.fixture
def table(tmp_path: Path) -> ProductTable:
    """Sixty products of two kinds, which are bought for two reasons."""
    lines = ["id,title,description,category,size,why,asked"]
    lines += [
        f"p{n},Fine {n} cm steel kettle,The kettle number {n} boils water for many cups of tea,"
        f"{'home' if n % 2 else 'garden'},{n} cm,{'a gift' if n % 2 else 'to cook'},steel kettle"
        for n in range(10, 70)
    ]
    path = tmp_path / "shop.csv"
    path.write_text("\n".join([*lines, "p70,Iron pot,,rare,,,"]) + "\n")
    return read_products(path, attributes=("size",))


def test_a_catalogue_gives_examples_of_all_tasks(table: ProductTable) -> None:
    skipped = Counter[str]()
    extra = ExtraColumns(query="asked", intention="why")
    found = list(examples_of(table, TASKS, extra, seed=3, skipped=skipped))
    counts = Counter(one.request.task.name for one in found)
    assert counts["classify"] == counts["intent"] == counts["descriptions"] == 60
    assert counts["attributes"] == 60
    assert min(counts["ads"], counts["answers"], counts["titles"]) >= 60
    assert skipped == {"a rare category": 1}
    assert found == list(examples_of(table, TASKS, extra, seed=3))
    made = {one.request.task.name for one in found if one.teacher == BY_PLAN}
    assert made == {"ads", "titles", "answers"}
    for one in found:
        if one.request.task.name == "ads":
            assert not usable(one.answer, one.request, sentences=True)
    first = next(one for one in found if one.request.task.name == "intent")
    assert (first.answer, first.request.labels) == ("to cook", ("a gift", "to cook"))
    title = next(one for one in found if one.request.task.name == "titles")
    assert title.answer.startswith("steel kettle")


def test_a_column_that_is_not_there_is_named(table: ProductTable) -> None:
    with pytest.raises(ConfigError, match="no column 'reason'"):
        list(examples_of(table, TASKS, ExtraColumns(intention="reason")))


def test_a_query_is_known_or_a_run_of_the_title() -> None:
    tea = Product("t1", "Mill Lane Assam 80 bags")
    assert query_of(tea, " Assam\ntea ") == "Assam tea"
    for seed in range(30):
        query = query_of(tea, seed=seed)
        assert query in tea.title.casefold()
        assert 2 <= len(query.split()) <= 3
    assert query_of(Product("x", "12 34")) == ""


@pytest.mark.parametrize(
    ("title", "query", "found"),
    [
        (
            "sim free apple iphone 8 plus 64 gb gold",
            "Apple iPhone 8 64 GB",
            "Apple iPhone 8 plus 64 GB, sim free gold",
        ),
        (
            "frost free fridge free standing",
            "free standing fridge",
            "free standing fridge, frost free",
        ),
        ("lec free standing freezer in white", "Lec White", "Lec White, free standing freezer"),
        ("amd 7501 32 core epyc", "AMD EPYC 7501", "AMD EPYC 7501, 32 core"),
        ("red tea bags", "Red Tea", "Red Tea bags"),
        ("tea tea, assam", "assam", "assam, tea"),
        ("tea for", "coffee", "tea for"),
        ("tea", "coffee", "tea"),
        ("", "tea", ""),
    ],
)
def test_what_is_searched_comes_first(title: str, query: str, found: str) -> None:
    assert title_for(title, query) == found


WORDS = st.lists(
    st.sampled_from(["red", "Mug", "300", "ml", "2", "x", "set,", "RED", "cup"]), max_size=8
)


@given(WORDS, WORDS)
def test_nothing_is_added_to_a_title_and_no_kind_of_word_lost(
    title: list[str], query: list[str]
) -> None:
    found = title_for(" ".join(title), " ".join(query)).split()
    before = Counter(word.strip(",").casefold() for word in title)
    after = Counter(word.strip(",").casefold() for word in found)
    assert not after - before
    assert after.keys() == before.keys()


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


def example(number: int, title: str = "Tea") -> AuthoringExample:
    request = Request(ADS, Product(f"p{number}", f"{title} {number}"))
    return AuthoringExample(request, "before", f"c{number}", "shop", BY_PLAN)


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
