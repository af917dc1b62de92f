"""adwright lm serve: a language model over HTTP, with its adapters, and while jobs tune others."""

from __future__ import annotations

import ipaddress
import json
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from adwright.core.config import Count, Ge, Le, Natural
from adwright.core.errors import ConfigError, MissingExtraError

if TYPE_CHECKING:
    from adwright.lm.native_engines.llamacpp_config import LoraFile
    from adwright.lm.open_model import EngineConfig, LmSpec
    from adwright.lm.serving.config import Drive, ServingConfig
    from adwright.lm.serving.engine import AdapterModels
    from adwright.lm.torch_engine.config import TorchConfig
    from adwright.service.lm.config import LmServiceConfig
    from adwright.training.tuning.coserve import Bounds
    from adwright.training.tuning.run import JobsRun


# --------------------------------------------------------------------------------------------------
# Options of `adwright lm` that name adapters, and what they mean.


def lora_files(asked: list[str] | None) -> tuple[LoraFile, ...]:
    """What --lora names: files, each with its scale. Raises ConfigError for a scale that is no
    number."""
    from adwright.lm.native_engines.llamacpp_config import LoraFile

    return tuple(LoraFile.of(one) for one in asked or ())


#: The environment variable that holds the key of the endpoint.
KEY_VARIABLE = "ADWRIGHT_LM_KEY"
DEFAULT_MODEL = "smollm2-135m-instruct"


class _Served(NamedTuple):
    """What is served: where, under which settings, and by which name the base is called."""

    host: str
    port: int
    settings: LmServiceConfig
    called: str


class _Tuning(NamedTuple):
    """Jobs that are tuned meanwhile."""

    jobs: JobsRun
    bounds: Bounds
    resume: bool
    every: float


def serve(
    *,
    model: str = DEFAULT_MODEL,
    engine: str = "auto",
    name: str = "",
    host: str = "127.0.0.1",
    port: Annotated[int, Ge(0), Le(65535)] = 8001,
    threads: Natural = 0,
    device: str = "cpu",
    max_running: Count = 16,
    max_queue: Natural = 64,
    allow_host: list[str] | None = None,
    max_seconds: Annotated[float, Ge(1)] = 300.0,
    keys: Path | None = None,
    loras: list[str] | None = None,
    adapters: Path | None = None,
    pool_mb: Count = 512,
    host_mb: Natural = 256,
    tune: Path | None = None,
    out: Path | None = None,
    resume: bool = False,
    token_bound: float = 0.2,
    first_bound: float = 0.6,
    tuning_share: float = 0.7,
    progress: Annotated[float, Ge(0)] = 30.0,
    offline: bool = False,
    dry_run: bool = False,
) -> None:
    """Serve a language model over HTTP until it is interrupted.

    /v1/chat/completions, /v1/completions, /v1/responses, /v1/embeddings, /v1/models and
    /v1/models/NAME speak the protocol of OpenAI, /tokenize and /detokenize that of vLLM; /healthz,
    /readyz and /metrics are for who looks after the service. Where ADWRIGHT_LM_KEY is set, or
    --keys given, callers send a key as a bearer token; without one, only this machine can be
    listened on, and web pages of other sites are refused.

    With --adapters requests for its adapters are computed together, or in turns; /v1/adapters says
    where each of them is, and POST /v1/adapters/rescan looks at the folder again. POST
    /v1/load_lora_adapter and /v1/unload_lora_adapter change one of them, for who has the key of
    ADWRIGHT_LM_KEY where tenants have others.

    With --tune the model that the file names is served while its jobs are tuned over the same
    weights, in the same process. Answers keep --token-bound and --first-bound, tuning has the rest
    of the time; longer bounds leave it more. OUT/NAME holds the adapter and report of each job, as
    `adwright tune jobs` writes them. Ctrl-C ends both: requests are answered, the step is finished
    and saved, and --resume goes on from there.

        adwright lm serve --tune jobs.toml --dry-run

        adwright lm serve --tune jobs.toml --token-bound 0.4

    Options:
        engine: auto takes OpenVINO where it can run the model, else torch; llamacpp any GGUF;
            paged is ours, for many requests that begin alike. `adwright lm models` lists them.
        name: Name of the model for callers; by default as --model.
        device: Where torch computes: cpu, or cuda; the other engines know the cpu alone.
        max_running: Requests that are computed at a time.
        max_queue: Requests that may wait; more get a 429.
        allow_host: Name that callers may have for this machine, and pages in a browser as their
            origin; may be repeated. Without a key: localhost and --host by default.
        max_seconds: The longest that a request may wait and be computed.
        keys: File with `tenant key` in each line: callers send one of the keys as a bearer
            token, and tenants have equal shares.
        loras (--lora): Answer with this LoRA in GGUF, as `adwright tune export` writes it:
            FILE.gguf, or FILE.gguf=SCALE; may be repeated, then all act at once; on llama.cpp.
        adapters: Serve the adapters in the sub-folders of this folder too, as `adwright tune`
            writes them, each as a model of its folder's name; of any method; on torch.
        pool_mb: MB for adapters in use, keys and values; with --adapters, --tune.
        host_mb: MB for adapters that are not in use; with --adapters, --tune.
        tune: Tune the jobs of this file (see `adwright tune jobs`) while serving, and serve
            each adapter when it is done; on torch.
        out: Folder for the run of --tune, instead of the file's.
        resume: Take up a run of --tune that was cut off.
        token_bound: With --tune: most seconds from one token of an answer to the next.
        first_bound: With --tune: most seconds from a request to its first token.
        tuning_share: With --tune: share of the time that tuning keeps where the bounds allow
            it.
        progress: With --tune: seconds between lines on steps, share and latencies; 0 for none.
    """
    need_lm_service()
    key = os.environ.get(KEY_VARIABLE, "")
    require_key(host, bool(key) or keys is not None)
    from adwright.lm.open_model import LmSpec
    from adwright.service.lm.config import LmServiceConfig, read_keys
    from adwright.web.gate import LOCAL_HOSTS

    tenants = {} if keys is None else read_keys(keys)
    names = tuple(allow_host or ()) or (() if key or tenants else (host, *LOCAL_HOSTS))
    settings = LmServiceConfig(
        max_running=max_running,
        max_queue=max_queue,
        max_seconds=max_seconds,
        key=key,
        keys=tenants,
        allowed_hosts=names,
    )
    tuning = _tuning(tune, out, (token_bound, first_bound, tuning_share), progress, resume=resume)
    if tuning is not None:
        model = _model_of(tuning.jobs, model, str(tune))
    spec = LmSpec(
        model,
        engine,
        loras=lora_files(loras),
        threads=threads,
        device=device,
        offline=offline,
    )
    served = _Served(host, port, settings, name or spec.model)
    if dry_run:
        _check(tuning, served, adapters)
    elif adapters is None and tuning is None:
        _serve_one(spec.config(), served)
    else:
        on_torch = _alone_on_torch(spec).on_torch()
        from adwright.lm.serving.config import ServingConfig

        drive: Drive = "thread" if tuning is None else "outside"
        bounds = ServingConfig(pool_mb << 20, host_mb << 20, rows=max_running, drive=drive)
        _serve_adapters(on_torch, bounds, served, adapters, tuning)


