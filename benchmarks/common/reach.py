"""Code without a door: what no verb, endpoint, public name or example reaches. Seconds.

    python -m benchmarks.common.reach            # each of it, with its code lines
    python -m benchmarks.common.reach --room lm

A user comes in by the command line, by the names of `import adwright`, by the examples of README
and docs and the calls that their text names, and by the programs that these start (a file with
`if __name__ == "__main__"`). From there
is followed what is named: functions, classes and constants of files by their imports, also those
inside functions, and all of a file whose dotted name is a string; methods by their name alone, so
that one is taken as reached where anything of its name is, also in a template of a page. A class
with a base of a library has its methods called by that, and a library calls what it decorates:
endpoints of a file that is reached, validators of a class that is. Python itself calls the
functions of a module whose names begin and end with two underscores.
"""

from __future__ import annotations

import argparse
import ast
import io
import re
import tokenize
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.common._checkouts import ROOT
from docs._imports import Module, read_modules

Key = tuple[str, str]
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
#: Decorators that hand a function to nobody.
PLAIN = re.compile(
    r"(functools\.)?(cache|lru_cache|cached_property|wraps|singledispatch|total_ordering)\b|"
    r"(contextlib\.)?(async)?contextmanager\b|asynccontextmanager\b|dataclass|overload|property|"
    r"staticmethod|classmethod|runtime_checkable|final|torch\.|numba\.|njit|jit|settings|\w+\.setter"
)
#: Bases that call no method of those who have them.
QUIET = {"Protocol", "Generic", "NamedTuple", "TypedDict", "Exception", "ValueError", "Enum"}
_DOTTED = re.compile(r"adwright(\.\w+)+")
_EXAMPLE = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
#: A call in the text of a page: `OnnxSequence.load("exported")`.
_CALL = re.compile(r"`([A-Za-z]\w+)(?:\.(\w+))?\([^`]*\)`")
_TEMPLATED = re.compile(r"\{[{%].*?[%}]\}", re.DOTALL)


@dataclass
class Unit:
    """A definition of a file, or of a class in it. node: None for what a file does when it is
    imported. owner: the class that it is a method of. names: that it names, with the names of
    modules in front of theirs. attributes: the last names of what it reads of anything."""

    key: Key
    module: Module
    nodes: list[ast.AST]
    owner: Key | None = None
    names: set[str] = field(default_factory=set)
    attributes: set[str] = field(default_factory=set)


