"""adwright agent replay, and verify."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from adwright.cli.agent.options import (
    AppFiles,
    name_values,
)
from adwright.cli.agent.running import RunOptions, end_by_verdict, show_script
from adwright.cli.shared import show_table
from adwright.core.errors import ConfigError

if TYPE_CHECKING:
    from adwright.agent.document.elements import AppDocument
    from adwright.agent.language.statements import CheckedScript
    from adwright.agent.run.runner import Macro


#: Exit code of `verify` where an element is gone, or would do something else.
_FAILED = 1


def replay(
    name: str,
    values: list[str] | None = None,
    *,
    document: Path,
    policy: Path | None = None,
    macros: Path | None = None,
    confirm_file: Path | None = None,
    folder: Path | None = None,
    phone: bool = False,
    dry_run: bool = False,
) -> None:
    """Do a kept task again, with other values; no model is asked.

    It is checked against the document as it is now, asks about changes as `do` does, and ends with
    the same verdicts and exit codes.

        adwright agent replay discount item=Autumn share=15 --document shop.txt

    Options:
        name: Of a task that `do --keep` kept.
        document: The app's document, which `explore` writes.
        values: Its parameters: share=25 item=Spring.
        policy: The app's policy; by default shop.policy.toml for shop.txt.
        macros: Folder of kept tasks; by default shop.macros for shop.txt.
        confirm_file: File of changes that are allowed beforehand, for runs that nobody watches;
            without it each is asked about on the terminal, and refused where there is none.
        folder (--out): For the run: trace, pictures, page; by default a new one.
        phone: In the viewport of a phone, emulated by Chromium.
        dry_run: Let no request leave that may write.
    """
    from adwright.agent.operate.policy_file import KeptTask
    from adwright.agent.operate.tasks import macro_values

    files = AppFiles(document, policy, macros)
    app, rules = files.open()
    macro = files.book.macro(name)
    checked = _checked(macro, app)
    arguments = macro_values(macro, name_values(values, "replay"))
    show_script(checked, f"kept as {macro.name}, 0 tokens", arguments)
    said = tuple((key, str(value)) for key, value in arguments.items())
    report = RunOptions(files, confirm_file, folder, dry_run, phone).run(
        app,
        rules,
        checked,
        arguments,
        macro.postconditions,
        KeptTask(macro.task, "replay", macro.name, said, dry=dry_run),
    )
    end_by_verdict(report)


def verify(
    name: str,
    *,
    document: Path,
    policy: Path | None = None,
    macros: Path | None = None,
    phone: bool = False,
) -> None:
    """Look whether a kept task would still find its elements, without doing it.

    Only links are followed. An element is there, moved (healing would find it), gone, changed (it
    would do something else), or unseen, where no link leads to its page. Exit code 1 where one is
    gone or changed.

        adwright agent verify discount --document shop.txt

    Options:
        name: Of a task that `do --keep` kept.
        document: The app's document, which `explore` writes.
        policy: The app's policy; by default shop.policy.toml for shop.txt.
        macros: Folder of kept tasks; by default shop.macros for shop.txt.
        phone: In the viewport of a phone, emulated by Chromium.
    """
    from adwright.agent.drivers.chromium import DriverSettings
    from adwright.agent.operate.screens import open_screens
    from adwright.agent.run.runner import survey_script

    files = AppFiles(document, policy, macros)
    app, rules = files.open()
    checked = _checked(files.book.macro(name), app)
    settings = DriverSettings(screen="phone" if phone else "desktop")
    with open_screens(rules, environment=os.environ, settings=settings) as open_driver:
        found = survey_script(checked, app, open_driver, rules.gate_rules(dry=True))
    rows = [(one.name, one.status, one.note) for one in found]
    show_table(("element", "status", "note"), rows, unbroken=True)
    if any(one.status in ("gone", "changed") for one in found):
        raise typer.Exit(_FAILED)


def _checked(macro: Macro, document: AppDocument) -> CheckedScript:
    """The macro's script, checked against the document as it is now."""
    from adwright.agent.language.statements import CheckRules, check_script

    if macro.app != document.app:
        raise ConfigError(
            f"it was kept for the app {macro.app!r}, and the document is of {document.app!r}",
            where=f"macro {macro.name}",
            hint="name the document of its app",
        )
    return check_script(macro.script, document, CheckRules(flows=macro.flows))
