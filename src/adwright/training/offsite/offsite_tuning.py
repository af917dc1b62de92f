"""Offsite-tuning between two processes: the model's owner and the texts' owner.

    texts' owner                       model's owner
      hello                     ->
                                <-     emulator   ends, kept middle, embedding, head, tokeniser
      trains the ends
      adapter                   ->                weights of the ends, and of nothing else
                                <-     plugged

See `sandwich` for the method and its paper. `own` and `train_offsite` are the two sides:

    listener = Listener()                                      # 127.0.0.1, a free port
    tuned = own(model, listener.accept(), ends=2, kept=8)      # waits
    ...
    tuned, result = train_offsite(                             # in the other process
        connect(listener.address), texts_of, TuneConfig(), rank=8)
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from adwright.core.errors import DataError, MissingExtraError, ResourceError
from adwright.lm.hf_load import load_hf_tokenizer
from adwright.lm.torch_engine.model import quick_dtype
from adwright.training.offsite.sandwich import (
    Sandwich,
    adapter_bytes,
    adapter_of,
    emulator_of,
    plug_in,
)
from adwright.training.offsite.wire import Channel, WireMessage, printable
from adwright.training.tuning.config import TuneConfig, TuneResult
from adwright.training.tuning.texts import Texts
from adwright.training.tuning.tune import tune
from adwright.tuning.sizes import decoder_layers
from adwright.tuning.tuned import Tuned

__all__ = [
    "FAMILIES",
    "WAIT",
    "offered",
    "own",
    "plugged",
    "received_emulator",
    "shipped_emulator",
    "train_offsite",
]

#: Types of model that are built from what a stranger sends: plain code of transformers.
FAMILIES = ("llama", "mistral", "qwen2", "qwen3")
#: Seconds that the model's owner waits for the adapter: a day.
WAIT = 86_400.0
#: Seconds that it may take itself: to answer others first, and for what a slow tunnel still holds.
_ANSWER = 600.0
_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
)
#: What is taken of a stranger's config: sizes and formulas, no name of code or place.
_SETTINGS = frozenset(
    {
        *("model_type", "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers"),
        *("num_attention_heads", "num_key_value_heads", "head_dim", "hidden_act"),
        *("max_position_embeddings", "rms_norm_eps", "rope_theta", "rope_scaling"),
        *("rope_parameters", "attention_bias", "mlp_bias", "tie_word_embeddings"),
        *("bos_token_id", "eos_token_id", "pad_token_id", "layer_types", "sliding_window"),
        *("use_sliding_window", "max_window_layers"),
    }
)
_FILE = "file:"
_WEIGHT = "weight:"


def own(
    model: Any,
    channel: Channel,
    *,
    ends: int,
    kept: int,
    emulator: Any = None,
    tokenizer: str | Path | None = None,
    wait: float = WAIT,
) -> Tuned:
    """The side of the model's owner: give away the thinned model, wait, and put the trained ends
    into `model`, in place; `merge` of what is returned makes a plain model of it.

    model: a causal LM of transformers. emulator: the thinned model where it is made already, for
    example after `distil`; else `emulator_of(model, ends, kept)`. tokenizer: a folder whose files
    go along; None sends none. wait: seconds until the adapter has to be there.
    Raises ConfigError where the layers do not allow it, and as `Channel.receive` and `plug_in`;
    the model is unchanged then.
    """
    with channel:
        channel.receive_hello()
        small = emulator_of(model, ends, kept) if emulator is None else emulator
        came = offered(model, channel, shipped_emulator(small, ends, tokenizer), ends, wait)
        return plugged(model, channel, came, ends)


def offered(
    model: Any, channel: Channel, emulator: WireMessage, ends: int, wait: float
) -> WireMessage:
    """Give away the emulator and wait for the adapter, of which no more bytes are read than one of
    its rank has in `model`. Raises as `Channel.receive`, and ConfigError for a rank that cannot be.
    """
    channel.send(emulator)

    def bytes_of(head: WireMessage) -> int:
        return adapter_bytes(model, _method(head, ends))

    return channel.receive("adapter", timeout=wait, limit=bytes_of)


def plugged(model: Any, channel: Channel, came: WireMessage, ends: int) -> Tuned:
    """Put the adapter that came into `model`, and say so. Raises as `plug_in`."""
    tuned = plug_in(model, _method(came, ends), came.tensors)
    # What came is of use whether or not the peer still listens.
    with suppress(ResourceError):
        channel.send(WireMessage("plugged"))
    return tuned


def train_offsite(
    channel: Channel,
    texts_of: Callable[[Any], tuple[Texts, Texts | None]],
    config: TuneConfig,
    *,
    rank: int = 8,
    alpha: float = 16.0,
    run: str | Path | None = None,
    resume: bool = False,
) -> tuple[Tuned, TuneResult]:
    """The side of the texts' owner: train the ends beside the emulator and send their weights.

    texts_of: gives the texts to train on and to validate with, made by the tokeniser that came
    (None where none did). rank, alpha: of a LoRA in the ends; rank 0 trains them whole. run,
    resume: as for `tune`. Returns the emulator with the trained ends, and what `tune` returns. The
    texts stay here. Raises what `tune`, `received_emulator` and `Channel.receive` do.
    """
    with channel:
        channel.greet()
        came = channel.receive("emulator", timeout=_ANSWER)
        method = Sandwich(ends=came.number("ends"), rank=rank, alpha=alpha)
        emulator, tokenizer = received_emulator(came)
        texts, valid = texts_of(tokenizer)
        # Weights that move by small steps have to be in float32.
        whole = rank == 0 or quick_dtype() == torch.float32
        tuned = Tuned(emulator.float() if whole else emulator, method, seed=config.seed)
        result = tune(tuned, texts, config, run, valid=valid, resume=resume)
        fields = {"ends": method.ends, "rank": rank, "alpha": alpha}
        channel.send(WireMessage("adapter", fields, adapter_of(tuned)))
        channel.receive("plugged", timeout=_ANSWER)
        return tuned, result


def shipped_emulator(emulator: Any, ends: int, tokenizer: str | Path | None = None) -> WireMessage:
    """What the model's owner gives away."""
    tensors, seen = dict[str, Tensor](), set[int]()
    for name, value in emulator.state_dict().items():
        # A tied head is the embedding, which is sent once.
        if value.data_ptr() not in seen:
            seen.add(value.data_ptr())
            tensors[_WEIGHT + name] = value
    for name in _FILES if tokenizer is not None else ():
        path = Path(str(tokenizer)) / name
        if path.is_file():
            tensors[_FILE + name] = torch.tensor(list(path.read_bytes()), dtype=torch.uint8)
    whole = json.loads(emulator.config.to_json_string(use_diff=False))
    # Where the model lies on the owner's disk, among others, is nobody's business.
    config = {name: value for name, value in whole.items() if name in _SETTINGS}
    return WireMessage("emulator", {"ends": ends, "config": config}, tensors)


