"""What commands of another release saved, used by the commands of today: the same numbers?

    python -m benchmarks.common.old_artifacts --before 96545995

Each row of `_saved_artifacts` saves something by commands of the code before: a model, a run, a
store, a journal. The code before uses it, and so does the code of today, on a copy in the same
place, by the words of before, which today's commands still take. Equal are exit codes, the numbers
that are printed, and those in the files that are written, to the bit. Some six processor minutes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl

from benchmarks.common._checkouts import ROOT, checkout, environment
from benchmarks.common._saved_artifacts import ARTIFACTS, Artifact, prepare
from benchmarks.common.result import published, write_result

_NUMBER = re.compile(r"(?<![\w.])-?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?(?!\w)", re.IGNORECASE)
#: Lines and fields that differ from run to run: how long it took, and when it was.
_TIMED = re.compile(r"second|minute|\d m?s\b|cpu|peak|bytes|created", re.IGNORECASE)
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+")
#: What the commands of a row said, and with which code each ended.
Said = Sequence[Mapping[str, Any]]


def numbers(text: str) -> list[str]:
    """Those of a text, without times and lines about them."""
    lines = (line for line in text.splitlines() if not _TIMED.search(line))
    return [number for line in lines for number in _NUMBER.findall(_MOMENT.sub("", line))]


def _leaves(value: Any) -> Iterator[Any]:
    """The values of JSON in the order of their fields' names."""
    if isinstance(value, Mapping):
        for key in sorted(value):
            if not _TIMED.search(key):
                yield from _leaves(value[key])
    elif isinstance(value, list):
        for one in value:
            yield from _leaves(one)
    elif isinstance(value, float | int):
        yield value


def content(path: Path) -> Any:
    """What is compared of a file: a table whole, of JSON and of texts the numbers, else bytes."""
    match path.suffix:
        case ".parquet":
            return pl.read_parquet(path).write_json()
        case ".json":
            return list(_leaves(json.loads(path.read_text("utf-8"))))
        case ".jsonl":
            lines = path.read_text("utf-8").splitlines()
            return [list(_leaves(json.loads(line))) for line in lines]
        case ".html" | ".svg" | ".txt" | ".md":
            return numbers(path.read_text("utf-8"))
        case ".onnx":
            return _graph(path)
        case _:
            return hashlib.sha256(path.read_bytes()).hexdigest()


def _graph(path: Path) -> str:
    """Of a network, without the names of the code that wrote it."""
    import onnx

    model = onnx.load(path)
    for part in (
        *model.graph.node,
        *model.graph.value_info,
        *model.graph.output,
        *model.graph.input,
    ):
        part.ClearField("metadata_props")
    model.ClearField("metadata_props")
    return hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest()


def differences(one: Artifact, before: Path, after: Path, said: Said, said_now: Said) -> list[str]:
    """Where the uses of before and of today differ; empty where all is equal."""
    found = []
    for old, new in zip(said, said_now, strict=True):
        for key, value, now in (
            ("code", old["code"], new["code"]),
            ("numbers", sorted(numbers(old["said"])), sorted(numbers(new["said"]))),
        ):
            if value != now and not (key == "numbers" and new["timed"]):
                found.append(f"{key} of {new['words']}: {value} and {now}")
    for glob in one.out:
        names = [
            {str(path.relative_to(top)) for path in top.glob(glob) if path.is_file()}
            for top in (before, after)
        ]
        if not names[0] or names[0] != names[1]:
            found.append(f"files {glob}: {sorted(names[0])} and {sorted(names[1])}")
        for name in sorted(names[0] & names[1]):
            if content(before / name) != content(after / name):
                found.append(f"file {name}")
    return found


