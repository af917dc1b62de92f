"""The engines of a verb of `adwright programs`, by its options."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from adwright.core.errors import ConfigError

if TYPE_CHECKING:
    from adwright.programs.dispatch.terms import DispatchTerms
    from adwright.service.programs.engine_room import EngineRoom, OpenableEngine
    from adwright.service.programs.texts import ServedText

__all__ = ["EngineKind", "Engines", "Offline", "ProgramEngine", "ProgramThreads", "local_room"]

EngineKind = Literal["paged", "openvino"]

ProgramEngine = Annotated[
    EngineKind,
    typer.Option(
        "--engine",
        help="paged: our own, on torch, which shares what prompts have in common between calls, "
        "programs and adapters; openvino: OpenVINO GenAI, the fastest on a CPU.",
    ),
]
Engines = Annotated[
    int,
    typer.Option(
        "--engines", min=1, max=64, help="Engines, each a process with the model; calls are placed."
    ),
]
ProgramThreads = Annotated[
    int, typer.Option("--threads", min=0, help="Threads of each engine; 0 takes what fits.")
]
Offline = Annotated[
    bool, typer.Option("--offline", help="Never download; use what the cache holds.")
]


def local_room(
    kind: EngineKind,
    model: str,
    *,
    name: str = "",
    engines: int = 1,
    threads: int = 0,
    offline: bool = False,
    tenants: Sequence[str] = ("",),
    terms: DispatchTerms | None = None,
) -> tuple[EngineRoom, ServedText]:
    """Engines of this machine, not yet open, and the tokeniser of their model.

    name: that calls may give. tenants: that will use them.
    Raises AssetError where there is no such model, MissingExtraError where a package is missing.
    """
    from dataclasses import replace

    from adwright.programs.dispatch.terms import DispatchTerms
    from adwright.service.programs.engine_room import EngineRoom
    from adwright.service.programs.texts import text_of_model

    text = text_of_model(model, engine=kind, offline=offline)
    terms = terms or DispatchTerms()
    made = {
        f"e{at}": _engine(kind, model, name or model, threads, offline, tenants)
        for at in range(engines)
    }
    if kind == "openvino" and len(tenants) == 1:
        terms = replace(terms, one_domain=True)
    return EngineRoom(made, text.count, model=name or model, terms=terms), text


def _engine(
    kind: EngineKind, model: str, name: str, threads: int, offline: bool, tenants: Sequence[str]
) -> OpenableEngine:
    if kind == "paged":
        from adwright.lm.torch_engine.config import TorchConfig
        from adwright.programs.engines.paged_engine import PagedEngine, PagedEngineConfig

        torch = TorchConfig(model, threads=threads, offline=offline)
        return PagedEngine(PagedEngineConfig(torch, name=name))
    from adwright.lm.native_engines.openvino_model import OpenVinoConfig
    from adwright.programs.dispatch.ready import ProgramSeat
    from adwright.programs.engines.openvino import openvino_engine

    if not OpenVinoConfig.can_open(model):
        hint = "name a GGUF file or a folder that Optimum Intel exported, or take --engine paged"
        raise ConfigError("OpenVINO does not read this model", where=model, hint=hint)
    # Its cache knows no tenants: it is one tenant's, or there is none.
    (first, *others) = tenants
    domain = None if others else ProgramSeat("", first, first, False, 0.0).salt
    config = OpenVinoConfig(model, threads=threads, offline=offline)
    return openvino_engine(config, domain=domain, name=name)
