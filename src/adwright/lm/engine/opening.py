"""Every engine behind one function.

    with closing(open_model(TorchConfig())) as model:
        ...

To add an engine: its module with a config and a class, one line in the union, one case.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from adwright.core.errors import MissingExtraError
from adwright.lm.engine.http_model import HttpConfig
from adwright.lm.engine.openvino_model import OpenVinoConfig
from adwright.lm.engine.scripted import ScriptedConfig
from adwright.lm.engine.torch_config import TorchConfig
from adwright.lm.engine.xllamacpp_config import XllamacppConfig

if TYPE_CHECKING:
    from adwright.lm.engine.model import LanguageModel

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
                from adwright.lm.engine.torch_model import TorchModel
            except ImportError as error:
                raise MissingExtraError("language models on torch", "lm") from error
            return TorchModel.open(config)
        case OpenVinoConfig():
            from adwright.lm.engine.openvino_model import OpenVinoModel

            return OpenVinoModel.open(config)
        case XllamacppConfig():
            from adwright.lm.engine.xllamacpp_model import XllamacppModel

            return XllamacppModel.open(config)
        case HttpConfig():
            from adwright.lm.engine.http_model import HttpModel

            return HttpModel.open(config)
        case ScriptedConfig():
            from adwright.lm.engine.scripted import ScriptedModel

            return ScriptedModel(config)
