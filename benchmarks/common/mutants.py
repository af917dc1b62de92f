"""Mutants of src that the tests do not notice. An hour a state: 300 of them, resumable.

    python -m benchmarks.common.mutants draw --before REVISION   # the sample, and who is who in it
    python -m benchmarks.common.mutants trace --top FOLDER --state before
    python -m benchmarks.common.mutants trace --state after
    python -m benchmarks.common.mutants run --top FOLDER --state before
    python -m benchmarks.common.mutants run --state after
    python -m benchmarks.common.mutants table

A mutant is one change of one place: a comparison, a sum, a product, `and` and `or`, `not`, a
number, a truth value, what is returned, a call that is left out, `break`. The sample is drawn from
the state before, by room in proportion to its code with at least five of each, from a fixed seed.
In the state after, the same mutant is the same change of the same function, wherever it lies now;
where that function is gone or written anew, another is drawn of the same room, and said.

A mutant is killed where a test fails that passes without it. Which tests come to the changed
statement is written down in one run of all tests (`trace`); they are asked from the fastest on, as
many as take `SECONDS` without the mutant. All are forks of one process that has imported what is
large. A test that fails without a mutant, too, is passed over. What no test notices, or comes to,
counts as alive; so does, the other way round, a mutant that no test could notice.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import importlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from benchmarks.common._checkouts import ROOT, checkout
from benchmarks.common.result import RESULTS, write_result

MUTANTS, SEED, FEWEST = 300, 20261201, 5
#: Seconds that the tests of a mutant take without it; a mutant that makes them take so many times
#: as long, and half a minute, is noticed.
SECONDS, ENDLESS = 60.0, 10.0
#: What is imported before a fork is not rewritten for its assertions: no test of ours is.
QUIET = "ignore::pytest.PytestAssertRewriteWarning"
#: Imported before any fork.
WARM = (
    "torch",
    "polars",
    "pyarrow",
    "pydantic",
    "typer",
    "sqlalchemy",
    "starlette",
    "transformers",
)
KEPT = RESULTS / "mutants"
COMPARED: Mapping[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
COUNTED: Mapping[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
}


def changed(node: ast.AST) -> ast.AST:
    """The node, changed; see `is_place`."""
    new: Any = deepcopy(node)
    match new:
        case ast.Compare(ops=[op]) if type(op) in COMPARED:
            new.ops = [COMPARED[type(op)]()]
        case ast.BinOp(op=op) if type(op) in COUNTED:
            new.op = COUNTED[type(op)]()
        case ast.BoolOp(op=op):
            new.op = ast.And() if isinstance(op, ast.Or) else ast.Or()
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            new = operand
        case ast.Constant(value=bool(value)):
            new.value = not value
        case ast.Constant(value=int(value) | float(value)):
            new.value = value + 1
        case ast.Return():
            new.value = ast.Constant(None)
        case ast.Expr():
            new = ast.Pass()
        case ast.Break():
            new = ast.Continue()
    found: ast.AST = new
    return found


def is_place(node: ast.AST) -> bool:
    """Whether `changed` changes it: asked of every node of the source."""
    match node:
        case ast.Compare(ops=[op]):
            return type(op) in COMPARED
        case ast.BinOp(op=op):
            return type(op) in COUNTED
        case ast.UnaryOp(op=op):
            return isinstance(op, ast.Not)
        case ast.Constant(value=value):
            return isinstance(value, bool | int | float)
        case ast.Return(value=value):
            return value is not None and ast.unparse(value) != "None"
        case ast.Expr(value=value):
            return isinstance(value, ast.Call)
        case _:
            return isinstance(node, ast.BoolOp | ast.Break)


def places(body: ast.AST) -> Iterator[ast.AST]:
    """Nodes of a function that can be changed: not its annotations, decorators, nor what an error
    says."""
    todo = [body]
    while todo:
        node = todo.pop()
        if is_place(node):
            yield node
        for name, value in ast.iter_fields(node):
            if name in ("annotation", "returns", "decorator_list", "type_comment"):
                continue
            if isinstance(node, ast.Raise) and name == "exc":
                continue
            found = value if isinstance(value, list) else [value]
            todo += reversed([each for each in found if isinstance(each, ast.AST)])


def functions(top: Path) -> Iterator[tuple[str, str, ast.AST]]:
    """File, qualified name and node of each function of src."""
    for path in sorted((top / "src" / "adwright").rglob("*.py")):
        if "migrations" in path.parts:
            continue
        file = path.relative_to(top / "src" / "adwright").as_posix()
        for name, node in named(ast.parse(path.read_text("utf-8"))):
            yield file, name, node


def digest(node: ast.AST) -> str:
    """Of what a function does: names of files that moved do not count."""
    plain = deepcopy(node)
    for each in ast.walk(plain):
        if isinstance(each, ast.ImportFrom):
            each.module = ""
    if ast.get_docstring(plain):  # type: ignore[arg-type]
        plain.body = plain.body[1:] or [ast.Pass()]  # type: ignore[attr-defined]
    return hashlib.sha256(ast.dump(plain).encode()).hexdigest()[:16]


def all_mutants(top: Path) -> list[dict[str, Any]]:
    """Every mutant of a state. at: the how-manyeth place of its function."""
    return [
        {"file": file, "function": name, "at": at, "digest": found, "room": file.split("/")[0]}
        for file, name, node in functions(top)
        for found in [digest(node)]
        for at, _ in enumerate(places(node))
    ]


def draw(before: Path, after: Path) -> list[dict[str, Any]]:
    """The sample: each with its place before and after."""
    rng, again = random.Random(SEED), random.Random(SEED)
    rooms: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for each in all_mutants(before):
        rooms[each["room"]].append(each)
    now: dict[str, list[dict[str, Any]]] = defaultdict(list)
    same: dict[tuple[str, str, int], dict[str, Any]] = {}
    for each in all_mutants(after):
        now[each["room"]].append(each)
        same.setdefault((each["function"].rpartition(".")[2], each["digest"], each["at"]), each)
    total = sum(map(len, rooms.values()))
    left = MUTANTS - FEWEST * len(rooms)
    found = []
    for room, mutants in sorted(rooms.items()):
        count = min(len(mutants), FEWEST + round(left * len(mutants) / total))
        for each in rng.sample(mutants, count):
            key = (each["function"].rpartition(".")[2], each["digest"], each["at"])
            twin = same.get(key) or (again.choice(now[room]) if now[room] else None)
            found.append({"before": each, "after": twin, "same": key in same})
    return found


def named(tree: ast.Module) -> Iterator[tuple[str, ast.AST]]:
    """Functions of a file, and methods of its classes, by qualified name."""
    for node in tree.body:
        inside = node.body if isinstance(node, ast.ClassDef) else [node]
        owner = f"{node.name}." if isinstance(node, ast.ClassDef) else ""
        for each in inside:
            if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef):
                yield owner + each.name, each


def mutated(text: str, mutant: Mapping[str, Any]) -> str:
    """The text of a file with the mutant in it."""
    for name, each in named(ast.parse(text)):
        if name != mutant["function"]:
            continue
        place: Any = list(places(each))[mutant["at"]]
        new = ast.unparse(changed(place))
        if isinstance(place, ast.expr):
            new = f"({new})"
        lines = text.encode().splitlines(keepends=True)
        start = sum(map(len, lines[: place.lineno - 1])) + place.col_offset
        end = sum(map(len, lines[: place.end_lineno - 1])) + place.end_col_offset
        whole = text.encode()
        return (whole[:start] + new.encode() + whole[end:]).decode()
    raise ValueError(f"{mutant['file']} has no function {mutant['function']}")


PROBE = """
import os
_SEEN, _FILE = set(), os.open({file!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
def hit(number):
    key = number, os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" ")[0]
    if key not in _SEEN:
        _SEEN.add(key)
        os.write(_FILE, (str(number) + "\\t" + key[1] + "\\n").encode())
"""


def probed(text: str, numbered: list[tuple[int, Mapping[str, Any]]]) -> str:
    """The text of a file that says, before the statement of each mutant, that it comes there."""
    lines, marks = text.splitlines(keepends=True), list[tuple[int, int]]()
    for number, mutant in numbered:
        function = next(node for name, node in named(ast.parse(text)) if name == mutant["function"])
        line = list(places(function))[mutant["at"]].lineno
        starts = [
            each.lineno
            for node in ast.walk(function)
            for name in ("body", "orelse", "finalbody")
            for body in [getattr(node, name, None)]
            for each in (body if isinstance(body, list) else [])
            if each.lineno <= line <= (each.end_lineno or 0)
            if not lines[each.lineno - 1].lstrip().startswith(("elif ", "@"))
        ]
        if starts:
            marks.append((max(starts), number))
    for line, number in sorted(marks, reverse=True):
        indent = lines[line - 1][: -len(lines[line - 1].lstrip())]
        lines.insert(line - 1, f'{indent}__import__("adwright._hits")._hits.hit({number})\n')
    return "".join(lines)


def copied(top: Path, folder: str) -> Path:
    """A copy of a state, to change."""
    left = (".git", ".venv", "build", "_build", ".mypy_cache", ".ruff_cache", ".pytest_cache")
    ignored = shutil.ignore_patterns(*left)
    copy = Path(shutil.copytree(top, Path(folder) / "tree", symlinks=True, ignore=ignored))
    for name in (".venv", "build"):
        if (top / name).exists():
            (copy / name).symlink_to((top / name).resolve())
    return copy


def trace(top: Path, state: str, also: list[str]) -> None:
    """Run all tests once: which come to which mutant, and how long each takes."""
    sample = json.loads((KEPT / "sample.json").read_text("utf-8"))
    files: dict[str, list[tuple[int, Mapping[str, Any]]]] = defaultdict(list)
    for number, each in enumerate(sample):
        if each[state] is not None:
            files[each[state]["file"]].append((number, each[state]))
    with tempfile.TemporaryDirectory() as folder:
        copy, hits = copied(top, folder), Path(folder) / "hits"
        source, times = copy / "src" / "adwright", Path(folder) / "times.xml"
        for file, numbered in files.items():
            path = source / file
            path.write_text(probed(path.read_text("utf-8"), numbered), "utf-8")
        (source / "_hits.py").write_text(PROBE.format(file=str(hits)), "utf-8")
        command = [sys.executable, "-m", "pytest", "-n", "2", "--dist", "worksteal", "-q"]
        command += ["-p", "no:cacheprovider", f"--junitxml={times}", *also]
        own = {"PYTHONPATH": str(copy / "src"), "OMP_NUM_THREADS": "1"}
        subprocess.run(command, cwd=copy, env=os.environ | own, check=False)
        took = {
            "{}::{}".format(
                each.get("classname", "").replace(".", "/") + ".py", each.get("name")
            ): float(each.get("time", 0))
            for each in ElementTree.parse(times).iter("testcase")
        }
        reached: dict[int, set[str]] = defaultdict(set)
        for line in hits.read_text("utf-8").splitlines():
            which, _, test = line.partition("\t")
            reached[int(which)].add(test)
        found = {
            number: sorted((took.get(test, 1.0), test) for test in tests if test)
            for number, tests in sorted(reached.items())
        }
        (KEPT / f"{state}-traced.json").write_text(json.dumps(found, indent=0) + "\n", "utf-8")


def warm() -> None:
    """Import what most tests import, once for all forks."""
    for name in WARM:
        with suppress(ImportError):
            importlib.import_module(name)


def tried(top: Path, chosen: list[str], log: Path, seconds: float) -> int | None:
    """What pytest returns for these tests, in a fork of this process; None after `seconds`."""
    child = os.fork()
    if not child:
        os.setsid()
        os.chdir(top)
        os.environ |= {"PYTHONPATH": str(top / "src"), "OMP_NUM_THREADS": "1"}
        with log.open("w") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        ours = ("adwright", "benchmarks", "docs", "tests")
        for name in [each for each in sys.modules if each.partition(".")[0] in ours]:
            del sys.modules[name]
        sys.path[:0] = [str(top / "src"), str(top)]
        code = 3
        try:
            import pytest

            code = int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", "-W", QUIET, *chosen]))
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.05)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def judge(
    top: Path, mutant: Mapping[str, Any], tests: list[tuple[float, str]], sound: dict[str, bool]
) -> dict[str, Any]:
    """Whether a test fails with the mutant, and which. sound: of tests that failed once, whether
    they pass without a mutant; filled here."""
    path, log = top / "src" / "adwright" / mutant["file"], top.parent / "pytest.log"
    text = path.read_text("utf-8")
    chosen, spent = list[str](), 0.0
    for took, test in tests:
        spent += took
        if chosen and spent > SECONDS:
            break
        chosen.append(test)
    limit = 30 + ENDLESS * min(spent, SECONDS)
    try:
        while chosen := [test for test in chosen if sound.get(test, True)]:
            path.write_text(mutated(text, mutant), "utf-8")
            code = tried(top, chosen, log, limit)
            if code in (0, 5):
                break
            if code is None:
                return {"killed": True, "tests": len(chosen), "by": "it does not end"}
            told = log.read_text("utf-8", "replace").splitlines()
            words = [line.split(" ", 1)[1] for line in told if line[:7] in ("FAILED ", "ERROR t")]
            name = words[0].partition(" - ")[0] if words else chosen[0]
            failed = next((test for test in chosen if test == name), None)
            asked = [failed] if failed else chosen  # it broke the whole run
            path.write_text(text, "utf-8")
            if tried(top, asked, log, limit) == 0:
                return {"killed": True, "tests": len(chosen), "by": name[:200]}
            if failed is None:
                # Which of them is not sound? One by one.
                for test in chosen:
                    sound.setdefault(test, tried(top, [test], log, limit) == 0)
            else:
                sound[failed] = False
        return {"killed": False, "tests": len(chosen), "by": ""}
    finally:
        path.write_text(text, "utf-8")


def run(top: Path, state: str, part: str) -> None:
    """Judge the mutants of one state that have no answer yet. part: K/N, each N-th from K."""
    sample = json.loads((KEPT / "sample.json").read_text("utf-8"))
    traced = json.loads((KEPT / f"{state}-traced.json").read_text("utf-8"))
    at, of = map(int, part.split("/"))
    answers = KEPT / f"{state}-{at}.jsonl"
    lines = answers.read_text("utf-8").splitlines() if answers.exists() else []
    done = {json.loads(line)["number"] for line in lines}
    warm()
    with tempfile.TemporaryDirectory() as folder:
        copy, sound = copied(top, folder), dict[str, bool]()
        for number, each in enumerate(sample):
            mutant = each[state]
            if number % of != at or number in done or mutant is None:
                continue
            found = {"number": number, **judge(copy, mutant, traced.get(str(number), []), sound)}
            with answers.open("a", encoding="utf-8") as file:
                file.write(json.dumps(found) + "\n")
            print(
                number,
                mutant["file"],
                mutant["function"],
                found["killed"],
                found["tests"],
                found["by"][:80],
                flush=True,
            )


def table() -> None:
    """Write mutants.json: killed of judged, by room and state."""
    sample = json.loads((KEPT / "sample.json").read_text("utf-8"))
    rows, figures = [], {}
    for state in ("before", "after"):
        lines = [
            json.loads(line)
            for path in sorted(KEPT.glob(f"{state}-*.jsonl"))
            for line in path.read_text("utf-8").splitlines()
        ]
        rooms: dict[str, list[bool]] = defaultdict(list)
        for line in lines:
            rooms[sample[line["number"]]["before"]["room"]].append(line["killed"])
        for room, killed in sorted(rooms.items()):
            rows.append({"state": state, "room": room, "killed": sum(killed), "of": len(killed)})
        if lines:
            figures[f"killed_{state}"] = sum(line["killed"] for line in lines) / len(lines)
            figures[f"judged_{state}"] = len(lines)
    figures["same"] = sum(each["same"] for each in sample)
    write_result(
        "mutants",
        protocol=str(__doc__).partition("\n\n")[2],
        data="the source and the tests of two states of the project",
        seeds=[SEED],
        rows=rows,
        figures=figures,
    )


def main() -> None:
    """Draw, run or tell."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    drawing = verbs.add_parser("draw", help="draw the sample from the state before")
    drawing.add_argument("--before", required=True, help="folder or revision")
    tracing = verbs.add_parser("trace", help="run all tests: which come to which mutant")
    running = verbs.add_parser("run", help="judge those that have no answer yet")
    for verb in (tracing, running):
        verb.add_argument("--top", type=Path, default=ROOT, help="folder of the state")
        verb.add_argument("--state", choices=("before", "after"), required=True)
    tracing.add_argument("also", nargs="*", help="further words for pytest, after --")
    running.add_argument("--part", default="0/1", help="K/N: each N-th, from K")
    verbs.add_parser("table", help="write mutants.json")
    given = parser.parse_args()
    if given.verb == "draw":
        KEPT.mkdir(exist_ok=True)
        with checkout(given.before) as before:
            (KEPT / "sample.json").write_text(
                json.dumps(draw(before, ROOT), indent=0) + "\n", "utf-8"
            )
    elif given.verb == "trace":
        trace(given.top.resolve(), given.state, given.also)
    elif given.verb == "run":
        run(given.top.resolve(), given.state, given.part)
    else:
        table()


if __name__ == "__main__":
    main()
