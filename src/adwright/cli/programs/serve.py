"""adwright programs serve: programs over HTTP, on engines of this machine."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adwright.cli.lm.serve import DEFAULT_MODEL, KEY_VARIABLE, need_lm_service, require_key
from adwright.cli.programs.run import EngineChoice, EngineKind, ServerKind
from adwright.core.addresses import shown_address
from adwright.core.config import Count, Ge, Le, Natural, to_jsonable
from adwright.core.errors import AdwrightError, ConfigError

if TYPE_CHECKING:
    from adwright.programs.dispatch.terms import DispatchTerms
    from adwright.service.programs.book import ProgramServiceConfig


def serve(
    model: str = DEFAULT_MODEL,
    *,
    engine: EngineKind = "paged",
    engines: Annotated[int, Ge(1), Le(64)] = 1,
    engine_url: list[str] | None = None,
    dialect: ServerKind = "openai",
    chat: bool = False,
    tokenizer: str = "",
    name: str = "",
    host: str = "127.0.0.1",
    port: Annotated[int, Ge(0), Le(65535)] = 8002,
    key_file: Path | None = None,
    weight: list[str] | None = None,
    public: list[Path] | None = None,
    allow_host: list[str] | None = None,
    keep: Path | None = None,
    keep_seconds: Annotated[float, Ge(1)] = 600.0,
    tenant_programs: Count = 64,
    tenant_tokens: Count = 4_000_000,
    tenant_in_flight: Count = 262_144,
    threads: Natural = 0,
    measure: bool = True,
    offline: bool = False,
    dry_run: bool = False,
) -> None:
    """Serve programs over HTTP until it is interrupted.

    POST /v1/programs takes a whole graph in one call; its texts pass from call to call inside the
    service. GET /v1/programs/ID tells how far it is, /v1/programs/ID/variables/NAME waits for a
    text (?wait=30), its /stream tells it as it is written; PUT sets one that is awaited, DELETE
    cancels it or all of the program; POST /v1/programs/ID/calls adds to it, and
    /v1/programs/ID/trace says what happened.

    Clients of OpenAI's protocol find /v1/chat/completions, /v1/responses and /v1/models. /healthz,
    /readyz and /metrics are for who looks after the service. Where ADWRIGHT_LM_KEY is set, or
    --key-file given, callers send a key as a bearer token.

    Each engine is a process of its own, or with --engine-url a server elsewhere: one that dies is
    started again, or asked until it is back, and its calls are placed anew. With --keep programs
    outlive the service, too.

        adwright programs serve --engines 2 --threads 1

        adwright programs serve llama --engine-url http://10.0.0.7:8000/v1 --dialect vllm

        adwright programs run creative-team --url http://127.0.0.1:8002

    Options:
        model: The default model, a folder, a .gguf file, or OWNER/NAME on the hub.
        engine: paged: our own, on torch, which shares what prompts have in common between
            calls, programs and adapters; openvino: OpenVINO GenAI, the fastest on a CPU.
        engines: Engines, each a process with the model; calls are placed.
        engine_url: An OpenAI-compatible server, http://HOST:PORT/v1, as an engine in the place
            of a process here; MODEL is its name there; may be repeated.
        dialect: Which server that is: vllm and sglang take further hints.
        chat: Those servers have /chat/completions alone.
        tokenizer: Model whose tokeniser counts for those servers, as MODEL is named here;
            without it tokens are guessed, and chats are refused.
        name: Name of the model for callers; by default as MODEL.
        key_file (--key-file --keys): File with `tenant key` in each line: callers send one of
            the keys as a bearer token. A tenant sees its own programs alone, and shares no
            prefix with others.
        weight: TENANT=WEIGHT: of two tenants that have enough to do, who gets how much; 1 by
            default; may be repeated.
        public: File with a text that prompts of all tenants may begin with and share, such as
            the rules of a house; what stands behind it is never shared; may be repeated.
        allow_host: Name that callers may have for this machine, and pages in a browser as their
            origin; may be repeated. Without a key: localhost and --host by default.
        keep: Folder that programs are kept in, so that they go on after the service was killed
            or started again; one service at a time.
        keep_seconds: A program ends when nobody has called for it for so long.
        tenant_programs: Open programs of one tenant.
        tenant_tokens: Tokens of one tenant's calls that wait or run; more: 429.
        tenant_in_flight: Tokens of one tenant's calls on the engines at a time.
        threads: Threads of each engine; 0 takes what fits.
        measure: Measure how fast engines are at the first start on this machine, for some
            seconds; calls are placed and bounded by it.
    """
    need_lm_service()
    key = os.environ.get(KEY_VARIABLE, "")
    require_key(host, bool(key) or key_file is not None)
    from adwright.service.lm.config import read_keys
    from adwright.web.gate import LOCAL_HOSTS

    keys = {} if key_file is None else read_keys(key_file)
    names = tuple(allow_host or ()) or (() if key or keys else (host, *LOCAL_HOSTS))
    kept, quota = (keep, keep_seconds), (tenant_programs, tenant_tokens)
    settings = _settings(key, keys, names, kept, quota)
    terms = _terms(_weights(weight, keys), tenant_in_flight)
    choice = EngineChoice(
        engine,
        model,
        name=name,
        engines=engines,
        threads=threads,
        offline=offline,
        urls=tuple(engine_url or ()),
        dialect=dialect,
        chat=chat,
        tokenizer=tokenizer,
        tenants=_tenants(key, keys),
        public=_texts(public),
        measure=measure,
    )
    if dry_run:
        told = {**to_jsonable(choice), "host": host, "port": port}
        typer.echo(shown_address(json.dumps(told, indent=1)))
    else:
        _serve(choice, settings, terms, host, port)


def _serve(
    choice: EngineChoice,
    settings: ProgramServiceConfig,
    terms: DispatchTerms,
    host: str,
    port: int,
) -> None:
    from adwright.service.programs.app import create_programs_app
    from adwright.service.programs.engine_room import EngineMeasures
    from adwright.web.server import listen, serve

    with listen(host, port) as door:
        room, text = choice.room(terms)
        app = create_programs_app(
            settings,
            room,
            {choice.called: text},
            ready=room.asked,
            beside=room,
            measures=[EngineMeasures(room)],
        )
        typer.echo(f"{choice.called} on {len(room.ready())} engines: {choice.says}")
        typer.echo(f"serving on http://{host}:{door.getsockname()[1]}/v1")

        def error() -> AdwrightError | None:
            return room.error or app.state.error

        # Why engines or kept programs could not be opened is said below, once.
        logging.getLogger("uvicorn.error").addFilter(lambda _: error() is None)
        try:
            serve(app, door)
        except SystemExit:
            found = error()
            if found is None:
                raise
            raise found from None


def _settings(
    key: str,
    keys: Mapping[str, str],
    hosts: tuple[str, ...],
    kept: tuple[Path | None, float],
    quota: tuple[int, int],
) -> ProgramServiceConfig:
    """kept: the folder, if any, and seconds. quota: programs and tokens of a tenant."""
    from adwright.service.programs.book import ProgramServiceConfig

    (folder, seconds), (programs, tokens) = kept, quota
    return ProgramServiceConfig(
        key=key,
        keys=keys,
        keep_folder=folder,
        keep_seconds=seconds,
        tenant_programs=programs,
        tenant_queued_tokens=tokens,
        queued_tokens=4 * tokens,
        allowed_hosts=hosts,
    )


def _tenants(key: str, keys: Mapping[str, str]) -> tuple[str, ...]:
    """Without keys, and with the one of the environment, there is the unnamed tenant."""
    return (*(("",) if key or not keys else ()), *keys)


def _texts(files: list[Path] | None) -> tuple[str, ...]:
    """Raises ConfigError for a file that cannot be read."""
    try:
        return tuple(one.read_text("utf-8") for one in files or ())
    except (OSError, ValueError) as error:
        what = f"a public text cannot be read: {error}"
        raise ConfigError(what, where="--public", hint="name text files in UTF-8") from error


def _terms(weights: Mapping[str, float], in_flight: int) -> DispatchTerms:
    from adwright.programs.dispatch.terms import AdmissionBounds, DispatchTerms

    # What is let in is counted program by program, when it comes.
    admission = AdmissionBounds(all_tokens=None, tenant_in_flight=in_flight)
    return DispatchTerms(weights=weights, admission=admission)


def _weights(given: list[str] | None, tenants: Mapping[str, str]) -> dict[str, float]:
    """Raises ConfigError for what is no pair, or no tenant's."""
    found: dict[str, float] = {}
    for one in given or ():
        tenant, sign, number = one.rpartition("=")
        try:
            found[tenant] = float(number)
        except ValueError:
            sign = ""
        if not sign:
            hint = "write TENANT=2"
            raise ConfigError(f"{one!r} is no weight of a tenant", where="--weight", hint=hint)
        if tenant not in tenants:
            hint = f"tenants are {', '.join(tenants) or 'those of --key-file'}"
            raise ConfigError(f"there is no tenant {tenant!r}", where="--weight", hint=hint)
    return found
