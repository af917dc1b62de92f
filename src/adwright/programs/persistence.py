"""Programs that outlive their process: a folder of files, each line one thing that happened.

    {"begin": ["prog_4f...", "shop", "detach", 1796000000]}     id, tenant, on_disconnect, made
    {"part": {"calls": [...], ...}, "key": "k1", "digest": "ab.."}     what was submitted
    {"text": ["writer.ad", "Drink tea."]}                       a chain has written its text
    {"error": ["legal.view", "no engine takes it"]}             or there is none
    {"set": ["brief", "..."]}  {"fail": ["brief", "..."]}  {"cancel": "ad"}    said from outside

A line is written before anybody is told of it. What clients send is flushed to the disk, since they
will not send it again; a text that a chain wrote is handed to the system, which survives the
process: where the machine dies, it is written once more. Whoever starts next reads the lines, and
chains that have a text there get it instead of an engine, so that all variables become what they
were and what was left goes on. Steps are computed again, traces begin anew. One process has the
folder at a time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from adwright.core.atomic import claim, resource_error
from adwright.core.config import from_jsonable, settings, to_jsonable
from adwright.core.errors import AdwrightError, ConfigError, ProgramError, ResourceError
from adwright.core.journal import Flush, Journal, line_of, read_rows
from adwright.programs.program import Program
from adwright.programs.runner import AskedChain, ChainEngine, Saying, Session

_log = logging.getLogger("adwright.programs")
#: Seconds between two looks whether another process still has the folder.
_LOOK = 0.1
_LOCK, _SUFFIX = "lock", ".jsonl"
#: Characters of what went wrong that are kept.
_SHOWN = 500
_NONE: Mapping[str, str] = {}


class ProgramLog:
    """The file of one program, at its end. Raises ResourceError where it cannot be written."""

    def __init__(self, path: Path) -> None:
        self._journal: Journal | None = Journal(path, private=True)
        self._path = path

    def begin(self, program_id: str, tenant: str, on_disconnect: str, made: int) -> None:
        """A program is opened."""
        self._write({"begin": [program_id, tenant, on_disconnect, made]})

    def part(self, part: Program, key: str, digest: str) -> None:
        """A part of it is submitted."""
        told = {name: value for name, value in to_jsonable(part).items() if value}
        self._write({"part": told, "key": key, "digest": digest}, flush="now")

    def text(self, node_id: str, text: str) -> None:
        """A chain has its text."""
        self._write({"text": [node_id, text]})

    def failure(self, node_id: str, what: str) -> None:
        """A chain will have none."""
        self._write({"error": [node_id, what]})

    def said(self, kind: Literal["set", "fail", "cancel"], name: str, text: str = "") -> None:
        """A variable was set, failed or cancelled from outside."""
        self._write({kind: [name, text]}, flush="now")

    def close(self) -> None:
        """Nothing more is written; any number of times."""
        if self._journal is not None:
            self._journal.close()
            self._journal = None

    def forget(self) -> None:
        """The program is over."""
        self.close()
        self._path.unlink(missing_ok=True)

    def _write(self, line: Mapping[str, Any], *, flush: Flush = "system") -> None:
        """Do nothing if closed: a task that is cancelled late may still write."""
        if self._journal is not None:
            with self._journal.writing():
                self._journal.append([line_of(line)], flush=flush)


@dataclass(frozen=True)
class KeptPart:
    """A part that was submitted. key, digest: with which."""

    program: Program
    key: str
    digest: str


@settings
class KeptProgram:
    """What is known of a program. made: seconds since 1970. events: parts, and what was said of
    variables from outside, ("set", name, text), ("fail", name, what) or ("cancel", name, ""), in
    order. texts, errors: what became of chains, by their ids. log: where it goes on."""

    program_id: str
    tenant: str
    on_disconnect: Literal["detach", "cancel"]
    made: int
    events: tuple[KeptPart | tuple[str, str, str], ...]
    texts: Mapping[str, str]
    errors: Mapping[str, str]
    log: ProgramLog

    def replay(self, session: Session, submit: Callable[[KeptPart], None]) -> tuple[str, ...]:
        """Do all of it again. submit: a part. Returns the variables whose texts are known, and are
        there once they are asked for.

        The session has to run on `KeptChains` that have these texts.
        """
        for event in self.events:
            # What was refused then, is refused again.
            with suppress(ConfigError, ProgramError):
                match event:
                    case KeptPart():
                        submit(event)
                    case ("set", name, text):
                        session.set(name, text)
                    case ("fail", name, text):
                        session.fail(name, text)
                    case (_, name, _):
                        session.cancel(name)
        nodes = session.graph.nodes
        return tuple(nodes[one].outputs[0] for one in self.texts if one in nodes)


def read_kept(path: Path) -> KeptProgram | None:
    """The program of a file; None where nothing was submitted, and then the file is removed.

    Raises an AdwrightError, ValueError, LookupError or TypeError where it is none.
    """
    lines = read_rows(path, dict)
    events: list[KeptPart | tuple[str, str, str]] = []
    texts: dict[str, str] = {}
    errors: dict[str, str] = {}
    for line in lines[1:]:
        match line:
            case {"part": part, "key": str(key), "digest": str(digest)}:
                events.append(KeptPart(from_jsonable(Program, part), key, digest))
            case {"text": [str(node_id), str(text)]}:
                texts[node_id] = text
            case {"error": [str(node_id), str(what)]}:
                errors[node_id] = what
            case _:
                ((kind, (name, text)),) = line.items()
                events.append((str(kind), str(name), str(text)))
    if not any(isinstance(one, KeptPart) for one in events):
        path.unlink()
        return None
    program_id, tenant, on_disconnect, made = lines[0]["begin"]
    told = (program_id, tenant, on_disconnect, int(made))
    return KeptProgram(*told, tuple(events), texts, errors, ProgramLog(path))


class KeptChains:
    """Runs the chains of one program, and keeps what becomes of them. texts, errors: of chains that
    have run before, which are not run again."""

    def __init__(
        self,
        chains: ChainEngine,
        log: ProgramLog,
        texts: Mapping[str, str] = _NONE,
        errors: Mapping[str, str] = _NONE,
    ) -> None:
        self._chains, self._log = chains, log
        self._texts, self._errors = texts, errors

    async def generate(self, asked: AskedChain, say: Saying) -> str:
        """The text of a chain: kept before it is told. Raises ProgramError for one that failed
        before; ResourceError where nothing can be kept."""
        node_id = asked.chain.node_id
        if node_id in self._texts:
            return self._texts[node_id]
        if node_id in self._errors:
            raise ProgramError(self._errors[node_id])
        try:
            text = await self._chains.generate(asked, say)
        except Exception as error:
            told = str(error) if isinstance(error, AdwrightError) else repr(error)
            self._log.failure(node_id, told[:_SHOWN])
            raise
        self._log.text(node_id, text)
        return text


class KeptFolder:
    """A folder of programs. patience: seconds that the process before may take to end. Raises
    ResourceError where it cannot be used."""

    def __init__(self, folder: str | Path, *, patience: float = 30.0) -> None:
        self._folder, self._patience = Path(folder), patience
        self._let_go: Callable[[], None] | None = None

    async def open(self) -> None:
        """Make it, if need be, and wait until no other process has it. Raises ResourceError where
        one does for long."""
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise resource_error(error, self._folder) or error from error
        for _ in range(1 + round(self._patience / _LOOK)):
            self._let_go = claim(self._folder / _LOCK, mode=0o600)
            if self._let_go is not None:
                return
            await asyncio.sleep(_LOOK)
        raise ResourceError(
            "another service keeps its programs there",
            where=str(self._folder),
            hint="end it, or give each service a folder of its own",
        )

    def close(self) -> None:
        """Let others have it."""
        if self._let_go is not None:
            self._let_go()
            self._let_go = None

    def new(self, program_id: str, tenant: str, on_disconnect: str, made: int) -> ProgramLog:
        """The log of a program that is opened."""
        log = ProgramLog(self._folder / f"{program_id}{_SUFFIX}")
        log.begin(program_id, tenant, on_disconnect, made)
        return log

    def programs(self) -> Iterator[KeptProgram]:
        """The programs that are there, the oldest first. One that cannot be read is named, and left
        as it is."""
        found = [path for path in self._folder.iterdir() if path.suffix == _SUFFIX]
        for path in sorted(found, key=lambda one: one.stat().st_ctime):
            try:
                program = read_kept(path)
            except (OSError, ValueError, LookupError, TypeError, AdwrightError) as error:
                _log.warning("a kept program cannot be read: %s: %s", path, error)
                continue
            if program is not None:
                yield program
