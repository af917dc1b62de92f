"""Open any language model, by one specification in all rooms.

    with closing(open_lm("smollm2")) as model:
        ...

A specification is a text, a table with the same keys, or an `LmSpec`:

    smollm2                                  the default model
    FOLDER, FILE.gguf, OWNER/NAME            a model on this machine, or on the hub
    FOLDER+adapter=FOLDER+engine=paged       with settings, each as +key=value
    http://HOST:PORT/v1#NAME+key=VARIABLE    a model of an OpenAI-compatible server

To add an engine: its module with a config and a class, one line in the union, one case in
`open_model`. The command line, `adwright lm models` and the documentation read names, packages and
capabilities from the ClassVars of the configs in the union.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import fields, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args

from adwright.core.config import Natural, Positive, from_jsonable, settings
from adwright.core.errors import AssetError, ConfigError, MissingExtraError
from adwright.core.hashing import sha256_file
from adwright.lm.engine.http import HttpConfig, HttpModel
from adwright.lm.engine.scripted import ScriptedConfig, ScriptedModel
from adwright.lm.engine.weights import SMOLLM2
from adwright.lm.native_engines.llamacpp_config import LoraFile, XllamacppConfig
from adwright.lm.native_engines.openvino_model import OpenVinoConfig, OpenVinoModel
from adwright.lm.torch_engine.config import PagedConfig, TorchConfig

if TYPE_CHECKING:
    from adwright.lm.engine.generation import LanguageModel

#: Engines that run a model on this machine; the paged one's config is a `TorchConfig`.
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
_ON_TORCH = (TorchConfig.engine, PagedConfig.engine)
_NAMED = ("auto", *LOCAL_ENGINES, PagedConfig.engine)
#: What may be set in the text of a specification, by the field that it stands for.
_KEYS = {
    "adapter": "adapter",
    "concurrency": "concurrency",
    "device": "device",
    "engine": "engine",
    "key": "key_variable",
    "lora": "loras",
    "offline": "offline",
    "retries": "retries",
    "threads": "threads",
    "timeout": "timeout",
    "url": "url",
}
_SETTING = re.compile(rf"\+({'|'.join(_KEYS)})=")
#: Environment variables of a server's key, the first that is set: that of our own endpoint, then a
#: vendor's.
_KEY_VARIABLES = ("ADWRIGHT_LM_KEY", "OPENAI_API_KEY")
#: Requests to a server at a time, and rows of the paged engine, where nothing is said.
_REQUESTS, _ROWS = 8, 32


@settings
class LmSpec:
    """Which language model, what computes it, and how.

    model: a name, a folder, a .gguf file, or OWNER/NAME on the hub; with `url` the name that the
        server knows. It may be a whole specification, see the module: what stands there and is a
        default here is taken.
    engine: of this machine; see `config` for auto. paged is ours, which shares what prompts begin
        with and takes adapters.
    adapter: folder that `adwright tune run` wrote. loras: adapters in GGUF, each with its scale.
    url: of an OpenAI-compatible server, up to and with /v1. key_variable: environment variable
        with its key; empty for ADWRIGHT_LM_KEY, or OPENAI_API_KEY where that is not set.
    concurrency: requests to a server at a time, and rows that the paged engine computes together;
        0 for what is usual. threads: 0 takes what fits. device: as torch names it.
    timeout: seconds for an answer of the server. retries: after a 429, a 5xx or a broken
        connection. offline: never download.

    Raises ConfigError where the engine would ignore a setting, or one is given twice.
    """

    model: str = SMOLLM2
    engine: str = "auto"
    adapter: str = ""
    loras: tuple[LoraFile, ...] = ()
    url: str = ""
    key_variable: str = ""
    concurrency: Natural = 0
    threads: Natural = 0
    device: str = "cpu"
    timeout: Positive = 120.0
    retries: Natural = 2
    offline: bool = False

    def __post_init__(self) -> None:
        for name, value in _written(self.model).items():
            given, default = getattr(self, name), type(self).__dataclass_fields__[name].default
            if name != "model" and given not in (default, value):
                raise ConfigError(
                    f"{name} is named twice, as {given!r} and as {value!r}",
                    where=self.model,
                    hint="leave one of both out",
                )
            object.__setattr__(self, name, value)
        if self.url and not self.model:
            raise ConfigError(
                "which model of the endpoint?",
                where=f"url {self.url}",
                hint="name it: --model NAME, or http://HOST:PORT/v1#NAME",
            )
        if not self.url and self.model in ("", "smollm2"):
            object.__setattr__(self, "model", SMOLLM2)
        if self.engine not in _NAMED:
            raise ConfigError(
                f"unknown engine {self.engine!r}",
                where="engine",
                hint=f"use one of {', '.join(_NAMED)}",
            )
        if self.url and (self.adapter or self.loras or self.engine != "auto"):
            raise ConfigError(
                "an endpoint has its own adapters and its own engine",
                where=f"url {self.url}",
                hint="leave the engine out, and name the adapter as the model of the endpoint",
            )
        if self.adapter and self.loras:
            raise ConfigError(
                "no engine takes an adapter of ours and LoRAs in GGUF together",
                where=self.adapter,
                hint="give one of both",
            )
        if self.adapter:
            self._require_engine("saved adapters", *_ON_TORCH)
        if self.loras:
            self._require_engine("LoRAs in GGUF", XllamacppConfig.engine)
        if self.device != "cpu" and (self.loras or self.engine not in ("auto", *_ON_TORCH)):
            raise ConfigError(
                f"{'a file of --lora' if self.loras else self.engine} does not compute on "
                f"{self.device}",
                where=f"--device {self.device}",
                hint="leave --engine and --lora out, or --device",
            )

    @classmethod
    def of(cls, spec: str | Mapping[str, Any] | LmSpec) -> LmSpec:
        """The specification that a text or a table stands for; itself where it is one."""
        if isinstance(spec, LmSpec):
            return spec
        return cls(spec) if isinstance(spec, str) else from_jsonable(cls, dict(spec))

    def config(self, *, auto: str = TorchConfig.engine) -> EngineConfig:
        """What runs it. auto: where no engine is named, this one is taken: for LoRAs llama.cpp,
        without an adapter OpenVINO where it is installed and can run the model, or else this one.

        Raises ConfigError where the model is an adapter itself, or torch has no such device.
        """
        if self.url:
            set_here = [name for name in _KEY_VARIABLES if name in os.environ]
            return HttpConfig(
                self.url,
                self.model,
                key_variable=self.key_variable or (*set_here, _KEY_VARIABLES[-1])[0],
                timeout_seconds=self.timeout,
                retries=self.retries,
                concurrency=self.concurrency or _REQUESTS,
            )
        _require_whole(self.model)
        shared: dict[str, Any] = {"threads": self.threads, "offline": self.offline}
        engine = self.engine
        if engine == "auto":
            engine = self._chosen(auto)
        if engine in _ON_TORCH:
            shared |= {"adapter": self.adapter, "device": self.device}
            if self.device != "cpu":
                from adwright.lm.torch_engine.model import require_device

                require_device(self.device)
        if engine == PagedConfig.engine:
            return PagedConfig(self.model, rows=self.concurrency or _ROWS, **shared)
        if self.loras:
            return XllamacppConfig(self.model, loras=self.loras, **shared)
        return LOCAL_ENGINES[engine](self.model, **shared)

    def on_torch(self) -> TorchConfig:
        """The same for torch, whose weights are to be read or tuned in this process.

        Raises ConfigError where a server or another engine is named, and as `config`.
        """
        if self.url or self.loras or self.engine not in ("auto", *_ON_TORCH):
            raise ConfigError(
                "the weights are needed here, which torch alone gives",
                where=self.url or f"engine {self.engine}",
                hint="name a model of this machine, and no other engine",
            )
        config = replace(self, engine=TorchConfig.engine).config()
        return cast(TorchConfig, config)

    def _chosen(self, auto: str) -> str:
        if self.loras:
            return XllamacppConfig.engine
        fits = OpenVinoConfig.can_open(self.model) and is_installed(OpenVinoConfig)
        plain = not self.adapter and self.device == "cpu"
        return OpenVinoConfig.engine if fits and plain else auto

    def _require_engine(self, what: str, *needed: str) -> None:
        if self.engine not in ("auto", *needed):
            raise ConfigError(
                f"the engine {self.engine} does not take {what}",
                where="engine",
                hint=f"leave it out, or use {' or '.join(needed)}",
            )


def open_lm(
    spec: str | Mapping[str, Any] | LmSpec, *, auto: str = TorchConfig.engine
) -> LanguageModel:
    """Open the model of a specification; `close()` it when it is no longer needed.

    auto: see `LmSpec.config`. Raises ConfigError for a wrong specification, and as `open_model`.
    """
    return open_model(LmSpec.of(spec).config(auto=auto))


def open_model(config: EngineConfig) -> LanguageModel:
    """Open the model that the config of an engine describes, with all its settings.

    Raises what the engine's own `open` does: AssetError where there is no such model,
    MissingExtraError where its packages are not installed.
    """
    match config:
        case TorchConfig():  # and of the paged engine
            try:
                import transformers

                from adwright.lm.serving.adapter_folder import open_paged
                from adwright.lm.torch_engine.model import TorchModel
            except ImportError as error:
                raise MissingExtraError("language models on torch", config.extra) from error
            del transformers  # it is only asked whether it is there
            if isinstance(config, PagedConfig):
                return open_paged(config)
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


def is_installed(kind: type[EngineConfig]) -> bool:
    """Whether the package that an engine needs is there."""
    return not kind.package or find_spec(kind.package) is not None


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


def _written(text: str) -> dict[str, Any]:
    """What the text of a specification says, by the names of fields."""
    model, *settings = _SETTING.split(text)
    found: dict[str, Any] = {}
    loras: list[LoraFile] = []
    for key, value in zip(settings[::2], settings[1::2], strict=True):
        name = _KEYS[key]
        if key == "lora":
            loras.append(LoraFile.of(value))
        elif name in found:
            raise ConfigError(f"{key} is given twice", where=text, hint="give it once")
        else:
            found[name] = _value(name, value, text)
    if loras:
        found["loras"] = tuple(loras)
    if model.startswith(("http://", "https://")):
        found["url"], _, model = model.partition("#")
    return found | {"model": model}


def _value(name: str, text: str, where: str) -> str | int | float | bool:
    """The value of a field, of the type of its default."""
    default = next(one.default for one in fields(LmSpec) if one.name == name)
    try:
        if isinstance(default, bool):
            return {"yes": True, "true": True, "no": False, "false": False}[text.lower()]
        return type(default)(text) if isinstance(default, int | float) else text
    except (KeyError, ValueError) as error:
        raise ConfigError(
            f"{name} cannot be {text!r}", where=where, hint=f"as in {name}={default}"
        ) from error


def _require_whole(model: str) -> None:
    """Raise ConfigError where a saved adapter is named as the model."""
    folder = Path(model).expanduser()
    if (folder / "config.json").exists():
        return
    for inner in (folder, folder / "tuned"):
        manifest = inner / "manifest.json"
        # The kind that `tuning.tuned` writes; reading all of it is left to whoever loads it.
        if manifest.is_file() and '"lm-tuned"' in manifest.read_text("utf-8", "replace"):
            raise ConfigError(
                "this is a tuned adapter, not a model",
                where=model,
                hint="name its base as the model, and this folder by --adapter",
            )
