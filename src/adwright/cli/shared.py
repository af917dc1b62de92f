"""What the verbs share: options with one meaning everywhere, tables, the error message."""

from __future__ import annotations

import re
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import echo as _write

from adwright.core.config import Help, Natural
from adwright.core.errors import AdwrightError, ConfigError, ResourceError
from adwright.core.progress import printable

if TYPE_CHECKING:
    from rich.console import Console

    from adwright.campaigns.store.store import Store
    from adwright.data.creatives import Creative
    from adwright.lm.open_model import LmSpec


@dataclass(frozen=True)
class LmServer:
    """A model behind any server of OpenAI's protocol, in the place of one of this machine.

    Options:
        server (--server --url): Ask an OpenAI-compatible server instead: http://HOST:PORT/v1; its
            key is read from ADWRIGHT_LM_KEY or OPENAI_API_KEY.
        served_model: Name of the model there; by default that of --model.
    """

    server: str = ""
    served_model: str = ""

    def spec(
        self,
        model: str,
        *,
        engine: str = "auto",
        adapter: str = "",
        concurrency: int = 0,
        threads: int = 0,
        offline: bool = False,
    ) -> LmSpec:
        """The server's model where one is named, else this one, as `LmSpec` has it; settings of a
        model of this machine are refused for a server."""
        from adwright.lm.open_model import LmSpec

        if self.served_model and not self.server:
            raise ConfigError(
                "which server has this model?",
                where=f"--served-model {self.served_model}",
                hint="add --server http://HOST:PORT/v1",
            )
        return LmSpec(
            self.served_model or model,
            engine,
            adapter,
            url=self.server,
            concurrency=concurrency,
            threads=threads,
            offline=offline,
        )


@dataclass(frozen=True)
class Writing:
    """Where a verb writes. part, below: what of that folder would be replaced."""

    out: Path
    force: bool = False
    dry_run: bool = False

    def may_replace(self, part: str = "") -> bool:
        """Whether something is there that is to be replaced, see `allowed_to_replace`."""
        return allowed_to_replace(self.out / part, force=self.force)


@dataclass(frozen=True)
class Making(Writing):
    """Where a verb writes what it makes by a seed, of what it may download."""

    seed: Natural = 0
    offline: bool = False


@dataclass(frozen=True)
class Training(Making):
    """Where a verb trains, and whether it goes on with a run that was interrupted."""

    resume: bool = False

    def may_replace(self, part: str = "") -> bool:
        """As of any output; a run that goes on replaces nothing."""
        return not self.resume and super().may_replace(part)

    def check(self, part: str, what: str) -> None:
        """Of a dry run: raise where there is `what` already, or the folder cannot be written."""
        from adwright.training.search import require_free, require_writable

        if not (self.resume or self.force):
            require_free(self.out / part, what)
        require_writable(self.out)


@dataclass(frozen=True)
class Stoppable(Training):
    """The same, of what can be closed before it is done."""

    stop_now: bool = False


#: Names of the public logs that every verb takes in the place of a log; see `PublicLog`.
PUBLIC_LOGS = "complete-journey, movielens, open-bandit"


def console() -> Console:
    """Standard output as rich text; plain where it is no terminal."""
    from rich.console import Console

    return Console(soft_wrap=not sys.stdout.isatty())


def echo(message: object = "", *, err: bool = False, nl: bool = True) -> None:
    """Print a line: `printable` on a terminal, and elsewhere as it is. `main` puts it in the place
    of `typer.echo`."""
    text = str(message)
    shown = printable(text) if (sys.stderr if err else sys.stdout).isatty() else text
    _write(shown, err=err, nl=nl)


def require_tenant(tenant: str, known: Sequence[str], url: str) -> None:
    """Raise ConfigError for a tenant that a store does not have."""
    if tenant not in known:
        raise ConfigError(
            "the store has no such tenant",
            where=f"{tenant} in {url}",
            hint=f"it has {', '.join(known) or 'none'}",
        )


@contextmanager
def opened_store(url: str, tenant: str) -> Iterator[Store]:
    """The store at the URL, which is there, and has the tenant."""
    from adwright.campaigns.store.store import Store

    with Store.open(url, create=False) as opened:
        require_tenant(tenant, opened.tenants(), opened.url)
        yield opened


@dataclass(frozen=True)
class InStore:
    """The ads of a tenant in a store, of which a verb writes something; nothing where no store is
    named."""

    store: Annotated[
        str, Help("Also write to the ads of this store: sqlite:///PATH or postgresql://...")
    ] = ""
    tenant: Annotated[str, Help("Whose ads they are in the store.")] = ""

    def check(self) -> None:
        """Raise ConfigError where nothing could be written, before what takes long."""
        if bool(self.store) != bool(self.tenant):
            raise ConfigError(
                "a store and a tenant go together",
                where="--store, --tenant",
                hint="name both, or neither",
            )
        if self.store:
            with opened_store(self.store, self.tenant):
                pass


@dataclass(frozen=True)
class IntoStore(InStore):
    """The same, where a verb enters the ads that it makes."""

    submit: Annotated[bool, Help("Ask for their review at once.")] = False

    def enter(self, creatives: Sequence[Creative], *, author: str) -> None:
        """Enter them as drafts, all or none, and say so. Raises as `Store.write_creatives`."""
        if not self.store:
            return
        with opened_store(self.store, self.tenant) as opened:
            done = opened.write_creatives(self.tenant, creatives, author=author, submit=self.submit)
        state = "in review" if self.submit else "drafts"
        typer.echo(
            f"{done.accepted:,} ads are {state} of {self.tenant} in {opened.url}, "
            f"{done.duplicates:,} were there before"
        )
        if done.accepted:
            step = "approve" if self.submit else "submit"
            typer.echo(
                f"Next: adwright creatives {step} --all --tenant {self.tenant} "
                f"--store {opened.url} --author YOU"
            )


