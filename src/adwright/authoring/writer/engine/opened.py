"""The language model of a writing job, whatever runs it.

    with open_writer(WriterModel("smollm2-135m-instruct", adapter="runs/ads")) as opened:
        opened.model.generate(...)

A model here is computed by OpenVINO where that can run it, else by our own paged engine, which
shares the beginning of all prompts and takes adapters; a server is asked over HTTP, with a bounded
number of requests at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from adwright.core.config import check_literals
from adwright.core.errors import AssetError, ConfigError
from adwright.core.hashing import sha256_file
from adwright.lm.engine.language_model import LanguageModel
from adwright.lm.engine.weights import SMOLLM2

__all__ = ["OpenedWriter", "WriterEngine", "WriterModel", "adapter_hash", "open_writer"]

WriterEngine = Literal["auto", "openvino", "paged", "torch", "llamacpp"]


@dataclass(frozen=True)
class WriterModel:
    """Which model writes.

    model: as `adwright lm generate` takes it; with `url`, the name that the server knows. engine:
    auto takes OpenVINO where it can run the model, else the paged engine. adapter: folder that
    `adwright tune run` wrote. url: of an OpenAI-compatible server, up to and with /v1.
    key_variable: environment variable with its key. concurrency: requests to it at a time, and rows
    that the paged engine computes together; 0 for what is usual. threads: 0 takes what fits.
    timeout: seconds for an answer of the server. offline: never download.

    Raises ConfigError where the engine would ignore the adapter or the server.
    """

    model: str = SMOLLM2
    engine: WriterEngine = "auto"
    adapter: str = ""
    url: str = ""
    key_variable: str = "OPENAI_API_KEY"
    concurrency: int = 0
    threads: int = 0
    timeout: float = 120.0
    offline: bool = False

    def __post_init__(self) -> None:
        check_literals(self)
        if self.url and (self.adapter or self.engine != "auto"):
            raise ConfigError(
                "a server has its own engine and adapters",
                where=f"url {self.url}",
                hint="name the adapter as the model that is served",
            )
        if self.adapter and self.engine not in ("auto", "paged", "torch"):
            raise ConfigError(
                f"the engine {self.engine} takes no adapters of ours",
                where=f"adapter {self.adapter}",
                hint="leave --engine out",
            )
        if self.concurrency < 0:
            raise ConfigError("concurrency is 0 or more", where=f"concurrency {self.concurrency}")


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
def open_writer(config: WriterModel) -> Iterator[OpenedWriter]:
    """Open the model, and close it when the block ends.

    Raises what the engine's own `open` does: AssetError where there is no such model,
    MissingExtraError where its packages are not installed.
    """
    if config.url:
        with _served(config) as opened:
            yield opened
        return
    digest = adapter_hash(config.adapter)
    if config.engine == "paged" or (config.engine == "auto" and not _openvino_fits(config)):
        with _paged(config, digest) as opened:
            yield opened
        return
    from adwright.lm.open_model import local_config, open_model

    asked = local_config(
        config.engine,
        config.model,
        threads=config.threads,
        offline=config.offline,
        adapter=config.adapter,
    )
    with closing(open_model(asked)) as model:
        yield OpenedWriter(model, config.model, model.info.engine, config.adapter, digest)


def _openvino_fits(config: WriterModel) -> bool:
    from adwright.lm.native_engines.openvino_model import OpenVinoConfig
    from adwright.lm.open_model import is_installed

    fits = OpenVinoConfig.can_open(config.model) and is_installed(OpenVinoConfig)
    return fits and not config.adapter


@contextmanager
def _served(config: WriterModel) -> Iterator[OpenedWriter]:
    from adwright.lm.engine.http import HttpConfig
    from adwright.lm.open_model import open_model

    asked = HttpConfig(
        config.url,
        config.model,
        key_variable=config.key_variable,
        timeout_seconds=config.timeout,
        concurrency=config.concurrency or 8,
    )
    with closing(open_model(asked)) as model:
        yield OpenedWriter(model, config.model, "http")


@contextmanager
def _paged(config: WriterModel, digest: str) -> Iterator[OpenedWriter]:
    from adwright.core.errors import MissingExtraError

    try:
        from adwright.lm.serving.adapter_folder import open_base
        from adwright.lm.serving.config import ServingConfig
        from adwright.lm.torch_engine.config import TorchConfig
        from adwright.lm.torch_engine.tuned_network import tuned_folder
    except ImportError as error:
        raise MissingExtraError("writing with a model of this machine", "lm") from error
    torch = TorchConfig(config.model, threads=config.threads, offline=config.offline)
    serving = ServingConfig(rows=config.concurrency or 32)
    with closing(open_base(torch, serving)) as models:
        if not config.adapter:
            yield OpenedWriter(models[models.name], config.model, "paged")
            return
        name = f"{Path(config.adapter).name or 'adapter'} (adapter)"
        models.add(name, tuned_folder(Path(config.adapter)))
        yield OpenedWriter(models[name], config.model, "paged", config.adapter, digest)


def adapter_hash(adapter: str) -> str:
    """Hash of the manifest of a saved adapter, which holds those of its files; "" for none.

    Raises AssetError where there is none in the folder.
    """
    if not adapter:
        return ""
    for folder in (Path(adapter), Path(adapter) / "tuned"):
        if (manifest := folder / "manifest.json").is_file():
            return sha256_file(manifest)
    raise AssetError(
        "there is no adapter in this folder",
        where=adapter,
        hint="name the folder that `adwright tune run` wrote",
    )
