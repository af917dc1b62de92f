from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest

pytest.importorskip("transformers", reason="the extra lm is not installed")

from adwright.authoring.instructions.rows import AuthoringExample, SeedInstruction, row_of
from adwright.authoring.recipe import PROFILES, AuthoringRecipe, Profile, tune_author, tune_run_of
from adwright.authoring.tasks import Product, Request, task_named
from adwright.core.errors import ConfigError, DataError
from adwright.lm.engine.weights import SMOLLM2
from adwright.tuning.modules import LINEAR
from adwright.tuning.reparameterised.lora import LoRA
from tests.support.lm.tiny_llama import save_tiny

SEED = SeedInstruction("s", "Go.")


def write_rows(folder: Path, count: int = 12) -> Path:
    lines = []
    for number in range(count):
        product = Product(f"p{number}", f"tea {number}")
        for task in ("ads", "descriptions"):
            example = AuthoringExample(
                Request(task_named(task), product), f"a cup of tea {number % 3}", f"c{number}", "s"
            )
            lines.append(row_of(example, SEED).to_line())
    folder.mkdir(exist_ok=True)
    (folder / "train.jsonl").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model as a Hugging Face folder."""
    return save_tiny(tmp_path_factory.mktemp("base") / "model")


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of rows of two tasks."""
    return write_rows(tmp_path_factory.mktemp("data") / "rows")


def test_the_profile_of_a_processor_is_what_was_measured(rows: Path) -> None:
    asked = tune_run_of(AuthoringRecipe(rows))
    assert asked.method == LoRA(rank=16, alpha=32.0, dropout=0.05)
    assert asked.method.targets == LINEAR
    assert (asked.model, asked.device, asked.quantise) == (SMOLLM2, "cpu", "")
    tune = asked.tune
    assert (tune.learning_rate, tune.warmup, tune.floor) == (5e-4, 0.05, 0.0)
    assert (tune.batch, tune.micro, tune.epochs) == (8, 8, 1)
    assert (asked.data.max_length, asked.data.group, asked.data.valid) == (384, "group", 0.05)
    assert asked.data.path == rows / "train.jsonl"


@pytest.mark.parametrize("profile", [name for name in get_args(Profile) if name.endswith("gpu")])
def test_profiles_of_gpus_are_configurations(rows: Path, profile: Any) -> None:
    asked = tune_run_of(AuthoringRecipe(rows, profile=profile))
    assert (asked.device, asked.quantise, asked.tune.batch) == ("cuda", "nf4", 128)
    assert asked.tune.batch % asked.tune.micro == 0
    assert asked.tune.checkpoint_layers
    assert asked.data.max_length == 1024
    assert set(PROFILES) == set(get_args(Profile))


def test_whatever_is_given_goes_before_the_profile(rows: Path, tmp_path: Path) -> None:
    recipe = AuthoringRecipe(
        rows,
        model="mine",
        method="ia3",
        epochs=3,
        steps=7,
        rate=0.1,
        batch=4,
        tokens=64,
        valid=0.2,
        device="meta",
        seed=9,
        out=tmp_path,
    )
    asked = tune_run_of(recipe)
    assert (asked.model, type(asked.method).__name__, asked.device) == ("mine", "IA3", "meta")
    assert (asked.tune.epochs, asked.tune.steps, asked.tune.learning_rate) == (3, 7, 0.1)
    assert (asked.tune.batch, asked.tune.micro, asked.seed) == (4, 4, 9)
    assert (asked.data.max_length, asked.data.valid, asked.out) == (64, 0.2, tmp_path)


def test_other_methods_have_a_rate_of_their_own(rows: Path) -> None:
    assert tune_run_of(AuthoringRecipe(rows, method="ia3")).tune.learning_rate is None
    lora = tune_run_of(AuthoringRecipe(rows, method="LoRA", settings={"rank": 4}))
    assert lora.method == LoRA(rank=4)
    assert lora.tune.learning_rate == 5e-4
    assert tune_run_of(AuthoringRecipe(rows, settings={"rank": 4})).method == LoRA(
        rank=4, alpha=32.0, dropout=0.05
    )


def test_it_tunes_on_all_tasks(base: Path, rows: Path, tmp_path: Path) -> None:
    recipe = AuthoringRecipe(
        rows, model=str(base), steps=3, batch=4, valid=0.25, out=tmp_path / "run"
    )
    report = tune_author(recipe)
    assert report.texts + report.held == 24
    assert report.held == 6, "rows of a product are held out together"
    assert report.valid_nll is not None
    assert (tmp_path / "run" / "tuned" / "manifest.json").is_file()
    told = json.loads((tmp_path / "run" / "authoring.json").read_text())
    assert (told["rows"], told["tasks"]) == (24, "all")
    assert told["recipe"]["steps"] == 3
    assert not (tmp_path / "run" / "rows.jsonl").exists()
    again = tune_author(recipe, resume=True)
    assert (again.steps, again.valid_nll) == (report.steps, report.valid_nll)


def test_it_tunes_on_one_task(base: Path, rows: Path, tmp_path: Path) -> None:
    recipe = AuthoringRecipe(
        rows / "train.jsonl",
        model=str(base),
        tasks=("ads",),
        method="ia3",
        steps=2,
        batch=4,
        out=tmp_path / "run",
    )
    report = tune_author(recipe)
    assert report.texts + report.held == 12
    assert report.named == "IA3"
    lines = (tmp_path / "run" / "rows.jsonl").read_text().splitlines()
    assert {json.loads(line)["task"] for line in lines} == {"ads"}
    assert json.loads((tmp_path / "run" / "authoring.json").read_text())["tasks"] == ["ads"]


def test_data_without_rows_are_refused(base: Path, rows: Path, tmp_path: Path) -> None:
    recipe = AuthoringRecipe(rows, model=str(base), tasks=("titles",), out=tmp_path / "run")
    with pytest.raises(DataError, match="has none of titles"):
        tune_author(recipe)
    with pytest.raises(DataError, match="cannot be read"):
        tune_author(replace(recipe, data=tmp_path / "absent"))
    (tmp_path / "bad.jsonl").write_text('{"no": "task"}\n')
    with pytest.raises(DataError, match="no row of instruction data") as caught:
        tune_author(replace(recipe, data=tmp_path / "bad.jsonl"))
    assert caught.value.row == 0
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        ({"tasks": ("poems",)}, "no task 'poems'"),
        ({"profile": "135m"}, "profile cannot be"),
        ({"epochs": "3"}, "epochs"),
    ],
)
def test_recipes_are_checked(wrong: dict[str, Any], what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        AuthoringRecipe(Path("rows"), **wrong)


def test_unknown_methods_are_refused(rows: Path) -> None:
    with pytest.raises(ConfigError):
        tune_run_of(AuthoringRecipe(rows, method="LoRAA"))
    with pytest.raises(ConfigError, match="unknown key"):
        tune_run_of(AuthoringRecipe(rows, settings={"rang": 3}))
