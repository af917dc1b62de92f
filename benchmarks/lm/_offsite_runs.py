"""What benchmarks/lm/offsite.py measures, each in two processes over loopback.

    offsite RANK DISTIL    nats per token of held answers: base, emulator, plugged in
    shared SHARE STEPS     bytes, operations and CPU-seconds of cloud and device

The last line that it prints is a JSON object.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from dataclasses import asdict
from multiprocessing import get_context
from multiprocessing.queues import Queue
from typing import Any

import numpy as np
import torch

from adwright.lm.engine.weights import load_hf_model, load_hf_tokenizer, smollm2_folder
from adwright.lm.torch_engine.model import fitting_dtype
from adwright.training.offsite.revive import serve_base, tune_on_device
from adwright.training.offsite.sandwich import (
    KillRevive,
    Sandwich,
    distil,
    emulator_of,
    offered,
    plugged,
    shipped_emulator,
    train_offsite,
)
from adwright.training.offsite.wire import Listener, connect
from adwright.training.tuning.texts import Texts
from adwright.training.tuning.tune import TuneConfig, answer_nll
from adwright.tuning.reparameterised.lora import LoRA
from adwright.tuning.tuned import Tuned
from benchmarks.lm._peft_task import offers

ENDS, KEPT = 2, 8
BF16 = fitting_dtype() == torch.bfloat16


def base() -> Any:
    """SmolLM2-135M in the type that fits."""
    model: Any = load_hf_model(smollm2_folder(), dtype=fitting_dtype())
    return model.eval()


def texts() -> tuple[Texts, Texts, Texts]:
    """To train on, held, and of titles that only the model's owner has (for distilling)."""
    read: Any = load_hf_tokenizer(smollm2_folder())
    pairs = [
        (
            tuple(read(f"Product: {title}\nCategory:", add_special_tokens=False)["input_ids"]),
            tuple(read(f" {category}", add_special_tokens=False)["input_ids"]),
        )
        for title, category in offers()[:768]
    ]
    whole = Texts(tuple(pair[0] for pair in pairs), tuple(pair[1] for pair in pairs))
    return whole.some(range(256)), whole.some(range(256, 384)), whole.some(range(384, 768))


def owner(told: Queue[Any], steps: int) -> None:
    """The model's owner. steps: of distilling the kept layers."""
    torch.set_num_threads(1)
    model, (_, held, mine) = base(), texts()
    small = emulator_of(model, ENDS, KEPT)
    found: dict[str, Any] = {}
    if steps:
        start = time.process_time()
        found["distil_loss"] = distil(small, model, mine, ends=ENDS, steps=steps, rate=1e-4)
        found["distil_cpu"] = time.process_time() - start
    listener = Listener()
    told.put(listener.address)
    channel = listener.accept(timeout=600)
    with channel:
        channel.receive_hello()
        came = offered(model, channel, shipped_emulator(small, ENDS), ENDS, 1200)
        tuned = plugged(model, channel, came, ENDS)
    found |= {"sent": dict(channel.sent), "received": dict(channel.received)}
    found["plugged"] = answer_nll(tuned, held, bfloat16=BF16)
    told.put(found)


def offsite(rank: int, steps: int) -> dict[str, Any]:
    """Offsite-tuning with LoRA in the ends."""
    told: Queue[Any] = get_context("spawn").Queue()
    other = get_context("spawn").Process(target=owner, args=(told, steps), daemon=True)
    other.start()
    train, held, _ = texts()
    channel = connect(told.get(timeout=200), timeout=120)
    config = TuneConfig(epochs=3, batch=16, micro=16, learning_rate=5e-4, bfloat16=BF16)

    def texts_of(_: Any) -> tuple[Texts, Texts]:
        return train, held

    tuned, result = train_offsite(channel, texts_of, config, rank=rank)
    found = told.get(timeout=300)
    other.join(60)
    small = Tuned(emulator_of(base(), ENDS, KEPT), Sandwich(ends=ENDS, rank=1))
    found["base"] = answer_nll(Tuned(base(), LoRA(rank=1)), held, bfloat16=BF16)
    return {
        **found,
        "emulator_as_kept": answer_nll(small, held, bfloat16=BF16),
        "emulator_tuned": result.best,
        "trainable": tuned.count(),
        "tokens": result.tokens,
        "cpu_seconds": result.seconds,
        "peak_mb_trainer": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def cloud(told: Queue[Any]) -> None:
    """The side with the base."""
    torch.set_num_threads(1)
    model, listener = base(), Listener()
    told.put(listener.address)
    channel = listener.accept(timeout=600)
    start = time.process_time()
    passes = serve_base(model, channel, targets=("q_proj", "v_proj"))
    told.put({"cloud_cpu": time.process_time() - start, "passes": passes})


def shared(share: float, steps: int) -> dict[str, Any]:
    """Cloud and device. share: of modules that live; 1 for all of them, all the time."""
    told: Queue[Any] = get_context("spawn").Queue()
    other = get_context("spawn").Process(target=cloud, args=(told,), daemon=True)
    other.start()
    train, held, _ = texts()
    config = TuneConfig(steps=steps, batch=16, micro=16, learning_rate=1e-3)
    rule = None if share == 1 else KillRevive(window=4, alive=share, revived=0.05)
    lora = LoRA(rank=8, targets=("q_proj", "v_proj"))
    channel = connect(told.get(timeout=600), timeout=120)
    start = time.monotonic()
    _, report = tune_on_device(channel, train, config, lora=lora, rule=rule, valid=held)
    found = asdict(report)
    found["losses"] = [
        round(float(np.mean(part)), 4) for part in np.split(np.array(report.losses), 4)
    ]
    found["alive"] = float(np.mean(report.alive))
    return {**found, **told.get(timeout=60), "seconds": time.monotonic() - start}


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1] == "offsite":
        print(json.dumps(offsite(int(sys.argv[2]), int(sys.argv[3]))))
    else:
        print(json.dumps(shared(float(sys.argv[2]), int(sys.argv[3]))))
