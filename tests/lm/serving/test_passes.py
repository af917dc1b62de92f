from __future__ import annotations

from pathlib import Path

import pytest

from adwright.lm.engine.generation import GenerationConfig
from adwright.lm.serving.adapter_ops import RowOps
from adwright.lm.serving.engine import AdapterModels
from tests.support.lm.adapter_engine import PARTS, models_of, saved_parts

NAMES = ("lora", "ssf")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return saved_parts(tmp_path_factory.mktemp("parts"), {name: PARTS[name] for name in NAMES})


def ops_of(models: AdapterModels) -> RowOps | None:
    return models._passes._ops


def test_the_operations_stay_while_the_rows_do(folders: dict[str, Path]) -> None:
    models = models_of(folders)
    jobs = [models[name].row([5, 6, 7], GenerationConfig(max_tokens=9)) for name in NAMES]
    models.submit(jobs[:1])
    models.step()
    models.step()
    first = ops_of(models)
    models.step()
    assert first is not None
    assert ops_of(models) is first
    models.submit(jobs[1:])
    models.step()
    assert ops_of(models) is not first


def test_rows_of_the_base_alone_have_none(folders: dict[str, Path]) -> None:
    models = models_of(folders)
    models["base"].generate(["tea"], GenerationConfig(max_tokens=3))
    assert ops_of(models) is None


def test_a_prompt_hands_out_nothing_before_its_end(folders: dict[str, Path]) -> None:
    models = models_of(folders)
    job = models["lora"].row(list(range(5, 15)), GenerationConfig(max_tokens=2))
    models.submit([job])
    assert models.step(prompt_tokens=6).prompted == 6
    assert (job.done, job.left) == (6, 4)
    step = models.step(prompt_tokens=6)
    assert (step.prompted, job.done, len(job.tokens)) == (4, 10, 11)
    assert models.step().written == 1
    assert job.over
