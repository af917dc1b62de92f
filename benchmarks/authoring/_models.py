"""SmolLM2-135M as it is and as it was tuned: trained once, then asked through the paged engine.

    with asked_through(["one-0"]) as models:
        models["one-0"].generate(...)

An adapter lies in the cache folder; where it is lost, and something of it has not been measured
yet, it is trained again.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from adwright.core.assets import cache_folder
from adwright.core.atomic import atomic_write_text
from adwright.core.config import to_jsonable
from adwright.core.hashing import content_hash
from adwright.lm.engine.hf_tokens import HuggingFaceTokens
from adwright.lm.engine.weights import SMOLLM2_NOTE, load_hf_model, quiet, smollm2_folder
from adwright.lm.serving.config import ServingConfig
from adwright.lm.serving.engine import AdapterModels
from adwright.lm.torch_engine.model import quick_dtype
from adwright.training.tuning.texts import Texts
from adwright.training.tuning.tune import TuneConfig, tune
from adwright.tuning.methods import apply
from adwright.tuning.reparameterised.lora import LoRA
from benchmarks.authoring._prompts import texts_of, tokenizer
from benchmarks.authoring._rows import PARTS, TUNED, Part

BASE = "smollm2"
SCRATCH = cache_folder() / "bench" / "authoring"
METHOD = LoRA(rank=16, alpha=32.0)
#: One pass over the rows. micro: short texts are read 16 at once, as one row without padding.
CONFIG = TuneConfig(
    epochs=1,
    batch=16,
    micro=16,
    learning_rate=2e-3,
    warmup=0.05,
    bfloat16=True,
    checkpoint_every=50,
)


def parts_of(system: str) -> tuple[Part, ...]:
    """What a system is tuned on: `one` on all parts, `each-PART` on that part alone."""
    if system == "one":
        return TUNED
    return tuple(part for part in PARTS if system == f"each-{part.name}")


def adapter(system: str, seed: int, *, rows: int = 0) -> Path:
    """The folder of the adapter, which is trained where it is missing.

    rows: of each part, for a trial; 0: all.
    """
    texts = _joined(texts_of(part) for part in parts_of(system))
    if rows:
        texts = texts.some(range(min(rows, len(texts))))
    config = replace(CONFIG, seed=seed)
    # Another recipe, or other rows, make another adapter.
    made_of = content_hash([texts.data_hash, to_jsonable(METHOD), to_jsonable(config)])
    folder = SCRATCH / f"{system}-{seed}-{made_of[:8]}"
    if (folder / "manifest.json").is_file() and training_of(folder):
        return folder
    # In the type that is quick here: the recipe is the same.
    quick = quick_dtype()
    config = replace(config, bfloat16=quick == torch.bfloat16)
    with quiet():
        model: Any = load_hf_model(smollm2_folder(), dtype=quick)
    tuned = apply(model, METHOD, seed=seed)
    run = folder.with_name(f"{folder.name}-run")
    # Where it was cut off and the cache is still there, it goes on.
    found = tune(tuned, texts, config, run=run, resume=(run / "config.json").is_file())
    tuned.save(folder, overwrite=True)
    shutil.rmtree(run)
    told = {
        "texts": len(texts),
        "tokens": texts.tokens,
        "steps": found.steps,
        "cpu_seconds": round(found.seconds, 1),
        "trainable": tuned.count(),
        "base": SMOLLM2_NOTE,
        "dtype": str(quick).removeprefix("torch."),
    }
    atomic_write_text(folder.with_suffix(".json"), json.dumps(told) + "\n")
    return folder


def training_of(folder: Path) -> dict[str, Any]:
    """What the training of an adapter took; nothing where it was not finished."""
    path = folder.with_suffix(".json")
    found: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    return found


@contextmanager
def asked_through(folders: Sequence[Path] = ()) -> Iterator[AdapterModels]:
    """The base and these adapters, each under its folder's name, in one engine of one thread."""
    torch.set_num_threads(1)
    with quiet():
        model: Any = load_hf_model(smollm2_folder(), dtype=torch.bfloat16)
    tokens = HuggingFaceTokens(tokenizer())
    config = ServingConfig(pool_bytes=1 << 30, rows=32, prompt_tokens=1024)
    models = AdapterModels(model.eval().requires_grad_(False), tokens, name=BASE, config=config)
    try:
        for folder in folders:
            models.add(folder.name, folder)
        yield models
    finally:
        models.close()


def _joined(texts: Iterable[Texts]) -> Texts:
    every = list(texts)
    return Texts(
        tuple(chain.from_iterable(one.prompts for one in every)),
        tuple(chain.from_iterable(one.answers for one in every)),
    )
