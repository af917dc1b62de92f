"""Open any engine with one function.

    with closing(open_model(TorchConfig())) as model:
        ...

To add an engine: its module with a config and a class, one line in the union, one case. The
command line, `adwright lm models` and the documentation read names, packages and capabilities
from the ClassVars of the configs in the union.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from adwright.core.errors import ConfigError, MissingExtraError
from adwright.lm.engine.http import HttpConfig, HttpModel
from adwright.lm.engine.scripted import ScriptedConfig, ScriptedModel
from adwright.lm.native_engines.llamacpp_config import LoraFile, XllamacppConfig
from adwright.lm.native_engines.openvino_model import OpenVinoConfig, OpenVinoModel
from adwright.lm.torch_engine.config import TorchConfig

if TYPE_CHECKING:
    from adwright.lm.engine.language_model import LanguageModel

__all__ = [
    "ENGINES",
    "LOCAL_ENGINES",
    "EngineConfig",
    "LocalConfig",
    "is_installed",
    "local_config",
    "open_model",
]

#: Engines that run a model on this machine; they can be named on the command line.
LocalConfig = (
    OpenVinoConfig  # first: "auto" takes it where it can
    | TorchConfig
    | XllamacppConfig
)
#: What runs a model, and which.
EngineConfig = LocalConfig | HttpConfig | ScriptedConfig

#: The configs of the unions, by the name of their engine.
LOCAL_ENGINES: dict[str, type[LocalConfig]] = {kind.engine: kind for kind in get_args(LocalConfig)}
ENGINES: dict[str, type[EngineConfig]] = {kind.engine: kind for kind in get_args(EngineConfig)}


def open_model(config: EngineConfig) -> LanguageModel:
    """Open the model that `config` describes; `close()` it when it is no longer needed.

    Raises what the engine's own `open` does: AssetError where there is no such model,
    MissingExtraError where its packages are not installed.
    """
    match config:
        case TorchConfig():
            try:
                import transformers

                from adwright.lm.torch_engine.model import TorchModel
            except ImportError as error:
                raise MissingExtraError("language models on torch", config.extra) from error
            del transformers  # it is only asked whether it is there
            return TorchModel.open(config)
        case OpenVinoConfig():
            return OpenVinoModel.open(config)
        case XllamacppConfig():
            from adwright.lm.native_engines.llamacpp_model import XllamacppModel

            return XllamacppModel.open(config)
        case HttpConfig():
            return HttpModel.open(config)
        case ScriptedConfig():
            return ScriptedModel(config)


def _require_engine(asked: str, needed: str, what: str) -> None:
    if asked not in ("auto", needed):
        raise ConfigError(
            f"the engine {asked} does not take {what}",
            where="engine",
            hint=f"leave it out, or use {needed}",
        )


def _require_whole(model: str) -> None:
    """Raise ConfigError where a saved adapter is named as the model."""
    folder = Path(model).expanduser()
    if (folder / "config.json").exists():
        return
    for inner in (folder, folder / "tuned"):
        manifest = inner / "manifest.json"
        # The kind that `tuning.storage` writes; reading all of it is left to whoever loads it.
        if manifest.is_file() and '"lm-tuned"' in manifest.read_text("utf-8", "replace"):
            raise ConfigError(
                "this is a tuned adapter, not a model",
                where=model,
                hint="name its base as the model, and this folder by --adapter",
            )


def is_installed(kind: type[EngineConfig]) -> bool:
    """Whether the package that an engine needs is there."""
    return not kind.package or find_spec(kind.package) is not None


def local_config(
    engine: str,
    model: str,
    *,
    threads: int = 0,
    offline: bool = False,
    adapter: str = "",
    loras: Sequence[LoraFile] = (),
) -> LocalConfig:
    """Return the config of `model` on an engine of this machine.

    engine: a name in LOCAL_ENGINES, or "auto": torch for an adapter, llama.cpp for LoRAs, else
    OpenVINO where it is installed and can run the model, else torch. adapter: folder of a saved
    one. loras: adapters in GGUF.

    Raises ConfigError for another name, for an engine that would ignore the adapters, and where
    `model` is an adapter itself.
    """
    if engine not in ("auto", *LOCAL_ENGINES):
        raise ConfigError(
            f"unknown engine {engine!r}",
            where="engine",
            hint=f"use one of auto, {', '.join(LOCAL_ENGINES)}",
        )
    _require_whole(model)
    if adapter and loras:
        raise ConfigError(
            "no engine takes an adapter of ours and LoRAs in GGUF together",
            where=adapter,
            hint="give one of both",
        )
    if adapter:
        _require_engine(engine, TorchConfig.engine, "saved adapters")
        return TorchConfig(model, threads=threads, offline=offline, adapter=adapter)
    if loras:
        _require_engine(engine, XllamacppConfig.engine, "LoRAs in GGUF")
        return XllamacppConfig(model, threads=threads, offline=offline, loras=tuple(loras))
    if engine == "auto":
        fits = OpenVinoConfig.can_open(model) and is_installed(OpenVinoConfig)
        engine = OpenVinoConfig.engine if fits else TorchConfig.engine
    return LOCAL_ENGINES[engine](model, threads=threads, offline=offline)
