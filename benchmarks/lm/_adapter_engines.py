"""The two engines that the benchmark of adapters compares, ours and peft's, under the same load.

peft (Mangrulkar et al.) is given its best: adapters in the base's data type, its forward pass with
`adapter_names` and the cache of transformers, prompts of one length so that there is no mask.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from adwright.core.config import to_jsonable
from adwright.lm.engine.generation import GenerationConfig, TokenPrompt
from adwright.lm.engine.hf_tokens import HuggingFaceTokens
from adwright.lm.engine.weights import load_hf_model, quiet, smollm2_folder
from adwright.lm.serving import adapter_model as passes
from adwright.lm.serving.adapter_cache import BaseMaps
from adwright.lm.serving.config import ServingConfig
from adwright.lm.serving.engine import AdapterModels
from adwright.lm.serving.kinds import GatheredMethod
from adwright.lm.serving.scheduler import AnswerRow
from adwright.tuning.modules import Target
from adwright.tuning.reparameterised.lora import LoRA
from adwright.tuning.tuned import read_tuned, write_tuned

ATTENTION: tuple[Target, ...] = ("q_proj", "k_proj", "v_proj", "o_proj")
LORA = LoRA(rank=8, alpha=16.0, targets=ATTENTION)
ROWS = 32
#: Tokens of each prompt, and of each answer.
PROMPT, ANSWER = 64, 33
#: Standard deviation of the random parameters.
SIZE = 0.02


def opened(dtype: torch.dtype = torch.bfloat16) -> Any:
    """Load the base model, frozen."""
    torch.set_num_threads(1)
    with quiet():
        model: Any = load_hf_model(smollm2_folder(), dtype=dtype)
    return model.eval().requires_grad_(False)


def random_adapter(base: BaseMaps, method: GatheredMethod, folder: Path, seed: int) -> Path:
    """Write an adapter of random parameters to `folder`, in the format of `Tuned.save`."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for at, own in base.expected(method).items():
        for name, like in own.items():
            near = 1.0 if name == "factor" else 0.0
            size = 0.05 if name == "a" else SIZE
            values = near + size * torch.randn(like.shape, generator=generator)
            tensors[f"model.{at}.{name}"] = values
    write_tuned(
        folder,
        method=type(method).__name__,
        config=to_jsonable(method),
        seed=seed,
        base=base.base,
        tensors=tensors,
    )
    return folder


def prompts(rows: int, tokens: int = PROMPT) -> list[TokenPrompt]:
    """Prompts of random tokens, the same for both engines."""
    generator = torch.Generator().manual_seed(5)
    ids = torch.randint(1000, 40000, (rows, tokens), generator=generator)
    return [TokenPrompt(tuple(row)) for row in ids.tolist()]


def engine(
    model: Any, folders: Sequence[Path], *, share_prefixes: bool = False, **settings: Any
) -> AdapterModels:
    """Our engine with these adapters; the caller runs its steps. share_prefixes: not where the same
    prompts come again."""
    tokens = HuggingFaceTokens.load(str(smollm2_folder()), frozenset())
    config = ServingConfig(drive="outside", share_prefixes=share_prefixes, **settings)
    models = AdapterModels(model, tokens, name="base", config=config)
    for folder in folders:
        models.add(folder.name, folder)
    return models


def jobs_of(models: AdapterModels, names: Sequence[str], answer: int) -> list[AnswerRow]:
    """Queue one request per row, of the adapter with that name."""
    config = GenerationConfig(max_tokens=answer)
    found = [
        models.batched(name).row(list(prompt.ids), config, row)
        for row, (name, prompt) in enumerate(zip(names, prompts(len(names)), strict=True))
    ]
    models.submit(found)
    return found


def rate_of(models: AdapterModels, names: Sequence[str], answer: int = ANSWER) -> dict[str, float]:
    """Our tokens per CPU-second while all rows decode, and CPU-seconds of the prompts."""
    jobs = jobs_of(models, names, answer)
    prompted, decoded = 0.0, []
    while not all(job.over for job in jobs):
        began = time.process_time()
        step = models.step()
        took = time.process_time() - began
        if step.prompted:
            prompted += took
        elif step.written == len(names):
            decoded.append(took)
    return {"prompts": prompted, "rate": len(names) / statistics.median(decoded)}


def peft_of(model: Any, folders: Sequence[Path]) -> Any:
    """peft's model with the same LoRAs, in the base's data type."""
    import peft

    same = {"autocast_adapter_dtype": False}
    config = peft.LoraConfig(
        r=LORA.rank, lora_alpha=int(LORA.alpha), target_modules=list(ATTENTION), lora_dropout=0.0
    )
    found: Any = None
    for folder in folders:
        if found is None:
            found = peft.PeftModel(
                model, config, adapter_name=folder.name, autocast_adapter_dtype=False
            )
        else:
            found.add_adapter(folder.name, config, **same)
        stored = read_tuned(folder).tensors
        with torch.no_grad():
            for name, tensor in stored.items():
                at, factor = name.removeprefix("model.").rsplit(".", 1)
                layer = found.base_model.model.get_submodule(at)
                which = layer.lora_A if factor == "a" else layer.lora_B
                which[folder.name].weight.copy_(tensor)
    return found.eval()


@torch.inference_mode()
def peft_rate(model: Any, names: Sequence[str], answer: int = ANSWER) -> dict[str, float]:
    """The same as `rate_of`, measured on peft."""
    began = time.process_time()
    steps = peft_logits(model, names)
    next(steps)
    prompted, decoded = time.process_time() - began, []
    for _ in range(answer - 1):
        began = time.process_time()
        next(steps)
        decoded.append(time.process_time() - began)
    return {"prompts": prompted, "rate": len(names) / statistics.median(decoded)}


@torch.inference_mode()
def peft_logits(
    model: Any, names: Sequence[str], forced: Sequence[Tensor] = (), tokens: int = PROMPT
) -> Iterator[Tensor]:
    """Yield logits [B, V] after the prompts and after each token.

    forced: the tokens to decode, each [B]; without them the likeliest ones are decoded.
    """
    ids = torch.tensor([prompt.ids for prompt in prompts(len(names), tokens)])
    own = {"adapter_names": list(names), "use_cache": True}
    state = model(ids, logits_to_keep=1, **own)
    step = 0
    while True:
        logits = state.logits[:, -1]
        yield logits
        token = forced[step] if forced else logits.argmax(-1)
        step += 1
        state = model(token[:, None], past_key_values=state.past_key_values, **own)


def our_logits(
    models: AdapterModels, names: Sequence[str], forced: Sequence[Tensor], tokens: int
) -> list[Tensor]:
    """Our logits [B, V] at the same positions, recorded while the engine decodes `forced`."""
    config = GenerationConfig(max_tokens=len(forced) + 1)
    jobs = [
        models.batched(name).row(list(prompt.ids), config, row)
        for row, (name, prompt) in enumerate(zip(names, prompts(len(names), tokens), strict=True))
    ]
    found: dict[int, list[Tensor]] = {id(job): [] for job in jobs}
    rows = {id(job): row for row, job in enumerate(jobs)}

    def recorded(some: list[AnswerRow], logits: Tensor) -> None:
        for job, own in zip(some, logits, strict=True):
            found[id(job)].append(own.clone())
            step = len(found[id(job)]) - 1
            job.add(int(forced[step][rows[id(job)]]) if step < len(forced) else 5, None)

    with patch.object(passes, "sample", recorded):
        models.submit(jobs)
        while not all(job.over for job in jobs):
            models.step()
    return [torch.stack(step) for step in zip(*found.values(), strict=True)]
