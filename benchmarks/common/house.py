"""What the layout costs to read: imports, levels, lines and names. Seconds.

    python -m benchmarks.common.house
    python -m benchmarks.common.house --before FOLDER_OR_REVISION

Two states of the project are read, not run: the one before (by default the last one in which the
rooms had no rooms of their own, where the history has it) and this checkout. Counted are, of each
room and sub-room,

    imports       among its files, at the head or inside a function; two files count once
    levels        files of the longest chain in which each imports the next
    own_*         the same of the files that lie in the folder itself: what is read at once

and of the whole the lines, the classes whose name is given in two files or more, the files over
450 lines, and the rings of imports: among files, and among the folders of one folder.

How many files it takes to add a ranker, a sequence model, a tuning method and an engine is counted
by `benchmarks.common.adding`, which adds a made-up one of each to a copy of this checkout's source;
tests/test_adding_one.py shows that they can be used.
"""

from __future__ import annotations

import argparse
import ast
import subprocess
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmarks.common._checkouts import ROOT, checkout, source_hash
from benchmarks.common.adding import counts
from benchmarks.common.result import RESULTS, write_result
from docs._imports import Graph, Module, cycles, levels, read_modules, within

BEFORE = "8958e0b"
LONG = 450
AREAS = ("src", "tests", "benchmarks", "docs")
PROTOCOL = (
    "Read from the source by its syntax tree. A room is a folder of src/adwright, a sub-room a "
    "folder in a room; __init__ files count as files only where they hold code. imports: pairs of "
    "files of which one imports the other. levels: files of the longest chain of imports. own_: "
    "of the files in the folder itself, without those of its sub-rooms. names_twice: classes at "
    "the head of a file whose name another file of src gives to a class, too. cycles_files: rings "
    "of imports among files, imports inside functions included; cycles_folders: among the "
    "members of one folder. files_ranker and so on: files of src touched to add a made-up one."
)


@dataclass(frozen=True)
class House:
    """One state of the project, below the folder `top`."""

    top: Path
    modules: dict[str, Module] = field(init=False)

    def __post_init__(self) -> None:
        found = read_modules(self.top / "src" / "adwright", "adwright")
        object.__setattr__(self, "modules", found)

    @cached_property
    def graph(self) -> Graph:
        """Who imports whom in the package."""
        return _graph(self.modules)

    @cached_property
    def scripts(self) -> Graph:
        """Who imports whom among the benchmarks, which were scripts before they were modules."""
        folder = self.top / "benchmarks"
        is_package = (folder / "__init__.py").exists()
        return _graph(read_modules(folder, "benchmarks" if is_package else ""))

    def folders(self) -> Iterator[dict[str, Any]]:
        """A row for each room and sub-room."""
        for name in sorted(n for n, m in self.modules.items() if m.path.name == "__init__.py"):
            if name == "adwright":
                continue
            inside = [
                n for n in self.modules if n.startswith(f"{name}.") and self.modules[n].counts
            ]
            own = [n for n in inside if n.count(".") == name.count(".") + 1]
            own = [n for n in own if self.modules[n].path.name != "__init__.py"]
            # What an __init__ with code imports is an import of the folder's.
            heads = [name] if self.modules[name].counts else []
            yield {
                "folder": name.removeprefix("adwright.").replace(".", "/"),
                "files": len(inside) + len(heads),
                "imports": _edges(within(self.graph, inside + heads)),
                "levels": levels(within(self.graph, inside + heads)),
                "own_files": len(own) + len(heads),
                "own_imports": _edges(within(self.graph, own + heads)),
                "own_levels": levels(within(self.graph, own + heads)),
                "lines": sum(len(self.modules[n].text.splitlines()) for n in inside + heads),
            }

    def names_twice(self) -> dict[str, list[str]]:
        """Names that two files or more give to classes, with these files."""
        found: dict[str, list[str]] = defaultdict(list)
        for module in self.modules.values():
            for node in module.tree.body:
                if isinstance(node, ast.ClassDef):
                    found[node.name].append(module.path.relative_to(self.top / "src").as_posix())
        return {name: paths for name, paths in sorted(found.items()) if len(set(paths)) > 1}

    def cycles_files(self) -> list[list[str]]:
        """Rings of imports among files, of the package and of the benchmarks."""
        return cycles(self.graph) + cycles(self.scripts)

    def cycles_folders(self) -> list[list[str]]:
        """Rings of imports among what lies in one folder, sub-folders standing for their files."""
        found = []
        for parent in sorted({name.rpartition(".")[0] for name in self.modules if "." in name}):
            depth = parent.count(".") + 2
            members: dict[str, set[str]] = defaultdict(set)
            for name, imported in self.graph.items():
                if name.startswith(f"{parent}."):
                    below = (n for n in imported if n.startswith(f"{parent}."))
                    heads = {_head(n, depth) for n in below} - {_head(name, depth)}
                    members[_head(name, depth)] |= heads
            found += cycles(members)
        return found

    def lines(self) -> dict[str, dict[str, int]]:
        """Lines of the Python files of each area, by path."""
        return {
            area: {
                path.relative_to(self.top).as_posix(): len(path.read_text("utf-8").splitlines())
                for path in sorted((self.top / area).rglob("*.py"))
            }
            for area in AREAS
        }


