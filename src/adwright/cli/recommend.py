"""adwright recommend."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import typer

from adwright.cli.shared import allowed_to_replace
from adwright.cli.verbs import verb
from adwright.core.config import Count, Natural
from adwright.core.errors import ConfigError


def register(app: typer.Typer) -> None:
    """Add the verb."""
    verb(app, "recommend", panel="Recommend")(recommend)


def recommend(
    model: Path,
    *,
    out: Path,
    users: str = "all",
    events: str | None = None,
    k: Count = 10,
    unseen: bool | None = None,
    at: str | None = None,
    chunk: Count = 20_000,
    ray_workers: Natural = 0,
    offline: bool = False,
    resume: bool = False,
    force: bool = False,
    dry_run: bool = False,
) -> None:
    """Write the best items of the whole catalogue for everybody, by any model that can be served.

    A run that was cut off goes on with --resume after the last part that it wrote. With
    --ray-workers the processes of Ray share the parts, on the cluster of RAY_ADDRESS or on this
    machine; it needs the extra `ray`.

    Options:
        model: Folder of a model, or of the run that made it.
        out: Parquet file: user_id, rank, item_id, score.
        users: File of users (a column user_id, or one id a line), or all: everybody with an
            event.
        events: Log of what they did; by default what the model was saved with, or trained on.
        k: Items for each.
        unseen (--unseen/--repeats): Leave out all that is in a user's history, or nothing of
            it; by default what events took off the list, by kind, as the log shows.
        at: The moment that is asked about, in UTC; by default after the last event.
        chunk: Users of one part, which is kept once done.
        ray_workers: Processes of Ray that share it; 0 for none.
    """
    from adwright.delivery.recommend.models import Wanted, open_model
    from adwright.delivery.recommend.run import read_users, recommend_file

    wanted = Wanted(
        users=None if users == "all" else read_users(users),
        log=events,
        at=None if at is None else _moment(at),
        unseen=unseen,
        offline=offline,
    )
    if dry_run:
        opened = open_model(model, wanted)
        typer.echo(
            f"{opened.kind} of {len(opened.top.items.ids):,} items, {len(opened.people):,} users "
            f"with {len(opened.people.item):,} events from {opened.source}; "
            f"{_had(opened.unseen)}. Would write {out}"
        )
        return
    replacing = allowed_to_replace(out, force=force)
    found = recommend_file(
        model,
        out,
        wanted,
        k=k,
        chunk=chunk,
        resume=resume,
        overwrite=replacing or force,
        ray_workers=ray_workers,
    )
    typer.echo(
        f"{found.rows:,} rows for {found.users:,} users written to {out}, by {found.kind} and "
        f"{found.source}; {_had(found.unseen)}"
    )
    if found.stopped:
        typer.echo(f"{found.stopped:,} items are left out: the log says that they are stopped")
    if found.unknown:
        typer.echo(f"{found.unknown:,} of the users have no event there: they get what is popular")


def _had(unseen: bool) -> str:
    return "what a user had is left out" if unseen else "what a user had may come again"


def _moment(text: str) -> datetime:
    from datetime import UTC

    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(
            "a moment is written as 2026-05-31T18:30:00", where=f"--at {text}", hint="in UTC"
        ) from error
    return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
