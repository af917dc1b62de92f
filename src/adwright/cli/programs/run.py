"""adwright programs run: a program from its file, here or in a service."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from adwright.cli.lm.serve import DEFAULT_MODEL, KEY_VARIABLE
from adwright.cli.programs.engines import (
    EngineChoice,
    EngineKind,
)
from adwright.cli.programs.explain import values_of
from adwright.core.config import Ge, Le, Natural
from adwright.core.errors import ConfigError, ProgramError

if TYPE_CHECKING:
    from adwright.programs.frontend.remote import RemoteProgram
    from adwright.programs.program import Program
    from adwright.programs.runner import Session


_POLL = 0.5


def run(
    file: str,
    *,
    value: list[str] | None = None,
    url: str = "",
    model: str = DEFAULT_MODEL,
    engine: EngineKind = "paged",
    engines: Annotated[int, Ge(1), Le(64)] = 1,
    threads: Natural = 0,
    offline: bool = False,
    dry_run: bool = False,
) -> None:
    """Run a program, and print its outputs as they come.

    Without --url the model is opened for it, on engines of its own. The key of a service is read
    from ADWRIGHT_LM_KEY. Outputs go to standard output, each under its name where there are
    several; how many calls are done goes to standard error.

        adwright programs run creative-team --value product="black tea, 100 g"

        adwright programs run creative-team --url http://127.0.0.1:8002

        adwright programs run team.json --dry-run

    Options:
        file: A program in JSON, or the name of one that comes along: creative-team.
        value: NAME=TEXT: what a variable is, in the place of what the file says; NAME=@FILE
            reads it; may be repeated.
        url: Run it in a service, as `adwright programs serve` starts one.
        model: The default model, a folder, a .gguf file, OWNER/NAME on the hub, or a model of a
            server, http://HOST:PORT/v1#NAME; with settings as in FOLDER+adapter=FOLDER.
        engine: paged: our own, on torch, which shares what prompts have in common between
            calls, programs and adapters; openvino: OpenVINO GenAI, the fastest on a CPU.
        engines: Engines, each a process with the model; calls are placed.
        threads: Threads of each engine; 0 takes what fits.
        dry_run: Check the program and say what it is; run nothing.
    """
    from adwright.programs.frontend.explain import explain
    from adwright.programs.frontend.flow import read_program

    program = read_program(file, values_of(value))
    explained = explain(program)
    if program.awaited:
        (first, *_) = program.awaited
        what = f"nobody would set {first}"
        raise ConfigError(what, where=file, hint=f"give it: --value {first}=TEXT")
    if not program.outputs:
        hint = 'list what you want in "outputs"'
        raise ConfigError("nothing is asked for", where=file, hint=hint)
    if dry_run:
        typer.echo(explained.text)
        chains = len(explained.graph.chains)
        typer.echo(f"The program is sound: {chains} calls. Nothing was run.", err=True)
        return
    choice = EngineChoice(engine, model, engines=engines, threads=threads, offline=offline)
    failed = asyncio.run(_there(program, url) if url else _here(program, choice))
    if failed:
        raise failed[0]


async def _here(program: Program, choice: EngineChoice) -> list[ProgramError]:
    from adwright.programs.runner import Session

    room, _ = choice.room()
    async with room:
        chains = room.for_program("program", "")
        async with Session(chains) as session:
            chains.watch(session)
            session.submit(program)
            return await _printed(program, session)


async def _there(program: Program, url: str) -> list[ProgramError]:
    from adwright.programs.frontend.remote import RemoteProgram

    remote = RemoteProgram(url, key=os.environ.get(KEY_VARIABLE, ""), on_disconnect="cancel")
    remote.submit(program)
    try:
        return await _printed(program, remote)
    finally:
        await remote.close()


async def _printed(program: Program, runtime: Session | RemoteProgram) -> list[ProgramError]:
    """Print each output when it is there; returns why others are not."""
    wanted = {one.variable: one.objective for one in program.outputs}
    tasks = {
        asyncio.create_task(runtime.get(name, objective)): name
        for name, objective in wanted.items()
    }
    failed: list[ProgramError] = []
    async with _counted(runtime):
        try:
            while tasks:
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in [one for one in tasks if one in done]:
                    name = tasks.pop(task)
                    try:
                        text = task.result()
                    except ProgramError as error:
                        failed.append(error)
                        continue
                    typer.echo(text if len(wanted) == 1 else f"== {name}\n{text}\n")
        finally:
            for task in tasks:
                task.cancel()
    return failed


@asynccontextmanager
async def _counted(runtime: Session | RemoteProgram) -> AsyncIterator[None]:
    """Say meanwhile how many calls are done."""
    from adwright.core.progress import progress

    done, total = await _calls(runtime)
    with progress(total, "program", "calls") as bar:

        async def look() -> None:
            while True:
                done, _ = await _calls(runtime)
                bar.advance(max(0, done - bar.done))
                await asyncio.sleep(_POLL)

        task = asyncio.create_task(look())
        try:
            yield
            done, _ = await _calls(runtime)
            bar.advance(max(0, done - bar.done))
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def _calls(runtime: Session | RemoteProgram) -> tuple[int, int]:
    """Calls that are over, and all that an output needs or needed."""
    from adwright.programs.runner import Session

    if isinstance(runtime, Session):
        chains = runtime.graph.chains
        return sum(runtime.variable(one.output).is_settled for one in chains), len(chains)
    nodes = [one for one in (await runtime.status())["nodes"] if one["kind"] == "chain"]
    return sum(one["state"] in ("done", "failed") for one in nodes), len(nodes)
