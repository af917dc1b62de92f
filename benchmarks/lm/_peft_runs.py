"""One run of benchmarks/lm/peft.py, in a process of its own: what is trained, and what it gives.

    python -m benchmarks.lm._peft_runs '{"name": "lora", "rate": 1e-3, "seed": 0, "steps": 48, ...}'
    python -m benchmarks.lm._peft_runs -        one such line after another, from the standard input

For each it prints a line that begins with RESULT. Memory means something for a process's first
run alone.
"""

from __future__ import annotations

import copy
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import peft
import torch
from torch import Tensor, nn

from adwright.core.errors import AdwrightError
from adwright.lm.engine.weights import load_hf_model, load_hf_tokenizer, smollm2_folder
from adwright.training.tuning.tune import TuneConfig, answer_loss_of, tune
from adwright.tuning.methods import apply, method_of
from adwright.tuning.packing.texts import Packed
from adwright.tuning.tuned import Tuned
from benchmarks.common.processes import command
from benchmarks.common.result import ROOT
from benchmarks.lm._peft_task import VARIANTS, Asked, Task, Variant, judged, task

#: This module, for those who start it.
RUNS = "benchmarks.lm._peft_runs"
BATCH = 12
WARMUP = 0.1
#: Steps before the clock starts, where only the time is asked for.
WARM = 2


def main() -> None:
    """Do the run that the first argument describes, or those of the standard input."""
    torch.set_num_threads(1)
    for line in sys.stdin if sys.argv[1] == "-" else [sys.argv[1]]:
        asked = json.loads(line)
        variant = VARIANTS[asked["name"]]
        runner = plain if variant.by == "peft" else through_tune
        try:
            found = runner(variant, asked)
        except (AdwrightError, RuntimeError, ValueError) as error:
            found = {"error": repr(error)}
        print("RESULT", json.dumps(found), flush=True)


def asked_once(spec: dict[str, Any]) -> str:
    """The result of a process that does nothing else: its memory is that of this run."""
    run = command(RUNS, json.dumps(spec))
    done = subprocess.run(run, stdout=subprocess.PIPE, text=True, check=False, cwd=ROOT)
    found = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    return found[-1].removeprefix("RESULT ") if found else '{"error": "no result"}'


def through_tune(variant: Variant, asked: dict[str, Any]) -> dict[str, Any]:
    """Ours and wrapped ones: packed texts, answers' logits alone."""
    float32 = bool(asked.get("float32"))
    own = variant.settings["kind"] in ("FullTuning", "NormTuning", "MeZO")
    model, whole = opened(float32=float32 or own)
    method = method_of(variant.settings)
    bfloat16 = not float32 and variant.settings["kind"] != "MeZO"
    sample = whole.train.some(range(32))
    idle = rss()

    def losses(tuned: Tuned) -> Iterator[Tensor]:
        return (answer_loss_of(tuned, sample.packed([row])) for row in range(len(sample)))

    tuned = apply(model, method, seed=asked["seed"], losses=losses)
    config = TuneConfig(
        steps=asked["steps"],
        batch=BATCH,
        micro=BATCH,
        learning_rate=asked["rate"],
        warmup=WARMUP,
        bfloat16=bfloat16,
        seed=asked["seed"],
    )
    clock = Clock()
    tune(tuned, whole.train, config, on_step=clock.step)

    def logits(packed: Packed) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            return tuned.logits(_hidden(tuned, packed)).float()

    return clock.told(idle) | {"trainable": tuned.count()} | measures(asked, whole, logits)


def _hidden(tuned: Tuned, packed: Packed) -> Tensor:
    from adwright.tuning.packing.texts import attends_apart

    with attends_apart(tuned.causal):
        hidden = tuned(packed.ids[None], position_ids=packed.places()[None])[0]
    rows: Tensor = hidden[packed.answer.nonzero()[:, 0] - 1]
    return rows


