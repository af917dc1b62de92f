"""No regular expression of the source takes more than linear time: strangers choose the texts."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import random
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import adwright

SOURCE = Path(adwright.__file__).parent
#: What takes longer than QUICK for a text of FIRST characters is looked at for those of SIZES, and
#: may take ENOUGH seconds for the last, or so many times what it takes for the one before. What is
#: over is measured again, AGAIN times: another process on the machine slows one measurement.
FIRST, SIZES, AGAIN = 1_000, (4_000, 8_000, 16_000), (2, 10)
QUICK, HOPELESS, ENOUGH, MOST_GROWTH = 0.0005, 0.2, 0.012, 3.0
#: Texts for a pattern: its own characters and words, and pairs of them, repeated.
COMMON = " a1\n.-,<\"':/=_A"
MOST_OWN, MOST_WORDS, MOST_PAIRS = 16, 10, 30
TABLES = Mapping | tuple | list | set | frozenset
#: These begin at one place of a text, and all other ways at each.
AT_ONE_PLACE = {"match", "fullmatch"}


class Patterns(ast.NodeVisitor):
    """found: (pattern, flags) to its place and the ways in which it is used."""

    def __init__(self) -> None:
        self.found: dict[tuple[str, int], tuple[str, set[str]]] = {}
        self._where, self._seen, self._depth = "", set[int](), 0

    def take(self, value: object, where: str, ways: set[str]) -> None:
        """A pattern, or a table of them."""
        if isinstance(value, re.Pattern) and isinstance(value.pattern, str):
            known = self.found.setdefault((value.pattern, value.flags), (where, set()))
            known[1].update(ways)
        elif isinstance(value, TABLES) and id(value) not in self._seen:
            self._seen.add(id(value))
            for one in (*value, *(value.values() if isinstance(value, Mapping) else ())):
                self.take(one, where, {"search"})

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        """What stands in a function is not at hand as a value."""
        self._depth += 1
        self.generic_visit(node)
        self._depth -= 1

    def visit_Call(self, node: ast.Call) -> None:
        """A pattern that is written in a call."""
        match node:
            case ast.Call(
                func=ast.Attribute(value=ast.Name("re"), attr=name),
                args=[ast.Constant(str(text)), *_],
            ) if name != "escape" and (name != "compile" or self._depth):
                self.take(re.compile(text), f"{self._where}:{node.lineno}", {name})
        self.generic_visit(node)

    def read(self, path: Path, module: object) -> None:
        """All of a module."""
        self._where, text = str(path.relative_to(SOURCE)), path.read_text("utf-8")
        self.visit(ast.parse(text))
        for name, value in vars(module).items():
            mentions = len(re.findall(rf"\b{name}\b", text))
            ways = re.findall(rf"\b{name}\.(\w+)", text)
            own = set(ways) if len(ways) == mentions - 1 else {"search"}
            self.take(value, f"{self._where}: {name}", own)
            if isinstance(value, type) and value.__module__ == getattr(module, "__name__", ""):
                self.take(tuple(vars(value).values()), f"{self._where}: {name}", {"search"})


def patterns() -> Patterns:
    """Those that modules and classes hold, alone or in a table, and those written in a call."""
    found = Patterns()
    for info in pkgutil.walk_packages(adwright.__path__, "adwright."):
        if info.name.endswith(("__main__", "migrations.env")):  # these run
            continue
        try:
            module = importlib.import_module(info.name)
        except ImportError:  # of an extra that is not here
            continue
        found.read(Path(module.__file__ or ""), module)
    return found


def units(pattern: str) -> Iterator[str]:
    """What an adversary would repeat."""
    rng = random.Random(0)
    plain = re.sub(r"\\[A-Za-z]|\\[uUx][0-9a-fA-F]+", " ", pattern)
    own = sorted(
        set(re.sub(r"[()\[\]{}|?*+^$\\\s]", "", plain)) | set(re.findall(r"\\(\W)", plain))
    )
    rng.shuffle(own)
    letters = [*COMMON, *own[:MOST_OWN]]
    yield from dict.fromkeys(letters)
    yield from dict.fromkeys(re.findall(r"[A-Za-z<>/!@&;:.,-]{2,}", plain)[:MOST_WORDS])
    yield from sorted({"".join(rng.sample(letters, 2)) for _ in range(MOST_PAIRS)})


def seconds(pattern: re.Pattern[str], way: str, unit: str, size: int, tail: str) -> float:
    text = (unit * (size // len(unit) + 1))[:size] + tail
    start = time.thread_time()
    if way in AT_ONE_PLACE:
        getattr(pattern, way)(text)
    else:
        for _ in pattern.finditer(text):
            pass
    return time.thread_time() - start


def slow(pattern: re.Pattern[str], ways: set[str]) -> str:
    """By what a pattern takes more than linear time, and how long; empty for a good one."""
    for unit in units(pattern.pattern):
        for way in sorted(ways if ways <= AT_ONE_PLACE else {"search"}):
            for tail in ("", "\x00"):
                if seconds(pattern, way, unit, FIRST, tail) < QUICK:
                    continue
                first = seconds(pattern, way, unit, SIZES[0], tail)
                if first > HOPELESS:
                    return f"{way} {unit!r}: {first:.3f} s"
                for often in AGAIN:
                    times = [
                        min(seconds(pattern, way, unit, size, tail) for _ in range(often))
                        for size in SIZES
                    ]
                    if times[2] <= ENOUGH or times[2] <= MOST_GROWTH * times[1]:
                        break
                else:
                    return f"{way} {unit!r}: {', '.join(f'{one:.3f}' for one in times)} s"
    return ""


def test_every_pattern_takes_linear_time() -> None:
    found = patterns().found
    assert len(found) > 300
    how = {where: slow(re.compile(*one), ways) for one, (where, ways) in found.items()}
    assert {where: one for where, one in how.items() if one} == {}
