"""Several tunings over one base in a step, and tuning beside inference: rows of plain values.

    python -m benchmarks.lm._adapters_tuning jobs        four CPU-minutes
    python -m benchmarks.lm._adapters_tuning coserve     on a quiet machine, four CPU-minutes

On SmolLM2-135M with one thread, in bfloat16 unless told otherwise. The texts are product titles of
AE-110k, whose answer names the attributes that the title holds; a job has those of one category.
"""

from __future__ import annotations

import gc
import json
import math
import os
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from adwright.lm.engine.generation import GenerationConfig
from adwright.lm.engine.hf_tokens import HuggingFaceTokens
from adwright.lm.engine.weights import load_hf_model, load_hf_tokenizer, smollm2_folder
from adwright.training.tuning.coserve import Beside, Bounds, Pending, ServedBeside
from adwright.training.tuning.jobs import Job, tune_jobs
from adwright.training.tuning.texts import Texts
from adwright.training.tuning.tune import TuneConfig, TuneResult, tune
from adwright.tuning.methods import apply
from adwright.tuning.packing.joint_lora import share_base
from adwright.tuning.reparameterised.lora import LoRA

#: Jobs, and (texts of a job in a step, steps) of each row.
JOBS = 8
SIZES = ((1, 8), (2, 7), (4, 4), (8, 3))
METHOD = LoRA(rank=8)
#: Texts of a job.
TEXTS = 64


def opened(dtype: torch.dtype) -> tuple[Any, Any]:
    """The base, and its tokeniser without a template, so that texts stay short."""
    torch.set_num_threads(1)
    folder = smollm2_folder()
    tokenizer = load_hf_tokenizer(folder)
    tokenizer.chat_template = None
    model: Any = load_hf_model(folder, dtype=dtype)
    return model.eval(), tokenizer


def categories(tokenizer: Any, number: int, each: int) -> dict[str, Texts]:
    """Titles and their attributes, of the categories that have most."""
    path = Path(os.environ["ADWRIGHT_DATA"]) / "attributes" / "train.jsonl"
    found: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for line in path.read_text("utf-8").splitlines():
        row = json.loads(line)
        named = [
            f"{name}: {value}"
            for name, values in row["target_scores"].items()
            for value in values
            if value != "n/a"
        ]
        if named:
            found[row["category"]].append((row["input"], "; ".join(named[:2])))
    most = sorted(found, key=lambda name: -len(found[name]))[:number]
    return {name: Texts.of(found[name][:each], tokenizer, max_length=128) for name in most}


def jobs_of(
    texts: dict[str, Texts], batch: int, steps: int, dtype: torch.dtype = torch.bfloat16
) -> list[Job]:
    """One job per category. dtype: of the matrix products."""
    bfloat16 = dtype == torch.bfloat16
    return [
        Job(
            f"job-{seed}",
            METHOD,
            one,
            TuneConfig(steps=steps, batch=batch, micro=batch, seed=seed, bfloat16=bfloat16),
        )
        for seed, one in enumerate(texts.values())
    ]


def through_tune(model: Any, job: Job) -> TuneResult:
    """A job by itself, as it is tuned without others."""
    tuned = apply(share_base(model), job.method, seed=job.config.seed)
    return tune(tuned, job.texts, job.config)


def together_rows(dtype: torch.dtype = torch.bfloat16) -> list[dict[str, Any]]:
    """Eight jobs one after another and in one step, a row per size of step.

    tune: CPU-seconds of all jobs through `tune`; alone: through `tune_jobs` with one job each, so
    with the same kernels; together: in one step. loss_difference: the largest difference of a
    job's mean training loss, in nats per token, between `tune` and together.
    """
    model, tokenizer = opened(dtype)
    texts = categories(tokenizer, JOBS, TEXTS)
    rows = []
    for batch, steps in SIZES:
        jobs = jobs_of(texts, batch, steps, dtype)
        first: dict[str, TuneResult] = {}
        own: dict[str, TuneResult] = {}
        # In turns, so that what else the machine does falls on all alike.
        for job in jobs:
            first[job.name] = through_tune(model, job)
            own |= tune_jobs(model, [job])
        joint = tune_jobs(model, jobs)
        tokens = sum(result.tokens for result in joint.values())
        seconds = {
            "tune": sum(result.seconds for result in first.values()),
            "alone": sum(result.seconds for result in own.values()),
            "together": sum(result.seconds for result in joint.values()),
        }
        apart = [
            abs(joint[n].records[-1]["train_loss"] - first[n].records[-1]["train_loss"])
            for n in joint
        ]
        rows.append(
            {
                "jobs": JOBS,
                "texts_a_job": batch,
                "tokens_a_job": round(tokens / JOBS / steps, 1),
                "steps": steps,
                **{f"{name}_cpu_seconds": round(value, 3) for name, value in seconds.items()},
                **{f"{n}_tokens_a_second": round(tokens / v, 1) for n, v in seconds.items()},
                "ratio_to_tune": round(seconds["tune"] / seconds["together"], 3),
                "ratio_to_alone": round(seconds["alone"] / seconds["together"], 3),
                "loss": round(
                    float(np.mean([r.records[-1]["train_loss"] for r in joint.values()])), 4
                ),
                "loss_difference": round(max(apart), 4),
            }
        )
        print(json.dumps(rows[-1]), flush=True)
    return rows


