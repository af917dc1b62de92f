"""OpenVINO GenAI as an engine of programs: the quickest on a CPU, with a prefix cache of its own.

It looks for a prefix when a request arrives, so that one which another request is just reading is
not found: whoever fills a prefix first and asks then has it read once. Its cache knows no tenants.
"""

from __future__ import annotations

from dataclasses import replace

from adwright.lm.native_engines.openvino_model import OpenVinoConfig, OpenVinoModel
from adwright.programs.engines.model_engine import ModelEngine
from adwright.programs.scheduling.engine import EngineCapabilities

__all__ = ["openvino_engine"]

#: Tokens of a block of its cache on CPUs.
_BLOCK = 32


def openvino_engine(
    config: OpenVinoConfig | None = None,
    *,
    domain: str | None = "",
    name: str = "",
    kv_bytes_per_token: int = 23_040,
) -> ModelEngine:
    """The engine on `config`; nothing is opened yet.

    domain: the salt of those whose requests it takes and keeps prefixes for, "" for that of the
    first; None: it takes everybody's, and keeps none. name: that it answers to; "" for that of the
    model. kv_bytes_per_token: of the cache, from the model's card: layers x heads of keys x their
    width x 2 x bytes of a number; by default that of SmolLM2-135M in float16.
    """
    config = OpenVinoConfig() if config is None else config
    caches = config.prefix_caching and domain is not None
    opened = replace(config, prefix_caching=caches)
    can = EngineCapabilities(
        (name or config.model,),
        prefix_cache=caches,
        in_flight_prefix=False,
        logprobs=True,
        grammar=True,
        max_batch=config.max_running,
        kv_tokens=(config.cache_gb << 30) // kv_bytes_per_token,
        kv_bytes_per_token=kv_bytes_per_token,
        block_size=_BLOCK,
        chunk_tokens=config.step_tokens,
    )
    return ModelEngine(lambda: OpenVinoModel.open(opened), can, domain=domain or "")
