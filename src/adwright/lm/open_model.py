"""Every engine behind one function.

    with closing(open_model(TorchConfig())) as model:
        ...

To add an engine: its module with a config and a class, one line in the union, one case.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from adwright.core.errors import MissingExtraError
from adwright.lm.engine.http import HttpConfig
from adwright.lm.engine.scripted import ScriptedConfig
from adwright.lm.native_engines.llamacpp_config import XllamacppConfig
from adwright.lm.native_engines.openvino_model import OpenVinoConfig
from adwright.lm.torch_engine.config import TorchConfig

if TYPE_CHECKING:
    from adwright.lm.engine.language_model import LanguageModel

__all__ = ["EngineConfig", "open_model"]

#: What runs a model, and which.
EngineConfig = TorchConfig | OpenVinoConfig | XllamacppConfig | HttpConfig | ScriptedConfig


def open_model(config: EngineConfig) -> LanguageModel:
    """The model that `config` describes; `close()` it when it is no longer needed.

    Raises what the engine's own `open` does: AssetError where there is no such model,
    MissingExtraError where its packages are not installed.
    """
    match config:
        case TorchConfig():
            try:
                from adwright.lm.torch_engine.model import TorchModel
            except ImportError as error:
                raise MissingExtraError("language models on torch", "lm") from error
            return TorchModel.open(config)
        case OpenVinoConfig():
            from adwright.lm.native_engines.openvino_model import OpenVinoModel

            return OpenVinoModel.open(config)
        case XllamacppConfig():
            from adwright.lm.native_engines.llamacpp_model import XllamacppModel

            return XllamacppModel.open(config)
        case HttpConfig():
            from adwright.lm.engine.http import HttpModel

            return HttpModel.open(config)
        case ScriptedConfig():
            from adwright.lm.engine.scripted import ScriptedModel

            return ScriptedModel(config)