#: Of each row: requests per CPU-second, CPU-seconds, bounds of a token and of the first one in s.
LOADS = (
    (0.05, 120.0, 0.2, 0.6),
    (0.15, 80.0, 0.2, 0.6),
    (0.15, 80.0, 0.4, 1.2),
    (0.3, 60.0, 0.4, 1.2),
)
#: Tokens of an answer.
ANSWER = 32
#: CPU-seconds of tuning alone, before and after.
ALONE = 12.0
#: Jobs that are tuned meanwhile, and texts of each in a step.
BESIDE = (4, 2)


class Clock:
    """CPU time of the process, and what an idle server has skipped: what a clock on the wall would
    say where the processor is ours alone."""

    def __init__(self) -> None:
        self.skipped = 0.0

    def __call__(self) -> float:
        """Seconds so far."""
        return time.process_time() + self.skipped


class Arrivals:
    """Requests that come by a Poisson process: titles to continue, each with one adapter."""

    def __init__(self, models: Fed, texts: Sequence[Texts], rate: float, seconds: float) -> None:
        random = np.random.default_rng(5)
        self.models, self.at = models, 0
        gaps = random.exponential(1 / rate, math.ceil(4 * rate * seconds))
        self.times = [float(t) for t in gaps.cumsum() if t < seconds]
        self.prompts = [list(p) for one in texts for p in one.prompts]
        self.chosen = random.integers(0, len(self.prompts), len(self.times))
        self.adapters = random.choice(list(models), len(self.times))
        self.start = 0.0

    @property
    def over(self) -> bool:
        """Whether all requests have arrived."""
        return self.at == len(self.times)

    def feed(self, now: float) -> None:
        """Submit the requests that have arrived by `now`."""
        while not self.over and self.start + self.times[self.at] <= now:
            model = self.models.batched(str(self.adapters[self.at]))
            config = GenerationConfig(max_tokens=ANSWER, temperature=0.0)
            job = model.row(self.prompts[int(self.chosen[self.at])], config)
            self.models.submit_since([job], self.start + self.times[self.at])
            self.at += 1


class _Over(Exception):
    """The time is up."""


class Fed(ServedBeside):
    """Requests come whatever is being computed, as they would from other threads."""

    arrivals: Arrivals | None = None
    tells: Clock

    def pending(self) -> Pending | None:
        """The next pass to run, with the requests that have arrived by now."""
        if self.arrivals is not None:
            self.arrivals.feed(self.tells())
        return super().pending()


def served(model: Any, tokenizer: Any, adapters: dict[str, Path], clock: Clock) -> Fed:
    """The base and its adapters, over the weights of `model`."""
    models = Fed(share_base(model), HuggingFaceTokens(tokenizer), name="base", clock=clock)
    models.tells = clock
    for name, folder in adapters.items():
        models.add(name, folder)
    return models


def spread(name: str, seconds: Sequence[float]) -> dict[str, float]:
    """Median and 99th percentile, in milliseconds."""
    return {
        f"{name}_p50_ms": round(float(np.percentile(seconds, 50)) * 1e3, 1),
        f"{name}_p99_ms": round(float(np.percentile(seconds, 99)) * 1e3, 1),
    }