def plain(variant: Variant, asked: dict[str, Any]) -> dict[str, Any]:
    """peft and transformers as their users have them: padded batches, the model's own loss."""
    from torch.nn.utils import clip_grad_norm_

    bfloat16 = not asked.get("float32")
    model, whole = opened(float32=not bfloat16)
    idle = rss()
    torch.manual_seed(asked["seed"])
    values = {key: value for key, value in variant.settings.items() if key != "config"}
    config = getattr(peft, variant.settings["config"])(task_type="CAUSAL_LM", **values)
    model = peft.get_peft_model(model, config)
    mine = [p for p in model.parameters() if p.requires_grad]
    for parameter in mine:
        parameter.data = parameter.data.float()
    optimiser = torch.optim.AdamW(mine, lr=asked["rate"], weight_decay=0.0)
    shape = TuneConfig(warmup=WARMUP)
    clock = Clock()
    epoch = np.random.default_rng([asked["seed"], 0]).permutation(len(whole.train))
    model.train()
    for step in range(asked["steps"]):
        rows = epoch[step * BATCH : (step + 1) * BATCH].tolist()
        ids, mask, labels = padded([(whole.train.prompts[r], whole.train.answers[r]) for r in rows])
        for group in optimiser.param_groups:
            group["lr"] = asked["rate"] * shape.share_of_rate(step, asked["steps"])
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            loss = model(input_ids=ids, attention_mask=mask, labels=labels).loss
        loss.backward()
        clip_grad_norm_(mine, 1.0)
        optimiser.step()
        optimiser.zero_grad()
        clock.step(step + 1)
    model.eval()

    def logits(packed: Packed) -> Tensor:
        texts = [one.ids.tolist() for one in packed.alone()]
        ids, mask, _ = padded([(text, ()) for text in texts])
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            found = model(input_ids=ids, attention_mask=mask).logits
        found = found[:, -ids.shape[1] :]
        rows = [
            found[row][one.answer.nonzero()[:, 0] - 1] for row, one in enumerate(packed.alone())
        ]
        return torch.cat(rows).float()

    trainable = sum(parameter.numel() for parameter in mine)
    return clock.told(idle) | {"trainable": trainable} | measures(asked, whole, logits)


def padded(texts: list[tuple[Any, Any]]) -> tuple[Tensor, Tensor, Tensor]:
    """ids, mask and labels [B, T], padded on the right; -100 is not learned from."""
    length = max(len(prompt) + len(answer) for prompt, answer in texts)
    ids = torch.zeros(len(texts), length, dtype=torch.int64)
    mask, labels = torch.zeros_like(ids), torch.full_like(ids, -100)
    for row, (prompt, answer) in enumerate(texts):
        end = len(prompt) + len(answer)
        ids[row, :end] = torch.tensor([*prompt, *answer])
        mask[row, :end] = 1
        labels[row, len(prompt) : end] = ids[row, len(prompt) : end]
    return ids, mask, labels


class Clock:
    """CPU-seconds and memory of the steps after the first few."""

    def __init__(self) -> None:
        Path("/proc/self/clear_refs").write_text("5")  # forget the peak of the loading
        self.at: list[float] = [time.process_time()]

    def step(self, _: int) -> None:
        """Note that a step has ended."""
        self.at.append(time.process_time())

    def told(self, idle: float) -> dict[str, float]:
        """Seconds per step, and megabytes at the peak and above what the base alone held."""
        took = np.diff(self.at)[WARM:]
        peak = status("VmHWM")
        return {
            "cpu_seconds_a_step": float(np.median(took)) if len(took) else 0.0,
            "cpu_seconds": float(self.at[-1] - self.at[0]),
            "peak_mb": peak,
            "above_base_mb": peak - idle,
        }


def measures(asked: dict[str, Any], whole: Task, logits: Asked) -> dict[str, Any]:
    """Evaluate on the splits that `asked` names under "judge"."""
    found: dict[str, Any] = {}
    for split in asked["judge"]:
        texts = getattr(whole, split)
        one = judged(logits, texts, whole.names, 32)
        found[split] = {"right": one.right.astype(int).tolist(), "nll": one.nll.round(5).tolist()}
    return found


def opened(*, float32: bool) -> tuple[Any, Task]:
    """A base to attach to, and the texts."""
    model, whole = loaded(float32)
    # A process with one run has no use for a second copy.
    return (copy.deepcopy(model) if sys.argv[1] == "-" else model), whole


@cache
def loaded(float32: bool) -> tuple[Any, Task]:
    """The base as it was stored."""
    place = smollm2_folder()
    dtype = torch.float32 if float32 else torch.bfloat16
    model: nn.Module = load_hf_model(place, dtype=dtype)
    # Read through once, so that the pages of a mapped file are not counted as the method's.
    for parameter in model.parameters():
        parameter.data = parameter.data.clone()
    return model, task(load_hf_tokenizer(place))


def rss() -> float:
    """Megabytes that the process holds at the moment."""
    return status("VmRSS")


def status(name: str) -> float:
    """A line of the kernel's account of this process, in megabytes."""
    found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found.group(1)) / 1024 if found else float("nan")


if __name__ == "__main__":
    main()
