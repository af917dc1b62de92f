from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from adwright.authoring.checks.limits import BrandVoice
from adwright.authoring.instructions.build import (
    BuildCounts,
    InstructionPlan,
    InstructionReport,
    build_instructions,
    gathered_examples,
    instructions_for,
)
from adwright.authoring.instructions.recombine import FilterConfig
from adwright.authoring.instructions.rows import InstructionRow, read_rows
from adwright.authoring.instructions.sources import DataSources, ProductColumns
from adwright.core.config import to_jsonable
from adwright.core.errors import AdwrightError, ConfigError, DataError, ResourceError
from adwright.lm.engine.generation import Completions, GenerationConfig
from adwright.lm.engine.scripted import ScriptedConfig, ScriptedModel

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
        self,
        prompts: Sequence[Any],
        config: GenerationConfig = USUAL,
        *,
        cancel: Any = None,
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


def test_a_plan_of_unknown_tasks_is_refused(plan: InstructionPlan) -> None:
    with pytest.raises(ConfigError, match="no task"):
        replace(plan, tasks=("poems",))