def received_emulator(message: WireMessage) -> tuple[Any, Any]:
    """The thinned model and its tokeniser, or None where none came.

    Raises DataError where the message describes no model of `FAMILIES`, or other weights than
    came; MissingExtraError without transformers. Nothing that came is run.
    """
    try:
        from transformers import AutoConfig, AutoModelForCausalLM
    except ImportError as error:
        raise MissingExtraError("tuning of language models", "lm") from error
    values = message.fields.get("config")
    if not isinstance(values, dict) or values.get("model_type") not in FAMILIES:
        raise DataError(
            "the emulator is of no known type",
            column="model_type",
            value=values.get("model_type") if isinstance(values, dict) else values,
            hint=f"one of {', '.join(FAMILIES)}",
        )
    weights = _named(message.tensors, _WEIGHT)
    layers = {name.split(".")[2] for name in weights if name.startswith("model.layers.")}
    if len(layers) != values.get("num_hidden_layers"):
        raise DataError("the emulator's layers are not those of its config", column="config")
    rest = {name: value for name, value in values.items() if name in _SETTINGS}
    build: Any = AutoModelForCausalLM.from_config
    try:
        config = AutoConfig.for_model(**rest)
        # Before memory is taken for what the config claims.
        with torch.device("meta"):
            claimed = {name: value.shape for name, value in build(config).state_dict().items()}
    except Exception as error:
        # Any value may have come, and each version of transformers has its own errors for it.
        said = printable(str(error))
        raise DataError(f"the emulator cannot be built: {said}", column="config") from error
    if config.tie_word_embeddings:
        claimed.pop("lm_head.weight", None)
    for name in sorted(claimed.keys() | weights.keys()):
        if name not in weights or claimed.get(name) != weights[name].shape:
            raise DataError("the emulator's weights are not those of its config", column=name)
    model = build(config).to(next(iter(weights.values())).dtype)
    model.load_state_dict(weights, strict=False)
    decoder_layers(model)
    return model.eval(), _tokenizer(_named(message.tensors, _FILE))


def _tokenizer(files: Mapping[str, Tensor]) -> Any:
    if "tokenizer.json" not in files:
        return None
    with TemporaryDirectory() as folder:
        for name, content in files.items():
            if name not in _FILES:
                raise DataError("the tokeniser has a file of no known name", column=name)
            (Path(folder) / name).write_bytes(content.to(torch.uint8).numpy().tobytes())
        return load_hf_tokenizer(folder)


def _named(tensors: Mapping[str, Tensor], start: str) -> dict[str, Tensor]:
    return {
        name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)
    }


def _method(message: WireMessage, ends: int) -> Sandwich:
    """How the adapter was trained, as its owner says; `plug_in` sees whether that can be."""
    if message.number("ends") != ends:
        raise DataError("the adapter is of other ends", column="ends", value=message.fields)
    return Sandwich(ends=ends, rank=message.number("rank"), alpha=message.real("alpha"))
