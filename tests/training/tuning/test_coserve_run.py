"""Tuning in a thread that answers: stopped, resumed, failed."""

from __future__ import annotations

import json
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from adwright.core.errors import ConfigError

pytest.importorskip("transformers")

from adwright.lm.engine.generation import GenerationConfig
from adwright.lm.serving.config import ServingConfig
from adwright.training.tuning.coserve import ServedBeside, TuningThread, check_coserving
from adwright.training.tuning.run import JobRun, JobsRun, LoadedJobs, PairsConfig
from adwright.training.tuning.tune import TuneConfig
from adwright.tuning.methods import load_tuned
from adwright.tuning.packing.joint_lora import share_base
from adwright.tuning.reparameterised.lora import LoRA
from tests.support.lm.tiny_llama import tiny_llama, tiny_tokenizer, tiny_tokens

GREEDY = GenerationConfig(max_tokens=4, temperature=0.0)


@pytest.fixture
def asked(tmp_path: Path) -> JobsRun:
    file = tmp_path / "shop.jsonl"
    rows = [{"prompt": f"shop {n}", "answer": f"sale {n % 3}"} for n in range(9)]
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")
    config = TuneConfig(steps=8, batch=3, learning_rate=0.02)
    jobs = (
        JobRun("a", PairsConfig(file, valid=0.0), LoRA(rank=2), replace(config, steps=4)),
        JobRun("b", PairsConfig(file, valid=0.3), LoRA(rank=2, dropout=0.1), config, seed=2),
    )
    return JobsRun(jobs, "tiny", tmp_path / "run")


def opened(asked: JobsRun) -> tuple[LoadedJobs, ServedBeside]:
    model = tiny_llama()
    serving = ServingConfig(drive="outside", pool_bytes=1 << 20)
    models = ServedBeside(share_base(model), tiny_tokens(), name="base", config=serving)
    return LoadedJobs(asked, model, tiny_tokenizer()), models


def weights(out: Path, name: str) -> dict[str, torch.Tensor]:
    return load_tuned(tiny_llama(), out / name / "tuned").state()


def test_a_stopped_run_goes_on_with_the_same_bits(asked: JobsRun, tmp_path: Path) -> None:
    whole = replace(asked, out=tmp_path / "whole")
    opened(whole)[0].run()
    jobs, models = opened(asked)
    lines: list[str] = []
    with closing(models):
        thread = TuningThread(jobs, models, tell=lines.append)
        # Asked to stop before it begins, it makes one step.
        thread.start()
        thread.close()
    assert lines == ["2 jobs are not done; --resume goes on"]
    assert not (asked.out / "a").exists()
    check_coserving(asked, ["base"], resume=True)
    jobs, models = opened(asked)
    with closing(models):
        thread = TuningThread(jobs, models, resume=True, tell=lines.append, every=1e-9)
        thread.start()
        assert thread.wait(60)
        # All jobs are done, and it answers still.
        told = models["b"].generate(["shop 1"], GREEDY)
        assert len(told.texts) == 1
        thread.close()
    assert list(models) == ["base", "a", "b"]
    assert lines[-1] == "all jobs done"
    assert any(line.startswith("step 5: tuning had 100% of the time") for line in lines)
    assert any("nats on held texts" in line for line in lines)
    for name in ("a", "b"):
        found, wanted = weights(asked.out, name), weights(whole.out, name)
        assert all(torch.equal(found[key], value) for key, value in wanted.items())


def test_answers_go_on_where_the_tuning_fails(asked: JobsRun) -> None:
    asked.out.mkdir()
    (asked.out / "a").mkdir()
    jobs, models = opened(asked)
    lines: list[str] = []
    with closing(models):
        thread = TuningThread(jobs, models, tell=lines.append)
        thread.start()
        assert thread.wait(60)
        assert len(models["base"].generate(["shop"], GREEDY).texts) == 1
        with pytest.raises(ConfigError, match="there already"):
            thread.close()
    assert "the tuning failed" in lines[0]


def test_what_would_fail_later_is_refused(asked: JobsRun) -> None:
    check_coserving(asked, ["base"])
    lost = replace(asked.jobs[1], data=PairsConfig(Path("none.jsonl")))
    for wrong, names, key in (
        (replace(asked, jobs=()), [], "jobs"),
        (asked, ["b"], r"jobs\[1\].name"),
        (replace(asked, jobs=(asked.jobs[0], lost)), [], r"jobs\[1\].data.path"),
    ):
        with pytest.raises(ConfigError, match=key):
            check_coserving(wrong, names)
    with pytest.raises(ConfigError, match="no run to resume"):
        check_coserving(asked, [], resume=True)
    asked.out.mkdir()
    (asked.out / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match="a run already"):
        check_coserving(asked, [])
