"""Mechanisms of which the house has one: where they are, and who makes a second. A second.

    python -m benchmarks.common.one_of_each          # fails where there is a second

Each is known by what it cannot do without: who opens a file to append to it writes a log, who
starts a process by itself watches it by itself. What is left beside the one is named here with why
it is none; such a line that nothing needs any more fails, too.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.common._checkouts import ROOT

#: Modes of files that grow at their end.
_APPEND = {"a", "ab", "a+", "ab+", "at"}


#: By which classes are known.
_ENDS = ("Supervisor", "Restarts", "Queue")


@dataclass(frozen=True)
class Mechanism:
    """name: of several. file: where the one is. signs: what only it does: names of modules with
    what is taken of them, a class as it is defined (`class *Supervisor`), a text in quotes, or
    "append" for a file that is opened to grow. beside: who does so as well, and is none."""

    name: str
    file: str
    signs: frozenset[str]
    beside: Mapping[str, str] = field(default_factory=dict)


_LOCK = "a lock that says that something is under way; what it holds is written once"
MECHANISMS = (
    Mechanism(
        "append-only logs",
        "core/journal.py",
        frozenset(("append", "os.O_APPEND", "os.fdatasync")),
        {"service/agent_worker.py": _LOCK},
    ),
    Mechanism(
        "writers of whole files and folders",
        "core/atomic.py",
        frozenset(("os.fsync",)),
        {"service/agent_worker.py": _LOCK},
    ),
    Mechanism(
        "locks of files",
        "core/atomic.py",
        frozenset(("fcntl.flock", "fcntl.lockf")),
        {
            "core/journal.py": "of the journal itself, shared by those who read",
            "service/agent_worker.py": _LOCK,
        },
    ),
    Mechanism(
        "child processes",
        "core/child_process.py",
        frozenset(
            (
                *("subprocess.Popen", "subprocess.run", "subprocess.check_output"),
                *("subprocess.call", "subprocess.check_call", "os.fork", "os.posix_spawn"),
                *("multiprocessing.Process", "multiprocessing.Pool", "multiprocessing.get_context"),
                "concurrent.futures.ProcessPoolExecutor",
            )
        ),
        {
            "agent/drivers/phone_check.py": "a command that ends, whose answer is waited for",
            "core/assets.py": "a command that ends, whose answer is waited for",
        },
    ),
    Mechanism(
        "supervisors, which start a process again",
        "lm/native_engines/supervisor.py",
        frozenset(("class *Supervisor", "class *Restarts")),
    ),
    Mechanism(
        "clients of the OpenAI protocol",
        "lm/engine/http.py",
        frozenset(("httpx.AsyncClient", "httpx.Client", "openai.OpenAI", "openai.AsyncOpenAI")),
    ),
    Mechanism(
        "namers of columns, which know the usual names",
        "data/table_door.py",
        frozenset(('"synonyms"',)),
    ),
    Mechanism(
        "guesses of what a name means",
        "core/config/names.py",
        frozenset(("difflib.get_close_matches",)),
        {
            "core/config/declared.py": "of choices, which are no names",
            "data/table_door.py": "of columns, by the one namer of columns",
            "tuning/methods.py": "several at once",
            "cli/verbs.py": "of verbs, before anything is imported",
        },
    ),
    Mechanism(
        "openers of a language model",
        "lm/open_model.py",
        frozenset(f"{kind}Model.open" for kind in ("Torch", "OpenVino", "Xllamacpp", "Http")),
    ),
    Mechanism(
        "queues of tenants",
        "core/tenant_queue.py",
        frozenset(("class *Queue",)),
        {
            "programs/scheduling/order.py": "tenants, programs and chains at once, by seconds of "
            "engines that each was given; what tenants may have there is counted by the one",
            "console/review.py": "drafts that wait for people, of no tenants",
            "service/decide/writer.py": "the one, with the size of a turn, and two of it in rounds",
        },
    ),
)


def found_in(path: Path) -> dict[str, int]:
    """The signs in a file, each with the first line that shows it."""
    seen: dict[str, int] = {}
    tree = ast.parse(path.read_text("utf-8"))
    for node in ast.walk(tree):
        for sign in _signs(node):
            line = getattr(node, "lineno", 0)
            seen[sign] = min(line, seen.get(sign, line))
    return seen


def _signs(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Attribute(value=ast.Name(id=module), attr=name):
            yield f"{module}.{name}"
        case ast.ImportFrom(module=str(module), names=names):
            yield from (f"{module}.{one.name}" for one in names)
        case ast.Constant(value=str(value)):
            yield f'"{value}"'
        case ast.ClassDef(name=name):
            yield from (f"class *{end}" for end in _ENDS if name.endswith(end))
        case ast.Call(func=ast.Attribute(attr="open") | ast.Name(id="open" | "FileIO") as called):
            # `open(path, mode)`, and `path.open(mode)`.
            given = [*node.args[isinstance(called, ast.Name) :]]
            given += [one.value for one in node.keywords if one.arg == "mode"]
            if any(isinstance(one, ast.Constant) and one.value in _APPEND for one in given):
                yield "append"


def report(top: Path = ROOT / "src" / "adwright") -> tuple[list[str], list[str]]:
    """Lines that say where each is, and what is wrong."""
    files = {path.relative_to(top).as_posix(): found_in(path) for path in top.rglob("*.py")}
    told, wrong = [], []
    for one in MECHANISMS:
        who = {name: one.signs & seen.keys() for name, seen in files.items()}
        there = {name for name, signs in who.items() if signs}
        told.append(f"{one.name}: {len(there - one.beside.keys())}, {one.file}")
        told += [f"    beside it {name}: {why}" for name, why in one.beside.items()]
        if one.file not in there:
            wrong.append(f"{one.name}: {one.file} is none any more")
        for name in sorted(there - {one.file} - one.beside.keys()):
            sign = min(who[name])
            wrong.append(
                f"{one.name}: {name}:{files[name][sign]} makes a second one ({sign}): "
                f"use {one.file}, or say in {Path(__file__).name} why it is none"
            )
        wrong += [f"{one.name}: {name} needs no line" for name in one.beside.keys() - there]
    return told, wrong


def main() -> None:
    """Print where each is; end with an error where there is a second."""
    told, wrong = report()
    print("\n".join((*told, *wrong)))
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
