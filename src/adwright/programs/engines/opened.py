"""The engine of programs that a specification of a language model stands for."""

from __future__ import annotations

from adwright.core.errors import ConfigError
from adwright.lm.engine.http import Dialect, HttpConfig
from adwright.lm.native_engines.openvino_model import OpenVinoConfig
from adwright.lm.open_model import LmSpec
from adwright.programs.engines.model_engine import ModelEngine, openvino_engine
from adwright.programs.engines.openai_http import OpenAIEngine, OpenAIEngineConfig
from adwright.programs.engines.paged_engine import PagedEngine, PagedEngineConfig


def engine_of(
    spec: LmSpec,
    *,
    name: str,
    domain: str | None = "",
    public: tuple[str, ...] = (),
    dialect: Dialect = "openai",
    chat: bool = False,
) -> PagedEngine | OpenAIEngine | ModelEngine:
    """The engine, not yet open: a server, OpenVINO, or our own in a process.

    name: that it answers to. domain: of a cache that knows no tenants, None where it is not used.
    public: texts that all tenants may share, of our own. dialect, chat: of a server.
    Raises ConfigError where the engine cannot read the model, or there is none of its kind.
    """
    if spec.engine in ("paged", "torch"):
        return PagedEngine(PagedEngineConfig(spec.on_torch(), name=name, public=public))
    match spec.config():
        case HttpConfig(base_url=url, model=model, key_variable=key):
            config = OpenAIEngineConfig(
                url, model, dialect, chat, key_variable=key, domain=domain, name=name
            )
            return OpenAIEngine(config)
        case OpenVinoConfig(model=model) as opened:
            if not OpenVinoConfig.can_open(model):
                hint = "name a GGUF file or a folder that Optimum Intel exported, or take another"
                raise ConfigError("OpenVINO does not read this model", where=model, hint=hint)
            return openvino_engine(opened, domain=domain, name=name)
        case other:
            what = f"programs do not run on {other.engine}"
            raise ConfigError(what, where="engine", hint="take paged or openvino")
