"""The process that llama.cpp runs in: `python -P -m adwright.lm.native_engines.llamacpp_worker`.

It opens the model behind llama.cpp's own HTTP server on a socket file, and ends with its lifeline,
whatever llama.cpp computes.

    {"model": "a.gguf", "socket": ".../s.sock", "parent": 123, "threads": 1, "context": 8192,
     "running": 8, "loras": ["a.gguf"], "embedding": false}
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from adwright.core.child_process import take_up

#: HTTP threads beside those of the requests that are computed: for tokens, and for going away.
_SPARE_THREADS = 4
_STEP_TOKENS = 256
#: llama.cpp has the hidden states of one text in one step, or not at all.
_EMBED_TOKENS = 2048


def parameters(settings: Mapping[str, Any], llama: Any) -> Any:
    """CommonParams of the module `llama` for `settings`, which are those above."""
    found = llama.CommonParams()
    found.model.path = settings["model"]
    found.hostnames = [settings["socket"]]
    found.n_ctx = settings["context"]
    found.n_parallel = settings["running"]
    # One cache for all requests, so that one of them may use all of it.
    found.kv_unified = True
    found.ctx_shift = False
    # Memory is what the settings say, neither fitted to the machine nor up to 8 GB more.
    found.fit_params = False
    found.cache_ram_mib = 0
    found.cpuparams.n_threads = settings["threads"]
    found.cpuparams_batch.n_threads = settings["threads"]
    # What is cancelled leaves between two steps, and a step reads so many tokens of prompts.
    found.n_batch = found.n_ubatch = min(settings["context"], _STEP_TOKENS)
    found.n_threads_http = settings["running"] + _SPARE_THREADS
    found.ui = False
    found.verbosity = 1  # errors, which the parent reads where the start fails
    if settings["embedding"]:
        found.embedding = True
        found.pooling_type = llama.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
        found.n_batch = found.n_ubatch = min(settings["context"], _EMBED_TOKENS)
    loras = []
    for path in settings["loras"]:
        one = llama.CommonAdapterLoraInfo()
        one.path, one.scale = path, 1.0
        loras.append(one)
    found.lora_adapters = loras
    return found


def main() -> None:
    """Serve until the lifeline ends."""
    lifeline = take_up()
    try:
        llama = importlib.import_module("xllamacpp")
        # Kept: the server ends with its last reference.
        server = llama.Server(parameters(lifeline.settings, llama))
    except Exception as error:  # its errors are of any kind
        lifeline.failed(error)
    lifeline.ready()
    lifeline.watch.join()
    del server


if __name__ == "__main__":
    main()