def _alone_on_torch(spec: LmSpec) -> LmSpec:
    """Itself. Raises ConfigError where it names another engine or device, or what acts on one."""
    if spec.device != "cpu":
        raise ConfigError(
            "adapters are served on the processor alone",
            where=f"--device {spec.device}",
            hint="merge one into its base (`adwright tune merge`), or export it to peft's format "
            "and serve it with vLLM",
        )
    if spec.engine not in ("auto", "torch"):
        raise ConfigError(
            "adapters are served on torch alone",
            where=f"--engine {spec.engine}",
            hint="leave --engine out",
        )
    if spec.loras:
        raise ConfigError(
            "LoRAs in GGUF act on llama.cpp, and --adapters and --tune on torch",
            where="--lora",
            hint="put the folder that it was exported from under --adapters",
        )
    return spec


def _serve_one(config: EngineConfig, served: _Served) -> None:
    from adwright.lm.open_model import open_model
    from adwright.service.lm.app import create_lm_app
    from adwright.web.server import listen, serve

    with listen(served.host, served.port) as door, closing(open_model(config)) as opened:
        lm = create_lm_app(served.settings, {served.called: opened})
        typer.echo(f"{served.called} on {opened.info.engine}: {opened.info.note or 'as it is'}")
        typer.echo(f"serving on http://{served.host}:{door.getsockname()[1]}/v1")
        serve(lm, door)


