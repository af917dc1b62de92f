"""Fold a tuned part into its base, and store the whole model: for transformers, or for llama.cpp.

What is stored needs nothing of this package. GGUF holds a tokeniser and settings that are not
derived here from those of transformers: they are taken over from a GGUF file of the base.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from adwright.core.atomic import atomic_folder
from adwright.core.errors import ArtifactError, ConfigError, MissingExtraError
from adwright.lm.engine.weights import SMOLLM2, GgufWeights, gguf_with, quiet, smollm2_gguf
from adwright.lm.torch_engine.network import tuned_folder
from adwright.training.tuning.base import load_base
from adwright.tuning.formats.gguf import gguf_tensors
from adwright.tuning.methods import load_tuned


def merge_run(
    run: str | Path,
    to: str | Path,
    *,
    model: str = SMOLLM2,
    like: Path | None = None,
    weights: GgufWeights = "f16",
    overwrite: bool = False,
    offline: bool = False,
) -> str:
    """Merge the part in `run` into `model`, its base, and store the result in `to`: a file of GGUF
    where it ends so, else a folder in the layout of Hugging Face. Returns the method's name.

    like: a GGUF file of the base, for its tokeniser and settings; not needed where the base is
    one. weights: how a GGUF file stores matrices. A folder has the type of the base's weights.
    Raises ConfigError for a method that cannot be merged, or without such a file; ArtifactError
    where it is of another model; and as `load_base` and `load_tuned`.
    """
    to = Path(to)
    gguf = to.suffix == ".gguf"
    source = _source(model, like, offline=offline) if gguf else None
    base, tokenizer, _ = load_base(model, dtype="float32" if gguf else "auto", offline=offline)
    tuned = load_tuned(base, tuned_folder(run))
    method, merged = type(tuned.method).__name__, tuned.merge()
    _untie(merged)
    if source is None:
        with quiet(), atomic_folder(to, overwrite=overwrite) as made:
            merged.save_pretrained(str(made))  # type: ignore[operator]
            tokenizer.save_pretrained(str(made))
    else:
        _write_gguf(merged, to, source, weights)
    return method


def _source(model: str, like: Path | None, *, offline: bool) -> Path:
    if like is not None:
        return like
    if model == SMOLLM2:
        return smollm2_gguf(offline=offline)
    if model.endswith(".gguf"):
        return Path(model)
    raise ConfigError(
        "a folder does not have what GGUF needs of a tokeniser",
        where=f"--model {model}",
        hint="name a GGUF file of the same base by --like; or merge into a folder, and convert it "
        "with llama.cpp's convert_hf_to_gguf.py",
    )


def _untie(merged: Any) -> None:
    """Say it in the config where a head is no longer the embedding, or it would be lost."""
    if merged.lm_head.weight is not merged.get_input_embeddings().weight:
        merged.config.tie_word_embeddings = False


def _write_gguf(merged: Any, to: Path, source: Path, weights: GgufWeights) -> None:
    try:
        from gguf import GGUFReader
    except ImportError as error:
        raise MissingExtraError("models in GGUF", "lm") from error
    tensors = gguf_tensors(merged)
    try:
        # GGUF tells sizes in the opposite order.
        there = {
            str(one.name): tuple(int(size) for size in reversed(one.shape))
            for one in GGUFReader(source).tensors
        }
    except (OSError, ValueError, IndexError, KeyError) as error:
        raise ArtifactError(
            f"the GGUF file cannot be read: {error}", where=str(source), hint="name another one"
        ) from error
    for name, shape in there.items():
        if name in tensors and tensors[name].shape != shape:
            raise ArtifactError(
                f"{name} is {list(shape)} there and {list(tensors[name].shape)} in the model",
                where=str(source),
                hint="name a GGUF file of the base that was tuned",
            )
    if not there.keys() & tensors.keys():
        raise ArtifactError("it has no tensor of the model", where=str(source), hint="see --like")
    to.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=to.parent, prefix=f".{to.name}.") as folder:
        made = Path(folder) / to.name
        gguf_with(source, made, weights, tensors)
        made.replace(to)
