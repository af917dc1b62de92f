"""run_tuning(): from a file to a tuned part."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from adwright.core.config import load_toml
from adwright.core.errors import ConfigError, DataError
from adwright.training.tune_config import TuneConfig
from tests.lm.tiny_llama import save_tiny

from adwright.lm.tuning.fish_mask import FishMask  # isort: skip
from adwright.lm.tuning.methods import load_tuned  # isort: skip
from adwright.lm.tuning.mezo import MeZO  # isort: skip
from adwright.training.tune_pipeline import (  # isort: skip
    PairsConfig,
    TuneRun,
    method_of,
    run_tuning,
)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("base") / "model")


@pytest.fixture
def asked(base: Path, tmp_path: Path) -> TuneRun:
    file = tmp_path / "pairs.jsonl"
    rows = [
        {"prompt": f"shop {n}", "answer": f"sale {n % 3}", "of": f"g{n % 4}"} for n in range(12)
    ]
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")
    return TuneRun(
        data=PairsConfig(file, group="of", valid=0.25),
        model=str(base),
        tune=TuneConfig(epochs=4, batch=3, learning_rate=0.02),
        out=tmp_path / "out",
    )


def test_what_is_saved_is_what_was_measured(asked: TuneRun, base: Path) -> None:
    from transformers import AutoModelForCausalLM

    report = run_tuning(asked)
    assert (report.texts, report.held, report.steps) == (9, 3, 12)
    assert report.base_nll is not None
    assert report.valid_nll is not None
    assert report.valid_nll < report.base_nll
    stored = json.loads((asked.out / "report.json").read_text("utf-8"))
    assert stored["valid_nll"] == report.valid_nll
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    assert load_tuned(model, asked.out / "tuned").count() == report.trainable


def test_groups_are_held_whole(asked: TuneRun) -> None:
    report = run_tuning(replace(asked, data=replace(asked.data, valid=0.5)))
    assert (report.texts, report.held) == (6, 6)
    report = run_tuning(replace(asked, data=replace(asked.data, valid=0.0), out=asked.out / "all"))
    assert report.valid_nll is None
    assert report.texts == 12


@pytest.mark.parametrize("method", [FishMask(), MeZO(rank=2)], ids=["fish", "mezo"])
def test_methods_that_look_or_move_by_themselves(asked: TuneRun, method: object) -> None:
    report = run_tuning(replace(asked, method=method))  # type: ignore[arg-type]
    assert report.valid_nll is not None


def test_a_finished_part_is_not_replaced_unasked(asked: TuneRun) -> None:
    run_tuning(asked)
    with pytest.raises(ConfigError, match="already holds a run"):
        run_tuning(asked)


def test_a_run_file_names_its_method(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text(
        '[data]\npath = "a.jsonl"\n[method]\nkind = "SerialAdapter"\nsize = 4\n', "utf-8"
    )
    assert load_toml(file, TuneRun).method == method_of({"kind": "SerialAdapter", "size": 4})


def test_mistakes_are_explained(asked: TuneRun, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="magic"):
        method_of({"kind": "magic"})
    with pytest.raises(ConfigError, match="share"):
        PairsConfig(tmp_path, valid=1.0)
    with pytest.raises(ConfigError, match="all texts are held"):
        run_tuning(replace(asked, data=replace(asked.data, valid=0.99)))
    empty = tmp_path / "empty.jsonl"
    empty.write_text("\n", "utf-8")
    with pytest.raises(DataError, match="no texts"):
        run_tuning(replace(asked, data=PairsConfig(empty)))
