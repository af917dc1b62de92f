"""run_jobs(): from a file to parts that are saved and measured."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from adwright.core.errors import ConfigError
from adwright.training.tuning.config import TuneConfig
from tests.support.lm.tiny_llama import save_tiny

from adwright.tuning.reparameterised.lora import LoRA  # isort: skip
from adwright.tuning.efficient.lora_fa import LoRAFA  # isort: skip
from adwright.tuning.methods import load_tuned  # isort: skip
from adwright.training.tuning.jobs_run import (  # isort: skip
    JobRun,
    JobsRun,
    read_jobs,
    run_jobs,
)
from adwright.training.tuning.run import PairsConfig, TuneRun, run_tuning  # isort: skip


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("base") / "model")


@pytest.fixture
def asked(base: Path, tmp_path: Path) -> JobsRun:
    """Two jobs on twelve texts each."""
    runs = []
    for number, method in enumerate((LoRA(rank=2), LoRAFA(rank=3))):
        file = tmp_path / f"shop-{number}.jsonl"
        rows = [{"prompt": f"shop {n}", "answer": f"sale {n % (3 + number)}"} for n in range(12)]
        file.write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")
        config = TuneConfig(epochs=2 + number, batch=3, learning_rate=0.02)
        data = PairsConfig(file, valid=0.25)
        runs.append(JobRun(f"shop-{number}", data, method, config, seed=number))
    return JobsRun(tuple(runs), str(base), tmp_path / "out")


def test_each_job_is_reported_as_it_is_alone(asked: JobsRun, base: Path) -> None:
    from transformers import AutoModelForCausalLM

    reports = run_jobs(asked)
    for one in asked.jobs:
        alone = run_tuning(
            TuneRun(
                data=one.data,
                method=one.method,
                model=asked.model,
                tune=one.tune,
                seed=one.seed,
                out=asked.out / "alone" / one.name,
            )
        )
        found = reports[one.name]
        same = ("method", "settings", "trainable", "steps", "tokens", "texts", "held", "data_hash")
        assert [getattr(found, name) for name in same] == [getattr(alone, name) for name in same]
        assert found.base_nll == pytest.approx(alone.base_nll, rel=1e-2)
        assert found.valid_nll == pytest.approx(alone.valid_nll, rel=2e-2)
        stored = json.loads((asked.out / one.name / "report.json").read_text("utf-8"))
        assert stored["valid_nll"] == found.valid_nll
        model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        assert load_tuned(model, asked.out / one.name / "tuned").count() == found.trainable
    again = run_jobs(asked, resume=True)
    assert {n: replace(r, peak_bytes=0) for n, r in again.items()} == {
        n: replace(r, peak_bytes=0) for n, r in reports.items()
    }


def test_a_file_names_the_jobs(tmp_path: Path) -> None:
    toml, plain = tmp_path / "jobs.toml", tmp_path / "jobs.json"
    toml.write_text(
        'out = "here"\n[[jobs]]\nname = "a"\nseed = 3\ndata = { path = "a.jsonl", valid = 0.0 }\n'
        'method = { kind = "LoRAFA", rank = 2 }\ntune = { epochs = 2 }\n',
        "utf-8",
    )
    wanted = JobsRun(
        (JobRun("a", PairsConfig(Path("a.jsonl"), valid=0.0), LoRAFA(2), TuneConfig(2), 3),),
        out=Path("here"),
    )
    assert read_jobs(toml) == wanted
    job = {
        "name": "a",
        "seed": 3,
        "data": {"path": "a.jsonl", "valid": 0.0},
        "method": {"kind": "LoRAFA", "rank": 2},
        "tune": {"epochs": 2},
    }
    plain.write_text(json.dumps({"out": "here", "jobs": [job]}), "utf-8")
    assert read_jobs(plain) == wanted


def test_a_file_that_is_wrong_is_explained(tmp_path: Path) -> None:
    file = tmp_path / "jobs.json"
    for text, message in (
        ("[]", "no table"),
        ("{", "cannot be read"),
        ('{"jobs": [{"name": "a"}]}', "data"),
        ('{"jobs": [], "speed": 1}', "speed"),
    ):
        file.write_text(text, "utf-8")
        with pytest.raises(ConfigError, match=message):
            read_jobs(file)
    with pytest.raises(ConfigError):
        read_jobs(tmp_path / "none.toml")
