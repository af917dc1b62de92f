"""The settings of the torch engine, apart from it: they can be read without loading torch."""

from __future__ import annotations

from typing import ClassVar, Literal

from adwright.core.config import Count, Natural, settings
from adwright.lm.engine.generation import Capabilities
from adwright.lm.engine.weights import SMOLLM2


@settings
class TorchConfig:
    """Which model, and how it is computed.

    model: the default one, a folder in the layout of Hugging Face, a .gguf file (dequantised), or
        OWNER/NAME on the hub.
    dtype: "auto" takes bfloat16 where the processor, or the GPU, computes in it, else float32.
    device: as torch names it.
    batch_size: the most prompts or pairs that are computed together; more come after them.
    threads: of torch, for the whole process; 0 takes what fits, see `threads`.
    offline: never download.
    adapter: folder of a saved adapter of this base, or of the run of `adwright tune` that made it.

    Raises ConfigError that names the setting.
    """

    engine: ClassVar[str] = "torch"
    package: ClassVar[str] = "transformers"
    extra: ClassVar[str] = "lm"
    capabilities: ClassVar[Capabilities] = Capabilities(
        title="torch",
        models="Hugging Face folder, hub name, GGUF; any tuned part",
        batching="in turns, token by token",
        prefix="computed once per batch",
        score="yes",
        embed="yes",
        constraint="llguidance",
    )

    model: str = SMOLLM2
    dtype: Literal["auto", "bfloat16", "float32"] = "auto"
    device: str = "cpu"
    batch_size: Count = 32
    threads: Natural = 0
    offline: bool = False
    adapter: str = ""


@settings
class PagedConfig(TorchConfig):
    """The same on our paged engine, which computes requests of several threads together and keeps
    what prompts begin with. rows: requests that are computed together. batch_size is not used."""

    engine: ClassVar[str] = "paged"

    rows: Count = 32