def _serve_adapters(
    config: TorchConfig,
    serving: ServingConfig,
    served: _Served,
    top: Path | None,
    tuning: _Tuning | None,
) -> None:
    from adwright.lm.serving.adapter_folder import AdapterFolder, open_base
    from adwright.service.lm.app import create_lm_app
    from adwright.service.lm.routes import Adapters
    from adwright.web.server import listen, serve

    if tuning is not None:
        _check_tuning(tuning, served, top)
    with listen(served.host, served.port) as door:
        opened = (
            closing(open_base(config, serving, name=served.called))
            if tuning is None
            else _tuned_beside(config, serving, served, tuning)
        )
        with opened as models:
            folder = None if top is None else AdapterFolder(models, top)
            scanned = None if folder is None else folder.rescan()
            lm = create_lm_app(served.settings, models, adapters=Adapters(models, folder))
            added = 0 if scanned is None else len(scanned.added)
            typer.echo(f"{served.called} on torch, with {added} adapters")
            for name, why in ({} if scanned is None else scanned.refused).items():
                typer.echo(f"not served: {name}: {why}", err=True)
            typer.echo(f"serving on http://{served.host}:{door.getsockname()[1]}/v1")
            serve(lm, door)


@contextmanager
def _tuned_beside(
    config: TorchConfig, serving: ServingConfig, served: _Served, tuning: _Tuning
) -> Iterator[AdapterModels]:
    """Yield models over a base on which jobs are tuned within the context."""
    from adwright.lm.torch_engine.model import load_causal
    from adwright.training.tuning.coserve import ServedBeside, TuningThread
    from adwright.training.tuning.run import LoadedJobs
    from adwright.tuning.packing.joint_lora import share_base

    base, tokens, note = load_causal(config)
    jobs = LoadedJobs(tuning.jobs, base, tokens.tokenizer, note)
    tree = share_base(base)
    with closing(
        ServedBeside(tree, tokens, name=served.called, note=note, config=serving)
    ) as models:
        thread = TuningThread(
            jobs,
            models,
            tuning.bounds,
            resume=tuning.resume,
            tell=lambda line: typer.echo(f"tuning: {line}", err=True),
            every=tuning.every,
        )
        thread.start()
        try:
            yield models
        finally:
            thread.close()


def _tuning(
    file: Path | None,
    out: Path | None,
    bounds: tuple[float, float, float],
    every: float,
    *,
    resume: bool,
) -> _Tuning | None:
    """What --tune asks for. Raises ConfigError that names file and key, or the option."""
    if file is None:
        if out is not None or resume:
            raise ConfigError(
                "only a run of --tune has a folder and can be resumed",
                where="--out" if out is not None else "--resume",
                hint="name the file of jobs by --tune",
            )
        return None
    from dataclasses import replace

    from adwright.training.tuning.coserve import Bounds
    from adwright.training.tuning.run import read_jobs

    asked = read_jobs(file)
    asked = asked if out is None else replace(asked, out=out)
    return _Tuning(asked, Bounds(*bounds), resume, every)


def _model_of(jobs: JobsRun, model: str, file: str) -> str:
    """The base of the jobs. Raises ConfigError where --model names another."""
    if model not in (DEFAULT_MODEL, jobs.model):
        raise ConfigError(
            f"the jobs are tuned over {jobs.model}, and --model names {model}",
            where=f"{file}: model",
            hint="leave --model out, or write it into the file",
        )
    return jobs.model


def _check_tuning(tuning: _Tuning, served: _Served, top: Path | None) -> None:
    from adwright.training.tuning.coserve import check_coserving

    names = [served.called]
    if top is not None and top.is_dir():
        names += [folder.name for folder in top.iterdir() if folder.is_dir()]
    check_coserving(tuning.jobs, names, resume=tuning.resume)


def _check(tuning: _Tuning | None, served: _Served, top: Path | None) -> None:
    """Check what can be checked without the model, and print it."""
    from adwright.core.config import to_jsonable

    if top is not None and not top.is_dir():
        raise ConfigError("there is no such folder", where=f"--adapters {top}", hint="make it")
    told: dict[str, object] = {"model": served.called, "address": f"{served.host}:{served.port}"}
    if tuning is not None:
        _check_tuning(tuning, served, top)
        told |= {"bounds": to_jsonable(tuning.bounds), "tune": to_jsonable(tuning.jobs)}
    typer.echo(json.dumps(told, indent=1))


def require_key(host: str, has_key: bool) -> None:
    """Raise ConfigError where others than this machine could call without a key."""
    try:
        near = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        near = False
    if not near and not has_key:
        raise ConfigError(
            "other machines could use the model without a key",
            where=f"--host {host}",
            hint=f"set {KEY_VARIABLE}, give --keys, or listen on 127.0.0.1",
        )


def need_lm_service() -> None:
    """Raise MissingExtraError where a package of the HTTP service is missing."""
    for name in ("fastapi", "prometheus_client", "uvicorn"):
        if find_spec(name) is None:
            raise MissingExtraError("the HTTP service", "service")
