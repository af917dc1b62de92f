"""adwright author review."""

from __future__ import annotations

import getpass
import os
import webbrowser
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adwright.cli.lm.serve import require_key
from adwright.core.config import Count, Ge, Le, Natural
from adwright.core.errors import ConfigError, MissingExtraError

if TYPE_CHECKING:
    from adwright.authoring.writer.drafts import Drafts
    from adwright.console.pairs import PairTable
    from adwright.console.shell import ConsoleConfig


#: The environment variable that holds the key of the pages.
REVIEW_KEY = "ADWRIGHT_REVIEW_KEY"
_JUDGEMENTS = "judgements.jsonl"

Judgements = Annotated[
    Path | None,
    typer.Option("--judgements", help="Where comparisons go; by default FOLDER/judgements.jsonl."),
]


def review(
    folder: Path,
    *,
    name: str | None = None,
    host: str = "127.0.0.1",
    port: Annotated[int, Ge(0), Le(65535)] = 8003,
    pairs: bool = False,
    against: Path | None = None,
    judgements: Path | None = None,
    sample: Count = 200,
    seed: Natural = 0,
    allow_host: list[str] | None = None,
    rows: Annotated[int, Ge(1), Le(200)] = 25,
    open_page: bool = False,
) -> None:
    """Review drafts in a browser, until it is interrupted.

    The page shows each draft beside what the shop has, word by word, with claims that no fact of
    the product bears out marked in it. Approve, edit or reject, by buttons or the keys a, e, r, j,
    k; `?` shows them. Several people may review at once, while the job still writes. Decisions go
    into the journal of the folder: `adwright author export` writes what was approved, and
    `adwright author preferences` what models learn from.

    With --pairs or --against people compare two texts without knowing where these come from:
    `adwright author evaluate` says who won, and whether they agree.

    Where ADWRIGHT_REVIEW_KEY is set, each reviewer signs in with that key and a name.

        adwright author review drafts

        adwright author review drafts --pairs --name ann

        adwright author review small --against large --sample 100

    Options:
        folder: What `adwright author write` wrote to.
        name: Of who reviews, until somebody gives another on the page.
        host: Address to listen on.
        port: Port; 0 takes a free one.
        pairs: Also compare, blindly, what the shop has with what was written.
        against: Compare blindly with the drafts of this folder instead.
        judgements: Where comparisons go; by default FOLDER/judgements.jsonl.
        sample: Pairs to compare, at most.
        allow_host: Name that the page may be called by; may be repeated. Without a key:
            localhost and --host by default.
        rows: Drafts of one page.
        open_page (--open): Open the page in the browser, too.
    """
    need_pages()
    key = os.environ.get(REVIEW_KEY, "")
    _require_review_key(host, key)
    if judgements is not None and not pairs and against is None:
        raise ConfigError(
            "there is nothing to compare",
            where="--judgements",
            hint="add --pairs, or --against FOLDER",
        )
    from adwright.console.shell import ConsoleConfig
    from adwright.web.gate import LOCAL_HOSTS

    config = ConsoleConfig(
        key=key,
        reviewer=_own_name() if name is None else name,
        rows=rows,
        allowed_hosts=tuple(allow_host or ()) or (() if key else (host, *LOCAL_HOSTS)),
    )
    with ExitStack() as stack:
        drafts = stack.enter_context(_opened(folder))
        table = None
        if pairs or against is not None:
            path = folder / _JUDGEMENTS if judgements is None else judgements
            drawn = sample, seed
            table = stack.enter_context(_table(drafts, folder, against, path, drawn))
        _serve(config, drafts, table, (host, port), open_page=open_page)


def need_pages() -> None:
    """Raise MissingExtraError where a package of the pages is missing."""
    for name in ("fastapi", "prometheus_client", "uvicorn", "js_lib_htmx"):
        if find_spec(name) is None:
            raise MissingExtraError("the pages of the console", "service")


def _serve(
    config: ConsoleConfig,
    drafts: Drafts,
    pairs: PairTable | None,
    place: tuple[str, int],
    *,
    open_page: bool,
) -> None:
    from adwright.console.app import create_console_app
    from adwright.console.review import JobChecks
    from adwright.web.server import listen, serve

    host, port = place
    with listen(host, port) as door:
        app = create_console_app(config, drafts, JobChecks(drafts), pairs=pairs)
        shown = f"[{host}]" if ":" in host else host
        url = f"http://{shown}:{door.getsockname()[1]}/"
        count = len(drafts.states())
        typer.echo(f"{count:,} {'draft' if count == 1 else 'drafts'}; Ctrl-C ends it", err=True)
        typer.echo(f"review on {url}")
        if open_page:
            webbrowser.open(url)
        serve(app, door)


@contextmanager
def _opened(folder: Path) -> Iterator[Drafts]:
    """The journal of a folder, which must be there."""
    from adwright.authoring.writer.drafts import JOURNAL, Drafts

    if not (folder / JOURNAL).exists():
        # Says so; opening for writing would make an empty one.
        Drafts.open(folder, reading_only=True).close()
    with closing(Drafts.open(folder)) as drafts:
        yield drafts


@contextmanager
def _table(
    drafts: Drafts, folder: Path, against: Path | None, path: Path, drawn: tuple[int, int]
) -> Iterator[PairTable]:
    """What is compared. drawn: pairs at most, and the seed."""
    from adwright.authoring.describe.review import JudgementFile
    from adwright.authoring.writer.drafts import Drafts
    from adwright.console.pairs import PairTable, pairs_of_jobs, pairs_of_shop
    from adwright.core.clock import SystemClock

    sample, seed = drawn
    if against is None:
        found = pairs_of_shop(drafts, sample=sample, seed=seed)
    else:
        names = _names(folder, against)
        with closing(Drafts.open(against, reading_only=True)) as others:
            found = pairs_of_jobs(drafts, others, names, sample=sample, seed=seed)
    with closing(JudgementFile(path)) as file:
        typer.echo(f"{len(found):,} pairs; judgements go to {path}", err=True)
        yield PairTable(found, file, SystemClock(), seed=seed)


def _names(folder: Path, other: Path) -> tuple[str, str]:
    """The names of two folders as sources. Raises ConfigError where they are the same one."""
    one, two = folder.resolve(), other.resolve()
    if one == two:
        raise ConfigError(
            "a folder is compared with itself", where=f"--against {other}", hint="name another"
        )
    return (one.name, two.name) if one.name != two.name else (str(one), str(two))


def _require_review_key(host: str, key: str) -> None:
    """Raise ConfigError where others than this machine could review without a key."""
    try:
        require_key(host, bool(key))
    except ConfigError:
        raise ConfigError(
            "other machines could review without a key",
            where=f"--host {host}",
            hint=f"set {REVIEW_KEY}, or listen on 127.0.0.1",
        ) from None


def _own_name() -> str:
    """The name of who is at this machine; empty where there is none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return ""
