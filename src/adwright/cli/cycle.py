"""adwright cycle: the loop of an ad's life, called by a scheduler."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from adwright.cli.lm.serve import DEFAULT_MODEL
from adwright.cli.serve import need_service
from adwright.cli.shared import allowed_to_replace, show_facts, show_table
from adwright.cli.verbs import DefaultGroup, verb
from adwright.core.errors import ConfigError

if TYPE_CHECKING:
    from adwright.campaigns.cycle.book import StepOutcome

#: Exit codes beside 0 and 2.
SOME_FAILED, BUDGET_USED = 3, 4
_FILE = Path("cycle.toml")


def group(root: typer.Typer) -> typer.Typer:
    """The verbs of `adwright cycle`. root: of all verbs, among which steps name theirs."""
    app = typer.Typer(
        cls=DefaultGroup,
        help=(
            "Take the ads of a tenant through their life, by a file of steps that a scheduler has "
            "called.\n\n"
            "`new` writes such a file; the verb may be left out for `run`; `status` says how it "
            "stands."
        ),
        no_args_is_help=True,
    )

    @verb(app, "run")
    def run(
        file: Path = _FILE, *, dry_run: bool = False, status: bool = False, as_json: bool = False
    ) -> None:
        """Run the steps whose inputs have changed, in order, and say how each went.

        Killed anywhere, the same command goes on. Two calls of one file never run together.

        Exit codes: 0 where all went well, 3 where a step failed, 4 where a budget is used up, 2 for
        a mistake in the file.

        Options:
            file: A file of steps, as `adwright cycle new` writes it.
            status: Say how it stands instead, as `adwright cycle status`.
            as_json (--json): Print JSON.
        """
        if status:
            show_status(file, as_json=as_json)
        else:
            _run(root, file, dry_run=dry_run, as_json=as_json)

    verb(app, "status")(show_status)
    verb(app, "new")(new)
    return app


def _run(root: typer.Typer, file: Path, *, dry_run: bool, as_json: bool) -> None:
    need_service()
    from adwright.campaigns.cycle.engine import run_cycle

    def tell(name: str, outcome: StepOutcome, said: str) -> None:
        if not as_json:
            typer.echo(f"{name}: {_SAID[outcome]}" + (f" ({said})" if said else ""))

    check = partial(check_words, root)
    report = run_cycle(file, dry_run=dry_run, tell=tell, check=check)
    if as_json:
        typer.echo(json.dumps({"round": report.number, "outcomes": dict(report.outcomes)}))
    elif report.unsent:
        typer.echo(f"{report.unsent:,} alerts were not taken, and are sent again next time")
    if "failed" in report.outcomes.values():
        raise typer.Exit(SOME_FAILED)
    if "budget" in report.outcomes.values():
        raise typer.Exit(BUDGET_USED)


_SAID = {
    "done": "done",
    "failed": "FAILED",
    "same": "as it was",
    "nothing": "nothing to do",
    "absent": "waits for what it reads",
    "refused": "not published",
    "budget": "NO BUDGET",
    "waits": "left out",
}


def show_status(file: Path = _FILE, *, as_json: bool = False) -> None:
    """Say how a cycle stands: each step, what was used, and what a person should know.

    Options:
        file: A file of steps.
        as_json (--json): All that is known, as JSON.
    """
    need_service()
    from adwright.campaigns.cycle.plan import load_cycle
    from adwright.campaigns.cycle.status import read_status
    from adwright.core.clock import SystemClock

    cycle = load_cycle(file)
    found = read_status(cycle, SystemClock().now())
    if as_json:
        typer.echo(json.dumps(found, indent=1, ensure_ascii=False))
        return
    going = "runs now" if found["running"] else "was killed, goes on" if found["open"] else "rests"
    bounds = found["budget"]["bounds"]
    used = {name: _amount(name, value) for name, value in found["budget"]["used"].items()}
    facts = {"cycle": f"{found['cycle']}, round {found['round']}, {going}"}
    facts |= {
        name: f"{used[name]} in this {found['budget']['per']}"
        + (f" of {_amount(name, bound)}" if bound is not None else "")
        for name, bound in bounds.items()
    }
    show_facts(facts)
    rows = [
        [
            name,
            step["last"],
            (step["done"] or "-")[:16].replace("T", " "),
            f"{step['used']['seconds']:,.0f} s, {step['used']['tokens']:,} tokens",
            step["said"][:60],
        ]
        for name, step in found["steps"].items()
    ]
    show_table(("step", "last", "done (UTC)", "used in all", "said"), rows)
    for one in found["alerts"]:
        taken = f", sent to {one['sent']} of {one['of']}" if one["of"] else ""
        about = f" {one['about']}" if one["about"] else ""
        typer.echo(f"{one['time'][:16]} {one['what']}{about}: {one['text']}{taken}")


def _amount(name: str, value: float) -> str:
    return f"{value:,.2f}" if name == "money" else f"{value:,.0f}"


def new(
    file: Path = _FILE,
    *,
    tenant: str,
    store: str = "sqlite:///adwright.db",
    catalogue: str = "catalogue.csv",
    columns: str = "id=item_id,title=title",
    models: str = "models",
    landing: str = "https://shop.example/{item_id}",
    model: str = DEFAULT_MODEL,
    force: bool = False,
) -> None:
    """Write a file with all steps: import, write, judge, approve, publish, retrain, retire.

    adwright cycle new cycle.toml --tenant acme

    adwright cycle cycle.toml --dry-run

    Options:
        file: Where to; paths in it are below its folder.
        tenant: Whose ads.
        store: sqlite:///PATH or postgresql://USER@HOST/DATABASE.
        catalogue: Table of products.
        columns: Which of its columns is which: id=sku,title=name.
        models: Folder of the models, MODELS/TENANT/VERSION; MODELS/start is what is trained again.
        landing: Where a click leads, with {item_id} in it.
        model: What writes: a folder, a name, or http://HOST:PORT/v1#NAME.
    """
    need_service()
    from adwright.campaigns.cycle.plan import load_cycle, usual_cycle
    from adwright.core.atomic import atomic_write_text

    allowed_to_replace(file, force=force)
    values = {"tenant": tenant, "store": store, "catalogue": catalogue, "columns": columns}
    values |= {"models": models, "landing": landing, "model": model}
    atomic_write_text(file, usual_cycle(values))
    try:
        steps = load_cycle(file).steps
    except ConfigError as error:
        typer.echo(f"{file} is written; before it runs: {error.what}; {error.hint}")
        return
    typer.echo(f"{len(steps)} steps in {file}")
    typer.echo(f"Next: adwright cycle {file} --dry-run")


def check_words(root: typer.Typer, words: list[str]) -> None:
    """Raise ConfigError where the words are no command of `root`; run nothing."""
    command: Any = typer.main.get_command(root)
    at = 0
    while hasattr(command, "commands"):
        name = words[at] if at < len(words) else ""
        if name not in command.commands and isinstance(command, DefaultGroup):
            command = command.commands[command.default]
        elif name in command.commands:
            command, at = command.commands[name], at + 1
        else:
            raise ConfigError(
                f"there is no verb {name!r}",
                where=f"adwright {' '.join(words[: at + 1])}",
                hint=f"use one of {', '.join(command.commands)}",
            )
    verb_of = f"adwright {' '.join(words[:at])}"
    try:
        command.make_context(verb_of, list(words[at:]))
    except Exception as error:
        if not hasattr(error, "format_message"):  # none of how it was typed
            raise
        raise ConfigError(
            f"the command is wrong: {error.format_message()}",
            where=f"adwright {' '.join(words)}",
            hint=f"{verb_of} -h shows its options",
        ) from error
