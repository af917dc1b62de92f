"""adwright programs run: a program from its file, here or in a service."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from adwright.cli.lm.serve import DEFAULT_MODEL, KEY_VARIABLE
from adwright.cli.shared import allowed_to_replace
from adwright.core.addresses import shown_address
from adwright.core.config import Ge, Le, Natural, settings
from adwright.core.errors import ConfigError, ProgramError

if TYPE_CHECKING:
    from adwright.programs.dispatch.terms import DispatchTerms
    from adwright.programs.frontend.remote import RemoteProgram
    from adwright.programs.program import Program
    from adwright.programs.runner import Session
    from adwright.service.programs.engine_room import EngineRoom, OpenableEngine, ServedText


# --------------------------------------------------------------------------------------------------
# The engines of a verb of `adwright programs`, by its options.

EngineKind = Literal["paged", "openvino"]
#: Those that `lm.engine.http` knows.
ServerKind = Literal["openai", "vllm", "sglang"]


@settings
class EngineChoice:
    """The engines of a verb. name: that calls may give their model. urls: of servers, one engine
    each, in the place of processes here. tokenizer: of their model; "": tokens are guessed, and
    chats are refused. tenants: that will use them. measure: how fast they are, where that is not
    known yet."""

    kind: EngineKind
    model: str
    name: str = ""
    engines: int = 1
    threads: int = 0
    offline: bool = False
    urls: tuple[str, ...] = ()
    dialect: ServerKind = "openai"
    chat: bool = False
    tokenizer: str = ""
    tenants: tuple[str, ...] = ("",)
    public: tuple[str, ...] = ()
    measure: bool = False

    def __post_init__(self) -> None:
        if self.model.startswith(("http://", "https://")):
            url, _, model = self.model.partition("#")
            object.__setattr__(self, "urls", (url,))
            object.__setattr__(self, "model", model)
        if self.public and (self.urls or self.kind != "paged"):
            raise ConfigError(
                "only our own engine keeps what is public apart from what is not",
                where="public",
                hint="take --engine paged, or leave --public out",
            )

    @property
    def called(self) -> str:
        """The name of the model for callers."""
        return self.name or self.model

    @property
    def says(self) -> str:
        """What runs it, in words."""
        return shown_address(", ".join(self.urls)) or f"{self.kind}, in processes of their own"

    def room(self, terms: DispatchTerms | None = None) -> tuple[EngineRoom, ServedText]:
        """The engines, not yet open, and what is known of their model's texts.

        Raises AssetError where there is no such model, MissingExtraError where a package is
        missing, ConfigError where the engine cannot read the model.
        """
        from adwright.programs.dispatch.terms import DispatchTerms
        from adwright.service.programs.engine_room import EngineRoom

        terms = terms or DispatchTerms()
        text = self._text()
        made = dict(enumerate(self._engines()))
        if len(self.tenants) == 1 and (self.urls or self.kind == "openvino"):
            # They may keep the prefixes of all together.
            terms = replace(terms, one_domain=True)
        room = EngineRoom(
            {f"e{at}": one for at, one in made.items()},
            text.count,
            model=self.called,
            terms=terms,
            measured_for=self.tenants[0] if self.measure else None,
        )
        return room, text

    def _text(self) -> ServedText:
        from adwright.service.programs.engine_room import guessed_text, text_of_model

        if self.urls and not self.tokenizer:
            return guessed_text(engine=self.dialect)
        kind = self.dialect if self.urls else self.kind
        model = self.tokenizer or self.model
        return text_of_model(model, engine=kind, offline=self.offline)

    def _engines(self) -> list[OpenableEngine]:
        from adwright.lm.open_model import LmSpec
        from adwright.programs.engines.opened import engine_of

        # Our own key is for callers of ours, and no server's.
        key = "OPENAI_API_KEY"
        specs = [LmSpec(self.model, url=url, key_variable=key) for url in self.urls]
        if not specs:
            one = LmSpec(self.model, threads=self.threads, offline=self.offline)
            specs = [replace(one, engine=self.kind)] * self.engines
        # A cache that knows no tenants is one tenant's, or is not used.
        domain = "" if len(self.tenants) == 1 else None
        return [
            engine_of(
                spec,
                name=self.called,
                domain=domain,
                public=self.public,
                dialect=self.dialect,
                chat=self.chat,
            )
            for spec in specs
        ]


# --------------------------------------------------------------------------------------------------
# adwright programs explain: what a program is, before any of it runs.


def explain(
    file: str,
    *,
    value: list[str] | None = None,
    engines: Annotated[int, Ge(1), Le(64)] = 1,
    svg: Path | None = None,
    html: Path | None = None,
    force: bool = False,
) -> None:
    """Say what a program is and what is asked of each of its calls; nothing is run.

    A line for each part: what it reads and writes, the objective that follows from the outputs
    asked for, its group (calls that feed one reader, of which none has to be early), the calls and
    tokens that are left on the longest way, and the engine that the scheduler would choose, worked
    out on simulated ones. What is wrong with the program is said with its place.

        adwright programs explain creative-team --engines 2 --svg team.svg

    Options:
        file: A program in JSON, or the name of one that comes along: creative-team.
        value: NAME=TEXT: what a variable is, in the place of what the file says; NAME=@FILE
            reads it; may be repeated.
        engines: Predict where calls go on so many engines.
        svg: Draw the graph into this file.
        html: Write the graph and the table as a page, too.
    """
    from adwright.core.atomic import atomic_write_text
    from adwright.programs.frontend import explain as explaining
    from adwright.programs.frontend.explain import predict_placement
    from adwright.programs.frontend.flow import read_program

    program = read_program(file, values_of(value))
    for path in filter(None, (svg, html)):
        allowed_to_replace(path, force=force)
    predicted = predict_placement(program, engines=engines)
    found = explaining.explain(program, predicted=predicted)
    typer.echo(found.text)
    if svg is not None:
        atomic_write_text(svg, found.svg)
    if html is not None:
        atomic_write_text(html, found.page(Path(file).stem))


def values_of(given: list[str] | None) -> dict[str, str]:
    """The texts of --value. Raises ConfigError for what is no pair, or a file that is not there."""
    from adwright.core.errors import ConfigError

    found: dict[str, str] = {}
    for one in given or ():
        name, sign, text = one.partition("=")
        if not sign or not name:
            raise ConfigError(f"{one[:80]!r} is no value", where="--value", hint="write NAME=TEXT")
        if text.startswith("@"):
            try:
                text = Path(text[1:]).read_text("utf-8")
            except (OSError, ValueError) as error:
                what = f"the text of {name} cannot be read: {error}"
                raise ConfigError(what, where=f"--value {one[:80]}", hint="name a file") from error
        found[name] = text
    return found


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
