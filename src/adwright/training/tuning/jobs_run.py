"""run_jobs(): from a file that names several tunings to parts that are saved and measured.

    model = "smollm2-135m-instruct"
    out = "runs/shops"

    [[jobs]]
    name = "shop-1"
    data = { path = "shop-1.jsonl" }
    method = { kind = "LoRA", rank = 8 }
    tune = { epochs = 2, batch = 4 }

OUT/NAME holds what `run_tuning` leaves behind for one job: `tuned/` and `report.json`; the rest of
OUT is as `tune_jobs` has it. A job's report is written when it leaves the batch.
"""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import BeforeValidator

from adwright.core.atomic import atomic_write_text
from adwright.core.config import from_jsonable, load_toml, to_jsonable
from adwright.core.errors import ConfigError, MissingExtraError
from adwright.core.hashing import content_hash
from adwright.lm.engine.weights import SMOLLM2, locate
from adwright.lm.torch_engine.model import fitting_dtype
from adwright.training.tuning.config import TuneConfig, TuneResult
from adwright.training.tuning.jobs import Job, tune_jobs
from adwright.training.tuning.run import PairsConfig, TuningReport, held_apart
from adwright.training.tuning.texts import Texts
from adwright.training.tuning.tune import answer_nll
from adwright.tuning.methods import Method, apply, method_of
from adwright.tuning.packing.joint_lora import share_base
from adwright.tuning.reparameterised.lora import LoRA

__all__ = ["JobRun", "JobsRun", "read_jobs", "run_jobs"]


def _read_method(values: object) -> object:
    return method_of(values) if isinstance(values, Mapping) else values


@dataclass(frozen=True)
class JobRun:
    """One tuning. name: of its folder. seed: of what is drawn, and of the texts that are held;
    it takes the place of tune.seed."""

    name: str
    data: PairsConfig
    method: Annotated[Method, BeforeValidator(_read_method)] = field(default_factory=LoRA)
    tune: TuneConfig = field(default_factory=TuneConfig)
    seed: int = 0


@dataclass(frozen=True)
class JobsRun:
    """Several. model: the base, as `adwright lm generate --model` takes it."""

    jobs: tuple[JobRun, ...]
    model: str = SMOLLM2
    out: Path = Path("runs/jobs")


def read_jobs(path: str | Path) -> JobsRun:
    """What a file of TOML, or of JSON where its name ends so, asks for.

    Raises ConfigError naming the file and the key, as `load_toml`.
    """
    path = Path(path)
    if path.suffix != ".json":
        return load_toml(path, JobsRun)
    try:
        values = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"the file of jobs cannot be read: {error}", where=str(path), hint="check the path"
        ) from error
    if not isinstance(values, dict):
        raise ConfigError("the file of jobs is no table", where=str(path), hint='{"jobs": [...]}')
    return from_jsonable(JobsRun, values)


def run_jobs(asked: JobsRun, *, resume: bool = False) -> dict[str, TuningReport]:
    """Tune all jobs together, save and measure; the reports by name.

    resume: continue the run in `asked.out`. Raises MissingExtraError without transformers, and as
    `read_rows`, `held_apart` and `tune_jobs`.
    """
    model, tokenizer, note = _opened(asked.model)
    bfloat16 = fitting_dtype() == torch.bfloat16
    jobs, cut = [], {}
    for one in asked.jobs:
        train, valid = held_apart(one.data, tokenizer, one.seed)
        config = replace(one.tune, seed=one.seed, bfloat16=one.tune.bfloat16 or bfloat16)
        held = valid if len(valid) else None
        jobs.append(Job(one.name, one.method, train, config, held))
        cut[one.name] = train.cut + valid.cut
    before = {job.name: None if resume else _untuned(model, job) for job in jobs}
    by_name = {job.name: job for job in jobs}
    reports: dict[str, TuningReport] = {}

    def write(name: str, result: TuneResult) -> None:
        path = asked.out / name / "report.json"
        first = _first(path) if resume else before[name]
        told = _report(model, by_name[name], result, note or asked.model, first, cut[name])
        reports[name] = told
        atomic_write_text(path, json.dumps(to_jsonable(told), indent=1) + "\n")

    tune_jobs(model, jobs, asked.out, resume=resume, on_done=write)
    return {job.name: reports[job.name] for job in jobs}


def _report(
    model: Any, job: Job, result: TuneResult, base: str, before: float | None, cut: int
) -> TuningReport:
    tuned = apply(share_base(model), job.method, seed=job.config.seed)
    valid = Texts((), ()) if job.valid is None else job.valid
    return TuningReport(
        method=type(job.method).__name__,
        settings=to_jsonable(job.method),
        base=base,
        trainable=tuned.count(),
        share=tuned.count() / tuned.sizes.parameters,
        steps=result.steps,
        tokens=result.tokens,
        cpu_seconds=round(result.seconds, 2),
        tokens_per_cpu_second=round(result.tokens / max(result.seconds, 1e-9), 1),
        peak_bytes=_peak_bytes(),
        texts=len(job.texts),
        held=len(valid),
        cut=cut,
        base_nll=before,
        valid_nll=None if job.valid is None else result.best,
        data_hash=content_hash([job.texts.data_hash, valid.data_hash]),
    )


def _untuned(model: Any, job: Job) -> float | None:
    """What the base is worth on the held texts."""
    if job.valid is None:
        return None
    tuned = apply(share_base(model), LoRA(rank=1))
    return answer_nll(tuned, job.valid, bfloat16=job.config.bfloat16)


def _first(path: Path) -> float | None:
    """What an earlier report of the same job says of the base."""
    try:
        found = json.loads(path.read_text("utf-8"))["base_nll"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if isinstance(found, float) else None


def _opened(model: str) -> tuple[Any, Any, str]:
    """The base in the type that fits, its tokenizer, and the note on its figures."""
    try:
        from transformers import AutoModelForCausalLM, AutoTokenizer
    except ImportError as error:
        raise MissingExtraError("tuning of language models", "lm") from error
    place, note = locate(model)
    base = AutoModelForCausalLM.from_pretrained(place, dtype=fitting_dtype())
    return base, AutoTokenizer.from_pretrained(place), note


def _peak_bytes() -> int:
    # Linux counts in kibibytes, macOS in bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