def _graph(modules: Mapping[str, Module]) -> dict[str, set[str]]:
    return {name: module.imports(modules.keys()) for name, module in modules.items()}


def _edges(graph: Graph) -> int:
    return sum(len(imported) for imported in graph.values())


def _head(name: str, depth: int) -> str:
    return ".".join(name.split(".")[:depth])


def rows_of(house: House, state: str) -> list[dict[str, Any]]:
    """What is there, a row a folder, name, long file and ring; `table` says which."""
    rows: list[dict[str, Any]] = [{"table": "folders", **row} for row in house.folders()]
    for name, paths in house.names_twice().items():
        rows.append({"table": "names", "name": name, "files": len(paths), "in": ", ".join(paths)})
    for paths_of in house.lines().values():
        for path, count in paths_of.items():
            if count > LONG:
                rows.append({"table": "long files", "file": path, "lines": count})
    for kind, rings in (("files", house.cycles_files()), ("folders", house.cycles_folders())):
        rows += [{"table": "cycles", "of": kind, "members": ", ".join(ring)} for ring in rings]
    return [{"state": state, **row} for row in rows]


def summary(house: House) -> dict[str, float]:
    """The figures of one state."""
    folders = list(house.folders())
    lines = {area: sum(found.values()) for area, found in house.lines().items()}
    source = house.lines()["src"]
    twice = house.names_twice()
    rooms = [row for row in folders if "/" not in row["folder"]]
    return {
        "rooms": len(rooms),
        "folders": len(folders),
        "files": len(source),
        "most_own_files": max(row["own_files"] for row in folders),
        "most_own_imports": max(row["own_imports"] for row in folders),
        "most_own_levels": max(row["own_levels"] for row in folders),
        "most_levels": max(row["levels"] for row in folders),
        "lines_src": lines["src"],
        "lines_tests": lines["tests"],
        "lines_benchmarks": lines["benchmarks"],
        "tests_to_src": round(lines["tests"] / lines["src"], 4),
        "names_twice": len(twice),
        "public_names_twice": sum(not name.startswith("_") for name in twice),
        "files_over_450": sum(count > LONG for count in source.values()),
        "cycles_files": len(house.cycles_files()),
        "cycles_folders": len(house.cycles_folders()),
        **{f"imports_{row['folder']}": row["imports"] for row in rooms},
        **{f"levels_{row['folder']}": row["levels"] for row in rooms},
    }


def _known(revision: str) -> bool:
    """Whether this checkout's history has the revision."""
    asked = ["git", "cat-file", "-e", f"{revision}^{{commit}}"]
    return subprocess.run(asked, cwd=ROOT, capture_output=True, check=False).returncode == 0


def main() -> None:
    """Count, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--before", help=f"folder or revision; {BEFORE} where that is known")
    parser.add_argument("--after", default=str(ROOT), help="the same; this checkout by default")
    parser.add_argument("--folder", type=Path, default=RESULTS, help="of the result")
    asked = parser.parse_args()
    before = asked.before or (BEFORE if _known(BEFORE) else None)
    rows: list[dict[str, Any]] = []
    figures: dict[str, float] = {}
    for state, what in (("before", before), ("after", asked.after)):
        if what is not None:
            with checkout(what) as top:
                house = House(top)
                rows += rows_of(house, state)
                ending = "" if state == "after" else "_before"
                figures |= {f"{key}{ending}": value for key, value in summary(house).items()}
                data = source_hash(top)
    figures |= {f"files_{kind}": number for kind, number in counts().items()}
    write_result(
        "house",
        protocol=PROTOCOL,
        data=data,
        seeds=[],
        rows=rows,
        figures=figures,
        folder=asked.folder,
    )


if __name__ == "__main__":
    main()
