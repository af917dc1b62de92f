"""A program as it stands in its file, and how a session becomes what it was."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from adwright.core.config import from_jsonable, settings
from adwright.core.errors import ConfigError, ProgramError
from adwright.programs.keeping.program_log import ProgramLog
from adwright.programs.program import Program
from adwright.programs.runner import Session

__all__ = ["KeptPart", "KeptProgram", "read_kept"]


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

    Raises ConfigError, ValueError, LookupError or TypeError where it is none.
    """
    data = path.read_bytes()
    # What was begun when the process died was told nobody.
    whole = data[: data.rfind(b"\n") + 1]
    lines: Sequence[dict[str, Any]] = [json.loads(line) for line in whole.splitlines()]
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
    if len(whole) < len(data):
        os.truncate(path, len(whole))
    log = ProgramLog(path)
    told = (program_id, tenant, on_disconnect, int(made))
    return KeptProgram(*told, tuple(events), texts, errors, log)