def inference_alone(models: ServedBeside, arrivals: Arrivals, clock: Clock) -> dict[str, float]:
    """Latencies where nothing else runs."""
    arrivals.start = clock()
    while not arrivals.over or models.pending() is not None:
        arrivals.feed(clock())
        if models.pending() is None:
            clock.skipped += arrivals.start + arrivals.times[arrivals.at] - clock()
        else:
            models.serve(Bounds().prompt_tokens)
    latencies = models.latencies
    return {**spread("first", latencies.firsts), **spread("gap", latencies.gaps)}


def coserving_rows(
    dtype: torch.dtype = torch.bfloat16, loads: Sequence[tuple[float, ...]] = LOADS
) -> list[dict[str, Any]]:
    """Tuning alone, inference alone, and both; a row per rate of requests (see `LOADS`).

    first: from a request to its first token; gap: from a token to the next. share_kept: of the
    tokens per second of tuning alone. All in CPU-seconds.
    """
    model, tokenizer = opened(dtype)
    texts = categories(tokenizer, JOBS, TEXTS)
    jobs = jobs_of(dict(list(texts.items())[: BESIDE[0]]), BESIDE[1], 100_000, dtype)
    rows = []
    with TemporaryDirectory() as scratch:
        adapters = {}
        for number in range(4):
            folder = adapters[f"adapter-{number}"] = Path(scratch) / f"adapter-{number}"
            apply(share_base(model), METHOD, seed=number).save(folder)
        for rate, seconds, token, first in loads:
            bounds = Bounds(token_bound=token, first_bound=first)
            clock = Clock()
            models = served(model, tokenizer, adapters, clock)
            answers = list(texts.values())
            quiet = inference_alone(models, Arrivals(models, answers, rate, seconds), clock)
            models = served(model, tokenizer, adapters, clock)
            # Before and after: what else the machine does changes.
            alone = tuned_tokens(model, jobs, None, ALONE)
            beside = Beside(models, bounds, clock=clock)
            arrivals = Arrivals(models, answers, rate, seconds)
            kept = tuned_tokens(model, jobs, (beside, arrivals, clock), seconds)
            alone = (alone + tuned_tokens(model, jobs, None, ALONE)) / 2
            firsts, gaps = models.latencies.firsts, models.latencies.gaps
            rows.append(
                {
                    "requests_a_second": rate,
                    "requests": len(arrivals.times),
                    "seconds": seconds,
                    "token_bound_ms": bounds.token_bound * 1e3,
                    "first_bound_ms": bounds.first_bound * 1e3,
                    "tuning_alone_tokens_a_second": round(alone, 1),
                    "tuning_beside_tokens_a_second": round(kept, 1),
                    "share_kept": round(kept / alone, 3),
                    "share_of_time": round(beside.times.share, 3),
                    "longest_slice_ms": round(beside.times.longest * 1e3, 1),
                    **{f"alone_{k}": v for k, v in quiet.items()},
                    **{
                        f"beside_{k}": v
                        for k, v in (spread("first", firsts) | spread("gap", gaps)).items()
                    },
                    "passes_due": beside.times.due,
                    "passes_in_credit": beside.times.in_credit,
                }
            )
            print(json.dumps(rows[-1]), flush=True)
    return rows


def tuned_tokens(
    model: Any, jobs: list[Job], beside: tuple[Beside, Arrivals, Clock] | None, seconds: float
) -> float:
    """Tokens per second that are tuned on, over whole steps; requests come after the first."""
    # Garbage of earlier measurements must not be collected within this one.
    gc.collect()
    ends: list[float] = []
    clock = Clock() if beside is None else beside[2]

    def on_step(step: int) -> None:
        ends.append(clock())
        if len(ends) == 1 and beside is not None:
            beside[1].start = ends[0]
            beside[1].models.arrivals = beside[1]
        if ends[-1] - ends[0] > seconds:
            raise _Over

    with suppress(_Over):
        border = None if beside is None else beside[0].border
        tune_jobs(model, jobs, on_step=on_step, border=border)
    tokens = sum(
        int(one.texts.lengths[rows].sum())
        for one in jobs
        for rows in steps_of(one, range(1, len(ends)))
    )
    return tokens / (ends[-1] - ends[0])


def steps_of(job: Job, steps: range) -> list[Any]:
    """Rows of the texts of these steps, as the loops draw them."""
    return [job.config.rows(step, len(job.texts)) for step in steps]


if __name__ == "__main__":
    {"jobs": together_rows, "coserve": coserving_rows}[sys.argv[1]]()
