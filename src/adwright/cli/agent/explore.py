"""adwright agent explore."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adwright.cli.agent.options import AppFiles, name_values
from adwright.cli.shared import allowed_to_replace, show_facts
from adwright.core.config import Count, Ge
from adwright.core.errors import ConfigError

if TYPE_CHECKING:
    from adwright.agent.document.elements import AppDocument
    from adwright.agent.operate.policy_file import AgentPolicy, SignInEntry
    from adwright.agent.operate.screens import ExploredApp

#: Exit code where a request was sent that could have written, which must not be.
_UNSAFE = 3
#: Lines of changes and of pages that failed that are shown.
_SHOWN = 40


def explore(
    url: str,
    *,
    document: Path,
    records: Path | None = None,
    policy: Path | None = None,
    sign_in: str = "",
    sign_in_field: list[str] | None = None,
    path: list[str] | None = None,
    pages: Count = 150,
    seconds: Annotated[float, Ge(1)] = 1800.0,
    app: str = "",
    disposable: bool = False,
    anew: bool = False,
    phone: bool = False,
    force: bool = False,
) -> None:
    """Read an app and write its document: pages, what can be acted on, and what that would do.

    Only GET and HEAD leave the browser, and the form of the sign-in; forms are described, not sent.
    The document is a text that you can read and edit. Where there is one already, only pages that
    have changed are read again, what you wrote stays, and the differences are printed. Where there
    is no policy yet, a careful one is written beside it: read it.

        adwright agent explore http://127.0.0.1:8000/dashboard/ --document shop.txt \\
        --path /dashboard/ --sign-in http://127.0.0.1:8000/dashboard/login/ \\
        --sign-in-field username=SHOP_USER --sign-in-field password=SHOP_PASSWORD

    Options:
        url: Where the app starts: http://HOST/PATH.
        document: The app's document, which `explore` writes.
        records: Folder of what was seen; by default shop.records.
        policy: The app's policy; by default shop.policy.toml for shop.txt.
        sign_in: URL of the page with the form; goes into a new policy.
        sign_in_field: FIELD=VARIABLE: a field of that form, and the environment variable that
            holds its value; never the value itself. Repeat it.
        path: Only pages below this path; may be repeated.
        pages: Pages in all, at most.
        seconds: Then it stops; the next run goes on.
        app: Name of the app; by default that of the file.
        disposable: It is a copy: also open links whose words speak of deleting, paying or
            sending.
        anew: Forget what was seen and edited, and read all pages again.
        phone: In the viewport of a phone, emulated by Chromium.
    """
    files = AppFiles(document, policy, records=records)
    rules = _policy(files, url, _entry(sign_in, sign_in_field))
    if anew:
        _forget(files, force=force)
    before = None if anew else _before(files)
    found = _explored(files, url, rules, before, path, pages, seconds, app, disposable, phone)
    _tell(found, document, first=before is None)
    if found.unsafe:
        typer.secho(f"{found.unsafe} requests could have written", fg=typer.colors.RED, err=True)
        raise typer.Exit(_UNSAFE)


def _explored(
    files: AppFiles,
    url: str,
    policy: AgentPolicy,
    before: AppDocument | None,
    paths: list[str] | None,
    pages: int,
    seconds: float,
    app: str,
    disposable: bool,
    phone: bool,
) -> ExploredApp:
    from adwright.agent.drivers.chromium import DriverSettings
    from adwright.agent.explore.explorer import ExploreBounds
    from adwright.agent.operate.screens import explore_app, keep_explored, open_screens
    from adwright.core.clock import SystemClock

    bounds = ExploreBounds(
        url, tuple(paths or ("/",)), pages, cautious=not disposable, seconds=seconds
    )
    settings = DriverSettings(screen="phone" if phone else "desktop")
    name = app or (before.app if before is not None else files.document.stem)
    with open_screens(policy, environment=os.environ, settings=settings) as open_driver:
        found = explore_app(
            open_driver,
            name,
            bounds,
            folder=files.records_path,
            document=before,
            clock=SystemClock(),
        )
    keep_explored(found, files.document, files.records_path)
    return found


def _entry(url: str, fields: list[str] | None) -> SignInEntry | None:
    from adwright.agent.operate.policy_file import SignInEntry

    if not url and not fields:
        return None
    if not url:
        raise ConfigError("where does one sign in?", where="--sign-in-field", hint="add --sign-in")
    return SignInEntry(url, dict(name_values(fields, "--sign-in-field")))


def _policy(files: AppFiles, url: str, entry: SignInEntry | None) -> AgentPolicy:
    """The policy that is there, or a new one."""
    from adwright.agent.document.elements import origin_of
    from adwright.agent.operate.policy_file import load_policy, policy_text
    from adwright.core.atomic import atomic_write_text

    path = files.policy_path
    if not path.exists():
        origin = origin_of(url)
        if not origin:
            raise ConfigError("this is no page of a server", where=url[:200], hint="use http://")
        atomic_write_text(path, policy_text(origin, sign_in=entry))
        typer.echo(f"wrote a careful policy: {path}", err=True)
        return load_policy(path)
    policy = load_policy(path)
    if entry is not None and entry != policy.sign_in:
        raise ConfigError(
            "the policy says otherwise how one signs in",
            where=str(path),
            hint="edit it there, or leave --sign-in out",
        )
    return policy


def _forget(files: AppFiles, *, force: bool) -> None:
    """Remove what was seen, if the person agrees that the document is replaced in the end."""
    allowed_to_replace(files.document, force=force)
    (files.records_path / "pages.jsonl").unlink(missing_ok=True)


def _before(files: AppFiles) -> AppDocument | None:
    from adwright.agent.document.text_format import read_document

    return read_document(files.document) if files.document.exists() else None


def _tell(found: ExploredApp, path: Path, *, first: bool) -> None:
    document = found.document
    if not first:
        for line in [*map(str, found.changes)][:_SHOWN]:
            typer.echo(line)
        if len(found.changes) > _SHOWN:
            typer.echo(f"and {len(found.changes) - _SHOWN} more changes")
    for line in found.kept:
        typer.echo(f"kept: {line}", err=True)
    for line in found.lost:
        typer.echo(f"lost: {line}", err=True)
    for address, why in [*found.failed.items()][:_SHOWN]:
        typer.echo(f"not read: {address}: {why}", err=True)
    leads = sum(one.target is not None for one in document.elements)
    facts = {
        "document": f"{path}, version {document.version}",
        "pages": f"{found.pages} known, {len(found.failed)} not read, {found.left} left out",
        "states": f"{len(document.states)}, {len(document.edges) + leads} ways between them",
        "elements": f"{len(document.elements)}",
        "requests": f"{found.sent} sent, {found.refused} refused, {found.unsafe} unsafe",
        "seconds": f"{found.seconds:.1f}",
    }
    if not first:
        facts["changes"] = (
            f"{len(found.changes)}, of {found.asked} pages asked {len(found.changed)} had changed "
            f"and {len(found.gone)} were gone"
        )
    show_facts(facts)
