"""Recommend to everybody: a table, or a Parquet file that is written part by part.

    recs = recommend_all("runs/hstu/model", k=10)
    recommend_file("runs/hstu/model", "recs.parquet")

While it is under way, the parts of OUT lie in .OUT.parts beside it, whole or not at all, with
what was asked for; a run that was cut off goes on after the last of them.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from adwright.core.atomic import atomic_write_text
from adwright.core.config import to_jsonable
from adwright.core.errors import ConfigError, ResourceError, ResumeError, SchemaError
from adwright.core.hashing import content_hash
from adwright.core.progress import Progress, progress
from adwright.data.sources.tables import write_table
from adwright.delivery.recommend.models import TopItems
from adwright.delivery.recommend.on_ray import parts_on_ray, require_workers
from adwright.delivery.recommend.opened import Opened, Wanted, open_model
from adwright.delivery.recommend.people import People

__all__ = ["PartWriter", "Recommended", "read_users", "recommend_all", "recommend_file"]

_log = logging.getLogger("adwright")
_SCHEMA = {"user_id": pl.String, "rank": pl.Int32, "item_id": pl.String, "score": pl.Float32}


@dataclass(frozen=True)
class Recommended:
    """What was written: users, those of them without a known event, rows; out: the file. kind: of
    the model. source: of the histories. unseen: whether what a user had was left out. stopped: how
    many items were left out because the log stopped them."""

    users: int
    unknown: int
    rows: int
    out: Path
    kind: str
    source: str
    unseen: bool
    stopped: int = 0


def recommend_all(model: str | Path, wanted: Wanted | None = None, *, k: int = 10) -> pl.DataFrame:
    """The k best items of each user: user_id, rank (from 1), item_id, score, by user and rank.

    model: the folder of a cascade, a ranker, HSTU, SASRec, two towers, HCN, item-item or
    popularity, or of the run that made it. Scores compare items of one user; their scale is the
    model's own.
    Raises as `open_model`, and ConfigError for a k below 1.
    """
    _check_k(k)
    opened = open_model(model, wanted or Wanted())
    return _table(opened.top, opened.people, k)


def recommend_file(
    model: str | Path,
    out: str | Path,
    wanted: Wanted | None = None,
    *,
    k: int = 10,
    chunk: int = 20_000,
    resume: bool = False,
    overwrite: bool = False,
    ray_workers: int = 0,
) -> Recommended:
    """As `recommend_all`, into a Parquet file.

    chunk: users of one part. resume: go on with the parts of a run that was cut off. overwrite:
    replace `out`, and parts that are there. ray_workers: processes of Ray that share the parts;
    model, log and `out` must be where all nodes see them.
    Raises ResourceError where `out` or parts of it are there, ResumeError where the parts are of
    another model, log or question, and as `recommend_all`.
    """
    _check_k(k)
    if chunk < 1:
        raise ConfigError("chunk must be at least 1", where=f"chunk {chunk}")
    if ray_workers:
        require_workers(ray_workers)
    out = Path(out)
    if out.suffix.lower() not in (".parquet", ".pq"):
        raise SchemaError(
            "recommendations are written as Parquet", file=str(out), hint="name it .parquet"
        )
    if out.is_dir():
        raise ResourceError("this is a folder, not a file", where=str(out), hint="name a file")
    if out.exists() and not overwrite:
        raise ResourceError(
            "the file for the recommendations exists already",
            where=str(out),
            hint="name another, or allow it to be replaced",
        )
    writer = PartWriter(str(model), out.resolve(), wanted or Wanted(), k, chunk)
    opened = writer.opened
    writer.begin(resume=resume, overwrite=overwrite)
    todo = [part for part in range(writer.parts) if not writer.path(part).exists()]
    users = len(opened.people)
    with progress(users, "recommend", "users") as bar:
        bar.advance(users - sum(writer.users(part) for part in todo))
        _run(writer, todo, bar, ray_workers)
    table = pl.scan_parquet([writer.path(part) for part in range(writer.parts)])
    write_table(out, table)
    rows = int(table.select(pl.len()).collect().item())
    shutil.rmtree(writer.folder, ignore_errors=True)
    unknown = int((opened.people.lengths == 0).sum())
    said = opened.kind, opened.source, opened.unseen, len(opened.stopped)
    return Recommended(users, unknown, rows, out, *said)


def read_users(path: str | Path) -> tuple[str, ...]:
    """The users that a file names: the column user_id of a Parquet or CSV file, each once, or the
    lines of any other text file.

    Raises SchemaError where there is no such column, ConfigError where the file cannot be read or
    names nobody.
    """
    path = Path(path)
    try:
        match path.suffix.lower():
            case ".parquet" | ".pq":
                table = pl.read_parquet(path)
            case ".csv":
                table = pl.read_csv(path, infer_schema=False)
            case _:
                lines = path.read_text("utf-8").splitlines()
                table = pl.DataFrame({"user_id": [line.strip() for line in lines if line.strip()]})
    except (OSError, ValueError, pl.exceptions.PolarsError) as error:
        raise ConfigError(
            f"the file of users cannot be read: {str(error).splitlines()[0]}",
            where=str(path),
            hint="write ids as lines of a text file, or as the column user_id of a table",
        ) from error
    if "user_id" not in table.columns:
        raise SchemaError(
            "the table of users lacks a column",
            file=str(path),
            column="user_id",
            hint=f"it has {', '.join(table.columns)}",
        )
    ids = table["user_id"].cast(pl.String).drop_nulls().unique(maintain_order=True)
    if not len(ids):
        raise ConfigError(
            "the file names no user", where=str(path), hint="write an id a line, or leave --users"
        )
    return tuple(ids.to_list())


class PartWriter:
    """Writes the parts of one file; made anew, from the same values, in each process that does.

    model: its folder. out: the file, absolute. parts: how many there are.
    """

    def __init__(self, model: str, out: Path, wanted: Wanted, k: int, chunk: int) -> None:
        self.settings = model, out, wanted, k, chunk
        self.folder = out.with_name(f".{out.name}.parts")
        self.opened: Opened = open_model(model, wanted)
        self._k, self._chunk = k, chunk
        self.parts = max(1, -(-len(self.opened.people) // chunk))
        self._asked = content_hash(
            {
                "model": self.opened.identity,
                "wanted": to_jsonable(replace(wanted, users=None)),
                "users": content_hash(self.opened.people.users.to_list()),
                "events": [len(self.opened.people.item), int(self.opened.people.time.sum())],
                "k": k,
                "chunk": chunk,
                **({"stopped": sorted(self.opened.stopped)} if self.opened.stopped else {}),
            }
        )

    def path(self, part: int) -> Path:
        """The file of a part."""
        return self.folder / f"part-{part:06d}.parquet"

    def users(self, part: int) -> int:
        """Users of a part."""
        start = part * self._chunk
        return min(start + self._chunk, len(self.opened.people)) - start

    def begin(self, *, resume: bool, overwrite: bool) -> None:
        """Make the folder of the parts, or see that those which are there are of the same run.

        Raises ResourceError where there are some (without `resume`), ResumeError where they are of
        another run.
        """
        about = self.folder / "asked.json"
        if not resume and overwrite:
            shutil.rmtree(self.folder, ignore_errors=True)
        if not self.folder.exists():
            if resume:
                _log.warning("there is nothing to resume in %s: a new run begins", self.folder)
            atomic_write_text(about, json.dumps({"asked": self._asked}) + "\n")
            return
        if not resume:
            raise ResourceError(
                "parts of a run that was cut off are there",
                where=str(self.folder),
                hint="go on with --resume, or begin anew with --force",
            )
        try:
            before = json.loads(about.read_text("utf-8"))["asked"]
        except (OSError, ValueError, KeyError, TypeError):
            before = None
        if before != self._asked:
            raise ResumeError(
                "the parts are of another model, log, list of users, k or chunk",
                where=str(self.folder),
                hint="resume with what the run was started with, or begin anew with --force",
            )

    def write(self, part: int) -> int:
        """Write a part, whole or not at all; its users."""
        start, users = part * self._chunk, self.users(part)
        people = self.opened.people.some(start, start + users)
        write_table(self.path(part), _table(self.opened.top, people, self._k))
        return users


def _run(writer: PartWriter, todo: list[int], bar: Progress, workers: int) -> None:
    done: Iterable[int] = map(writer.write, todo)
    if workers:
        done = parts_on_ray(PartWriter, writer.settings, todo, workers)
    for users in done:
        bar.advance(users)


def _table(top: TopItems, people: People, k: int) -> pl.DataFrame:
    found = top.best(people, k)
    names = pl.Series("item_id", top.items.ids, pl.String)
    users, places = (found.codes > 0).nonzero()
    return pl.DataFrame(
        {
            "user_id": people.users.gather(users),
            "rank": places + 1,
            "item_id": names.gather(found.codes[users, places] - 1),
            "score": found.scores[users, places],
        },
        schema=_SCHEMA,
    )


def _check_k(k: int) -> None:
    if k < 1:
        raise ConfigError("k must be at least 1", where=f"k {k}")
