"""A LoRA of torch in llama.cpp: does the exported file do what the adapter did, and would the
known mistake be seen? Part of lm_engines.py.

    python -m benchmarks.lm._gguf       # 90 CPU-seconds; prints the figures
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from adwright.lm.engine.generation import Message
from adwright.lm.engine.hf_tokens import HuggingFaceTokens
from adwright.lm.engine.weights import load_hf_model, smollm2_folder
from adwright.lm.native_engines.llamacpp_config import LoraFile, XllamacppConfig
from adwright.lm.native_engines.llamacpp_model import XllamacppModel
from adwright.lm.torch_engine.model import TorchModel
from adwright.tuning.formats.gguf import from_rotary, to_gguf
from adwright.tuning.methods import apply
from adwright.tuning.reparameterised.lora import LoRA
from adwright.tuning.tuned import Tuned
from benchmarks.lm._prompts import prompts, sentences

#: What the adapter learns, in a voice that the model does not have by itself.
LESSONS = (
    " WOW!!! Garden chairs are BACK, and they are CHEAPER than ever. Run, do not walk!",
    " WOW!!! Winter hats are BACK, and they are SOFTER than ever. Run, do not walk!",
    " WOW!!! Running shoes are BACK, and they are LIGHTER than ever. Run, do not walk!",
    " WOW!!! Kitchen knives are BACK, and they are SHARPER than ever. Run, do not walk!",
)


def trained(folder: Path, *, steps: int = 12) -> Tuned:
    """A LoRA of rank 8 on every map of the model in `folder`, after a few steps on LESSONS."""
    model: Any = load_hf_model(folder, dtype=torch.float32)
    tuned = apply(model, LoRA(rank=8, alpha=16.0), seed=0)
    tokens = HuggingFaceTokens.load(folder)
    optimizer = torch.optim.AdamW(tuned.groups(2e-3), weight_decay=0.0)
    tuned.train()
    for step in range(steps):
        ids = torch.tensor([tokens.encode(LESSONS[step % len(LESSONS)])])
        logits = tuned.logits(tuned(ids)[0, :-1])
        torch.autograd.backward(functional.cross_entropy(logits, ids[0, 1:]))
        optimizer.step()
        optimizer.zero_grad()
    return tuned.eval()


def adapter_figures(
    prompts: Sequence[Sequence[Message]], sentences: Sequence[str]
) -> dict[str, float]:
    """Log-probabilities of the tokens of a sentence after each prompt, and how far the adapter
    changes them: correlations and mean absolute differences, in nats, of llama.cpp against torch
    in float32. `forgotten`: the same with the rows of q and k left in the order of transformers.
    """
    folder = smollm2_folder()
    tokens = HuggingFaceTokens.load(folder)
    base: Any = load_hf_model(folder, dtype=torch.float32)
    before = _scored(TorchModel(base.eval(), tokens, name="base"), prompts, sentences)
    del base
    tuned = trained(folder)
    adapted = TorchModel(tuned.causal, tokens, name="tuned")
    change = _scored(adapted, prompts, sentences) - before
    figures = {"adapter_change": float(np.abs(change).mean())}
    with tempfile.TemporaryDirectory() as made:
        right = to_gguf(tuned, Path(made) / "right.gguf")
        figures["adapter_mb"] = right.stat().st_size / 1e6
        _forget(tuned)
        wrong = to_gguf(tuned, Path(made) / "wrong.gguf")
        del tuned, adapted
        loras = (LoraFile(str(right)), LoraFile(str(wrong)))
        for weights in ("f16", "stored"):
            config = XllamacppConfig(weights=weights, loras=loras, threads=1, cache_tokens=4096)
            with closing(XllamacppModel.open(config)) as model:
                found = []
                for scales in ((0, 0), (1, 0), (0, 1)):
                    model.scale_loras(scales)
                    found.append(_scored(model, prompts, sentences))
            figures |= _compared(found, before, change, weights)
    return figures


def _compared(
    found: Sequence[np.ndarray], before: np.ndarray, change: np.ndarray, weights: str
) -> dict[str, float]:
    none, right, wrong = found
    after = before + change
    pairs = {
        "base": (none, before),
        "adapted": (right, after),
        "change": (right - none, change),
        "forgotten_adapted": (wrong, after),
        "forgotten_change": (wrong - none, change),
    }
    figures = {}
    for name, (ours, theirs) in pairs.items():
        figures[f"{name}_correlation_{weights}"] = float(np.corrcoef(ours, theirs)[0, 1])
        figures[f"{name}_difference_{weights}"] = float(np.abs(ours - theirs).mean())
    return figures


def _scored(model: Any, prompts: Any, sentences: Sequence[str]) -> np.ndarray:
    return np.concatenate(model.score(prompts, sentences).token_logprobs)


def _forget(tuned: Tuned) -> None:
    """Order the rows of B so that the export, which moves them, leaves them where they were."""
    with torch.no_grad():
        for place in tuned.places(("q_proj", "k_proj")):
            heads = tuned.sizes.heads if place.target == "q_proj" else tuned.sizes.kv_heads
            b: Any = place.linear.b
            b.copy_(torch.from_numpy(from_rotary(b.numpy().copy(), heads)))


def main() -> None:
    """Print the figures, on every fourth pair of lm_engines."""
    torch.set_num_threads(1)
    print(json.dumps(adapter_figures(prompts()[::4], sentences()[::4])))


if __name__ == "__main__":
    main()