def row_of(
    one: Artifact, before: Path, after: Path, saved: Said, said: Said, now: Said
) -> dict[str, Any]:
    """The row of an artifact, of the folders in which it was used. What is wrong is printed."""
    for step in (*saved, *said, *now):
        if not step["fine"]:
            print(f"{one.name}: {step['words']} ended with {step['code']}\n{step['wrong']}")
    apart = differences(one, before, after, said, now)
    for line in apart:
        print(f"{one.name}: {line}")
    loaded = all(step["fine"] for step in (*saved, *now))
    return {
        "name": one.name,
        "saved_by": len(saved),
        "used_by": len(now),
        "same_words": sum(old["said"] == new["said"] for old, new in zip(said, now, strict=True)),
        "files": sum(path.is_file() for glob in one.out for path in after.glob(glob)),
        "loaded": loaded,
        "equal": loaded and not apart,
    }


def _in(code: Path, top: Path, *parts: Mapping[str, str]) -> list[dict[str, Said]]:
    """Run the parts of a plan with the source of a checkout, in a process of its own."""
    (top / "plan.json").write_text(json.dumps(parts), "utf-8")
    words = [sys.executable, "-m", "benchmarks.common._commands", str(top / "plan.json"), str(top)]
    plain = {"COLUMNS": "200", "NO_COLOR": "1"}
    subprocess.run(words, env=environment(code, top) | plain, cwd=ROOT, check=True)
    return list(json.loads((top / "said.json").read_text("utf-8")))


@contextmanager
def _shop() -> Iterator[tuple[Any, str]]:
    """The web app that the agent operates, and its address."""
    from tests.support.agent.shop_app import ShopApp
    from tests.support.agent.shop_server import shop_server

    app = ShopApp()
    with shop_server(app) as url:
        yield app, url


def compared(before: Path, rows: Sequence[Artifact], top: Path) -> list[dict[str, Any]]:
    """Save and use by the code in `before`, use by today's; a row an artifact."""
    work = top / "work"
    saves = {one.name: one.save for one in rows}
    uses = {one.name: one.use for one in rows}
    with _shop() as (app, site):
        prepare(top / "inputs", site)
        for one in rows:
            shutil.copytree(top / "inputs", work / one.name)
        offers = dict(app.offers)
        saved, said = _in(before, top, saves, uses)
        work.rename(top / "before")
        (top / "saved").rename(work)
        # What the agent's task changes once more.
        app.offers[8] = offers[8]
        (now,) = _in(ROOT, top, uses)
    told = {one.name: (saved[one.name], said[one.name], now[one.name]) for one in rows}
    return [
        row_of(one, top / "before" / one.name, work / one.name, *told[one.name]) for one in rows
    ]


def main() -> None:
    """Run it and write the result."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--before", default="96545995", help="a folder or a revision")
    parser.add_argument("--only", nargs="*", help="these rows anew; others stay as they were")
    parser.add_argument("--keep", type=Path, help="an empty folder for all that is made")
    asked = parser.parse_args()
    rows = [
        one
        for one in ARTIFACTS
        if (asked.only is None or one.name in asked.only)
        and (not one.needs or shutil.which(one.needs) or find_spec(one.needs))
    ]
    names = {one.name for one in rows}
    with checkout(asked.before) as before, TemporaryDirectory() as scratch:
        folder = asked.keep or Path(scratch)
        found = compared(before, rows, folder)
        data = hashlib.sha256()
        for path in sorted((folder / "inputs").glob("*.csv")):
            data.update(path.read_bytes())
    if asked.only is not None:
        found += published("old_artifacts", lambda row: row["name"] not in names, bool).rows
    order = [one.name for one in ARTIFACTS]
    found = sorted(
        (row for row in found if row["name"] in order), key=lambda r: order.index(r["name"])
    )
    figures = {key: sum(row[key] for row in found) for key in ("loaded", "equal")}
    write_result(
        "old_artifacts",
        protocol=" ".join(str(__doc__).split("\n\n")[2].split()),
        data=data.hexdigest(),
        seeds=[0],
        rows=found,
        figures={"artifacts": len(found)} | figures,
    )
    sys.exit(figures["equal"] < len(found))


if __name__ == "__main__":
    main()
