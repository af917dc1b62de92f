"""Tune a tiny language model, alone or as one of the processes of torchrun.

    [torchrun ...] tune_distributed.py FOLDER NAME...

For each name of RUNS: FOLDER/NAME-RANK.json, the result and what was held of the base, and
FOLDER/NAME/final-RANK, an artifact of the tuned numbers. "cut" is stopped in its middle and taken
up. At last, what has to be refused: FOLDER/refused-RANK.json.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from adwright.core.artifacts import save_artifact
from adwright.core.errors import AdwrightError
from adwright.training.loop.distributed import process_group, rank
from adwright.training.loop.run_folder import RunFolder
from adwright.training.tuning.texts import Texts
from adwright.training.tuning.tune import TuneConfig, TuneResult, answer_nll, tune
from adwright.tuning.additive.prompts import PrefixTuning, PromptTuning
from adwright.tuning.efficient import AdapterDrop, MeZO
from adwright.tuning.methods import Method, apply
from adwright.tuning.reparameterised.lora import LoRA
from adwright.tuning.selective import FullTuning, NormTuning
from adwright.tuning.tuned import Tuned

#: Nine texts in steps of four: the last step of an epoch has one, and one process has none.
CONFIG = TuneConfig(epochs=2, batch=4, micro=2, learning_rate=0.01, checkpoint_every=2)
RUNS: dict[str, tuple[Method, TuneConfig]] = {
    "lora": (LoRA(rank=4), CONFIG),
    "prompt": (PromptTuning(length=3), replace(CONFIG, shard=True)),
    "drop": (AdapterDrop(drop=1, size=4), CONFIG),
    "mezo": (MeZO(rank=2), replace(CONFIG, learning_rate=1e-3)),
    "cut": (LoRA(rank=4), CONFIG),
    "shard": (LoRA(rank=4), replace(CONFIG, shard=True)),
    "prefix": (PrefixTuning(length=2), replace(CONFIG, shard=True, micro=4)),
    "norms": (NormTuning(), replace(CONFIG, shard=True, checkpoint_layers=True)),
}
REFUSED: dict[str, Method] = {"full": FullTuning()}


class Stop(Exception):
    pass


def texts(number: int = 10, seed: int = 0) -> Texts:
    """Texts whose answer says the first token of the prompt again."""
    rng = np.random.default_rng(seed)
    prompts = [tuple(rng.integers(2, 40, rng.integers(2, 7)).tolist()) for _ in range(number)]
    return Texts(tuple(prompts), tuple((prompt[0], 1) for prompt in prompts))


DATA, VALID = texts(9, 0), texts(4, 1)


def base() -> Any:
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
    )
    return transformers.LlamaForCausalLM(config)


def built(method: Method) -> Tuned:
    return apply(base(), method, seed=0)


def held_numbers(tuned: Tuned) -> int:
    """Frozen parameters of the decoder layers that this process holds now."""
    found = 0
    for layer in tuned.layers():
        for parameter in layer.parameters():
            if not parameter.requires_grad:
                local = getattr(parameter, "to_local", None)
                found += (parameter if local is None else torch.as_tensor(local())).numel()
    return found


def stop(step: int) -> None:
    if step == 3:
        raise Stop


def train(folder: Path, name: str) -> None:
    method, config = RUNS[name]
    run, tuned = folder / name / "run", built(method)
    if rank():
        # The numbers of the first process count.
        for parameter in tuned.parameters():
            parameter.data.add_(1.0)
    whole, held = held_numbers(tuned), list[int]()

    def look(_: int) -> None:
        held.append(held_numbers(tuned))

    result: TuneResult
    if name == "cut":
        try:
            tune(tuned, DATA, config, run, valid=VALID, on_step=stop)
        except Stop:
            tuned = built(method)
        result = tune(tuned, DATA, config, run, valid=VALID, resume=True)
    else:
        result = tune(tuned, DATA, config, run, valid=VALID, on_step=look)
    # By one process alone: nothing may wait for the others any more.
    after = answer_nll(tuned, VALID) if rank() == 0 else None
    found = {**asdict(result), "whole": whole, "held": held, "after": after}
    (folder / f"{name}-{rank()}.json").write_text(json.dumps(found))
    tensors = {key: value.detach().numpy() for key, value in tuned.state().items()}
    save_artifact(folder / name / f"final-{rank()}", kind="weights", config={}, tensors=tensors)


def refused(folder: Path) -> dict[str, str]:
    def on(config: TuneConfig, run: Path | None = None, method: Method = RUNS["lora"][0]) -> None:
        tune(built(method), DATA, config, run)

    asked: dict[str, Callable[[], object]] = {
        "again": lambda: on(CONFIG, folder / "lora" / "run"),
        "seeds": lambda: on(replace(CONFIG, seed=rank())),
        "folders": lambda: on(CONFIG, folder / f"other-{rank()}"),
        "rate": lambda: on(replace(CONFIG, learning_rate=1e30, clip_norm=0.0)),
        **{
            name: lambda method=method: on(replace(CONFIG, shard=True), None, method)  # type: ignore[misc]
            for name, method in REFUSED.items()
        },
    }
    said = {}
    for name, act in asked.items():
        try:
            act()
        except AdwrightError as error:
            said[name] = f"{type(error).__name__}: {error}"
    return said


def main(folder: Path, names: list[str]) -> None:
    torch.set_num_threads(1)
    folder.mkdir(exist_ok=True)
    with process_group():
        for name in names:
            train(folder, name)
        (folder / f"refused-{rank()}.json").write_text(json.dumps(refused(folder)))


if __name__ == "__main__":
    RunFolder.draw = lambda *_: None  # type: ignore[method-assign]
    main(Path(sys.argv[1]), sys.argv[2:])
    # As in fit_distributed.py.
    sys.stderr.flush()
    os._exit(0)
