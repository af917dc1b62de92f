"""Verbs and options of another release: taken today, or told what they are now. 2 minutes.

    python -m benchmarks.common.old_forms --before 8958e0b

Every verb and option that the command line of the release lists, hidden ones too, is looked for in
today's list. What is not there is typed, with a value: it must not be answered by "No such option".
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import click
import typer

from benchmarks.common._checkouts import ROOT, checkout, environment


def forms(command: Any, verb: str = "") -> dict[str, list[str]]:
    """Verb -> its options, of a command and those below it."""
    options = [each for one in command.params for each in (*one.opts, *one.secondary_opts)]
    found = {verb: sorted(each for each in options if each.startswith("-"))}
    if hasattr(command, "list_commands"):
        context = click.Context(command)
        for name in command.list_commands(context):
            found |= forms(command.get_command(context, name), f"{verb} {name}".strip())
    return found


def taken(words: list[str], own: dict[str, str]) -> bool:
    """Whether today's command line knows the words, in whichever way."""
    typed = subprocess.run(
        [sys.executable, "-m", "adwright", *words],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        env=own,
    )
    said = (typed.stdout + typed.stderr).lower()
    return "no such option" not in said and "no such command" not in said


def main() -> None:
    """Compare, and write old_forms.json; or list the forms of one release."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--before", default="8958e0b", help="a folder or a revision")
    parser.add_argument("--list", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.list:
        from adwright.cli.app import app

        print(json.dumps(forms(typer.main.get_command(app))))
        return
    from benchmarks.common.result import write_result  # the other release may not have it

    found: list[dict[str, list[str]]] = []
    with tempfile.TemporaryDirectory() as folder, checkout(asked.before) as before:
        for top in (before, ROOT):
            listing = subprocess.run(
                [sys.executable, "-m", "benchmarks.common.old_forms", "--list"],
                cwd=ROOT,
                env=environment(top, Path(folder)),
                check=True,
                capture_output=True,
                text=True,
            )
            found.append(json.loads(listing.stdout.splitlines()[-1]))
        own = environment(ROOT, Path(folder))
        then, now = found
        rows: list[dict[str, Any]] = [
            {
                "verb": verb,
                "options": len(options),
                "listed": len([each for each in options if each in now.get(verb, ())]),
                "taken": [
                    each
                    for each in options
                    if each not in now.get(verb, ()) and taken([*verb.split(), each, "v"], own)
                ],
                "there": verb in now or taken([*verb.split(), "--help"], own),
            }
            for verb, options in then.items()
        ]
    lost = sum(row["options"] - row["listed"] - len(row["taken"]) for row in rows)
    write_result(
        "old_forms",
        protocol=" ".join(str(__doc__).split()),
        data="the command lines of two releases",
        seeds=[],
        rows=rows,
        figures={
            "verbs": len(rows),
            "verbs_there": sum(bool(row["there"]) for row in rows),
            "options": sum(row["options"] for row in rows),
            "options_listed": sum(row["listed"] for row in rows),
            "options_rewritten_or_told": sum(len(row["taken"]) for row in rows),
            "options_lost": lost,
        },
    )
    sys.exit(bool(lost))


if __name__ == "__main__":
    main()
