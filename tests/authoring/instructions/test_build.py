"""?"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.authoring.checks.limits import BrandVoice
from adwright.authoring.instructions.build import (
    BuildCounts,
    InstructionPlan,
    InstructionReport,
    balanced,
    build_instructions,
    divided,
    gathered_examples,
    instructions_for,
    interleaved,
    split_of,
    water_filled,
)
from adwright.authoring.instructions.recombine import FilterConfig
from adwright.authoring.instructions.rows import (
    AuthoringExample,
    InstructionRow,
    SeedInstruction,
    row_of,
)
from adwright.authoring.instructions.sources import DataSources, ProductColumns
from adwright.authoring.tasks import Product, Request, task_named
from adwright.core.config import from_jsonable, to_jsonable
from adwright.core.errors import AdwrightError, ConfigError, DataError, ResourceError
from adwright.lm.engine.generation import Completions, GenerationConfig
from adwright.lm.engine.scripted import ScriptedConfig, ScriptedModel
from tests.support.rows import read_rows

FILES = [
    "train.jsonl",
    "valid.jsonl",
    "test.jsonl",
    "phrasings.jsonl",
    "rejected.jsonl",
    "report.json",
]
USUAL = GenerationConfig()
KINDS = ("kettle", "drill", "sofa", "lantern", "tent", "goblet", "saw", "desk", "hose", "carpet")
COLUMNS = ProductColumns("sku", "name", category="kind", brand="maker", attributes=("size",))


def catalogue(folder: Path, count: int = 80) -> Path:
    table = pl.DataFrame(
        {
            "sku": [f"s{n}" for n in range(count)],
            "name": [
                f"fine {(n + 1) * 104729:x} {KINDS[n % 10]} {(n + 1) * 15485863:x}"
                for n in range(count)
            ],
            "kind": [("home" if n % 2 else "garden") for n in range(count)],
            "maker": [f"Maker{n % 7}" for n in range(count)],
            "size": [f"{n + 10} cm" for n in range(count)],
        }
    )
    path = folder / "catalogue.csv"
    table.write_csv(path)
    return path


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> InstructionPlan:
    path = catalogue(tmp_path_factory.mktemp("shop"))
    tasks = ("ads", "titles", "classify", "answers", "descriptions")
    return InstructionPlan(
        DataSources(catalogue=path, columns=COLUMNS),
        tasks=tasks,
        most=40,
        phrasings=4,
        valid=0.2,
        test=0.2,
    )


@pytest.fixture(scope="module")
def built(
    plan: InstructionPlan, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, InstructionReport]:
    out = tmp_path_factory.mktemp("out") / "rows"
    return out, build_instructions(plan, out)


def rows_of(folder: Path) -> dict[str, list[InstructionRow]]:
    return {side: list(read_rows(folder / f"{side}.jsonl")) for side in ("train", "valid", "test")}


def test_the_folder_holds_what_is_told(built: tuple[Path, InstructionReport]) -> None:
    out, report = built
    assert sorted(path.name for path in out.iterdir()) == sorted(FILES)
    parts = rows_of(out)
    assert {f"{side}.jsonl": len(rows) for side, rows in parts.items()} == report.files
    assert {
        side: dict(Counter(row.task for row in rows)) for side, rows in parts.items()
    } == report.kept
    assert json.loads((out / "report.json").read_text()) == to_jsonable(report)
    assert max(Counter(row.task for rows in parts.values() for row in rows).values()) <= 40
    assert report.teacher == "recombination"
    assert report.phrasings["ads"] == {"seed": 34, "recombination": 4}
    assert len((out / "phrasings.jsonl").read_text().splitlines()) == 20
    assert report.seen == {"catalogue": 80, "catalogue, products": 80}


def test_every_row_has_its_provenance(built: tuple[Path, InstructionReport]) -> None:
    out, report = built
    rows = [row for own in rows_of(out).values() for row in own]
    assert {row.seed.split("-")[0] for row in rows} == set(report.seeds_used)
    assert {row.teacher for row in rows} == {"data", "recombination", "us"}
    assert {row.source for row in rows} == {"catalogue", "general"}
    names = ["form", "length", "language", "copy", "grounded", "claims", "personal"]
    assert all(list(row.passed) == names for row in rows)
    assert len({row.id for row in rows}) == len(rows)


def test_sides_share_no_product(built: tuple[Path, InstructionReport]) -> None:
    parts = rows_of(built[0])
    clusters = {side: {row.cluster for row in rows} for side, rows in parts.items()}
    assert not clusters["train"] & (clusters["valid"] | clusters["test"])
    assert not clusters["valid"] & clusters["test"]


def test_any_beginning_of_a_file_has_all_tasks(built: tuple[Path, InstructionReport]) -> None:
    train = rows_of(built[0])["train"]
    assert {row.task for row in train[:30]} == {row.task for row in train}


def test_the_same_plan_gives_the_same_bytes(
    plan: InstructionPlan, built: tuple[Path, InstructionReport], tmp_path: Path
) -> None:
    build_instructions(plan, tmp_path / "again")
    for name in FILES:
        assert (tmp_path / "again" / name).read_bytes() == (built[0] / name).read_bytes(), name


def test_the_seed_changes_the_rows(plan: InstructionPlan, tmp_path: Path) -> None:
    found = []
    for seed in (0, 1):
        build_instructions(replace(plan, tasks=("ads",), most=10, seed=seed), tmp_path / str(seed))
        found.append((tmp_path / str(seed) / "train.jsonl").read_bytes())
    assert found[0] != found[1]


def test_a_folder_is_replaced_only_where_it_may(plan: InstructionPlan, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("kept")
    with pytest.raises(ResourceError):
        build_instructions(plan, tmp_path / "out")
    assert (tmp_path / "out" / "mine").exists()
    small = replace(plan, tasks=("ads",), most=5)
    build_instructions(small, tmp_path / "out", overwrite=True)
    assert not (tmp_path / "out" / "mine").exists()


def test_what_filters_leave_out_is_counted_and_shown(plan: InstructionPlan, tmp_path: Path) -> None:
    strict = replace(plan, tasks=("ads", "titles"), filters=FilterConfig(shortest=6, longest=7))
    report = build_instructions(strict, tmp_path / "out")
    left = report.left_out["ads"]["length"]
    assert left > 0
    considered = report.considered["ads"]
    kept = sum(side.get("ads", 0) for side in report.kept.values())
    gone = sum(report.left_out["ads"].values()) + report.surplus.get("ads", 0)
    assert considered == kept + gone + report.duplicates.get("ads", 0) + report.leaked.get("ads", 0)
    shown = [
        json.loads(line) for line in (tmp_path / "out" / "rejected.jsonl").read_text().splitlines()
    ]
    assert {one["filter"] for one in shown} >= {"length"}
    assert all(one["why"] and one["messages"] for one in shown)


def test_a_voice_stands_in_each_row_and_leaves_out_what_it_bans(
    plan: InstructionPlan, tmp_path: Path
) -> None:
    voice = BrandVoice("calm and plain", banned=("tent",))
    spoken = replace(plan, tasks=("ads", "classify"), voice=voice)
    report = build_instructions(spoken, tmp_path / "out")
    rows = [row for own in rows_of(tmp_path / "out").values() for row in own]
    assert all(voice.prompt() in row.turns[0].content for row in rows)
    assert all("voice" in row.passed for row in rows)
    assert report.left_out["ads"]["voice"] > 0
    assert "voice" not in report.left_out.get("classify", {})
    assert not any("tent" in row.answer for row in rows if row.task == "ads")


def test_nothing_left_is_an_error_and_leaves_nothing(plan: InstructionPlan, tmp_path: Path) -> None:
    none = replace(plan, tasks=("titles",), filters=FilterConfig(shortest=190))
    with pytest.raises(DataError, match=r"no row is left.*length"):
        build_instructions(none, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_rows_that_are_no_product_are_counted(plan: InstructionPlan, tmp_path: Path) -> None:
    table = pl.read_csv(plan.sources.catalogue).with_columns(  # type: ignore[arg-type]
        sku=pl.when(pl.col("sku") == "s3").then(pl.lit(" ")).otherwise(pl.col("sku"))
    )
    table.write_csv(tmp_path / "shop.csv")
    own = replace(plan.sources, catalogue=tmp_path / "shop.csv")
    report = build_instructions(
        replace(plan, sources=own, tasks=("ads", "classify")), tmp_path / "out"
    )
    bad = {"a product needs an id": 1}
    assert report.skipped == {"catalogue": bad, "catalogue, products": bad}
    assert report.seen == {"shop": 79, "shop, products": 79}


def test_a_task_is_held_out_for_zero_shot(plan: InstructionPlan, tmp_path: Path) -> None:
    report = build_instructions(
        replace(plan, tasks=("ads", "titles"), held_out=("titles",)), tmp_path / "out"
    )
    assert "titles" not in report.kept["train"] | report.kept["valid"]
    assert report.kept["test"]["titles"] > 0


def test_near_duplicates_are_left_out(plan: InstructionPlan, tmp_path: Path) -> None:
    table = pl.read_csv(plan.sources.catalogue).with_columns(
        name=pl.lit("the very same name of a kettle here"), size=pl.lit("1 m"), maker=pl.lit("M")
    )  # type: ignore[arg-type]
    table.write_csv(tmp_path / "same.csv")
    same = replace(
        plan,
        sources=replace(plan.sources, catalogue=tmp_path / "same.csv"),
        tasks=("ads", "classify"),
    )
    report = build_instructions(same, tmp_path / "out")
    # An instruction, or one of few values, makes the rest of the difference.
    assert report.duplicates["classify"] > 20
    with pytest.raises(AdwrightError):
        replace(plan, alike=2.0)


class Teacher(ScriptedModel):
    """Answers lists to those that ask for instructions, and an ad to others."""

    def __init__(self, answer: str) -> None:
        super().__init__(ScriptedConfig(name="wise"))
        self.answer, self.asked = answer, 0

    def generate(
        self, prompts: Sequence[Any], config: GenerationConfig = USUAL, *, cancel: Any = None
    ) -> Completions:
        self.asked += len(prompts)
        lists = "These instructions ask for it" in prompts[0][-1].content
        reply = (
            "1. Hum a tune on its virtues.\n2. Chant the praise of this.\n"
            if lists
            else self.answer
        )
        return ScriptedModel(ScriptedConfig((reply,))).generate(prompts, config)


def test_a_teacher_writes_instructions_and_answers(plan: InstructionPlan, tmp_path: Path) -> None:
    model = Teacher("A fine thing for your home.")
    report = build_instructions(
        replace(plan, tasks=("ads", "classify"), most=10), tmp_path / "out", teacher=model
    )
    rows = [row for own in rows_of(tmp_path / "out").values() for row in own]
    assert {row.teacher for row in rows if row.task == "ads"} == {"wise"}
    assert {row.answer for row in rows if row.task == "ads"} == {"A fine thing for your home."}
    assert {row.teacher for row in rows if row.task == "classify"} == {"data"}
    assert report.teacher == "wise"
    assert report.phrasings["ads"] == {"seed": 34, "teacher": 2, "recombination": 2}
    told = [
        json.loads(line) for line in (tmp_path / "out" / "phrasings.jsonl").read_text().splitlines()
    ]
    assert sum("wise" in one["id"] for one in told) == 4


def test_what_the_teacher_invents_is_left_out_and_counted(
    plan: InstructionPlan, tmp_path: Path
) -> None:
    model = Teacher("Now with 7777 watts, guaranteed.")
    with pytest.raises(DataError, match=r"no row is left.*grounded 20"):
        build_instructions(replace(plan, tasks=("ads",), most=10), tmp_path / "out", teacher=model)


def test_instructions_and_examples_by_themselves(plan: InstructionPlan) -> None:
    counts = BuildCounts()
    found = instructions_for(replace(plan, phrasings=0), counts=counts)
    assert {task: len(own) for task, own in found.items()}["ads"] == 34
    assert counts.phrasings["ads"] == {"seed": 34}
    few = gathered_examples(replace(plan, most=10, spare=1.5), counts=counts)
    kinds = Counter((one.request.task.name, one.source) for one in few)
    assert set(kinds.values()) == {15, 20}
    assert kinds["answers", "general"] == 20


def test_all_is_kept_where_nothing_bounds_it(plan: InstructionPlan, tmp_path: Path) -> None:
    report = build_instructions(replace(plan, tasks=("classify",), most=0), tmp_path / "out")
    assert (
        sum(n["classify"] for n in report.kept.values()) + report.duplicates.get("classify", 0)
        == 80
    )


def test_public_data_make_an_interleaved_mix(shared_data: Path, tmp_path: Path) -> None:
    """Real rows of every task; no number that the input lacks; clusters on one side each."""
    sources = DataSources.in_folder(shared_data)
    tasks = ("ads", "titles", "classify", "intent", "answers", "descriptions", "attributes")
    plan = InstructionPlan(replace(sources, pricerunner=None), tasks=tasks, most=60, spare=1.5)
    report = build_instructions(plan, tmp_path / "out")
    assert report.interleaved
    assert all(n["read"] and n["written"] for n in report.parties.values())
    total = {task: sum(side.get(task, 0) for side in report.kept.values()) for task in tasks}
    assert min(total.values()) >= 50
    rows = [row for own in rows_of(tmp_path / "out").values() for row in own]
    written = [row for row in rows if row.task == "descriptions" and row.teacher == "data"]
    assert len(written) >= 10
    assert any("Details" in row.shown for row in written)
    assert report.read_by["descriptions"].keys() == {"seller", "customer + seller"}
    assert report.details["descriptions"] > 0
    assert report.seen["walmart-amazon"] == 5157
    assert report.skipped["intention"] == {
        "fewer than four different options": 80,
        "flagged as having a second right option": 18,
    }


SEED = SeedInstruction("s", "Go.")


def row(task: str, number: int, source: str = "shop", **values: str) -> InstructionRow:
    labels = ("A", "B") if task_named(task).form == "label" else ()
    request = Request(
        task_named(task), Product(f"p{number}", f"Thing {number}"), tuple(values.items()), labels
    )
    return row_of(AuthoringExample(request, "A", f"c{number}", source), SEED)


@given(st.lists(st.integers(0, 30), max_size=8), st.integers(0, 100))
def test_water_fills_evenly(counts: list[int], most: int) -> None:
    kept = water_filled(counts, most)
    assert all(0 <= few <= many for few, many in zip(kept, counts, strict=True))
    if not most or sum(counts) <= most:
        assert kept == counts
        return
    assert sum(kept) == most
    # What was cut is within one of the largest; what was not is no larger.
    cut = [few for few, many in zip(kept, counts, strict=True) if few < many]
    assert max(kept) - min(cut) <= 1


def test_no_kind_outweighs_another() -> None:
    rows = [row("ads", number) for number in range(50)]
    rows += [row("ads", 100 + number, occasion="Easter") for number in range(10)]
    rows += [row("ads", 200 + number, "other") for number in range(5)]
    rows += [row("titles", number, query="thing") for number in range(3)]
    kept = balanced(rows, most=21)
    kinds = Counter((one.task, one.read, one.source) for one in kept)
    assert kinds == {
        ("ads", ("seller",), "shop"): 8,
        ("ads", ("platform", "seller"), "shop"): 8,
        ("ads", ("seller",), "other"): 5,
        ("titles", ("customer", "seller"), "shop"): 3,
    }
    assert kept == [one for one in rows if one in kept], "in their order"


def test_which_rows_are_kept_is_drawn() -> None:
    rows = [row("ads", number) for number in range(40)]
    one, same, other = (balanced(rows, most=10, seed=seed) for seed in (1, 1, 2))
    assert one == same != other
    assert balanced(rows) == rows
    assert {each.id for each in balanced(rows[::-1], most=10, seed=1)} == {each.id for each in one}


def test_the_interleaving_is_counted() -> None:
    rows = [
        row("ads", 1, occasion="Easter"),
        row("titles", 2, query="thing"),
        row("intent", 3, behaviour="bought cups"),
    ]
    assert interleaved(rows) == {
        "customer": {"read": 2, "written": 1},
        "seller": {"read": 3, "written": 1},
        "platform": {"read": 1, "written": 1},
    }
    assert interleaved(rows[:1])["customer"] == {"read": 0, "written": 0}


def test_parties_are_counted_by_the_rows_that_are_there() -> None:
    rows = [row("ads", 1), row("titles", 2, query="q"), row("intent", 3, behaviour="b")]
    assert interleaved(rows)["platform"] == {"read": 0, "written": 1}, "no ad had an occasion"


SPLIT_KINDS = ("kettle", "drill", "sofa", "lamp", "tent", "mug", "saw", "desk", "hose", "rug")


def split_row(cluster: str, title: str, task: str = "ads") -> InstructionRow:
    values = (("query", "q"),) if task == "titles" else ()
    request = Request(task_named(task), Product(f"p-{cluster}-{title}", title), values)
    return row_of(AuthoringExample(request, "An ad.", cluster, "s"), SEED)


def rows(count: int = 400) -> list[InstructionRow]:
    """Titles that are unlike each other, two of each cluster."""
    found = []
    for number in range(count):
        words = f"{SPLIT_KINDS[number % 10]} {number * 7919 % 99991} {hash_words(number)}"
        found += [split_row(f"c{number}", words), split_row(f"c{number}", f"{words} new")]
    return found


def hash_words(number: int) -> str:
    return " ".join(format((number + 1) * prime, "x") for prime in (104729, 1299709, 15485863))


def test_sides_have_their_shares_and_follow_from_the_name() -> None:
    sides = Counter(split_of(f"c{n}", seed=3, valid=0.1, test=0.2) for n in range(3000))
    assert sides["test"] == pytest.approx(600, abs=80)
    assert sides["valid"] == pytest.approx(300, abs=60)
    one = [split_of(f"c{n}", seed=3, valid=0.1, test=0.2) for n in range(50)]
    assert one == [split_of(f"c{n}", seed=3, valid=0.1, test=0.2) for n in range(50)]
    assert one != [split_of(f"c{n}", seed=4, valid=0.1, test=0.2) for n in range(50)]
    assert {split_of(f"c{n}", seed=3, valid=0, test=0) for n in range(50)} == {"train"}


@pytest.mark.parametrize(("valid", "test"), [(0.5, 0.5), (-0.1, 0.1), (0.1, -0.1), (0, 1)])
def test_shares_must_leave_some_to_train_on(valid: float, test: float) -> None:
    with pytest.raises(ConfigError, match="leave some to train on"):
        split_of("c", seed=0, valid=valid, test=test)


def test_no_cluster_is_on_two_sides() -> None:
    every = rows()
    parts, leaked = divided(every, seed=1, valid=0.15, test=0.15)
    assert leaked == []
    clusters = {side: {one.cluster for one in own} for side, own in parts.items()}
    assert not clusters["train"] & clusters["test"]
    assert not clusters["train"] & clusters["valid"]
    assert not clusters["valid"] & clusters["test"]
    assert sum(map(len, parts.values())) == len(every)
    assert all(parts.values())


def test_more_rows_leave_the_sides_of_others_as_they_are() -> None:
    every = rows(60)
    few, _ = divided(every[:60], seed=1)
    more, _ = divided(every, seed=1)
    for side in ("train", "valid", "test"):
        ids = [one.id for one in more[side]]  # type: ignore[index]
        assert [one.id for one in few[side] if one.id in ids] == [one.id for one in few[side]]  # type: ignore[index]


def test_near_titles_across_the_sides_are_found_and_taken_out() -> None:
    every = rows(100)
    parts, _ = divided(every, seed=1)
    train, test = parts["train"][0], parts["test"][0]
    copy = split_row(test.cluster, train.product.title.upper() + "!")
    kept, leaked = divided([*every, copy], seed=1)
    assert [(one.id, one.like, one.side) for one in leaked] == [(copy.id, train.id, "test")]
    assert leaked[0].title == copy.product.title
    assert leaked[0].like_title == train.product.title
    assert copy not in kept["test"]
    loose, found = divided([*every, copy], seed=1, alike=0.3)
    assert len(found) >= len(leaked)
    assert len(loose["train"]) == len(kept["train"])


def test_a_task_can_be_kept_for_zero_shot() -> None:
    every = [
        *rows(50),
        *(
            split_row(f"c{n}", f"{SPLIT_KINDS[n % 10]} {hash_words(n)}", "titles")
            for n in range(50)
        ),
    ]
    parts, leaked = divided(every, seed=1, held_out=("titles",))
    assert {one.task for one in parts["train"]} == {one.task for one in parts["valid"]} == {"ads"}
    assert sum(one.task == "titles" for one in parts["test"]) == 50
    assert leaked == [], "the products may be known, the task is not"


def test_questions_without_a_product_have_no_title_to_leak() -> None:
    asked = [
        row_of(
            AuthoringExample(
                Request(task_named("answers"), Product(f"n{n}", ""), (("question", f"q{n}"),)),
                "So.",
                f"g{n}",
                "s",
            ),
            SEED,
        )
        for n in range(60)
    ]
    parts, leaked = divided(asked, seed=1)
    assert leaked == []
    assert parts["test"]


def test_nothing_is_divided_into_nothing() -> None:
    assert divided([], seed=1) == ({"train": [], "valid": [], "test": []}, [])


SOURCES = DataSources(pricerunner=Path("offers.csv"))


def test_by_default_it_is_the_six_tasks() -> None:
    plan = InstructionPlan(SOURCES)
    assert plan.tasks == ("ads", "titles", "classify", "intent", "answers", "descriptions")
    assert plan.looked_at == 4000
    assert InstructionPlan(SOURCES, most=0).looked_at == 0


def test_a_plan_can_be_written_and_read() -> None:
    voice = BrandVoice("calm", banned=("cheap",))
    plan = InstructionPlan(SOURCES, tasks=("ads", "attributes"), held_out=("ads",), voice=voice)
    assert from_jsonable(InstructionPlan, to_jsonable(plan)) == plan


@pytest.mark.parametrize(
    "wrong",
    [
        {"tasks": ("advert",)},
        {"tasks": ()},
        {"tasks": ("ads", "ads")},
        {"held_out": ("attributes",)},
        {"most": -1},
        {"spare": 0.5},
        {"valid": 0.5, "test": 0.5},
        {"valid": -0.1},
        {"phrasings": -1},
        {"alike": 0.0},
        {"title_alike": 1.5},
    ],
)
def test_what_cannot_be_built_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        InstructionPlan(SOURCES, **wrong)


def test_the_voice_is_put_into_words() -> None:
    assert InstructionPlan(SOURCES).voice_text == ""
    assert InstructionPlan(SOURCES, voice=BrandVoice("calm")).voice_text == "Tone: calm."


def test_counts_begin_at_nothing() -> None:
    counts = BuildCounts()
    counts.left_out["ads"]["form"] += 1
    assert counts.left_out["titles"]["form"] == 0
    assert not counts.seen
