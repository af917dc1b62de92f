"""The engine of a command of `adwright lm serve`, by its options, or why there is none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adwright.cli.lm.adapters import lora_files
from adwright.core.errors import ConfigError

if TYPE_CHECKING:
    from adwright.lm.open_model import LocalConfig
    from adwright.lm.torch_engine.config import TorchConfig

__all__ = ["model_on_torch", "one_model"]


def one_model(
    model: str, engine: str, threads: int, device: str, offline: bool, loras: list[str] | None
) -> LocalConfig:
    """Raises ConfigError where another engine was asked for than the device needs."""
    from adwright.lm.open_model import local_config

    files = lora_files(loras)
    if device == "cpu":
        return local_config(engine, model, threads=threads, offline=offline, loras=files)
    if engine not in ("auto", "torch") or files:
        raise ConfigError(
            f"{'a file of --lora' if files else engine} does not compute on {device}",
            where=f"--device {device}",
            hint="leave --engine and --lora out, or --device",
        )
    from adwright.lm.torch_engine.config import TorchConfig
    from adwright.training.tuning.base import require_device

    require_device(device)
    return TorchConfig(model, device=device, threads=threads, offline=offline)


def model_on_torch(
    model: str, engine: str, threads: int, device: str, offline: bool, loras: list[str] | None
) -> TorchConfig:
    """Raises ConfigError where another engine or device was asked for, or what acts on one."""
    if device != "cpu":
        raise ConfigError(
            "adapters are served on the processor alone",
            where=f"--device {device}",
            hint="merge one into its base (`adwright tune merge`), or export it to peft's format "
            "and serve it with vLLM",
        )
    from adwright.lm.torch_engine.config import TorchConfig

    if engine not in ("auto", TorchConfig.engine):
        raise ConfigError(
            "adapters are served on torch alone",
            where=f"--engine {engine}",
            hint="leave --engine out",
        )
    if loras:
        raise ConfigError(
            "LoRAs in GGUF act on llama.cpp, and --adapters and --tune on torch",
            where="--lora",
            hint="put the folder that it was exported from under --adapters",
        )
    return TorchConfig(model, threads=threads, offline=offline)
