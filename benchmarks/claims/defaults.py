"""Every setting that a benchmark gives and the documented command does not, with its reason.

    python -m benchmarks.claims.defaults

A published figure is of the command with its defaults. What a benchmark sets otherwise is found in
two places: in its code, where the settings of a room are made with a value that is not the usual
one, and in the rows of its result, whose `command` is parsed by the command line itself. Each such
difference has its reason in apart.toml (the paper's own sizes, one mechanism off, the pace of a
kernel, a kill in seconds), or this ends with 1. A reason that fits nothing any more is told too.
Options that name data, columns, places and seeds are no settings.
"""

from __future__ import annotations

import ast
import dataclasses
import json
import shlex
import sys
import tomllib
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import typer

from benchmarks.common.result import RESULTS, ROOT

_SETTINGS = ("Config", "Settings", "Recipe", "Terms", "Plan", "Budget")
_NO_SETTING = frozenset({"seed", "out", "offline", "threads", "folder", "path"})
#: Options by which a command is told where what is: data, columns, places.
_INPUTS = _NO_SETTING | {
    "ads",
    "approver",
    "by",
    "clicks_column",
    "columns",
    "competitors",
    "date",
    "day",
    "field",
    "force",
    "format",
    "image_id",
    "images",
    "impressions",
    "items",
    "labels",
    "language",
    "model",
    "models",
    "of",
    "scale",
    "score",
    "slots",
    "tenant",
    "test",
    "train",
    "yes",
}


class Difference(NamedTuple):
    """where: FILE:CLASS.FIELD of code, FILE:VERB --OPTION of a command. given, usual: as text."""

    where: str
    given: str
    usual: str


def in_code(root: Path = ROOT) -> Iterator[Difference]:
    """Settings that the code of benchmarks gives and whose default is another."""
    for path in sorted((root / "benchmarks").rglob("*.py")):
        place = path.relative_to(root).as_posix()
        if place.startswith(("benchmarks/peers/", "benchmarks/common/adding/")):
            continue
        tree = ast.parse(path.read_text("utf-8"))
        made = dict(_made_of_ours(tree))
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                yield from _given(node, made.get(node.func.id), place)


def _made_of_ours(tree: ast.Module) -> Iterator[tuple[str, Any]]:
    """By its name in a file, each class of settings that the file imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("adwright"):
            for name in node.names:
                if name.name.endswith(_SETTINGS):
                    found = getattr(import_module(str(node.module)), name.name, None)
                    yield name.asname or name.name, found


def _given(node: ast.Call, cls: Any, place: str) -> Iterator[Difference]:
    if not (isinstance(cls, type) and dataclasses.is_dataclass(cls)):
        return
    usual = {one.name: one.default for one in dataclasses.fields(cls)}
    for word in node.keywords:
        if word.arg is None or word.arg in _NO_SETTING or word.arg not in usual:
            continue
        default = usual[word.arg]
        if default is dataclasses.MISSING:
            continue
        try:
            same = ast.literal_eval(word.value) == default
        except ValueError:
            same = False
        if not same:
            where = f"{place}:{cls.__name__}.{word.arg}"
            yield Difference(where, ast.unparse(word.value), repr(default))


def in_commands(folder: Path = RESULTS) -> Iterator[Difference]:
    """Options, other than of data and places, of the commands that rows of results were made by."""
    for path in sorted(folder.glob("*.json")):
        rows = json.loads(path.read_text("utf-8")).get("rows", [])
        lines = {line for row in rows for line in str(row.get("command") or "").splitlines()}
        for line in sorted(lines):
            if line.startswith("adwright "):
                for option, given, usual in options_of(line):
                    yield Difference(f"{path.name}:{option}", given, usual)


def options_of(line: str) -> Iterator[tuple[str, str, str]]:
    """What a command line sets that it need not: `VERB --OPTION`, its value, the usual one."""
    from adwright.cli.app import app

    words, verb = shlex.split(line)[1:], list[str]()
    command: Any = typer.main.get_command(app)
    while words and words[0] in getattr(command, "commands", {}):
        verb.append(words.pop(0))
        command = command.commands[verb[-1]]
    if not verb:
        raise ValueError(f"{line!r} is no command of adwright")
    context = command.make_context(" ".join(verb), words, resilient_parsing=True)
    for one in command.params:
        name, source = str(one.name), context.get_parameter_source(one.name)
        given = context.params.get(name)
        if one.param_type_name != "option" or source is None or source.name != "COMMANDLINE":
            continue
        if name.rpartition("__")[2] not in _INPUTS and given != one.default:
            yield f"{' '.join(verb)} {one.opts[0]}", str(given), str(one.default)


def reasons() -> Mapping[str, str]:
    """By pattern of where, why a difference stands."""
    said = tomllib.loads(Path(__file__).with_name("apart.toml").read_text("utf-8"))["apart"]
    return {pattern: one["why"] for one in said for pattern in one["where"]}


def faults() -> list[str]:
    """Differences without a reason, and reasons without a difference."""
    known, used, wrong = reasons(), set[str](), []
    for one in (*in_code(), *in_commands()):
        found = [pattern for pattern in known if fnmatchcase(one.where, pattern)]
        used.update(found)
        if not found:
            wrong.append(f"{one.where} is {one.given}, usually {one.usual}: no reason is given")
    wrong += [f"{one}: nothing differs there any more" for one in known if one not in used]
    return sorted(set(wrong))


def main() -> None:
    """Print every difference, then what has no reason."""
    known = reasons()
    for one in (*in_code(), *in_commands()):
        why = next((known[each] for each in known if fnmatchcase(one.where, each)), "NO REASON")
        print(f"{one.where} = {one.given} (usually {one.usual}): {why}")
    wrong = faults()
    print("\n".join(wrong))
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