class Reach:
    """What is reached in the package `adwright` below the folder `top`."""

    def __init__(self, top: Path = ROOT) -> None:
        self.top = top
        self.modules = read_modules(top / "src" / "adwright", "adwright")
        self.units: dict[Key, Unit] = {}
        self.imports: dict[str, dict[str, tuple[str, str | None]]] = {}
        self.methods: dict[str, set[Key]] = defaultdict(set)
        self.of_class: dict[Key, list[Key]] = defaultdict(list)
        for module in self.modules.values():
            self._read(module)
        self.seen: set[Key] = set()
        self.attributes: set[str] = set()

    def _read(self, module: Module) -> None:
        self.imports[module.name] = dict(_imported(module.tree))
        loose: list[ast.AST] = []
        for node in module.tree.body:
            if isinstance(node, Definition):
                self._define(module, node)
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                stored = [
                    n.id for each in targets for n in ast.walk(each) if isinstance(n, ast.Name)
                ]
                if stored != ["__all__"]:
                    for name in stored:
                        self._unit(module, name, [node])
                    if not stored:
                        loose.append(node)
            elif not isinstance(node, ast.Import | ast.ImportFrom):
                loose.append(node)
        self._unit(module, "", loose)

    def _unit(
        self, module: Module, name: str, nodes: list[ast.AST], owner: Key | None = None
    ) -> None:
        key = (module.name, name)
        if key in self.units:
            self.units[key].nodes += nodes
        else:
            self.units[key] = Unit(key, module, list(nodes), owner)
        unit = self.units[key]
        for node in nodes:
            for found, is_attribute in _named(node):
                (unit.attributes if is_attribute else unit.names).add(found)

    def _define(self, module: Module, node: Definition) -> None:
        if not isinstance(node, ast.ClassDef):
            return self._unit(module, node.name, [node])
        function = ast.FunctionDef | ast.AsyncFunctionDef
        methods = [each for each in node.body if isinstance(each, function)]
        rest = [each for each in node.body if each not in methods]
        self._unit(module, node.name, [*node.bases, *node.keywords, *node.decorator_list, *rest])
        whole = (module.name, node.name)
        for method in methods:
            name = f"{node.name}.{method.name}"
            self._unit(module, name, [method], whole)
            self.methods[method.name].add((module.name, name))
            self.of_class[whole].append((module.name, name))
        return None

    def resolve(self, module: str, name: str) -> Iterator[Key]:
        """What `name` means in a file: a definition, or a module's own doing; nothing where it is
        of a library."""
        head, _, rest = name.partition(".")
        if (module, head) in self.units:
            yield (module, head)
        elif head in self.imports.get(module, {}):
            origin, of = self.imports[module][head]
            whole = f"{origin}.{of}" if of else origin
            while rest and f"{whole}.{rest.partition('.')[0]}" in self.modules:
                first, _, rest = rest.partition(".")
                whole = f"{whole}.{first}"
            if whole in self.modules:
                yield (whole, "")
                if rest:
                    yield from self.resolve(whole, rest)
            elif of and origin in self.modules:
                yield (origin, "")
                yield from self.resolve(origin, of)

    def reach(self, start: Iterator[Key] | list[Key]) -> None:
        """Follow what is named from there."""
        todo = list(start)
        while todo:
            key = todo.pop()
            if key in self.seen or key not in self.units:
                continue
            self.seen.add(key)
            unit = self.units[key]
            todo += self._next(unit)
            new = unit.attributes - self.attributes
            self.attributes |= new
            todo += [
                method
                for name in new
                for method in self.methods[name]
                if self.units[method].owner in self.seen
            ]

    def _next(self, unit: Unit) -> Iterator[Key]:
        module, name = unit.key
        yield (module, "")
        for each in unit.names:
            if each in self.modules:
                # It is fetched by name: so may be what is public in it.
                yield (each, "")
                whole = ((at, one) for at, one in self.units if at == each)
                yield from (key for key in whole if not key[1].startswith("_"))
            elif each.startswith("adwright.") and each.rpartition(".")[0] in self.modules:
                yield from self.resolve(each.rpartition(".")[0], each.rpartition(".")[2])
            else:
                found = list(self.resolve(module, each))
                yield from found
                # A module as a value: `for one in (train, serve): one.register(app)`.
                if len(found) == 1 and not found[0][1]:
                    yield from ((found[0][0], read) for read in unit.attributes)
        if not name:
            yield from (
                (module, each.name)
                for each in unit.module.tree.body
                if isinstance(each, Definition) and (_is_handed(each) or each.name.startswith("__"))
            )
            for origin, _ in self.imports[module].values():
                if origin in self.modules:
                    yield (origin, "")
        for method in self.of_class.get(unit.key, ()):
            short = method[1].rpartition(".")[2]
            if (
                short in self.attributes
                or short.startswith("__")
                or any(_is_handed(node) for node in self.units[method].nodes)
                or self._is_called(unit.key)
            ):
                yield method

    def _is_called(self, key: Key, depth: int = 0) -> bool:
        """Whether a class has a base of a library, which calls its methods."""
        module, name = key
        body = self.modules[module].tree.body
        node = next(n for n in body if isinstance(n, ast.ClassDef) and n.name == name)
        for base in node.bases:
            text = ast.unparse(base).partition("[")[0]
            ours = [k for k in self.resolve(module, text) if k[1]]
            if not ours and text.rpartition(".")[2] not in QUIET:
                return True
            if depth < 5 and any(self._is_called(k, depth + 1) for k in ours if k in self.of_class):
                return True
        return False

    def from_doors(self) -> None:
        """Follow the command line, the public names, the pages' examples and started programs."""
        self.reach([("adwright.cli.app", ""), ("adwright", ""), ("adwright", "__getattr__")])
        started = [
            name
            for name, module in self.modules.items()
            if re.search(r"^if __name__ ==", module.text, re.MULTILINE) or ".migrations" in name
        ]
        self.reach([key for key in self.units if key[0] in started])
        for page in (self.top / "src" / "adwright").rglob("*.html"):
            self._reach_attributes("".join(_TEMPLATED.findall(page.read_text("utf-8"))))
        pages = [self.top / "README.md", *sorted((self.top / "docs").glob("*.md"))]
        for page in pages:
            whole = page.read_text("utf-8")
            for name, method in _CALL.findall(whole):
                # Of two of one name a text may mean either.
                if len(found := [key for key in self.units if key[1] == name]) == 1:
                    self.reach([*found, (found[0][0], f"{name}.{method}")])
            text = "\n".join(_EXAMPLE.findall(whole))
            self._reach_text(re.sub(r"^\s*(>>>|\.\.\.) ?", "", text, flags=re.MULTILINE))

    def _reach_text(self, text: str) -> None:
        """Follow the imports and attributes of an example, which need not be a whole program."""
        for origin, names in re.findall(r"from (adwright[\w.]*) import \(?([^)\n]+|[^)]+\))", text):
            for name in re.findall(r"\w+", names):
                self.reach([(f"{origin}.{name}", ""), *self.resolve(origin, name)])
        self._reach_attributes(text)

    def _reach_attributes(self, text: str) -> None:
        """Follow what a text that is no program reads of anything."""
        new = set(re.findall(r"\.(\w+)", text)) - self.attributes
        self.attributes |= new
        self.reach([m for n in new for m in self.methods[n] if self.units[m].owner in self.seen])

    def left(self) -> list[tuple[str, str, int]]:
        """What is not reached: file, name, code lines; classes whole."""
        found = []
        for key, unit in self.units.items():
            if key in self.seen or not unit.nodes or not key[1]:
                continue
            if unit.owner is not None and unit.owner not in self.seen:
                continue
            nodes = unit.nodes
            if key in self.of_class:
                nodes = [n for n in unit.module.tree.body if getattr(n, "name", None) == key[1]]
            lines = sum(_code_lines(unit.module.text, node) for node in nodes)
            path = unit.module.path.relative_to(self.top / "src" / "adwright")
            found.append((path.as_posix(), key[1], lines))
        return sorted(found)