def show_table(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    title: str = "",
    unbroken: bool = False,
) -> None:
    """Print a table; cells are text as it is, without markup. unbroken: without a frame, and no
    cell takes two lines, so lines may be longer than the screen is wide."""
    if unbroken:
        lines = [header, *rows]
        widths = [max(len(line[at]) for line in lines) for at in range(len(header))]
        for line in lines:
            cells = (f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True))
            typer.echo("  ".join(cells).rstrip())
        return
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title or None, title_justify="left")
    for name in header:
        table.add_column(Text(printable(name)), overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    console().print(table, soft_wrap=False)


def show_facts(facts: Mapping[str, str], *, err: bool = False) -> None:
    """Print `name: value` lines, aligned. err: to standard error."""
    width = max(len(name) for name in facts)
    for name, value in facts.items():
        typer.echo(f"{name + ':':<{width + 2}}{value}", err=err)


def fail(error: AdwrightError) -> None:
    """Print what went wrong, where, and what to do, to standard error."""
    typer.secho(f"Error: {printable(error.what)}", fg=typer.colors.RED, err=True)
    if error.where:
        typer.echo(f"  where: {error.where}", err=True)
    if error.hint:
        typer.echo(f"  to do: {error.hint}", err=True)


def require_ray_options(workers: int, retries: int) -> None:
    """Raise ConfigError for retries without workers, MissingExtraError where Ray is missing."""
    if workers:
        from adwright.training.on_ray import require_ray

        require_ray(workers, retries)
    elif retries:
        hint = "add --ray-workers, or leave --retries out"
        raise ConfigError("retries restart the workers of Ray", where="--retries", hint=hint)


def agree_to_journey(verb: str, work: str, *, option: str) -> None:
    """Ask before work is begun that nobody named: the download of Complete Journey and the training
    on it. verb: as it was typed. work: what it takes. option: that names data.

    Raises ConfigError where there is nobody to ask, and leaves with exit code 1 on a no.
    """
    if not sys.stdin.isatty():
        raise ConfigError(
            "there is nothing named to train on",
            where=f"adwright {verb}",
            hint=f"name data of your own ({option}), a run file, or `{option} complete-journey`: "
            f"{work}; `adwright demo` shows all of it at work",
        )
    typer.echo(f"Nothing was named to train on. On Complete Journey: {work}.", err=True)
    typer.confirm("Train on Complete Journey?", abort=True)


def allowed_to_replace(path: Path, *, force: bool) -> bool:
    """Whether `path` may be overwritten: it is not there, `force`, or the person says yes.

    Raises ResourceError where there is nobody to ask, and leaves with exit code 1 on a no.
    """
    if not path.exists():
        return False
    if force:
        return True
    if not sys.stdin.isatty():
        raise ResourceError(
            "this path exists already", where=str(path), hint="name another, or pass --force"
        )
    typer.confirm(f"{path} exists already. Replace it?", abort=True)
    return True


def config_or_log(
    given: Path | None, log: Path | None, *, option: str
) -> tuple[Path | None, Path | None]:
    """The run file and the log of a verb whose argument is either.

    given: the argument: a log where it is a folder, a table by its ending or a public log by name.
    log: what `option` names. Raises ConfigError where both are logs.
    """
    public = [name.strip() for name in PUBLIC_LOGS.split(",")]
    tables = (".csv", ".tsv", ".jsonl", ".json", ".ndjson", ".parquet", ".pq", ".gz", ".txt")
    if given is None or not (
        given.is_dir() or str(given) in public or given.suffix.lower() in tables
    ):
        return given, log
    if log is not None:
        raise ConfigError(
            "two logs are named", where=f"{given}, {option} {log}", hint="name one of them"
        )
    return None, given


def name_pairs(option: str, text: str | None) -> dict[str, str] | None:
    """The pairs of a=b,c=d, None for None. option: whose text it is, for the ConfigError."""
    if text is None:
        return None
    pairs = {}
    for part in text.split(","):
        name, sign, value = part.partition("=")
        if not sign or not name.strip() or not value.strip():
            raise ConfigError(
                f"{part.strip()!r} is no pair", where=option, hint="write NAME=VALUE,NAME=VALUE"
            )
        pairs[name.strip()] = value.strip()
    return pairs


def column_pairs(text: str | None, several: Collection[str] = ()) -> dict[str, list[str]]:
    r"""The columns of OURS=THEIRS,OURS=THEIRS by ours; an empty THEIRS says that there is none, and
    a comma in a name is written as `\,`.

    several: fields that may have more columns than one. Raises ConfigError for what is no pair, and
    for a second column of another field.
    """
    pairs: dict[str, list[str]] = {}
    for part in re.split(r"(?<!\\),", text) if text else ():
        ours, sign, theirs = (one.strip().replace(r"\,", ",") for one in part.partition("="))
        if not (sign and ours):
            raise ConfigError(
                f"{part.strip()!r} is no pair", where="--columns", hint="write OURS=THEIRS,..."
            )
        if ours in pairs and ours not in several:
            raise ConfigError(f"{ours} is one column", where="--columns", hint=f"name {ours} once")
        pairs.setdefault(ours, []).extend([theirs] if theirs else [])
    return pairs
