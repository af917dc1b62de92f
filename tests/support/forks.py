"""Python programs that need not import the large libraries: each is a fork of a server that did.

    subprocess.run([python(), "-c", "import torch; print(torch.__version__)"])

`python()` is a command like that of the interpreter. It asks the server, which has imported
LIBRARIES and nothing of adwright, and which has one thread, to fork; the fork takes over the
folder, the environment, the arguments and the open streams, and is a process as any other: with
modules of its own, that ends by itself, by a signal or when its caller is killed. What it spares is
importing torch and its like, some seconds of processor time a program.

A test that kills the program, and looks at once at what that left, starts a Python of its own: here
the program ends a moment after its caller.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import io
import json
import os
import random
import runpy
import select
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import types
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

#: What most programs import anyway; one that is not installed is left out.
LIBRARIES = (
    *("numpy", "polars", "pyarrow.parquet", "pyarrow.compute", "torch", "torch._dynamo"),
    *("pandas", "altair", "pydantic", "typer.testing", "rich.progress"),
    *("fastapi", "uvicorn", "sqlalchemy.orm"),
    "transformers.models.llama.modeling_llama",
)
CALLER = Path(__file__).with_name("forked.py")
RAY_WORKER = Path(__file__).with_name("ray_worker.py")
#: As `-W error` puts it into the list of filters.
ERROR = ("error", None, Warning, None, 0)


def python() -> str:
    """The command that takes the place of the interpreter's."""
    return str(programs() / "python")


def ray_worker() -> str:
    """The `worker_path` of a node of Ray: what Ray starts as its workers are forks, too."""
    return str(programs() / RAY_WORKER.name)


@cache
def programs() -> Path:
    """A folder of two commands, `python` and `adwright`, to be put in front of others. The server
    behind them, one for each process of the tests, ends with it."""
    until_the_end = ExitStack()
    atexit.register(until_the_end.close)
    return until_the_end.enter_context(running())


@contextmanager
def running() -> Iterator[Path]:
    """Start the server; the folder of `programs`."""
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as door:
        door.bind(f"{folder}/door")
        door.listen()
        # Without site and this folder, what calls the server starts in hundredths of a second.
        caller = shlex.join([sys.executable, "-IS", str(CALLER), f"{folder}/door"])
        for name, first in (("python", ""), ("adwright", " -m adwright")):
            file = Path(folder) / name
            file.write_text(f'#!/bin/sh\nexec {caller}{first} "$@"\n', encoding="utf-8")
            file.chmod(0o755)
        worker = [f"{folder}/door", str(RAY_WORKER)]
        (Path(folder) / RAY_WORKER.name).write_text(
            f"import sys\nsys.path.insert(0, {str(CALLER.parent)!r})\nfrom forked import main\n"
            f"main(*{worker!r}, *sys.argv[1:])\n",
            encoding="utf-8",
        )
        # Where adwright lies, each program is told by its own environment.
        kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        with subprocess.Popen(
            [sys.executable, "-W", "error", __file__, str(door.fileno())],
            env=kept,
            stdin=subprocess.PIPE,
            pass_fds=[door.fileno()],
        ):
            yield Path(folder)


def serve(door: socket.socket) -> dict[str, Any] | None:
    """In the server None, once the tests have ended; in each fork what it is to run."""
    for name in LIBRARIES:
        with suppress(ImportError):
            importlib.import_module(name)
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        ready, _, _ = select.select([door, sys.stdin], [], [])
        if sys.stdin in ready:
            return None
        caller, _ = door.accept()
        if os.fork() == 0:
            door.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            return start(caller)
        caller.close()


def start(caller: socket.socket) -> dict[str, Any]:
    """Fork what the caller asks for; this process stays to tell how it ends."""
    data, streams, _, _ = socket.recv_fds(caller, 1 << 20, 3)
    while not data.endswith(b"\n"):
        data += caller.recv(1 << 20)
    pid = os.fork()
    if pid == 0:
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        caller.close()
        asked: dict[str, Any] = json.loads(data)
        return asked
    for stream in streams:
        os.close(stream)
    caller.sendall(b"%d\n" % pid)
    # A caller that is gone was killed, and what it asked for with it.
    gone = caller.fileno()
    if gone in select.select([gone, os.pidfd_open(pid)], [], [])[0]:
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    with suppress(OSError):
        caller.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))
    os._exit(0)


def become(cwd: str, env: dict[str, str], arguments: Sequence[str]) -> None:
    """Run the program as the interpreter would that was started there with these arguments: after
    `-u` and `-W error`, or neither."""
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    random.seed()
    sys.dont_write_bytecode = bool(env.get("PYTHONDONTWRITEBYTECODE"))
    rest = list(arguments)
    unbuffered = rest[0] == "-u" or bool(env.get("PYTHONUNBUFFERED"))
    _open_streams(unbuffered=unbuffered)
    del rest[: rest[0] == "-u"]
    if rest[:2] == ["-W", "error"]:
        del rest[:2]
    else:
        warnings.filters.remove(ERROR)  # type: ignore[attr-defined]
        sys.warnoptions.clear()
    kind, *rest = rest
    program = rest.pop(0) if kind in ("-c", "-m") else kind
    first = "" if kind in ("-c", "-m", "-") else str(Path(program).resolve().parent)
    sys.path[:1] = [first, *filter(None, env.get("PYTHONPATH", "").split(os.pathsep))]
    sys.argv[:] = [kind if kind == "-c" else program, *rest]
    if kind == "-m":
        runpy.run_module(program, run_name="__main__", alter_sys=True)
    elif kind in ("-c", "-"):
        code = program if kind == "-c" else sys.stdin.read()
        main = sys.modules["__main__"] = types.ModuleType("__main__")
        exec(compile(code, "<string>" if kind == "-c" else "<stdin>", "exec"), vars(main))  # noqa: S102
    else:
        runpy.run_path(program, run_name="__main__")


def _open_streams(*, unbuffered: bool) -> None:
    """Standard output and error anew: those of the server were opened for its own."""
    for name, number, errors in (("stdout", 1, "strict"), ("stderr", 2, "backslashreplace")):
        soon = number == 2 or os.isatty(number)
        raw = open(number, "wb", 0 if unbuffered else -1, closefd=False)  # noqa: SIM115
        stream = io.TextIOWrapper(
            raw, "utf-8", errors, line_buffering=soon, write_through=unbuffered
        )
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as door:
        found = serve(door)
    if found is not None:
        become(**found)
