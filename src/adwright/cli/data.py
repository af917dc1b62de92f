"""adwright data describe, import and export."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Literal

import typer

from adwright.cli.shared import (
    PUBLIC_LOGS,
    IntoStore,
    allowed_to_replace,
    name_pairs,
    show_facts,
    show_table,
)
from adwright.cli.verbs import verb
from adwright.core.errors import ConfigError

if TYPE_CHECKING:
    from adwright.data.sources.log import Description, Log, LogSummary
    from adwright.data.sources.mapped import LogMapping
    from adwright.data.tasks.from_log import LogTaskConfig


app = typer.Typer(
    help=(
        "Bring logs in, look at them, and take them out.\n\n"
        "A log is a table of events (who saw, clicked or bought what, and when) with a "
        f"catalogue of items. Public ones go by name: {PUBLIC_LOGS}."
    ),
    no_args_is_help=True,
)


@verb(app, "describe")
def describe_log(
    source: str,
    *,
    atomic: str | None = None,
    items: Path | None = None,
    mapping: Path | None = None,
    offline: bool = False,
    as_json: bool = False,
) -> None:
    """Count events, people, items and kinds; say what each column is, and what is odd.

    Options:
        source: A file of events, an imported folder, or a public log by name: complete-journey,
            movielens, open-bandit.
        atomic: Name of a RecBole data set: SOURCE is the folder of its files.
        items: Catalogue of items; without it, the ids of the log alone.
        mapping: TOML file of the options below; an option wins over it.
        as_json (--json): Print JSON.
    """
    from adwright.core.config import to_jsonable
    from adwright.data.sources.log import summarise

    found = summarise(_opened(source, atomic, items, asked=_mapping(mapping), offline=offline))
    if as_json:
        more = {"columns": to_jsonable(found)["columns"], "warnings": found.warnings()}
        typer.echo(json.dumps({**_plain(found.holds), **more}, indent=1))
        return
    _show(found)


@verb(app, "import", by_place="out")
def import_log(
    source: str,
    *,
    out: Path,
    items: Path | None = None,
    creatives: Path | None = None,
    campaigns: Path | None = None,
    users: Path | None = None,
    atomic: str | None = None,
    mapping: Path | None = None,
    columns: str | None = None,
    kinds: str | None = None,
    kind: str | None = None,
    clicked: str | None = None,
    time_format: str | None = None,
    time_zone: str | None = None,
    context: str | None = None,
    min_rating: float | None = None,
    drop_repeated: bool = False,
    drop_incomplete: bool = False,
    drop_future: bool | None = None,
    column_kinds: str | None = None,
    task: bool = False,
    task_config: Path | None = None,
    offline: bool = False,
    force: bool = False,
    dry_run: bool = False,
    into: IntoStore = IntoStore(),
) -> None:
    """Check a log row by row, say what is in it and what is odd, and keep it as Parquet.

    SOURCE is a table of purchases, clicks, ratings or impressions with at least a user, an item
    and a time: CSV (with , ; tab or |), JSON lines, either also in .gz, Parquet or a folder of its
    parts; or RecBole atomic files with --atomic NAME. The first bad row is named by file, row and
    column; what fails leaves nothing behind.

    Options:
        source: A file of events, an imported folder, or a public log by name: complete-journey,
            movielens, open-bandit.
        out: Folder for the validated log, in Parquet.
        items: Catalogue of items; without it, the ids of the log alone.
        creatives: Table of creatives.
        campaigns: Table of campaigns.
        users: Table of what is known of the people.
        atomic: Name of a RecBole data set: SOURCE is the folder of its files.
        mapping: TOML file of the options below; an option wins over it.
        columns: Which column is which, OURS=THEIRS,... as in user_id=customer_id or
            quantity=menge. Obvious names are taken without it, and said.
        kinds: What the kinds of the log mean, THEIRS=OURS,... as in order=purchase; =none
            leaves events out.
        kind: Kind of all events, where no column says it: purchase, click...
        clicked: Column of 0 and 1: every row is an impression, and a click too where it is 1.
        time_format: Of times, as in %d/%m/%Y %H:%M; or s or ms since 1970.
        time_zone: Of times that name none, as in Europe/Paris; else UTC.
        context: Columns to put into the context: store,channel.
        min_rating: Leave out ratings below this one.
        drop_repeated: Keep one of events that are told twice.
        drop_incomplete: Leave out rows without a user, an item or a time.
        drop_future (--drop-future/--keep-future): Leave out, or keep, what is dated after now;
            without either, a log with more than a day of it is refused.
        column_kinds: What columns of the catalogue or the context are:
            brand=category,year=number; also list, text, and none for what means nothing.
            Without it their values decide, as is shown.
        task: Also make the task folder that `adwright train` reads.
        task_config: TOML file of the task: responses, history, dates of the split, context.
    """
    from adwright.core.config import load_toml
    from adwright.data.sources.log import summarise
    from adwright.data.sources.tables import read_whole_creatives
    from adwright.data.tasks.from_log import LogTaskConfig
    from adwright.data.tasks.own.drawn import build_ranking_task

    wanted = LogTaskConfig() if task_config is None else load_toml(task_config, LogTaskConfig)
    asked = _mapping(
        mapping,
        columns=name_pairs("--columns", columns),
        kinds=name_pairs("--kinds", kinds),
        kind=kind,
        clicked=clicked,
        time_format=time_format,
        time_zone=time_zone,
        context=_names(context),
        min_rating=min_rating,
        drop_repeated=drop_repeated or None,
        drop_incomplete=drop_incomplete or None,
        drop_future=drop_future,
        column_kinds=name_pairs("--column-kinds", column_kinds),
    )
    into.check()
    if into.store and creatives is None:
        hint = "name the table with --creatives"
        raise ConfigError("no ads are to be entered into the store", where="--store", hint=hint)
    replacing = not dry_run and allowed_to_replace(out, force=force)
    log = _opened(source, atomic, items, creatives, campaigns, users, asked=asked, offline=offline)
    found = summarise(log)
    _show(found)
    with_task = wanted if task or task_config is not None else None
    if dry_run:
        # What fails in earnest fails here, too.
        with TemporaryDirectory(prefix="adwright-dry-run-") as scratch:
            if with_task is not None:
                build_ranking_task(log, scratch, with_task)
        typer.echo(f"{_counted(found)}: all rows are valid. Would write {out}")
    else:
        _save(out, log, found, with_task, overwrite=replacing)
        if creatives is not None:
            into.enter(read_whole_creatives(creatives), author="adwright data import")


@verb(app, "export", by_place="out")
def export_log(
    source: str,
    *,
    out: Path,
    form: Literal["parquet", "csv", "atomic"] = "parquet",
    name: str = "log",
    items: Path | None = None,
    offline: bool = False,
    force: bool = False,
    dry_run: bool = False,
) -> None:
    """Write a log as Parquet, CSV or RecBole atomic files, for other tools to read.

    Options:
        source: A file of events, an imported folder, or a public log by name: complete-journey,
            movielens, open-bandit.
        out: Folder to write.
        form (--format): Parquet, CSV, or RecBole atomic files.
        name: Name of the atomic data set.
        items: Catalogue of items; without it, the ids of the log alone.
    """
    from adwright.data.sources.log import save_log, summarise

    log = _opened(source, None, items, asked=None, offline=offline)
    if dry_run:
        typer.echo(f"Would write {out} as {form}")
        return
    replacing = allowed_to_replace(out, force=force)
    kept = summarise(log) if log.columns else None
    save_log(out, log, format=form, name=name, overwrite=replacing, summary=kept)
    typer.echo(f"Written to {out}")


def _opened(
    source: str,
    atomic: str | None,
    items: Path | None,
    creatives: Path | None = None,
    campaigns: Path | None = None,
    users: Path | None = None,
    *,
    asked: LogMapping | None,
    offline: bool,
) -> Log:
    from adwright.data.sources.log import open_log, read_atomic_log, read_log

    if atomic is not None:
        return read_atomic_log(Path(source), atomic, mapping=asked)
    if items is None and creatives is None and campaigns is None and users is None:
        return open_log(source, mapping=asked, offline=offline, tell=False)
    return read_log(
        Path(source),
        items=items,
        creatives=creatives,
        campaigns=campaigns,
        users=users,
        mapping=asked,
        tell=False,
    )


def _mapping(file: Path | None, **options: object) -> LogMapping | None:
    """What the file says, with the options that are given in its place; None for neither."""
    from adwright.core.config import from_jsonable, read_toml
    from adwright.data.sources.mapped import LogMapping

    values = {} if file is None else read_toml(file)
    given = {name: value for name, value in options.items() if value is not None}
    if not values and not given:
        return None
    return from_jsonable(
        LogMapping, {**values, **given}, source="the options" if file is None else str(file)
    )


def _names(text: str | None) -> list[str] | None:
    return None if text is None else [part.strip() for part in text.split(",") if part.strip()]


def _save(
    out: Path, log: Log, found: LogSummary, task: LogTaskConfig | None, *, overwrite: bool
) -> None:
    """Write the log, and a task inside its folder where `task` is given: both or nothing."""
    from adwright.data.sources.log import open_log, save_log
    from adwright.data.tasks.own.drawn import build_ranking_task

    made: list[str] = []

    def build(folder: Path) -> None:
        made.append(build_ranking_task(open_log(folder), folder, task, name="task").folder.name)

    also = None if task is None else build
    save_log(out, log, overwrite=overwrite, summary=found, also=also)
    typer.echo(f"{_counted(found)}: all rows are valid. Written to {out}")
    for name in made:
        _show_task(out / name)


def _counted(found: LogSummary) -> str:
    holds = found.holds
    return f"{holds.events:,} events of {holds.users:,} people, {holds.items:,} items"


def _show(found: LogSummary) -> None:
    show_facts(found.facts())
    for sentence in found.sentences():
        typer.echo(sentence)


def _show_task(folder: Path) -> None:
    """Rows, positives and people of each split, and what each feature is."""
    from adwright.data.tasks.task import Task

    made = Task.open(folder)
    parts = made.meta["splits"]
    show_table(
        ("split", "rows", "positives", "people"),
        [
            (
                split,
                f"{part['rows']:,}",
                f"{part['positives']:,} ({part['positives'] / max(part['rows'], 1):.1%})",
                f"{part['users']:,}",
            )
            for split, part in parts.items()
        ],
    )
    for feature in made.spec.features:
        values = f", {len(feature.vocabulary):,} values" if feature.vocabulary else ""
        typer.echo(f"{feature.name}: {feature.kind} of the {feature.of}{values}")
    typer.echo(f"{made.protocol}\nTask, for adwright train --task: {made.folder}")


def _plain(found: Description) -> dict[str, object]:
    from dataclasses import asdict

    values = asdict(found)
    times = {
        key: None if values[key] is None else values[key].isoformat() for key in ("first", "last")
    }
    return {**values, **times}
