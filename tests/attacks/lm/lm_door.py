"""A server of language models in the process of the attacks, and a caller that is honest."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

#: What a request that is wrong may be answered with.
REFUSED = frozenset((400, 404, 413, 422))
#: Name of the model, and how many tokens it knows, by engine.
ENGINES = {"torch": 400, "adapters": 400, "llamacpp": 400, "openvino": 49_152}
_PATIENCE = 25.0


@dataclass(frozen=True)
class LmDoor:
    """The server. vocabulary: of its model."""

    client: httpx.Client
    model: Any
    vocabulary: int

    def send(self, path: str, body: bytes) -> int:
        """The status of what is answered."""
        head = {"content-type": "application/json"}
        return self.client.post(f"/v1/{path}", content=body, headers=head).status_code

    def complete(self, fields: Mapping[str, Any]) -> int:
        """The status of a completion of two tokens with these fields, which may be of any kind."""
        body = {"model": "base", "prompt": "tea", "max_tokens": 2, **fields}
        return self.send("completions", json.dumps(body).encode())

    def expect(self, status: int, allowed: Collection[int]) -> dict[str, float]:
        """Require one of these statuses, and that an honest caller is served at once, with and
        without a schema; the milliseconds of that."""
        assert status in allowed, f"answered {status}, not one of {sorted(allowed)}"
        began = time.monotonic()
        assert self.client.get("/healthz").status_code == 200
        assert self.client.get("/readyz").status_code == 200
        assert self.complete({}) == 200
        schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
        assert self.complete({"structured_outputs": {"json": schema}}) == 200
        return {"honest_ms": round(1000 * (time.monotonic() - began), 1)}


@contextmanager
def lm_door(engine: str) -> Iterator[LmDoor]:
    """Serve the smallest model of an engine."""
    from adwright.service.lm.app import create_lm_app
    from adwright.service.lm.config import LmServiceConfig
    from adwright.web.server import on_loopback

    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="attacks-lm-")))
        models: Any
        match engine:
            case "torch":
                from tests.support.lm.tiny_llama import tiny_model

                models = {"base": stack.enter_context(closing(tiny_model()))}
            case "adapters":
                from tests.support.lm.adapter_engine import models_of

                models = stack.enter_context(closing(models_of({})))
            case "llamacpp":
                from adwright.lm.native_engines.llamacpp_config import XllamacppConfig
                from adwright.lm.native_engines.llamacpp_model import XllamacppModel
                from tests.support.lm.tiny_gguf import save_tiny_gguf

                file = save_tiny_gguf(folder / "tiny.gguf")
                config = XllamacppConfig(str(file), threads=1, cache_tokens=1024, max_running=4)
                models = {"base": stack.enter_context(closing(XllamacppModel.open(config)))}
            case _:
                from adwright.lm.native_engines.openvino_model import OpenVinoConfig, OpenVinoModel

                opened = OpenVinoModel.open(OpenVinoConfig(threads=1))
                models = {"base": stack.enter_context(closing(opened))}
        url = stack.enter_context(on_loopback(create_lm_app(LmServiceConfig(), models)))
        client = stack.enter_context(httpx.Client(base_url=url, timeout=_PATIENCE))
        yield LmDoor(client, models["base"], ENGINES[engine])
