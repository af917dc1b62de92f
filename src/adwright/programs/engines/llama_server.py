"""llama.cpp's own server as an engine of programs: in a child process, a slot for each request.

It keeps what a slot has read, and a request that begins in the same way takes that slot if it is
free. Many at once that begin alike each read all of it: what several slots read is not shared.
"""

from __future__ import annotations

from adwright.lm.native_engines.llamacpp_config import XllamacppConfig
from adwright.lm.open_model import open_model
from adwright.programs.engines.model_engine import ModelEngine
from adwright.programs.scheduling.engine import EngineCapabilities

__all__ = ["llama_server_engine"]

#: Tokens of prompts in one of its steps.
_STEP_TOKENS = 256


def llama_server_engine(
    config: XllamacppConfig | None = None,
    *,
    domain: str = "",
    name: str = "",
    kv_bytes_per_token: int = 23_040,
) -> ModelEngine:
    """The engine on `config`; nothing is opened yet. domain, name, kv_bytes_per_token: as of
    `openvino_engine`; a config without prefix caching takes everybody's requests."""
    config = XllamacppConfig() if config is None else config
    can = EngineCapabilities(
        (name or config.model,),
        prefix_cache=config.prefix_caching,
        logprobs=True,
        grammar=True,
        max_batch=config.max_running,
        kv_tokens=config.cache_tokens,
        kv_bytes_per_token=kv_bytes_per_token,
        chunk_tokens=_STEP_TOKENS,
    )
    return ModelEngine(lambda: open_model(config), can, domain=domain)
