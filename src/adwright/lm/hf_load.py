"""The one place where models and tokenisers of Hugging Face are loaded.

A folder of a model may bring Python code, which transformers runs where it is told to or where
somebody answers its question with y, and weights in pickle, which are code too. Here neither is
ever looked at: `trust_remote_code=False`, `use_safetensors=True`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from adwright.core.errors import AssetError, MissingExtraError

if TYPE_CHECKING:
    import torch

__all__ = ["load_hf_model", "load_hf_tokenizer"]


def load_hf_model(
    place: str | Path,
    *,
    dtype: torch.dtype | str,
    device_map: dict[str, int] | None = None,
    quantization: Any = None,
    gguf_file: str | None = None,
    local_files_only: bool = False,
) -> Any:
    """A causal language model of transformers, as `locate` names it; no code in it is run.

    device_map, quantization: as transformers takes them. gguf_file: its name in the folder `place`,
    which then is read instead.
    Raises AssetError where there is no such model in safetensors, or it needs code of its own;
    MissingExtraError without transformers.
    """
    try:
        from transformers import AutoModelForCausalLM
    except ImportError as error:
        raise MissingExtraError("language models", "lm") from error
    try:
        return AutoModelForCausalLM.from_pretrained(
            str(place),
            dtype=dtype,
            device_map=device_map,
            quantization_config=quantization,
            gguf_file=gguf_file,
            local_files_only=local_files_only,
            trust_remote_code=False,
            use_safetensors=None if gguf_file else True,
        )
    except Exception as error:
        # Any value may stand in a config, and each version of transformers has its own errors.
        raise _refused(place, "the model cannot be loaded", error) from error


def load_hf_tokenizer(
    place: str | Path, *, gguf_file: str | None = None, local_files_only: bool = False
) -> Any:
    """The tokeniser beside a model; no code in it is run. Raises as `load_hf_model`."""
    try:
        from transformers import AutoTokenizer
    except ImportError as error:
        raise MissingExtraError("a Hugging Face tokeniser", "lm") from error
    try:
        return AutoTokenizer.from_pretrained(
            str(place),
            gguf_file=gguf_file,
            local_files_only=local_files_only,
            trust_remote_code=False,
        )
    except Exception as error:
        raise _refused(place, "no tokeniser can be read", error) from error


def _refused(place: str | Path, what: str, error: Exception) -> AssetError:
    """Why in plain words where the folder shows it, else in those of transformers."""
    folder, said = Path(place), str(error).strip().split("\n", 1)[0][:300]
    hint = "name a folder with config.json, tokenizer.json and weights in safetensors"
    if "trust_remote_code" in str(error) or "auto_map" in str(error):
        said, hint = "it needs Python code of its own, which is not run", f"{hint}; no auto_map"
    elif folder.is_dir() and not list(folder.glob("*.safetensors")):
        pickled = sorted(folder.glob("*.bin")) + sorted(folder.glob("*.pt"))
        if pickled:
            said = f"its weights are pickled ({pickled[0].name}), which is code and is not read"
            hint = "convert them to safetensors where you trust them"
    return AssetError(f"{what}: {said or type(error).__name__}", where=str(place), hint=hint)
