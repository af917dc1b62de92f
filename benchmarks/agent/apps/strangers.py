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

StrangerName: TypeAlias = Literal[
    "mezzanine", "otterwiki", "wagtail", "fava", "radicale", "tiddlywiki"
]
#: How a file becomes rows.
Form: TypeAlias = Literal["text", "tiddler", "properties", "ledger"]
STRANGERS: tuple[StrangerName, ...] = get_args(StrangerName)
_SCRIPT = Path(__file__).with_name("_stranger.py")
_SEEDS = Path(__file__).with_name("stranger_seeds")


@dataclass(frozen=True)
class Files:
    """Files that are a part of the state. pattern: of their paths below its folder."""

    table: str
    pattern: str
    form: Form = "text"


@dataclass(frozen=True)
class Door:
    """start: where it begins; login: where one signs in, if one has to. fields: what is typed
    there. database, files: what its state is. free: tables in which anything may happen, as
    sessions and the app's own diary. settles: seconds until a change is on the disk."""

    start: str
    login: str = ""
    fields: tuple[tuple[str, str], ...] = ()
    database: str = ""
    files: tuple[Files, ...] = ()
    free: tuple[str, ...] = ()
    settles: float = 0.0


_BOOKS = f"collections/collection-root/{USER}"
_DJANGO = ("django_session", "django_admin_log")
DOORS: dict[StrangerName, Door] = {
    "mezzanine": Door(
        "/admin/",
        "/admin/login/",
        (("username", USER), ("password", PASSWORD)),
        "shop/dev.db",
        free=_DJANGO,
    ),
    "wagtail": Door(
        "/admin/",
        "/admin/login/",
        (("username", USER), ("password", PASSWORD)),
        "db.sqlite3",
        free=(
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
        (Files("pages", "pages/**/*.md"),),
        ("user", "drafts", "cache"),
    ),
    "fava": Door("/", files=(Files("", "ledger.beancount", "ledger"),)),
    "radicale": Door(
        "/.web/",
        "/.web/",
        (("Username", USER), ("Password", PASSWORD)),
        files=(
            Files("collections", f"{_BOOKS}/*/.Radicale.props", "properties"),
            Files("items", f"{_BOOKS}/*/[!.]*"),
        ),
    ),
    "tiddlywiki": Door(
        "/", files=(Files("tiddlers", "tiddlers/**/*.tid", "tiddler"),), free=("looks",), settles=3
    ),
}


@dataclass(frozen=True)
class Stranger:
    """One that runs. folder: of its state."""

    name: StrangerName
    url: str
    folder: Path


def seeds_of(name: StrangerName) -> dict[str, str]:
    """The files that it begins with, besides its own: path and text."""
    files = sorted(path for path in (_SEEDS / name).rglob("*") if path.is_file())
    return {path.relative_to(_SEEDS).as_posix(): path.read_text() for path in files}


@contextmanager
def stranger(name: StrangerName, folder: Path) -> Iterator[Stranger]:
    """The application on loopback, over a fresh copy of its state in `folder`."""
    own = packages(name)
    environment = environment_with(own, _SCRIPT.parents[3])
    environment["NODE_PATH"] = str(own / "node_modules")
    key = content_hash([*REQUIREMENTS[name][0], _SCRIPT.read_text(), seeds_of(name)])[:12]

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
    door = DOORS[name]
    with running(command, environment, log=folder / "log", path=door.login or door.start) as url:
        yield Stranger(name, url, folder)
