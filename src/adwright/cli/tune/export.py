"""adwright tune export and import: a tuned part in the format of llama.cpp or of peft."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from adwright.cli.shared import allowed_to_replace, show_facts

__all__ = ["bring_in", "export"]


def export(
    folder: Path,
    *,
    to: Path,
    model: str = "smollm2-135m-instruct",
    floats: Literal["f32", "f16"] = "f32",
    offline: bool = False,
    force: bool = False,
) -> None:
    """Write a tuned part for other programs, which load it beside the base.

    A folder is in peft's format, for peft, vLLM, SGLang and the hub: LoRA and its kin, DoRA, (IA)3,
    prompts and prefixes, and the kinds of peft. FILE.gguf holds a LoRA, rsLoRA or LoRA-FA. Other
    methods have no such form: `adwright tune merge` stores base and part as one model.

    Options:
        folder: What `adwright tune run` wrote, or the `tuned` in it.
        to: FILE.gguf for llama.cpp, or a folder in the format of Hugging Face peft.
        model: The base that it was tuned on, as for `run`.
        floats: Of FILE.gguf: f16 halves it.
    """
    replacing = allowed_to_replace(to, force=force)
    from adwright.lm.torch_engine.network import tuned_folder
    from adwright.training.tuning.base import load_base
    from adwright.tuning.formats.gguf import to_gguf
    from adwright.tuning.formats.peft import to_peft
    from adwright.tuning.methods import load_tuned

    # Its weights only prove that it is the right base: bfloat16 is enough.
    base, _, _ = load_base(model, dtype="bfloat16", offline=offline)
    tuned = load_tuned(base, tuned_folder(folder))
    if to.suffix == ".gguf":
        files = [to_gguf(tuned, to, dtype=floats)]
    else:
        files = [*to_peft(tuned, to, base=model, overwrite=replacing or force).iterdir()]
    _tell(type(tuned.method).__name__, model, files, to)


def bring_in(
    folder: Path,
    *,
    to: Path,
    model: str = "smollm2-135m-instruct",
    offline: bool = False,
    force: bool = False,
) -> None:
    """Read a part that another program tuned: a LoRA, DoRA, (IA)3, prompt or prefix of peft, or a
    LoRA in GGUF. TO/tuned then is what `run` would have left there, for all verbs.

    Their files do not say which base they belong to: name it. Sizes are checked, weights cannot be.

    Options:
        folder: What peft wrote, or a hub's copy of it; or FILE.gguf.
        to: Folder for the part, as `run` has --out.
        model: The base that it was tuned on, as for `run`.
    """
    replacing = allowed_to_replace(to / "tuned", force=force)
    from adwright.training.tuning.base import load_base
    from adwright.tuning.formats.gguf import from_gguf
    from adwright.tuning.formats.peft import from_peft

    base, _, _ = load_base(model, dtype="bfloat16", offline=offline)
    tuned = from_gguf(base, folder) if folder.suffix == ".gguf" else from_peft(base, folder)
    tuned.save(to / "tuned", overwrite=replacing or force)
    files = [file for file in (to / "tuned").iterdir() if file.is_file()]
    _tell(type(tuned.method).__name__, model, files, to / "tuned")


def _tell(method: str, base: str, files: list[Path], to: Path) -> None:
    size = sum(file.stat().st_size for file in files)
    show_facts({"method": method, "base": base, "bytes": f"{size:,}", "saved in": str(to)})
