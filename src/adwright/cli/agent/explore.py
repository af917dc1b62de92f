"""adwright agent explore."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adwright.cli.agent.running import AppFiles, name_values
from adwright.cli.shared import allowed_to_replace, show_facts
from adwright.core.config import Count, Ge, Le
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
        records: Folder of what was seen; by default shop.records.
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


# --------------------------------------------------------------------------------------------------
# adwright agent check-phone.

#: Exit code where the phone cannot be driven.
_FAILED = 1


def phone(
    serial: str,
    *,
    adb: str = "adb",
    port: Annotated[int, Ge(1), Le(65535)] = 5037,
) -> None:
    """Look whether a phone can be driven, without opening an app or touching anything.

    adwright drives no phone yet; this tells beforehand whether yours would answer all that it
    takes. Exit code 1 where something does not work.

        adwright agent check-phone emulator-5554

    Options:
        serial: Of the phone, as `adb devices` lists it.
        adb: The program of ADB's client.
        port: Port of ADB's server.
    """
    from adwright.agent.drivers.phone_check import AdbSettings, check_phone

    report = check_phone(AdbSettings(serial, program=adb, port=port))
    typer.echo(report.text())
    if not report.works:
        raise typer.Exit(_FAILED)


# --------------------------------------------------------------------------------------------------
# adwright agent policy.


def policy(
    file: Path | None = None,
    *,
    example: str = "",
) -> None:
    """Check a policy and say what it allows, or print a careful one with all its keys.

    adwright agent policy --example https://shop.example

    adwright agent policy shop.policy.toml

    Options:
        file: A policy to be checked.
        example: Instead print a careful policy for the app at this URL.
    """
    from adwright.agent.document.elements import origin_of
    from adwright.agent.operate.policy_file import load_policy, policy_text

    if (file is None) == (not example):
        raise ConfigError(
            "a file to be checked, or --example URL", where="adwright agent policy", hint="give one"
        )
    if file is None:
        typer.echo(policy_text(origin_of(example) or example), nl=False)
        return
    found = load_policy(file)
    caps, budget = found.caps, found.budget
    facts = {
        "reach": ", ".join(found.reach.origins),
        "asked about": f"{', '.join(found.confirm.ask)}, and each from write {found.confirm.bulk}",
        "writes": f"{caps.writes_a_run} a run, {caps.writes_a_day} a day",
        "run": f"{budget.acts} acts, {budget.writes} that may write, {budget.seconds:g} s",
        "secrets": ", ".join(f"{one.name} from {one.variable}" for one in found.secrets) or "none",
        "sign-in": found.sign_in.url if found.sign_in else "none",
        "unknown effects": "after a yes" if found.unknown else "refused",
    }
    show_facts(facts)


# --------------------------------------------------------------------------------------------------
# adwright agent report.


def report(
    folder: Path,
    *,
    mark: str = "",
    out: Path | None = None,
    force: bool = False,
) -> None:
    """Read a run again: check that nothing of it was changed, and write its page.

    Every step holds the hash of the one before, and the run's own file the hashes of trace and
    pictures; a change of any of them is told. Who changed all of them at once is found out by the
    mark, where somebody has noted it.

        adwright agent report runs/agent/20260105-101500-000000

    Options:
        folder: Folder of a run.
        mark: The mark that was printed when the run ended.
        out: Write the page, with its pictures, there.
    """
    from adwright.agent.operate.policy_file import read_run, write_report

    run = read_run(folder, mark)
    found = run.report
    facts = {
        "task": run.task.task,
        "script by": f"{run.task.source} {run.task.name}".strip(),
        "verdict": found.verdict,
        "steps": f"{len(found.steps)}, unchanged since the run",
        "sent": f"{len(found.written)} writes, {len(found.would_send)} held back",
        "tokens": f"{run.task.tokens_in:,} read, {run.task.tokens_out:,} written",
        "mark": f"{run.mark}{'' if mark else ', not compared: nobody gave --mark'}",
    }
    show_facts(facts)
    for change in found.written:
        typer.echo(f"sent: {change.sentence()}")
    if found.problem is not None:
        typer.echo(f"problem: {found.problem.what}")
    path = folder / "report.html"
    if out is not None:
        allowed_to_replace(out, force=force)
        path = out
    write_report(path, run, folder)
    typer.echo(f"Saved {path}")
