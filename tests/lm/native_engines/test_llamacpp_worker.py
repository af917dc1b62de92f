from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from adwright.lm.native_engines.llamacpp_worker import parameters


def llama() -> Any:
    """What the worker touches of xllamacpp."""

    def common() -> Any:
        part = SimpleNamespace
        return part(model=part(), cpuparams=part(), cpuparams_batch=part())

    return SimpleNamespace(
        CommonParams=common,
        CommonAdapterLoraInfo=SimpleNamespace,
        llama_pooling_type=SimpleNamespace(LLAMA_POOLING_TYPE_MEAN=1),
    )


def test_parameters() -> None:
    settings = {"model": "a.gguf", "socket": "/x/s.sock", "threads": 2, "context": 4096}
    settings |= {"running": 3, "loras": ["b.gguf"], "embedding": False}
    found = parameters(settings, llama())
    assert found.model.path == "a.gguf"
    assert found.cpuparams.n_threads == found.cpuparams_batch.n_threads == 2
    assert (found.n_ctx, found.n_parallel, found.kv_unified) == (4096, 3, True)
    assert found.n_threads_http > 3
    assert [(one.path, one.scale) for one in found.lora_adapters] == [("b.gguf", 1.0)]
    assert found.n_ubatch == found.n_batch == 256
    assert not hasattr(found, "embedding")
    found = parameters(settings | {"embedding": True}, llama())
    assert (found.embedding, found.pooling_type) == (True, 1)
    assert found.n_ubatch == found.n_batch == 2048


def test_a_start_that_fails_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    settings = {"model": "a.gguf", "socket": str(tmp_path / "inner" / "s"), "parent": os.getpid()}
    code = (
        "import sys; sys.modules['xllamacpp'] = None\n"
        "from adwright.lm.native_engines.llamacpp_worker import main\n"
        "main()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(settings) + "\n")
    process.stdin.flush()
    assert "xllamacpp" in json.loads(process.stdout.readline())["error"]
    assert process.wait(20) == 1
    process.communicate()
