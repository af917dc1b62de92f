"""Options that several verbs of `adwright tune` share, how they read settings and print a loss."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any

import typer

from adwright.core.errors import ConfigError

__all__ = [
    "Base",
    "Batch",
    "Connect",
    "Data",
    "Device",
    "Epochs",
    "Group",
    "Host",
    "MaxLength",
    "Model",
    "Port",
    "Rate",
    "TunedRun",
    "Wait",
    "as_loss",
    "read_settings",
]

Data = Annotated[
    Path,
    typer.Option(
        "--data", help="JSON lines with a prompt and an answer in each, or OpenAI's `messages`."
    ),
]
Model = Annotated[
    str, typer.Option("--model", help="The default model, a folder, a .gguf file, or a name.")
]
Base = Annotated[str, typer.Option("--model", help="The base that it was tuned on, as for `run`.")]
TunedRun = Annotated[
    Path, typer.Argument(help="What `adwright tune run` wrote, or the `tuned` in it.")
]
Group = Annotated[
    str, typer.Option("--group", help="Field whose rows are held out for validation together.")
]
Epochs = Annotated[int, typer.Option("--epochs", min=1, help="Passes over the texts.")]
Batch = Annotated[int, typer.Option("--batch", min=1, help="Texts per step.")]
Rate = Annotated[
    float | None,
    typer.Option("--rate", help="Learning rate; by default the one that suits the method."),
]
Device = Annotated[
    str, typer.Option("--device", help="Where it is computed, as torch names it: cpu, cuda.")
]
MaxLength = Annotated[int, typer.Option("--max-length", min=8, help="Tokens per text.")]
Host = Annotated[str, typer.Option("--host", help="Address to listen on; nothing is encrypted.")]
Port = Annotated[int, typer.Option("--port", min=0, help="0 for a free one.")]
Wait = Annotated[float, typer.Option("--wait", help="Seconds to wait for the other side.")]
Connect = Annotated[
    str,
    typer.Option(
        "--connect",
        help="HOST:PORT/TOKEN that the other side printed; HOST:PORT where ADWRIGHT_OFFSITE_TOKEN "
        "holds the token; or @FILE, whose first line is one of them.",
    ),
]


def as_loss(value: float | None) -> str:
    """The loss with four digits; a dash where there is none."""
    return "-" if value is None else f"{value:.4f}"


def read_settings(settings: list[str], dropout: float | None = None) -> dict[str, Any]:
    """Read NAME=VALUE as TOML; a value that is not TOML is a text."""
    found: dict[str, Any] = {} if dropout is None else {"dropout": dropout}
    for one in settings:
        name, given, value = one.partition("=")
        if not given or not name.strip().isidentifier():
            raise ConfigError("a setting is NAME=VALUE", where=f"--set {one}", hint="--set rank=16")
        try:
            found[name.strip()] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            found[name.strip()] = value.strip()
    return found