def _is_handed(node: ast.AST) -> bool:
    """Whether a decorator hands it to somebody who calls it."""
    decorators = getattr(node, "decorator_list", [])
    return any(not PLAIN.match(ast.unparse(one)) for one in decorators)


def _imported(tree: ast.Module) -> Iterator[tuple[str, tuple[str, str | None]]]:
    """Names that a file imports anywhere: the module, and the name in it or None."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith("adwright"):
                    local = alias.asname or "adwright"
                    yield local, (alias.name if alias.asname else "adwright", None)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("adwright"):
            for alias in node.names:
                yield alias.asname or alias.name, (str(node.module), alias.name)


def _named(node: ast.AST) -> Iterator[tuple[str, bool]]:
    """Each name that is read, whole where it is of a module, and each attribute's last name."""
    for each in ast.walk(node):
        match each:
            case ast.Name(id=name):
                yield name, False
            case ast.Attribute(attr=attr):
                yield attr, True
                whole = ast.unparse(each)
                if re.fullmatch(r"[\w.]+", whole):
                    yield whole, False
            case ast.Constant(value=str(text)) if len(text) < 200:
                yield from ((found[0], False) for found in _DOTTED.finditer(text))
                if text.isidentifier():
                    # A name that is fetched by getattr, or stands in quotes as a type.
                    yield text, False
                    yield text, True
            case ast.ImportFrom(module=str(origin)) if origin.startswith("adwright"):
                yield from ((f"{origin}.{alias.name}", False) for alias in each.names)


def _code_lines(text: str, node: ast.AST) -> int:
    """Lines of a definition that hold more than a comment, a docstring or nothing."""
    first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])  # type: ignore[attr-defined]
    lines = text.splitlines(keepends=True)[first - 1 : node.end_lineno]  # type: ignore[attr-defined]
    docs = {
        line
        for each in ast.walk(node)
        if isinstance(each, Definition) and ast.get_docstring(each, clean=False) is not None
        for line in range(each.body[0].lineno, (each.body[0].end_lineno or 0) + 1)
    }
    found: set[int] = set()
    skipped = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)
    try:
        for token in tokenize.generate_tokens(io.StringIO("".join(lines)).readline):
            if token.type not in (*skipped, tokenize.ENDMARKER):
                found.update(range(token.start[0] + first - 1, token.end[0] + first))
    except (tokenize.TokenError, IndentationError):
        pass
    return len(found - docs)


def main() -> None:
    """Print what has no door."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--room", default="", help="only files below this folder of src/adwright")
    room = parser.parse_args().room
    reach = Reach()
    reach.from_doors()
    left = [row for row in reach.left() if row[0].startswith(room)]
    for path, name, lines in left:
        print(f"{lines:5} {path}: {name}")
    print(f"{sum(row[2] for row in left):5} code lines without a door")


if __name__ == "__main__":
    main()
