"""adwright tune merge: a tuned part and its base as one model."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from adwright.cli.shared import allowed_to_replace, show_facts

__all__ = ["merge"]


def merge(
    run: Path,
    *,
    to: Path,
    model: str = "smollm2-135m-instruct",
    like: Path | None = None,
    weights: Literal["f16", "f32", "q8_0"] = "f16",
    offline: bool = False,
    force: bool = False,
) -> None:
    """Fold a tuned part into its base, and store the whole model.

    What is stored answers as base and part together, and takes a full model's space. Parts that
    cannot be folded, such as adapters with an activation, prompts and prefixes, are refused.

    Options:
        run: What `adwright tune run` wrote, or the `tuned` in it.
        to: A folder for transformers, or FILE.gguf for llama.cpp.
        model: The base that it was tuned on, as for `run`.
        like: For FILE.gguf: a GGUF file of the same base, whose tokeniser and settings are
            taken over; not needed where --model is one.
        weights: How FILE.gguf stores matrices.
    """
    replacing = allowed_to_replace(to, force=force)
    from adwright.training.tuning.merging import merge_run

    method = merge_run(
        run,
        to,
        model=model,
        like=like,
        weights=weights,
        overwrite=replacing or force,
        offline=offline,
    )
    files = [to] if to.is_file() else [file for file in to.rglob("*") if file.is_file()]
    size = sum(file.stat().st_size for file in files)
    show_facts({"method": method, "base": model, "bytes": f"{size:,}", "saved in": str(to)})
