"""?"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest

from adwright.authoring.instructions.rows import AuthoringExample, SeedInstruction, row_of
from adwright.authoring.preferences import preferences, prompt_of
from adwright.authoring.recipe import PROFILES, AuthoringRecipe, Profile, tune_author, tune_run_of
from adwright.authoring.tasks import AuthoringRequest, Product, Request, messages_of, task_named
from adwright.authoring.writer.drafts import Draft, Drafts, Provenance, ReviewDecision
from adwright.core.errors import ConfigError, DataError
from adwright.core.hashing import content_hash
from adwright.lm.engine.weights import SMOLLM2
from adwright.training.tuning.texts import asked_and_answered
from adwright.tuning.modules import LINEAR
from adwright.tuning.reparameterised.lora import LoRA
from tests.support.lm.tiny_llama import save_tiny

TEA = Product("t1", "Mill Lane Assam tea", brand="Mill Lane")
JOB = {
    "recipe": {
        "platform": "",
        "labels": [],
        "voice": "Calm.",
        "instructions": {"headline": "Write a headline.", "title": "Rewrite it."},
    },
    "settings": {},
}
VALUES = (("occasion", "Christmas"),)


def draft(variant: int, text: str, **more: Any) -> Draft:
    request = AuthoringRequest(task_named("ads"), TEA, VALUES)
    asked = messages_of(request, instruction="Write a headline.", voice="Calm.")
    digest = content_hash([[one.role, one.content] for one in asked])[:24]
    by = Provenance(job="j1", prompt=more.pop("prompt", digest), inputs=text)
    return Draft("t1", "headline", variant, text, provenance=by, values=VALUES)


@pytest.fixture
def drafts(tmp_path: Path) -> Iterator[Drafts]:
    with closing(Drafts.open(tmp_path)) as found:
        found.note_products([(TEA, "h1")])
        found.note_job("j1", JOB)
        found.write([draft(0, "Best tea"), draft(1, "Assam tea"), draft(2, "Tea tea tea")])
        yield found


def decide(drafts: Drafts, variant: int, kind: Any, **more: Any) -> None:
    drafts.decide(ReviewDecision("t1", "headline", variant, kind, reviewer="ann", **more))


def test_an_edit_is_preferred_to_its_draft(drafts: Drafts) -> None:
    decide(drafts, 0, "edit", text="Assam for the morning", reasons=("policy",))
    (row,) = preferences(drafts).rows
    assert (row.kind, row.chosen, row.rejected) == ("edit", "Assam for the morning", "Best tea")
    assert (row.reviewer, row.reasons) == ("ann", ("policy",))
    line = json.loads(json.dumps(row.as_json()))
    assert line["values"] == {"occasion": "Christmas"}
    assert line["chosen"][:-1] == line["rejected"][:-1]
    assert line["chosen"][0]["role"] == "system"
    assert "Calm." in line["chosen"][0]["content"]
    assert "Christmas" in line["chosen"][1]["content"]
    ((turns, answer),) = asked_and_answered(line["chosen"], file="f", row=0, column="chosen")
    assert (len(turns), answer) == (2, "Assam for the morning")


def test_a_good_variant_is_preferred_to_a_rejected_one(drafts: Drafts) -> None:
    decide(drafts, 0, "reject", reasons=("policy",))
    decide(drafts, 1, "approve")
    decide(drafts, 2, "edit", text="Tea")
    rows = preferences(drafts).rows
    assert [(row.kind, row.chosen, row.rejected) for row in rows] == [
        ("edit", "Tea", "Tea tea tea"),
        ("variant", "Assam tea", "Best tea"),
        ("variant", "Tea", "Best tea"),
    ]
    assert rows[1].reasons == ("policy",)


def test_what_tells_of_no_preference_is_left_out(drafts: Drafts) -> None:
    assert preferences(drafts).rows == ()
    decide(drafts, 0, "approve")
    decide(drafts, 1, "edit", text="Assam tea")
    assert preferences(drafts).rows == ()
    decide(drafts, 2, "reject", reasons=("voice",))
    drafts.undo(("t1", "headline", 2))
    assert preferences(drafts).rows == ()


def test_a_prompt_that_is_not_the_one_that_was_asked_is_left_out_and_counted(
    drafts: Drafts,
) -> None:
    drafts.write([draft(0, "Best tea", prompt="0" * 24)], again=True)
    decide(drafts, 0, "edit", text="Tea")
    found = preferences(drafts)
    assert (found.rows, found.unknown) == ((), 1)


def test_without_its_product_or_job_a_prompt_is_not_known(drafts: Drafts) -> None:
    known = drafts.draft(("t1", "headline", 0))
    assert prompt_of(drafts, known) is not None
    for product, slot, by in (
        ("other", "headline", known.provenance),
        ("t1", "headline", Provenance(job="other")),
        ("t1", "path", known.provenance),
        ("t1", "title", known.provenance),
        ("t1", "headline", Provenance(job="j1")),
    ):
        other = Draft(product, slot, 0, "x", provenance=by, values=VALUES)
        assert prompt_of(drafts, other) is None
    assert prompt_of(drafts, Draft(*known.key, "x", provenance=known.provenance)) is None


pytest.importorskip("transformers", reason="the extra lm is not installed")


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


def test_recipes_are_checked() -> None:
    with pytest.raises(ConfigError, match="no task 'poems'"):
        AuthoringRecipe(Path("rows"), tasks=("poems",))


def test_unknown_methods_are_refused(rows: Path) -> None:
    with pytest.raises(ConfigError):
        tune_run_of(AuthoringRecipe(rows, method="LoRAA"))
    with pytest.raises(ConfigError, match="unknown key"):
        tune_run_of(AuthoringRecipe(rows, settings={"rang": 3}))
