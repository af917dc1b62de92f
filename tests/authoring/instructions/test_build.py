"""Instruction data of a catalogue: whole, divided, counted."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from adwright.authoring.checks.limits import BrandVoice
from adwright.authoring.instructions.build import (
    SIDES,
    InstructionPlan,
    InstructionReport,
    build_instructions,
    split_of,
)
from adwright.authoring.writer.products import ProductTable, read_products
from adwright.core.errors import ConfigError, DataError, ResourceError
from adwright.lm.engine.scripted import ScriptedConfig, ScriptedModel
from tests.support.rows import read_rows

PLAN = InstructionPlan(tasks=("ads", "titles", "classify", "descriptions"), most=40, valid=0.2)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> ProductTable:
    """Sixty products of two kinds; two of them have one title."""
    lines = ["id,title,description,category,size"]
    for n in range(10, 70):
        title = f"Fine kettle {max(n, 11) * 104729:x}"
        said = f"The kettle {n} of steel boils water for many cups of tea"
        lines.append(f"p{n},{title},{said},{'home' if n % 2 else 'garden'},{n} cm")
    path = tmp_path_factory.mktemp("shop") / "shop.csv"
    path.write_text("\n".join(lines) + "\n")
    return read_products(path, attributes=("size",))


@pytest.fixture(scope="module")
def built(
    table: ProductTable, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, InstructionReport]:
    out = tmp_path_factory.mktemp("rows") / "rows"
    return out, build_instructions(PLAN, table, out)


def test_the_folder_holds_what_is_told(built: tuple[Path, InstructionReport]) -> None:
    out, report = built
    files = {*report.files, "rejected.jsonl", "report.json"}
    assert {one.name for one in out.iterdir()} == files
    for side in SIDES:
        rows = list(read_rows(out / f"{side}.jsonl"))
        assert len(rows) == report.files[f"{side}.jsonl"]
        assert Counter(one.task for one in rows) == report.kept[side]
    assert json.loads((out / "report.json").read_text())["teacher"] == "plan"
    assert sum(own.get("ads", 0) for own in report.kept.values()) == 40
    assert report.surplus["ads"] > 0


def test_sides_share_no_product_and_rows_pass_all_filters(
    built: tuple[Path, InstructionReport],
) -> None:
    out, _ = built
    sides = {side: list(read_rows(out / f"{side}.jsonl")) for side in SIDES}
    clusters = [{one.cluster for one in rows} for rows in sides.values()]
    assert not (clusters[0] & clusters[1] | clusters[0] & clusters[2] | clusters[1] & clusters[2])
    for rows in sides.values():
        assert all("grounded" in one.passed for one in rows)


def test_the_same_plan_gives_the_same_bytes(
    built: tuple[Path, InstructionReport], table: ProductTable, tmp_path: Path
) -> None:
    out, _ = built
    build_instructions(PLAN, table, tmp_path / "again")
    build_instructions(replace(PLAN, seed=1), table, tmp_path / "other")
    train = (out / "train.jsonl").read_bytes()
    assert (tmp_path / "again" / "train.jsonl").read_bytes() == train
    assert (tmp_path / "other" / "train.jsonl").read_bytes() != train


def test_a_folder_is_replaced_only_where_it_may(table: ProductTable, tmp_path: Path) -> None:
    few = replace(PLAN, tasks=("classify",))
    build_instructions(few, table, tmp_path / "rows")
    with pytest.raises(ResourceError, match="exists already"):
        build_instructions(few, table, tmp_path / "rows")
    build_instructions(few, table, tmp_path / "rows", overwrite=True)


def test_a_voice_stands_in_each_row_and_leaves_out_what_it_bans(
    table: ProductTable, tmp_path: Path
) -> None:
    voice = BrandVoice("calm", banned=("steel",))
    plan = replace(PLAN, tasks=("descriptions", "classify"), voice=voice)
    report = build_instructions(plan, table, tmp_path / "rows")
    assert report.left_out["descriptions"]["voice"] == 60
    row = next(iter(read_rows(tmp_path / "rows" / "train.jsonl")))
    assert "Tone: calm." in row.turns[0].content


def test_a_task_is_held_out_and_nothing_left_is_an_error(
    table: ProductTable, tmp_path: Path
) -> None:
    plan = replace(PLAN, tasks=("classify", "titles"), held_out=("titles",))
    report = build_instructions(plan, table, tmp_path / "rows")
    assert "titles" not in report.kept["train"]
    assert report.kept["test"]["titles"] == 40
    with pytest.raises(DataError, match="no row is left"):
        build_instructions(replace(PLAN, tasks=("intent",)), table, tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_teacher_writes_what_no_data_have(table: ProductTable, tmp_path: Path) -> None:
    teacher = ScriptedModel(ScriptedConfig(("A fine kettle of 900 cm.", "A fine kettle."), "wise"))
    plan = replace(PLAN, tasks=("ads", "classify"))
    report = build_instructions(plan, table, tmp_path / "rows", teacher=teacher)
    assert report.teacher == "wise"
    assert report.left_out["ads"]["grounded"] > 0
    rows = list(read_rows(tmp_path / "rows" / "train.jsonl"))
    assert {one.answer for one in rows if one.task == "ads"} == {"A fine kettle."}


def test_sides_have_their_shares() -> None:
    sides = Counter(split_of(str(n), seed=3, valid=0.1, test=0.2) for n in range(3000))
    assert sides["test"] == pytest.approx(600, abs=80)
    assert sides["valid"] == pytest.approx(300, abs=60)


@pytest.mark.parametrize(
    "wrong",
    [
        {"tasks": ("poems",)},
        {"tasks": ("ads", "ads")},
        {"tasks": ()},
        {"held_out": ("attributes",)},
        {"most": -1},
        {"valid": 0.5, "test": 0.5},
    ],
)
def test_what_cannot_be_built_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        InstructionPlan(**wrong)
