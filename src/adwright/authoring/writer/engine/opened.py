"""The language model of a writing job, and what its drafts say of it.

    with open_writer(LmSpec("smollm2", adapter="runs/ads")) as opened:
        opened.model.generate(...)

On this machine OpenVINO writes where it can run the model, else our own paged engine, which shares
the beginning of all prompts and takes adapters.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

from adwright.lm.engine.generation import LanguageModel
from adwright.lm.open_model import LmSpec, adapter_hash, open_model


@dataclass(frozen=True)
class OpenedWriter:
    """A model that is open. engine: what runs it, in words. adapter_hash: of the adapter's
    manifest, which holds the hashes of its files."""

    model: LanguageModel
    name: str
    engine: str
    adapter: str = ""
    adapter_hash: str = ""


@contextmanager
def open_writer(spec: str | LmSpec) -> Iterator[OpenedWriter]:
    """Open the model, and close it when the block ends. Raises as `open_lm` and `adapter_hash`."""
    spec = LmSpec.of(spec)
    digest = adapter_hash(spec.adapter)
    config = spec.config(auto="paged")
    with closing(open_model(config)) as model:
        engine = "paged" if config.engine == "paged" else model.info.engine
        yield OpenedWriter(model, spec.model, engine, spec.adapter, digest)
