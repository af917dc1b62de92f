"""Applications of other makers, on which no rule of the agent was made.

    with stranger("mezzanine", folder) as app:
        app.url, app.folder      # where it is, and its state: by a way that no agent takes

Each is made once, by its own commands, and kept; each run gets a copy.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from adwright.core.assets import derived
from adwright.core.hashing import content_hash
from benchmarks.agent.apps._stranger import PASSWORD, USER
from benchmarks.agent.apps.packages import REQUIREMENTS, environment_with, packages
from benchmarks.agent.apps.process import running

StrangerName: TypeAlias = Literal["mezzanine", "otterwiki", "wagtail"]
STRANGERS: tuple[StrangerName, ...] = get_args(StrangerName)
_SCRIPT = Path(__file__).with_name("_stranger.py")


@dataclass(frozen=True)
class Door:
    """start: where it begins; login: where one signs in. fields: what is typed there. free: tables
    in which anything may happen, as sessions and the app's own diary."""

    start: str
    login: str
    fields: tuple[tuple[str, str], ...]
    database: str
    free: tuple[str, ...] = ()


_DJANGO = ("django_session", "django_admin_log")
DOORS: dict[StrangerName, Door] = {
    "mezzanine": Door(
        "/admin/",
        "/admin/login/",
        (("username", USER), ("password", PASSWORD)),
        "shop/dev.db",
        _DJANGO,
    ),
    "wagtail": Door(
        "/admin/",
        "/admin/login/",
        (("username", USER), ("password", PASSWORD)),
        "db.sqlite3",
        (
            *_DJANGO,
            "wagtailcore_modellogentry",
            "wagtailcore_pagelogentry",
            "wagtailcore_revision",
            "wagtailcore_referenceindex",
            "wagtailsearch_indexentry",
        ),
    ),
    "otterwiki": Door(
        "/",
        "/-/login",
        (("email", "ann@example.com"), ("password", PASSWORD * 2)),
        "state.sqlite3",
        ("user", "drafts", "cache"),
    ),
}


@dataclass(frozen=True)
class Stranger:
    """One that runs. folder: of its state."""

    name: StrangerName
    url: str
    folder: Path


@contextmanager
def stranger(name: StrangerName, folder: Path) -> Iterator[Stranger]:
    """The application on loopback, over a fresh copy of its state in `folder`."""
    environment = environment_with(packages(name), _SCRIPT.parents[3])
    key = content_hash([*REQUIREMENTS[name][0], _SCRIPT.read_text()])[:12]

    def make(empty: Path) -> None:
        subprocess.run(
            [sys.executable, str(_SCRIPT), "make", name, str(empty)], env=environment, check=True
        )

    shutil.copytree(derived(f"stranger-{name}-{key}", make), folder)
    command: Callable[[int], list[str]] = lambda descriptor: [  # noqa: E731
        sys.executable,
        str(_SCRIPT),
        "serve",
        name,
        str(folder),
        str(descriptor),
    ]
    with running(command, environment, log=folder / "log", path=DOORS[name].login) as url:
        yield Stranger(name, url, folder)
