"""Engines of language models beside torch: agreement of text and scores, speed, memory, adapters,
and what is left of an engine that is killed (9 minutes).

    python -m benchmarks.lm.lm_engines
    python -m benchmarks.lm.lm_engines xllamacpp_f16 xllamacpp_stored      # these anew (4 minutes)

Each engine runs in a process of its own, on one thread. With names, only those engines are
measured again beside the reference; the rows of the others stay as they are in the result.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from adwright.core.hashing import content_hash
from adwright.lm.engine.generation import GenerationConfig, LanguageModel, Scores, TokenPrompt
from adwright.lm.engine.http import HttpConfig
from adwright.lm.engine.weights import SMOLLM2, SMOLLM2_NOTE, smollm2_folder
from adwright.lm.native_engines.llamacpp_config import XllamacppConfig
from adwright.lm.native_engines.openvino_model import OpenVinoConfig
from adwright.lm.open_model import EngineConfig, open_model
from adwright.lm.torch_engine.config import TorchConfig
from adwright.service.lm.app import create_lm_app
from adwright.service.lm.config import LmServiceConfig
from adwright.web.server import on_loopback
from benchmarks.common.processes import command
from benchmarks.common.result import RESULTS, ROOT, write_result
from benchmarks.lm._kill import descendants, kill_figures
from benchmarks.lm._prompts import prompts, sentences

REFERENCE, HTTP = "torch_float32", "http"
ENGINES: dict[str, EngineConfig] = {
    REFERENCE: TorchConfig(dtype="float32", threads=1),
    "torch_bfloat16": TorchConfig(dtype="bfloat16", threads=1),
    "openvino_f16": OpenVinoConfig(threads=1),
    "openvino_q8_0": OpenVinoConfig(weights="q8_0", threads=1),
    "openvino_stored": OpenVinoConfig(weights="stored", threads=1),
    "xllamacpp_f16": XllamacppConfig(weights="f16", threads=1),
    "xllamacpp_stored": XllamacppConfig(threads=1),
    # The reference behind `adwright lm serve`'s application; the address is known when it runs.
    HTTP: HttpConfig("http://127.0.0.1/v1", SMOLLM2),
}
TOKENS = 32
B, PREFILL, DECODE = 16, 128, 48
PROTOCOL = (
    f"{SMOLLM2_NOTE}, on one thread. 50 questions in the chat template: greedy answers of at most "
    f"{TOKENS} tokens, compared with those of torch in float32 as whole texts and up to the first "
    "token that differs; log-probabilities of the tokens of one given sentence after each. "
    f"Prefill: {B} prompts of {PREFILL} random tokens at once, one token each. Decoding: {DECODE} "
    "tokens more for each of them, without the time of the prefill. CPU-seconds and peak memory "
    "are those of the whole process, and of the second one that llama.cpp runs in; the OpenVINO "
    "engines compute scores on a second copy of the model, which the peak memory holds too. "
    "'stored' is the Q4_1 file as the engine itself computes with it. HTTP is torch in float32 "
    "behind the application of the service, asked over loopback from the same process."
)


def run_one(name: str) -> dict[str, Any]:
    """Everything that is measured of one engine, in this process."""
    began = spent_seconds()
    with opened(name) as model:
        took = spent_seconds() - began
        answers = model.generate(prompts(), GenerationConfig(max_tokens=TOKENS))
        # Those of an endpoint are those of the engine behind it.
        speeds = {} if name == HTTP else speed_of(model)
        scores = scored(model) if name == HTTP else model.score(prompts(), sentences())
        return {
            "open_cpu_seconds": took,
            "texts": answers.texts,
            "ids": [
                list(answer.token_ids or model.tokens.encode(answer.text)) for answer in answers
            ],
            "logprobs": [row.tolist() for row in scores.token_logprobs],
            "peak_gb": peak_gb(),
            **speeds,
        }


@contextmanager
def opened(name: str) -> Iterator[LanguageModel]:
    """Open the engine; it is closed at the end."""
    if name != HTTP:
        with closing(open_model(ENGINES[name])) as model:
            yield model
        return
    with closing(open_model(ENGINES[REFERENCE])) as local:
        app = create_lm_app(LmServiceConfig(), {SMOLLM2: local})
        with on_loopback(app) as url:
            config = HttpConfig(f"{url}/v1", SMOLLM2, tokenizer=str(smollm2_folder()))
            with closing(open_model(config)) as model:
                yield model


def scored(model: LanguageModel) -> Scores:
    """The same scores of an endpoint, which wants tokens on both sides."""
    tokens = model.tokens
    asked = [TokenPrompt(tuple(tokens.chat(one))) for one in prompts()]
    return model.score(asked, [TokenPrompt(tuple(tokens.encode(one))) for one in sentences()])


def speed_of(model: LanguageModel) -> dict[str, float]:
    """Tokens per CPU-second, of prompts and of answers."""
    random = np.random.default_rng(0)
    spent = []
    generated = 0
    # The first pass warms up: kernels are chosen for the shapes that come.
    for tokens in (1, 1, DECODE + 1):
        ids = random.integers(100, 40_000, (B, PREFILL))
        batch = [TokenPrompt(tuple(row)) for row in ids.tolist()]
        began = spent_seconds()
        answers = model.generate(batch, GenerationConfig(max_tokens=tokens))
        spent.append(spent_seconds() - began)
        generated = answers.usage.completion_tokens
    return {
        "prefill_tokens_per_cpu_second": B * PREFILL / spent[1],
        "decode_tokens_per_cpu_second": (generated - B) / (spent[2] - spent[1]),
    }


def spent_seconds() -> float:
    """CPU-seconds of this process and of its children, which run on."""
    ticks = 0
    for pid in descendants(os.getpid()):
        fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


def peak_gb() -> float:
    """The most memory of this process and of its children, each at its own time."""
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for pid in descendants(os.getpid()):
        lines = Path(f"/proc/{pid}/status").read_text("utf-8").splitlines()
        kilobytes += next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    return kilobytes / 1e6


def compared(found: dict[str, Any], reference: dict[str, Any]) -> dict[str, float]:
    """How far an engine agrees with the reference."""
    same = [one == other for one, other in zip(found["texts"], reference["texts"], strict=True)]
    shares = [
        common(one, other) / max(len(one), len(other), 1)
        for one, other in zip(found["ids"], reference["ids"], strict=True)
    ]
    ours, theirs = (np.concatenate(one["logprobs"]) for one in (found, reference))
    sums = [[sum(row) for row in one["logprobs"]] for one in (found, reference)]
    return {
        "same_texts": float(np.mean(same)),
        "same_until": float(np.mean(shares)),
        "token_correlation": float(np.corrcoef(ours, theirs)[0, 1]),
        "token_difference": float(np.abs(ours - theirs).mean()),
        "score_correlation": float(np.corrcoef(sums[0], sums[1])[0, 1]),
    }


def common(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens two answers begin with."""
    pairs = zip(one, other, strict=False)
    return next((at for at, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def measured(name: str) -> dict[str, Any]:
    """What `run_one` finds, in a process of its own."""
    result = subprocess.run(
        command("benchmarks.lm.lm_engines", "--one", name),
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    print(f"{name}: opened in {found['open_cpu_seconds']:.1f} CPU-seconds, and measured")
    return found


def rows_of(names: Sequence[str]) -> list[dict[str, Any]]:
    """A row for each of the engines, in the order of ENGINES; those not named are as they were."""
    before = []
    if set(names) < set(ENGINES):
        before = json.loads((RESULTS / "lm_engines.json").read_text("utf-8"))["rows"]
    rows = {row["engine"]: row for row in before}
    reference = measured(REFERENCE)
    speeds = (
        "open_cpu_seconds",
        "prefill_tokens_per_cpu_second",
        "decode_tokens_per_cpu_second",
        "peak_gb",
    )
    for name in names:
        found = reference if name == REFERENCE else measured(name)
        agreement = compared(found, reference)
        told = {key: found[key] for key in speeds if key in found}
        rows[name] = {"engine": name, **agreement, **told}
    return [rows[name] for name in ENGINES if name in rows]


def main(names: Sequence[str]) -> None:
    """Run the engines, or those named, and write the result."""
    from benchmarks.lm._gguf import adapter_figures

    rows = rows_of(names or list(ENGINES))
    figures = {
        f"{key}_{row['engine']}": value
        for row in rows
        for key, value in row.items()
        if key != "engine"
    }
    asked = [[turn.content for turn in one] for one in prompts()]
    if list(names) == [HTTP]:
        # It has neither adapters nor a process of its own.
        before = json.loads((RESULTS / "lm_engines.json").read_text("utf-8"))["figures"]
        figures = before | figures
    else:
        figures |= adapter_figures(prompts()[::4], sentences()[::4])
        figures |= kill_figures()
    write_result(
        "lm_engines",
        protocol=PROTOCOL,
        data=content_hash([asked, sentences()]),
        seeds=[0],
        rows=rows,
        figures=figures,
    )


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["--one", name]:
            print(json.dumps(run_one(name)))
        case names:
            main(names)
