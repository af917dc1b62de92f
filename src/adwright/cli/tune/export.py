"""adwright tune export: a tuned LoRA as a GGUF adapter for llama.cpp."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from adwright.cli.shared import Force, Offline, allowed_to_replace, show_facts

__all__ = ["Floats", "export"]


class Floats(StrEnum):
    """How the adapter's values are stored."""

    F32 = "f32"
    F16 = "f16"


def export(
    folder: Annotated[
        Path, typer.Argument(help="What `adwright tune run` wrote, or the `tuned` in it.")
    ],
    to: Annotated[Path, typer.Option("--to", help="The adapter to write, FILE.gguf.")],
    model: Annotated[
        str, typer.Option("--model", help="The base that it was tuned on, as for `run`.")
    ] = "smollm2-135m-instruct",
    floats: Annotated[Floats, typer.Option("--floats", help="f16 halves the file.")] = Floats.F32,
    offline: Offline = False,
    force: Force = False,
) -> None:
    """Write a LoRA, rsLoRA or LoRA-FA as a GGUF adapter, which llama.cpp loads beside the base.

    Such a file cannot hold other methods: where they can be merged, convert the whole model.
    """
    allowed_to_replace(to, force=force)
    from adwright.training.tuning.base import load_base
    from adwright.tuning.gguf_lora import to_gguf
    from adwright.tuning.methods import load_tuned

    # Its weights only prove that it is the right base: bfloat16 is enough.
    base, _, _ = load_base(model, dtype="bfloat16", offline=offline)
    inner = folder / "tuned"
    tuned = load_tuned(base, inner if inner.is_dir() else folder)
    written = to_gguf(tuned, to, dtype=floats.value)
    show_facts(
        {
            "method": type(tuned.method).__name__,
            "base": model,
            "bytes": f"{written.stat().st_size:,}",
            "saved in": str(written),
        }
    )
