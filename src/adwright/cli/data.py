"""adwright data describe, import and export."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from adwright.cli.shared import DryRun, Force, Offline, allowed_to_replace, show_facts

if TYPE_CHECKING:
    from adwright.data.sources.log import Description, Log

__all__ = ["app", "describe_log", "export_log", "import_log"]

app = typer.Typer(
    help=(
        "Bring logs in, look at them, and take them out.\n\n"
        "A log is a table of events (who saw, clicked or bought what, and when) with a "
        "catalogue of items. Public ones go by name: complete-journey, open-bandit, movielens."
    ),
    no_args_is_help=True,
)

Source = Annotated[
    str,
    typer.Argument(
        help="A file of events, an imported folder, or complete-journey, open-bandit, movielens."
    ),
]
Atomic = Annotated[
    str | None,
    typer.Option("--atomic", help="Name of a RecBole data set: SOURCE is the folder of its files."),
]
Items = Annotated[
    Path | None,
    typer.Option("--items", help="Catalogue of items; without it, the ids of the log alone."),
]


@app.command("describe")
def describe_log(
    source: Source,
    atomic: Atomic = None,
    items: Items = None,
    offline: Offline = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Count events, people, items and kinds; give the time span and the lengths of histories."""
    from adwright.data.sources.log import describe

    found = describe(_opened(source, atomic, items, offline=offline))
    if as_json:
        typer.echo(json.dumps(_plain(found), indent=1))
        return
    span = f"{found.first:%Y-%m-%d} to {found.last:%Y-%m-%d}" if found.first else "none"
    show_facts(
        {
            "events": f"{found.events:,}",
            "kinds": ", ".join(f"{kind} {n:,}" for kind, n in found.kinds.items()),
            "time": span,
            "people": f"{found.users:,}",
            "events of a person": ", ".join(f"{n} {v:,.0f}" for n, v in found.history.items()),
            "items in events": f"{found.items:,}",
            "catalogue": ", ".join(f"{what} {n:,}" for what, n in found.catalogue.items()),
            "item features": ", ".join(found.features) or "none",
        }
    )


@app.command("import")
def import_log(
    source: Source,
    out: Annotated[Path, typer.Argument(help="Folder for the validated log, in Parquet.")],
    items: Items = None,
    creatives: Annotated[
        Path | None, typer.Option("--creatives", help="Table of creatives.")
    ] = None,
    campaigns: Annotated[
        Path | None, typer.Option("--campaigns", help="Table of campaigns.")
    ] = None,
    atomic: Atomic = None,
    task: Annotated[
        bool,
        typer.Option("--task", help="Also make the task folder that `adwright train` reads."),
    ] = False,
    task_config: Annotated[
        Path | None,
        typer.Option(
            "--task-config",
            help="TOML file of the task: responses, history, dates of the split, context.",
        ),
    ] = None,
    offline: Offline = False,
    force: Force = False,
    dry_run: DryRun = False,
) -> None:
    """Check a log row by row and keep it as Parquet.

    SOURCE is Parquet (a file or a folder of parts) or CSV with the columns event_id, time,
    request_id, user_id, kind and item_id, and optionally more; or RecBole atomic files with
    --atomic NAME. The first bad row is named by file, row and column.
    """
    from adwright.core.config import load_toml
    from adwright.data.sources.log import describe, open_log, save_log
    from adwright.data.tasks.from_log import LogTaskConfig, build_log_task

    asked = None if task_config is None else load_toml(task_config, LogTaskConfig)
    log = _opened(source, atomic, items, creatives, campaigns, offline=offline)
    found = describe(log)
    facts = f"{found.events:,} events of {found.users:,} people, {found.items:,} items"
    if dry_run:
        typer.echo(f"{facts}: all rows are valid. Would write {out}")
        return
    replacing = allowed_to_replace(out, force=force)
    save_log(out, log, overwrite=replacing)
    typer.echo(f"{facts}: all rows are valid. Written to {out}")
    if task or asked is not None:
        kept = open_log(out)
        made = build_log_task(kept.events, kept.catalogue, out, asked, name="task")
        typer.echo(f"{made.protocol}\nTask, for adwright train --task: {made.folder}")


@app.command("export")
def export_log(
    source: Source,
    out: Annotated[Path, typer.Argument(help="Folder to write.")],
    form: Annotated[
        Literal["parquet", "csv", "atomic"],
        typer.Option("--format", help="Parquet, CSV, or RecBole atomic files."),
    ] = "parquet",
    name: Annotated[str, typer.Option("--name", help="Name of the atomic data set.")] = "log",
    items: Items = None,
    offline: Offline = False,
    force: Force = False,
    dry_run: DryRun = False,
) -> None:
    """Write a log as Parquet, CSV or RecBole atomic files, for other tools to read."""
    from adwright.data.sources.log import save_log

    log = _opened(source, None, items, offline=offline)
    if dry_run:
        typer.echo(f"Would write {out} as {form}")
        return
    replacing = allowed_to_replace(out, force=force)
    save_log(out, log, format=form, name=name, overwrite=replacing)
    typer.echo(f"Written to {out}")


def _opened(
    source: str,
    atomic: str | None,
    items: Path | None,
    creatives: Path | None = None,
    campaigns: Path | None = None,
    *,
    offline: bool,
) -> Log:
    from adwright.data.sources.log import open_log, read_atomic_log, read_log

    if atomic is not None:
        return read_atomic_log(Path(source), atomic)
    if items is None and creatives is None and campaigns is None:
        return open_log(source, offline=offline)
    return read_log(Path(source), items=items, creatives=creatives, campaigns=campaigns)


def _plain(found: Description) -> dict[str, object]:
    from dataclasses import asdict

    values = asdict(found)
    times = {
        key: None if values[key] is None else values[key].isoformat() for key in ("first", "last")
    }
    return {**values, **times}
