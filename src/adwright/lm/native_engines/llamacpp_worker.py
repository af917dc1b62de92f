"""The process that llama.cpp runs in: `python -P -m adwright.lm.native_engines.llamacpp_worker`.

It reads one line of JSON from its standard input, opens the model behind llama.cpp's own HTTP
server on a socket file, and writes one line of JSON when that is ready or has failed. After that
its standard input is a lifeline: at its end, or when the parent is another one, this process ends
at once, whatever llama.cpp computes. So it never outlives a parent that was killed.

    {"model": "a.gguf", "socket": ".../s.sock", "parent": 123, "threads": 1, "context": 8192,
     "running": 8, "loras": ["a.gguf"], "embedding": false}
"""

from __future__ import annotations

import importlib
import json
import os
import select
import shutil
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

__all__ = ["follow", "main", "parameters"]

#: How often it looks whether its parent is still there. The lifeline tells at once, but a process
#: that the parent forked may hold the other end of it open.
_LOOK_SECONDS = 0.5
#: HTTP threads beside those of the requests that are computed: for tokens, and for going away.
_SPARE_THREADS = 4
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


def follow(parent: int, lifeline: int, folder: Path) -> None:
    """Wait until the parent is gone or has closed the lifeline; then end this process.

    folder: of the socket; it is removed, since the parent may not be able to any more.
    """
    while os.getppid() == parent:
        ready, _, _ = select.select([lifeline], [], [], _LOOK_SECONDS)
        if ready and not os.read(lifeline, 4096):
            break
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)


def main() -> None:
    """Serve until the lifeline ends."""
    settings = json.loads(sys.stdin.readline())
    # What llama.cpp prints must not get between the lines of this protocol.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    folder = Path(settings["socket"]).parent
    watch = threading.Thread(
        target=follow, args=(settings["parent"], sys.stdin.fileno(), folder), daemon=True
    )
    watch.start()
    try:
        llama = importlib.import_module("xllamacpp")
        server = llama.Server(parameters(settings, llama))
    except Exception as error:  # its errors are of any kind
        time.sleep(_LOOK_SECONDS)  # until its log has been written
        _say(answers, {"error": str(error)})
        os._exit(1)
    _say(answers, {"address": server.listening_address})
    watch.join()


def _say(answers: IO[str], what: Mapping[str, str]) -> None:
    answers.write(json.dumps(what) + "\n")
    answers.flush()


if __name__ == "__main__":
    main()
